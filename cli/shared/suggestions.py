"""What was probably meant, behind the message about a word that is none: commands and choices."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from learned_index.inputs.similar import did_you_mean

if TYPE_CHECKING:
    ChoiceType = click.Choice[Any]
else:  # generic since click 8.2 only
    ChoiceType = click.Choice


class SuggestingChoice(ChoiceType):
    """A choice that tells the most similar one of what there is."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """Add it to click's message."""
        told = super().get_invalid_choice_message(value, ctx)
        return told.removesuffix(".") + did_you_mean(str(value), map(str, self.choices))


def refuse_command(ctx: click.Context, name: str, known: Iterable[str]) -> None:
    """End with the names that there are, where a group has no command of a name.

    Raises:
        click.UsageError: It has none.
    """
    names = list(known)
    if name in names or name.startswith("-"):
        return
    guess = did_you_mean(name, names)
    all_of_them = f"{' The' if guess else '; the'} commands are {', '.join(names)}"
    ctx.fail(f"no such command {name!r}{guess}{all_of_them}")


def suggesting(command: click.Command) -> click.Command:
    """Have a command, and those below it, suggest choices and commands; returns it."""
    for parameter in command.params:
        if type(parameter.type) is click.Choice:
            found = parameter.type
            parameter.type = SuggestingChoice(found.choices, case_sensitive=found.case_sensitive)
    if isinstance(command, click.Group):
        for each in command.commands.values():
            suggesting(each)
    return command
