"""``li info``: what a saved index holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from learned_index.cli.shared.common import emit_json, json_option
from learned_index.cli.shared.help import command
from learned_index.cli.shared.lines import say
from learned_index.cli.shared.options import model_argument


@command(examples=("li info model", "li info model --json"))
@model_argument
@json_option
def info(model: Path, as_json: bool) -> None:
    """Check the model directory MODEL (sizes, checksums) and show what it holds."""
    from learned_index.evaluation.description import describe

    values = describe(model)
    if as_json:
        emit_json(values)
        return
    show(values)


def show(values: dict[str, Any]) -> None:
    """Print what a model holds, a name and its value a line, wrapped where it is long."""
    for name, value in values.items():
        if isinstance(value, dict):
            click.echo(f"{name}:")
            _show(value, indent="  ", none="auto")
        else:
            _line("", name, "none" if value is None else value)


def _show(values: dict[str, Any], *, indent: str, none: str) -> None:
    for key, item in values.items():
        if isinstance(item, dict):
            click.echo(f"{indent}{key}:")
            _show(item, indent=indent + "  ", none=none)
        elif isinstance(item, float):
            _line(indent, key, f"{item:.6g}")
        else:
            _line(indent, key, none if item is None else item)


def _line(indent: str, name: str, value: Any) -> None:
    say(f"{name}:", str(value), indent=indent, width=len(name) + 2)
