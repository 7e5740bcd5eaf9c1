"""``li info``: what a saved index holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from learned_index.cli.common import emit_json, handle_errors, json_option


def describe(directory: Path) -> dict[str, Any]:
    """Load a model and collect what it holds.

    Returns:
        JSON-able: encoder kind, sizes, both configurations, bytes on disk.
    """
    from learned_index.text_index import TextIndex

    model = TextIndex.load(directory)
    files = [path for path in directory.rglob("*") if path.is_file()]
    counts = model.label_counts
    return {
        "model": str(directory),
        "encoder": model.encoder.kind,
        "dim": model.index.dim,
        "n_labels": model.index.n_labels,
        "n_labels_trained": None if counts is None else int((counts > 0).sum()),
        "n_training_points": model.n_points,
        "index": model.index.config.to_dict(),
        "training": model.index.training_config.to_dict(),
        "disk_bytes": sum(path.stat().st_size for path in files),
        "n_files": len(files),
    }


@click.command(epilog="Example: li info model --json")
@click.argument("model", type=click.Path(path_type=Path))
@json_option
@handle_errors
def info(model: Path, as_json: bool) -> None:
    """Check the model directory MODEL (sizes, checksums) and show what it holds."""
    values = describe(model)
    if as_json:
        emit_json(values)
        return
    for name, value in values.items():
        if isinstance(value, dict):
            click.echo(f"{name}:")
            for key, item in value.items():
                click.echo(f"  {key}: {'auto' if item is None else item}")
        else:
            click.echo(f"{name}: {value}")
