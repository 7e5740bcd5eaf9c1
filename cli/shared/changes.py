"""Commands that change a saved model: its new version takes its place in one step, or another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from learned_index.cli.shared.common import emit_json, json_option, use_threads
from learned_index.cli.shared.options import combined

version_options = combined(
    click.option(
        "--out",
        type=click.Path(path_type=Path, file_okay=False),
        help="Directory of the new version. Default: it takes the place of MODEL, in one step.",
    ),
    click.option("--overwrite", is_flag=True, help="Replace a model at --out."),
    json_option,
)


def load(model: Path) -> Any:
    """The whole model in a directory."""
    from learned_index.elias.model import ELIAS

    return ELIAS.from_pretrained(model)


@contextmanager
def to_change(model: Path, written: dict[str, Any]) -> Iterator[Any]:
    """Load a model; if its new version takes its place, nobody else changes it meanwhile.

    Args:
        model: Its directory.
        written: What :func:`finish` takes, and ``threads``, which is taken out.
    """
    from learned_index.persistence import path_lock
    from learned_index.persistence.layout import existing_directory
    from learned_index.persistence.names import real_path

    if "threads" in written:
        use_threads(written.pop("threads"))
    out = written["out"]
    if out is not None and real_path(out) != real_path(model):
        yield load(model)
        return
    existing_directory(model, "model")  # before the lock, which makes missing folders
    with path_lock(model):
        yield load(model)


def finish(
    changed: Any,
    done: str,
    count: int,
    model: Path,
    *,
    out: Path | None,
    overwrite: bool,
    as_json: bool,
    what: str = "labels",
    **also: int,
) -> None:
    """Save the new version, by default in the model's place, and tell what was done.

    Args:
        changed: The new version.
        done: What was done, such as ``"removed"``.
        count: To how many.
        model: Directory of the old version.
        out: That of the new one.
        overwrite: Whether another model may be replaced there.
        as_json: How to tell.
        what: Of what there are so many.
        **also: What else to tell, by name.
    """
    changed.save_pretrained(out or model, overwrite=overwrite or out is None)
    place = str(out or model)
    if as_json:
        emit_json({"model": place, done: count, **also})
    else:
        more = "".join(f", {number} {name.replace('_', ' ')}" for name, number in also.items())
        counted = what.removesuffix("s") if count == 1 else what
        click.echo(f"{done} {count} {counted}{more}: {place}")
