"""``li info``: what a saved index holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from learned_index.cli.shared.common import emit_json, json_option
from learned_index.cli.shared.options import model_argument


@click.command(epilog="Example: li info model --json")
@model_argument
@json_option
def info(model: Path, as_json: bool) -> None:
    """Check the model directory MODEL (sizes, checksums) and show what it holds."""
    from learned_index.evaluation.description import describe

    values = describe(model)
    if as_json:
        emit_json(values)
        return
    for name, value in values.items():
        if isinstance(value, dict):
            click.echo(f"{name}:")
            _show(value, indent="  ", none="auto")
        else:
            click.echo(f"{name}: {'none' if value is None else value}")


def _show(values: dict[str, Any], *, indent: str, none: str) -> None:
    for key, item in values.items():
        if isinstance(item, dict):
            click.echo(f"{indent}{key}:")
            _show(item, indent=indent + "  ", none=none)
        elif isinstance(item, float):
            click.echo(f"{indent}{key}: {item:.6g}")
        else:
            click.echo(f"{indent}{key}: {none if item is None else item}")
