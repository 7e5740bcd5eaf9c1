"""The directory that a command writes: refused beforehand, or claimed."""

from __future__ import annotations

from pathlib import Path

import click

from learned_index.errors import InputError
from learned_index.persistence import check_replaceable, path_lock, sweep_directory
from learned_index.training.processes import is_first_process


def check_output(out: Path, *, overwrite: bool) -> None:
    """Refuse an output directory before the training rather than after it, and claim it.

    Raises:
        InputError: It exists and may not be overwritten, or is something else than a model.
        BusyError: Another command writes there.
        StorageError: The place cannot be written to.
    """
    if not out.name or out.name in (".", ".."):
        raise InputError(f"--out {out} is no name for a new directory; give one, e.g. model")
    check_replaceable(out, overwrite=overwrite)
    claim(out)


def claim(out: Path) -> None:
    """Be the only command that writes ``out``, until it ends; remove what killed ones left in it.

    Of several processes that train together, the first one claims it.

    Raises:
        BusyError: Another command writes there.
        StorageError: The place cannot be written to.
    """
    if is_first_process():
        click.get_current_context().with_resource(path_lock(out, wait=False))
        for folder in [out, *out.glob("*/")]:
            sweep_directory(folder)
