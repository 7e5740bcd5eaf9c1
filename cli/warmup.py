"""``li warmup``: what searches of a model run is compiled before the first one."""

from __future__ import annotations

from pathlib import Path

import click

from learned_index.cli.shared.common import (
    emit_json,
    progress_bar,
    standard_options,
    use_threads,
)
from learned_index.cli.shared.help import command
from learned_index.cli.shared.options import model_argument


@command(examples=("li warmup model",))
@model_argument
@standard_options
def warmup(model: Path, threads: int | None, quiet: bool, as_json: bool) -> None:
    """Compile what searches of the model in the directory MODEL run on this processor.

    The first search after an installation compiles for up to a minute. What is compiled is kept
    (in NUMBA_CACHE_DIR, or beside the installed package) for all later processes, and serves
    every model that is laid out like MODEL; a compiled model (li compile) is laid out otherwise.
    """
    from learned_index.elias.model import ELIAS
    from learned_index.elias.warm_up import warm_up
    from learned_index.kernels.machine.compiling import watched

    use_threads(threads)
    with progress_bar("compiling", quiet=quiet), watched() as compiled:
        warm_up(ELIAS.from_pretrained(model))
    if as_json:
        emit_json({"n_compiled": len(compiled.kernels), "seconds": compiled.seconds})
    elif compiled.kernels:
        click.echo(f"compiled {len(compiled.kernels)} functions in {compiled.seconds:.0f} s")
    else:
        click.echo("nothing to compile: searches of this model find all functions compiled")
