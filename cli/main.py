"""The ``li`` command: a group that imports a subcommand only when it is called."""

from __future__ import annotations

import importlib
from typing import Any

import click

from learned_index.cli.shared.common import errors_as_lines, terminated_as_exit
from learned_index.cli.shared.suggestions import refuse_command, suggesting

# The lines stand here so that listing the commands imports none of them.
COMMANDS = {
    "data": "Build, check and convert data folders.",
    "embed": "Turn texts into a file of vectors.",
    "train-index": "Train and save an index.",
    "train": "Train the full model: index, ranker, calibration.",
    "plan": "Tell what li train would need.",
    "search": "Find the labels for texts.",
    "predict": "Write the labels of all texts of a file.",
    "evaluate": "Measure models or predictions on data.",
    "labels": "Change a model's labels without a training.",
    "update": "Learn from new points without a training.",
    "learn": "Learn one text and its right labels.",
    "compile": "Make a model small and fast for search.",
    "warmup": "Compile what searches of a model run.",
    "serve": "Serve models over HTTP.",
    "compare": "Measure the index and its rivals.",
    "report": "Write all about a model as one HTML page.",
    "analyse": "What a model learned, by frequency.",
    "reproduce": "Make the paper's tables and figures.",
    "inspect": "Show what a model knows of a cluster or a label.",
    "suggest-missing": "Find labels that points probably miss.",
    "info": "Show what a saved index holds.",
}
"""Name, which is that of the module and of the function in it too -> line for ``li --help``."""
MODULES = {"inspect": "inspection"}
"""Modules of another name: one called inspect would hide Python's from ``python cli``."""


class LazyGroup(click.Group):
    """A click group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which one uses them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of one command; any other command stays usable if that fails."""
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        with errors_as_lines():
            module = importlib.import_module(f"learned_index.cli.{MODULES.get(name, name)}")
            command: click.Command = getattr(module, name)
            return suggesting(command)
        raise AssertionError("unreachable")  # pragma: no cover

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Add the known names, and a similar one, to the message about an unknown command."""
        if args:
            refuse_command(ctx, args[0], COMMANDS)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; no error reaches the user as a traceback."""
        with errors_as_lines(), terminated_as_exit():
            return super().invoke(ctx)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Examples: li train --data api-docs --out model, then "
    'li search model "solve a sparse linear system"',
)
@click.version_option(package_name="learned-index", prog_name="li")
def main() -> None:
    """Learned Index: train, search and compare a learned index over many labels."""
