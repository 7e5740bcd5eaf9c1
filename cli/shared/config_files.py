"""``--config``: options in a YAML file, as if they stood on the command line before the others.

A value means what its text would mean there: ``train-encoder: yes`` is the text ``yes``, whatever
YAML makes of it, and ``2e-2`` is a number. So every file is read as texts, and each text goes
through the conversion of its option.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from learned_index.cli.shared.model_options import SECTIONS
from learned_index.cli.shared.options import AUTO, combined, joined
from learned_index.cli.shared.shipped_configs import list_configs, shipped_text, show_config
from learned_index.errors import InputError
from learned_index.inputs.similar import did_you_mean
from learned_index.system.extras import require

BECAME = "became"
"""Section of a file that a training writes: what it chose itself. It is told, and not read."""
OF_FILES = ("config", "list-configs", "show-config", "help", "help-all")
"""Options that a file cannot hold."""
MOST_BYTES = 1_000_000
"""Size of a file that is surely something else than options."""


@dataclass(frozen=True)
class Entry:
    """One option of a file.

    Attributes:
        text: Its value, or the parts of a list.
        line: Where it stands, from 1.
    """

    text: str | list[str]
    line: int


def read_entries(text: str, *, name: str) -> dict[str, Entry]:
    """Read the options of a file, as texts.

    Args:
        text: YAML, a mapping of names to values or lists of values.
        name: The file, for messages.

    Raises:
        InputError: No such mapping, or an option twice; names the line.
    """
    yaml = require("yaml")
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f", line {mark.line + 1}"
        what = getattr(error, "problem", None) or str(error)
        raise InputError(f"{name}{where}: this is no YAML: {what}") from None
    except RecursionError:
        raise InputError(f"{name}: expected lines 'option: value', got nested lists") from None
    if root is None:
        return {}
    if not isinstance(root, yaml.MappingNode):
        raise InputError(f"{name}, line 1: expected lines 'option: value', such as 'preset: fast'")
    found: dict[str, Entry] = {}
    for key, value in root.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise InputError(f"{name}, line {line}: expected the name of an option before the ':'")
        option = key.value.strip().removeprefix("--").replace("_", "-")
        if option in found:
            raise InputError(
                f"{name}, line {line}: {option} stands in line {found[option].line} already; "
                "remove one of them"
            )
        if option != BECAME:
            found[option] = Entry(_texts(yaml, value, f"{name}, line {line}: {option}"), line)
    return found


def _texts(yaml: Any, node: Any, where: str) -> str | list[str]:
    """The text of a value, or those of a list."""
    if isinstance(node, yaml.SequenceNode):
        parts = [_texts(yaml, part, where) for part in node.value]
        if not all(isinstance(part, str) for part in parts):
            raise InputError(f"{where} holds a list within a list; expected a value or a list")
        return parts  # type: ignore[return-value]
    if not isinstance(node, yaml.ScalarNode):
        raise InputError(f"{where} holds a mapping; expected a value or a list of values")
    if not node.value and node.style is None:
        raise InputError(f"{where} has no value; give one, or remove the line")
    return str(node.value)


def converted(entries: dict[str, Entry], ctx: click.Context, *, name: str) -> dict[str, Any]:
    """Convert options by the parameters of a command, with the messages of its command line.

    Args:
        entries: From :func:`read_entries`.
        ctx: Context of the command.
        name: The file, for messages.

    Returns:
        Values by the names of the parameters.

    Raises:
        InputError: An option that the command has not got, or a value that it refuses; names the
            line, and what might be meant.
    """
    known = _options(ctx.command)
    values = {}
    for option, entry in entries.items():
        where = f"{name}, line {entry.line}"
        if option not in known:
            if option in OF_FILES:
                raise InputError(f"{where}: {option} belongs on the command line, not into a file")
            hint = did_you_mean(option, known)
            raise InputError(
                f"{where}: li {ctx.command.name} has no option {option!r}{hint} "
                f"(li {ctx.command.name} --help lists them)"
            )
        parameter = known[option]
        try:
            values[str(parameter.name)] = _value(parameter, entry.text, ctx)
        except click.BadParameter as error:
            raise InputError(f"{where}: {option}: {error.message}") from None
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
    return values


def _options(command: click.Command) -> dict[str, click.Parameter]:
    """Names of options without their dashes, each with its parameter."""
    return {
        long.removeprefix("--"): parameter
        for parameter in command.params
        for long in parameter.opts
        if long.startswith("--") and long.removeprefix("--") not in OF_FILES
    }


def _value(parameter: click.Parameter, text: str | list[str], ctx: click.Context) -> Any:
    """What an option makes of a text."""
    if getattr(parameter, "multiple", False):
        return parameter.type_cast_value(ctx, [text] if isinstance(text, str) else text)
    whole = text if isinstance(text, str) else ",".join(text)
    if getattr(parameter, "is_flag", False):
        return click.BOOL.convert(whole, parameter, ctx)
    value = parameter.type_cast_value(ctx, whole)
    for config, prefix in SECTIONS.values():
        for field in dataclasses.fields(config):  # type: ignore[arg-type]
            if joined(prefix, field.name) == parameter.name and value != AUTO:
                config.checked_value(field.name, value)
    return value


def _read(ctx: click.Context, _: click.Parameter, name: str | None) -> None:
    """Make the values of a file the defaults of the command."""
    if name is None or ctx.resilient_parsing:
        return
    text = shipped_text(name, command=str(ctx.command.name))
    if text is None:
        text = _file_text(Path(name))
    found = converted(read_entries(text, name=name), ctx, name=name)
    ctx.default_map = {**(ctx.default_map or {}), **found}


def _file_text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except IsADirectoryError:
        raise InputError(f"--config {path} is a folder; expected a YAML file of options") from None
    try:
        text = raw.decode("utf-8-sig") if len(raw) <= MOST_BYTES else None
    except UnicodeDecodeError:
        text = None
    if text is None or re.search("[\x00-\x08]", text):
        raise InputError(f"--config {path} is no text of options; expected lines 'option: value'")
    return text


config_option: Callable[[Callable[..., Any]], Callable[..., Any]] = combined(
    click.option(
        "--config",
        metavar="FILE.yaml|NAME",
        is_eager=True,
        expose_value=False,
        callback=_read,
        help="Take options from a file of lines 'option: value', or from one that is shipped "
        "(--list-configs). What stands on the command line wins.",
    ),
    click.option(
        "--list-configs",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=list_configs,
        help="List the configurations that are shipped.",
    ),
    click.option(
        "--show-config",
        metavar="NAME",
        is_eager=True,
        expose_value=False,
        callback=show_config,
        help="Print one of them, to change it.",
    ),
)
"""``--config`` and what shows the files that are shipped; after all other options of a command."""


def config_path(model: Path) -> Path:
    """Return where a training's options are written: beside the model, as its report."""
    return model.with_name(model.name + ".config.yaml")


