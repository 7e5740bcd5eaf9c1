"""``li compile``: a trained model with search engines in the place of its indexes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from learned_index.cli.shared.common import (
    emit_json,
    progress_bar,
    standard_options,
    use_threads,
)
from learned_index.cli.shared.help import command
from learned_index.cli.shared.options import (
    config_options,
    given_values,
    model_argument,
    out_option,
    overwrite_option,
)
from learned_index.engine.config import EngineConfig
from learned_index.errors import InputError


@command(examples=("li compile model --out fast --tune my-data --split dev --recall 0.99",))
@model_argument
@out_option
@config_options(EngineConfig)
@click.option(
    "--tune",
    type=str,
    help="Data folder, or api-docs: choose beam width and shortlist size on a split of it.",
)
@click.option(
    "--split",
    type=click.Choice(["train", "dev"]),
    default="dev",
    show_default=True,
    help="Split to tune on; with train, points that were trained on flatter the recall.",
)
@click.option(
    "--recall",
    type=click.FloatRange(min=0, max=1, min_open=True),
    default=0.99,
    show_default=True,
    help="To be reached when tuning: share of the recall of an exhaustive search.",
)
@click.option(
    "-k", "k", type=click.IntRange(min=1), default=100, show_default=True, help="Depth to tune at."
)
@click.option(
    "--onnx",
    "networks",
    flag_value="onnx",
    default="torch",
    help="Export encoders that are networks, so that the model is searched without torch.",
)
@overwrite_option
@standard_options
def compile(
    model: Path,
    out: Path,
    tune: str | None,
    split: Any,
    recall: float,
    k: int,
    networks: Any,
    overwrite: bool,
    threads: int | None,
    quiet: bool,
    as_json: bool,
    **parameters: Any,
) -> None:
    """Make the model in the directory MODEL small and fast for search: its engines (to_engine).

    The new model answers like the old one, up to the rounding of its vectors, in a fraction of
    the time and of the memory; its arrays are mapped from the disk, not read. It can be searched,
    evaluated and asked for information, and gain and lose labels (li labels); to train on or to
    compare, keep the old one.

    Models whose encoder is a table or reads words need no torch from then on, and with --onnx those
    with a network neither.

    A MODEL that is compiled and has got new labels since is laid out as one again.
    """
    from learned_index.cli.shared import output, tuning
    from learned_index.elias.model import ELIAS
    from learned_index.elias.points import parts_of
    from learned_index.persistence import directory_bytes

    use_threads(threads)
    output.check_output(out, overwrite=overwrite)
    given = given_values(EngineConfig, parameters)
    loaded = ELIAS.from_pretrained(model)
    with progress_bar("compiling", quiet=quiet):
        if any(engine.n_new_labels for engine in loaded.engines()):
            _require_nothing(given)
            compiled = loaded.compact()
        else:
            compiled = loaded.to_engine(EngineConfig(**given), networks=networks)
    values: dict[str, Any] = {"model": str(out)}
    if tune is not None:
        values["tuning"] = tuning.tune_on(
            compiled, tune, split=split, recall=recall, k=k, quiet=quiet
        )
    with progress_bar("saving", quiet=quiet):
        compiled.save_pretrained(out, overwrite=overwrite)
    engines = compiled.engines()
    values |= {
        "n_engines": len(engines),
        "engine_bytes": sum(engine.nbytes for engine in engines),
        "model_bytes": directory_bytes(out),
        "model_bytes_before": directory_bytes(model),
        "engine": engines[0].config.to_dict(),
    }
    graphs = [
        part
        for encoder in compiled.encoders
        for part in parts_of(encoder)
        if part.kind == "onnx" and networks == "onnx"
    ]
    if graphs:
        values["onnx_difference"] = max(part.difference for part in graphs)
    if as_json:
        emit_json(values)
        return
    click.echo(
        f"saved {out}: engine {values['engine_bytes'] / 1e6:.1f} MB, whole model "
        f"{values['model_bytes'] / 1e6:.1f} MB (before: {values['model_bytes_before'] / 1e6:.1f})"
    )
    if graphs:
        click.echo(
            f"{graphs[0].name} exported: its vectors differ from torch's by up to "
            f"{values['onnx_difference']:.1e}"
        )
    if "tuning" in values:
        found = values["tuning"]
        click.echo(
            f"beam width {found['beam_width']}, shortlist {found['shortlist_size']}: "
            f"{100 * found['recall']:.1f} % of the exhaustive recall@{k}, "
            f"{found['latency_us']:.0f} us a query"
        )


def _require_nothing(given: dict[str, Any]) -> None:
    """Refuse parameters of the layout, which a compiled model has already."""
    if given:
        name = next(iter(given)).replace("_", "-")
        raise InputError(
            f"the model is compiled already, which chose its layout: leave out --{name}, or "
            "compile the model that it was compiled from"
        )
