"""``--help`` in panels: what most people need first, all of it with ``--help-all``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

R = TypeVar("R")
COMMON, OTHERS = "Common", "Options"
PANELS = (
    *(COMMON, OTHERS, "Table", "Encoder", "Model", "Index", "Training", "Ranker"),
    *("Calibration", "Output", "Machine"),
)
"""Headings in the order in which they are shown; options that say no panel stand in the second."""
_ALL = "learned_index.help_all"
"""Set in the context's meta while all panels are shown."""


def panel(
    name: str, *options: Callable[[Any], Any]
) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Make one decorator of several options, whose help stands under this heading.

    An option that stands in a panel already stays there.

    Args:
        name: One of :data:`PANELS`.
        *options: Decorators of click, first to last.

    Raises:
        ValueError: A heading of another name.
    """
    if name not in PANELS:
        raise ValueError(f"{name!r} is no panel; expected one of {', '.join(PANELS)}")

    def decorate(function: Callable[..., R]) -> Callable[..., R]:
        before = {id(option) for option in _options_of(function)}
        for option in reversed(options):
            function = option(function)
        for option in _options_of(function):
            if id(option) not in before and getattr(option, "panel", None) is None:
                option.panel = name  # type: ignore[attr-defined]
        return function

    return decorate


def _options_of(function: Any) -> list[click.Parameter]:
    if isinstance(function, click.Command):
        return function.params
    return getattr(function, "__click_params__", [])


class PanelCommand(click.Command):
    """A command whose help comes in panels.

    Args:
        *args: As of click's command.
        common: Names of the parameters that ``--help`` shows, in this order. The others are shown
            by ``--help-all``, under the headings that :func:`panel` gave them. Empty: there are so
            few that ``--help`` shows all.
        examples: Command lines, shown one a line as they are typed.
        **kwargs: As of click's command.

    Raises:
        ValueError: A common parameter that the command does not have.
    """

    def __init__(
        self,
        *args: Any,
        common: Sequence[str] = (),
        examples: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.common, self.examples = tuple(common), tuple(examples)
        unknown = set(common) - {parameter.name for parameter in self.params}
        if unknown:
            raise ValueError(f"{self.name} has no parameter {', '.join(sorted(unknown))}")
        if common:
            show_all = click.Option(
                ["--help-all"],
                is_flag=True,
                is_eager=True,
                expose_value=False,
                callback=_show_all,
                help="Show all options and exit.",
            )
            self.common += (str(show_all.name),)
            self.params.append(show_all)

    def shows_all(self, ctx: click.Context) -> bool:
        """Whether the help that is being written is the whole of it."""
        return not self.common or ctx.meta.get(_ALL, False)

    def panels(self, ctx: click.Context) -> dict[str, list[click.Parameter]]:
        """The options by heading, in the order in which they are shown."""
        found: dict[str, list[click.Parameter]] = {name: [] for name in PANELS}
        for option in self.get_params(ctx):
            if isinstance(option, click.Option) and not option.hidden:
                found[self._panel_of(option)].append(option)
        order = {name: place for place, name in enumerate(self.common)}
        found[COMMON].sort(key=lambda option: order.get(str(option.name), len(order)))
        return {name: options for name, options in found.items() if options}

    def _panel_of(self, option: click.Option) -> str:
        if self.common and (option.name in self.common or "--help" in option.opts):
            return COMMON
        return getattr(option, "panel", None) or OTHERS

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the panels; without ``--help-all`` the first, and what stands in the others."""
        panels = self.panels(ctx)
        shows_all = self.shows_all(ctx)
        for name, options in panels.items():
            if shows_all or name == COMMON:
                with formatter.section(name):
                    formatter.write_dl([record for o in options if (record := _record(o, ctx))])
        if shows_all:
            return
        others = {name: options for name, options in panels.items() if name != COMMON}
        with formatter.section(f"More, shown by {ctx.command_path} --help-all"):
            width = max(map(len, others)) + 2
            room = formatter.width - formatter.current_indent - width - 3
            formatter.write_dl([(name, _named(options, room)) for name, options in others.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples as they are typed, and the epilog below them."""
        if self.examples:
            with formatter.section("Examples"):
                for line in self.examples:
                    formatter.write(f"{'':{formatter.current_indent}}{line}\n")
        super().format_epilog(ctx, formatter)


def _record(option: click.Parameter, ctx: click.Context) -> tuple[str, str] | None:
    return option.get_help_record(ctx)


def _named(options: Sequence[click.Parameter], room: int) -> str:
    """How many options there are, and the names of as many as fit into one line."""
    names = [max(option.opts, key=len) for option in options]
    told = f"{len(names)}: {names[0]}"
    for name in names[1:]:
        if len(told) + len(name) + len(", , ...") > room:
            return f"{told}, ..."
        told += f", {name}"
    return told


def _show_all(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        ctx.meta[_ALL] = True
        click.echo(ctx.get_help(), color=ctx.color)
        ctx.exit()


def command(
    name: str | None = None, *, common: Sequence[str] = (), examples: Sequence[str] = ()
) -> Callable[[Callable[..., Any]], PanelCommand]:
    """Make a command of a function, as ``click.command`` does, with help in panels.

    Args:
        name: Its name; None: the function's.
        common: See :class:`PanelCommand`.
        examples: Likewise.
    """
    return click.command(name, cls=PanelCommand, common=common, examples=examples)
