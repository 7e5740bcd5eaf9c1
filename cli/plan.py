"""``li plan``: what a training needs, before it begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from learned_index.cli.shared.common import (
    emit_json,
    handle_errors,
    json_option,
    output_console,
    quiet_option,
    threads_option,
    use_threads,
)
from learned_index.cli.shared.model_options import given_sections, model_options, set_up
from learned_index.errors import InputError

if TYPE_CHECKING:
    from learned_index.cli.shared.model_options import Setup
    from learned_index.planning.plan import Plan

REMEDIES = (
    "reduce --n-models, --batch-size, --shortlist-size, --rerank-size or the encoder's dimension "
    "(lsa:128), leave out the ranker (--ranker none), or choose a smaller encoder"
)


def plan_of(setup: Setup) -> tuple[Plan, str]:
    """Plan a training, and tell where it will run."""
    from learned_index.cli.shared.sources import plain_points
    from learned_index.planning.plan import DataShape, make_plan

    train = setup.train
    points = plain_points(train)
    device = setup.model.training_config.device
    if setup.trained:
        device = str(getattr(setup.model.encoder, "device", "cpu"))
    shape = DataShape.of(points, train.labels)
    return make_plan(setup.model, shape, trained=setup.trained, device=device), device


def shortage(plan: Plan, device: str) -> str | None:
    """Say what does not fit into the memory that is free; None: everything does."""
    from learned_index.system.memory import free_device_memory, free_memory

    for what, need, free in (
        ("of memory", plan.peak_bytes, free_memory()),
        (f"on {device}", plan.device_bytes, free_device_memory(device)),
    ):
        if free is not None and need > free:
            return (
                f"training needs about {gigabytes(need)} {what}, {gigabytes(free)} are free: "
                + REMEDIES
            )
    return None


def refuse_what_cannot_fit(setup: Setup, *, force: bool) -> None:
    """Refuse a training that will not fit into memory.

    Raises:
        InputError: It will not, and ``force`` is false.
    """
    why = None if force else shortage(*plan_of(setup))
    if why is not None:
        raise InputError(f"{why}. --force trains all the same")


def gigabytes(count: float) -> str:
    """Bytes for a person."""
    return f"{count / 2**30:.2f} GiB" if count >= 2**29 else f"{count / 2**20:.1f} MiB"


def duration(seconds: float) -> str:
    """Seconds for a person."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


@click.command(epilog="Example: li plan --data my-data --preset cpu --n-models 3")
@model_options
@threads_option
@quiet_option
@json_option
@handle_errors
def plan(
    data: str,
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
    n_threads = use_threads(threads)
    setup = set_up(data, preset, encoder_spec, given_sections(parameters), quiet=quiet)
    summary = {**summarise(setup), "threads": n_threads}
    if as_json:
        emit_json(summary)
        return
    _show(summary)


def summarise(setup: Setup) -> dict[str, Any]:
    """Plan a training, measure this machine, and put all figures together (JSON-able)."""
    from learned_index.cli.shared.sources import plain_points
    from learned_index.planning.timing import expected_seconds
    from learned_index.system.memory import free_device_memory, free_memory

    found, device = plan_of(setup)
    train = setup.train
    points = plain_points(train)
    why = shortage(found, device)
    return {
        "data": str(setup.folder.path),
        "preset": setup.preset,
        "encoder": setup.encoder_spec,
        "trains_encoder": setup.trained,
        "device": device,
        "n_points": found.shape.n_points,
        "n_labels": found.shape.n_labels,
        "terms_per_point": found.shape.terms,
        "n_terms": found.shape.n_terms,
        "dim": found.dim,
        "n_clusters": found.n_clusters,
        "edges_per_cluster": found.edges_per_cluster,
        "n_models": setup.model.config.n_models,
        "parameters": found.parameters,
        "n_parameters": sum(found.parameters.values()),
        "memory_bytes": found.memory,
        "peak_bytes": found.peak_bytes,
        "free_bytes": free_memory(),
        "device_bytes": found.device_bytes,
        "free_device_bytes": free_device_memory(device),
        "disk_bytes": found.disk_bytes,
        "seconds": expected_seconds(setup.model, found, points, trained=setup.trained),
        "fits": why is None,
        "shortage": why,
    }


def _show(summary: dict[str, Any]) -> None:
    from rich.table import Table

    click.echo(
        f"{summary['data']}: {summary['n_points']:,} points, {summary['n_labels']:,} labels, "
        f"{summary['terms_per_point']:.0f} terms a point, {summary['n_terms']:,} terms in all"
    )
    click.echo(
        f"{summary['encoder']} ({summary['dim']} dimensions, "
        f"{'trained' if summary['trains_encoder'] else 'frozen'}), {summary['n_clusters']:,} "
        f"clusters of {summary['edges_per_cluster']:,} edges, {summary['n_models']} model(s)"
    )
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
        table = Table(title=title, title_justify="left", show_header=False, box=None)
        table.add_column()
        table.add_column(justify="right")
        for name, value in rows.items():
            table.add_row(name, value)
        output_console().print(table)
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
    click.echo("it fits" if summary["fits"] else f"it does not fit: {summary['shortage']}")
