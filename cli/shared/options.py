"""Command-line options generated from configuration dataclasses.

A parameter is written once, in its dataclass: name, type, default and ``metadata["help"]``.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union

import click

from learned_index.cli.shared.help import panel

if TYPE_CHECKING:
    ParamType = click.ParamType[Any]
else:  # generic since click 8.4 only
    ParamType = click.ParamType

R = TypeVar("R")
AUTO = "auto"
"""What one writes for None in an option whose field may be None."""


def combined(*options: Callable[[Any], Any]) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Make one decorator of several; their options stand in this order in the help."""

    def decorate(function: Callable[..., R]) -> Callable[..., R]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


model_argument = click.argument("model", type=click.Path(path_type=Path))
model_option = click.option(
    "--model",
    "model_path",
    required=True,
    type=click.Path(path_type=Path),
    help="Directory of a trained model.",
)
out_option = click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Directory to write the model to."
)
overwrite_option = panel(
    "Output",
    click.option("--overwrite", is_flag=True, help="Replace a saved model that is there."),
)
cache_option = panel(
    "Machine",
    click.option(
        "--cache",
        help="Directory of encoded texts, used again for the same texts and encoder; off keeps "
        "nothing.  [default: the user's cache directory]",
    ),
)


class Propensity(ParamType):
    """A pair A,B, or the name of a data set that has one."""

    name = "A,B|name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Convert."""
        from learned_index.data.propensities import propensity_constants
        from learned_index.errors import InputError

        try:
            return propensity_constants(value) if isinstance(value, str) else value
        except InputError as error:
            self.fail(str(error), param, ctx)


propensity_option = click.option(
    "--propensity",
    type=Propensity(),
    default="0.55,1.5",
    show_default=True,
    help="Constants of PSP: A,B, or a data set that they are published for, as Amazon-670K.",
)


def _split_option(default: str, told: str) -> Callable[[Callable[..., R]], Callable[..., R]]:
    return combined(
        click.option(
            "--split",
            type=click.Choice(["train", "dev", "test"]),
            default=default,
            show_default=True,
            help=told,
        )
    )


split_option = _split_option("test", "Part of the data that asks the queries.")
train_split_option = _split_option("train", "Part of the data whose points are looked at.")
knob_options = combined(
    click.option(
        "--beam-width",
        type=click.IntRange(min=1),
        help="Clusters explored: more is slower and finds more.  [default: as trained]",
    ),
    click.option(
        "--shortlist-size",
        type=click.IntRange(min=1),
        help="Labels scored by their classifiers.  [default: as trained]",
    ),
)
"""``--beam-width`` and ``--shortlist-size``, None where they are not given."""


class OptionalValue(ParamType):
    """A value of ``inner`` type, or the word ``auto``, which stands for None."""

    def __init__(self, inner: ParamType) -> None:
        self.inner = inner
        self.name = f"{inner.name}|{AUTO}"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Convert, leaving ``auto`` as it is until :func:`given_values` reads it."""
        return AUTO if value == AUTO else self.inner.convert(value, param, ctx)


def _click_type(hint: Any) -> ParamType:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        others = [argument for argument in arguments if argument is not type(None)]
        if len(others) == 1:
            return OptionalValue(_click_type(others[0]))
    if origin is Literal:
        return click.Choice([str(argument) for argument in arguments])
    simple: dict[Any, ParamType] = {
        int: click.INT, float: click.FLOAT, str: click.STRING, bool: click.BOOL
    }  # fmt: skip
    if hint in simple:
        return simple[hint]
    raise TypeError(f"no option type for a field of type {hint}")


def config_options(
    config: type[Any],
    *,
    skip: tuple[str, ...] = (),
    prefix: str = "",
    panel_of: Callable[[str], str] | None = None,
) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Make a decorator that adds one option for each field of a dataclass.

    Args:
        config: A dataclass; each field has ``metadata["help"]`` and a default.
        skip: Names of fields that get no option.
        prefix: Put before every name (``"ranker"`` makes ``--ranker-seed``).
        panel_of: The heading of a field's help; None: no heading of its own.

    Returns:
        The decorator. The command reads what was given with :func:`given_values`.
    """
    hints = typing.get_type_hints(config)
    options = []
    for field in dataclasses.fields(config):
        if field.name not in skip:
            name = joined(prefix, field.name)
            default = AUTO if field.default is None else field.default
            text = f"{field.metadata['help']}  [default: {default}]"
            kind = _click_type(hints[field.name])
            # Not the default of click: only what was given takes precedence over a preset.
            option = click.option(
                "--" + name.replace("_", "-"), name, type=kind, default=None, help=text
            )
            options.append(option if panel_of is None else panel(panel_of(field.name), option))
    return combined(*options)


def joined(prefix: str, name: str) -> str:
    """Return the parameter's name of a field, with what is put before those of its section."""
    return f"{prefix}_{name}" if prefix else name


def given_values(
    config: type[Any], parameters: dict[str, Any], *, prefix: str = ""
) -> dict[str, Any]:
    """Collect the fields of ``config`` that were given on the command line.

    Args:
        config: The dataclass passed to :func:`config_options`.
        parameters: The command's parameters; the fields of ``config`` are removed from them.
        prefix: As passed to :func:`config_options`.

    Returns:
        Field name to value, only for options that were given; ``auto`` has become None.
    """
    values = {
        field: parameters.pop(joined(prefix, field.name))
        for field in dataclasses.fields(config)
        if joined(prefix, field.name) in parameters
    }
    hints = typing.get_type_hints(config)
    return {
        # A choice may have a value called auto of its own; then None is no value of the field.
        field.name: None
        if value == AUTO and type(None) in typing.get_args(hints[field.name])
        else value
        for field, value in values.items()
        if value is not None
    }