OF_A_RUN = ("overwrite", "resume", "force", "quiet", "json")
"""Flags that belong to one run: a file that is given again must not carry them."""


def asked_options(ctx: click.Context) -> dict[str, Any]:
    """Return what was asked for, on the command line or in a file, by the names of the options."""
    given = (ParameterSource.COMMANDLINE, ParameterSource.DEFAULT_MAP, ParameterSource.ENVIRONMENT)
    asked = {}
    for option, parameter in _options(ctx.command).items():
        source = ctx.get_parameter_source(str(parameter.name))
        if option not in OF_A_RUN and source in given:
            value = ctx.params[str(parameter.name)]
            plain = isinstance(value, bool | int | float | str)
            asked[option] = (
                value if plain else list(value) if isinstance(value, tuple) else str(value)
            )
    return asked


def write_config(model: Path, asked: dict[str, Any], became: dict[str, Any]) -> Path:
    """Write a training's options beside its model; the file appears when it is whole.

    Args:
        model: Where the model was written.
        asked: From :func:`asked_options`; the file can be given to ``--config`` again.
        became: What the training chose itself, by the names of the options.

    Returns:
        The file.
    """
    yaml = require("yaml")
    lines = [
        "# What this training was asked for; --config takes the file again (with another --out).\n",
        yaml.safe_dump(asked, sort_keys=False, allow_unicode=True) if asked else "",
        '# What it took for all that was not asked for, "auto" included. Told, and not read.\n',
        yaml.safe_dump({BECAME: became}, sort_keys=False, allow_unicode=True),
    ]
    path = config_path(model)
    from learned_index.persistence import atomic_file

    with atomic_file(path) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8")
    return path
