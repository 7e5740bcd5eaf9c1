"""``li plan``: what a training needs, before it begins."""

from __future__ import annotations

from typing import Any

import click

from learned_index.cli.shared.common import (
    emit_json,
    print_pairs,
    standard_options,
    use_threads,
)
from learned_index.cli.shared.config_files import config_option
from learned_index.cli.shared.help import command
from learned_index.cli.shared.lines import say
from learned_index.cli.shared.model_options import given_sections, model_options
from learned_index.cli.shared.tables import DataSource
from learned_index.system.memory import gigabytes


def duration(seconds: float) -> str:
    """Seconds for a person."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


@command(
    common=(
        *("data", "table_text", "table_labels", "preset", "encoder_spec", "n_models"),
        *("n_clusters", "batch_size", "as_json", "threads"),
    ),
    examples=("li plan --data my-data --preset cpu --n-models 3",),
)
@model_options
@config_option
@standard_options
def plan(
    data: DataSource,
    preset: str,
    encoder_spec: str | None,
    threads: int | None,
    quiet: bool,
    as_json: bool,
    **parameters: Any,
) -> None:
    """Tell what li train with the same options would need: parameters, memory, disk, time.

    Sizes follow from the data and the configuration. Times come from a few texts and training
    steps measured now, with as many threads; texts whose vectors are in the cache need none.
    """
    from learned_index.cli.shared.sources import lengths_of
    from learned_index.cli.shared.training import choose_lengths_of, set_up
    from learned_index.elias.presets import preset_quality
    from learned_index.planning.summary import plan_training

    n_threads = use_threads(threads)
    setup = set_up(data, preset, encoder_spec, given_sections(parameters), quiet=quiet)
    choose_lengths_of(setup)
    summary = {
        "data": str(setup.folder.path),
        "preset": setup.preset,
        "encoder": setup.encoder_spec,
        "encoder_lengths": lengths_of(setup.model.encoder),
        **plan_training(setup.model, setup.train.points, setup.train.labels),
        "threads": n_threads,
        "measured": preset_quality(setup.preset),
    }
    if as_json:
        emit_json(summary)
        return
    _show(summary)


def _show(summary: dict[str, Any]) -> None:
    from learned_index.cli.shared.sources import length_lines
    from learned_index.elias.presets import MEASURED_ON

    _say(
        f"{summary['data']}: {summary['n_points']:,} points, {summary['n_labels']:,} labels, "
        f"{summary['terms_per_point']:.0f} terms a point, {summary['n_terms']:,} terms in all"
    )
    _say(
        f"{summary['encoder']} ({summary['dim']} dimensions, "
        f"{'trained' if summary['trains_encoder'] else 'frozen'}), {summary['n_clusters']:,} "
        f"clusters of {summary['edges_per_cluster']:,} edges, {summary['n_models']} model(s)"
    )
    for line in length_lines(summary["encoder_lengths"]):
        _say(line)
    for title, rows in (
        (
            "parameters",
            {name: f"{count:,}" for name, count in summary["parameters"].items() if count},
        ),
        (
            "memory in training",
            {name: gigabytes(count) for name, count in summary["memory_bytes"].items() if count},
        ),
        ("expected time", {name: duration(s) for name, s in summary["seconds"].items()}),
    ):
        print_pairs(title, rows)
    free = summary["free_bytes"]
    click.echo(
        f"peak: {gigabytes(summary['peak_bytes'])} beside the program, "
        f"{'unknown' if free is None else gigabytes(free)} free"
    )
    if summary["device_bytes"]:
        left = summary["free_device_bytes"]
        click.echo(
            f"on {summary['device']}: {gigabytes(summary['device_bytes'])}, "
            f"{'unknown' if left is None else gigabytes(left)} free"
        )
    click.echo(f"saved model: {gigabytes(summary['disk_bytes'])}")
    if summary["measured"]:
        _say(f"measured on {MEASURED_ON}, percent:")
        for name, metrics in summary["measured"].items():
            told = ", ".join(f"{m} {v:.1f}" for m, v in metrics.items())
            say("", f"{name}: {told}", width=0)
    _say("it fits" if summary["fits"] else f"it does not fit: {summary['shortage']}")


def _say(text: str) -> None:
    say("", text, indent="", width=0)
