"""``python -m benchmarks.ablation``: the tables of the paper on any data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from learned_index.cli.shared.ablation_data import ablation_splits, encoded_data
from learned_index.cli.shared.common import (
    EXIT_FAILURE,
    emit_json,
    errors_as_lines,
    json_option,
    note,
    progress_bar,
    quiet_option,
    threads_option,
    use_threads,
)
from learned_index.cli.shared.options import config_options, given_values
from learned_index.elias.config import EliasConfig
from learned_index.elias.presets import PRESETS, preset_encoder
from learned_index.errors import InputError
from learned_index.index.config import IndexConfig, TrainingConfig
from learned_index.ranking.config import RankerConfig
from learned_index.reproduction.one_vs_all import ONE_VS_ALL, one_vs_all

T = TypeVar("T")
DEFAULT_STEPS = "stage1,stage2,ranker,calibration,ensemble"


def listed(convert: Callable[[str], T]) -> Callable[..., tuple[T, ...]]:
    """Make the callback of an option that takes values separated by commas."""

    def callback(_: click.Context, parameter: click.Parameter, text: str | None) -> tuple[T, ...]:
        found: list[T] = []
        for part in (text or "").split(","):
            if not part.strip():
                continue
            try:
                value = convert(part.strip())
            except ValueError:
                raise click.BadParameter(f"{part!r} is no number", param=parameter) from None
            if value not in found:
                found.append(value)
        return tuple(found)

    return callback


@click.command(
    epilog="Example: python -m benchmarks.ablation --data my-data --lambda 0.05,0.5,3 "
    "--edges 2.5,5,10,20 --prune-threshold 0.01,0.1,0.5 --out ablation"
)
@click.option("--data", required=True, type=str, help="Data folder, or api-docs.")
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory for ablate.json, ablate.csv, the plots, and what a later run goes on from.",
)
@click.option(
    "--preset",
    type=click.Choice(list(PRESETS)),
    default="cpu",
    show_default=True,
    help="; ".join(f"{name}: {preset['help']}" for name, preset in PRESETS.items()) + ".",
)
@click.option(
    "--encoder", "encoder_spec", default=None, help="As for li train. Default: the preset's."
)
@click.option(
    "--steps",
    default=DEFAULT_STEPS,
    show_default=True,
    callback=listed(str),
    help="Rows of the build-up table; one-vs-all may be added, none leaves the table out.",
)
@click.option(
    "--models",
    "n_models",
    type=click.IntRange(min=2),
    default=3,
    show_default=True,
    help="Models of the ensemble.",
)
@click.option(
    "--lambda",
    "lambdas",
    default="",
    callback=listed(float),
    help="Train with these weights of the shortlist loss, e.g. 0.05,0.5,3.",
)
@click.option(
    "--edges",
    "factors",
    default="",
    callback=listed(float),
    help="Train with M = FACTOR L/C edges of each cluster, e.g. 2.5,5,10,20.",
)
@click.option(
    "--prune-threshold",
    "thresholds",
    default="",
    callback=listed(float),
    help="Drop edges that weigh less than this, e.g. 0.01,0.05,0.25.",
)
@click.option(
    "--prune-top-k",
    "top_ks",
    default="",
    callback=listed(int),
    help="Keep so many of the strongest edges of each cluster, e.g. 10,50,200.",
)
@click.option(
    "--prune-keep",
    type=click.Choice(["reachable", "none"]),
    default="reachable",
    show_default=True,
    help="Whether a label that would lose its last edge keeps its strongest one.",
)
@click.option(
    "--split",
    type=click.Choice(["dev", "test"]),
    default="dev",
    show_default=True,
    help="Measure on the dev split (or on training points held out), or on the test split: for a "
    "final report, not for choosing.",
)
@click.option(
    "--holdout",
    type=click.IntRange(min=1),
    default=None,
    help="Training points held out to measure on where there is no dev split. Default: 10 %, at "
    "most 2000.",
)
@click.option("--ova-epochs", type=click.IntRange(min=1), default=None, help="Of one-vs-all.")
@click.option(
    "--ova-learning-rate",
    type=click.FloatRange(min=0, min_open=True),
    default=None,
    help="Peak rate of one-vs-all.  [default: 0.03]",
)
@click.option("--cache", default=None, help="Directory of encoded texts; off keeps nothing.")
@config_options(IndexConfig)
@config_options(TrainingConfig)
@config_options(RankerConfig, prefix="ranker")
@config_options(EliasConfig, skip=("n_models", "ranker"))
@threads_option
@quiet_option
@json_option
@errors_as_lines()
def ablate(
    data: str,
    out: Path,
    preset: str,
    encoder_spec: str | None,
    steps: tuple[str, ...],
    n_models: int,
    lambdas: tuple[float, ...],
    factors: tuple[float, ...],
    thresholds: tuple[float, ...],
    top_ks: tuple[int, ...],
    prune_keep: Any,
    split: str,
    holdout: int | None,
    ova_epochs: int | None,
    ova_learning_rate: float | None,
    cache: str | None,
    threads: int | None,
    quiet: bool,
    as_json: bool,
    **parameters: Any,
) -> None:
    """Measure what each part of the full model brings, and what its constants do.

    The build-up table adds stage 2, ranker, calibration and an ensemble to stage 1, one after the
    other; the sweeps train both stages with other values; pruning drops edges of the trained
    index. All rows share the encoded points and train on the same ones.

    Run again with the same --out, rows whose data and configuration are the same are read from
    there. A row that fails tells why, the others go on, and the exit code is 1.
    """
    from benchmarks.ablation.report import make_report, print_tables, write_files
    from learned_index.cli.shared.output import claim
    from learned_index.cli.shared.sources import feature_count, resolve_data
    from learned_index.cli.shared.training import check_labels, training_progress
    from learned_index.elias.presets import model_configs
    from learned_index.reproduction.ablation import Ablation
    from learned_index.reproduction.shared_training import STEPS

    wanted = [step for step in STEPS if step in steps]
    unknown = sorted(set(steps) - {*STEPS, ONE_VS_ALL, "none"})
    if unknown:
        raise InputError(
            f"--steps: {', '.join(unknown)} unknown; known are {', '.join(STEPS)}, {ONE_VS_ALL} "
            "and none"
        )
    given = {
        "index": given_values(IndexConfig, parameters),
        "training": given_values(TrainingConfig, parameters),
        "ranker": given_values(RankerConfig, parameters, prefix="ranker"),
        "model": given_values(EliasConfig, parameters),
    }
    n_threads = use_threads(threads)
    folder = resolve_data(data, quiet=quiet)
    seed = int(given["training"].get("seed", 0))
    whole, train, queries = ablation_splits(folder, split, holdout, seed=seed)
    check_labels(train, quiet=quiet)
    configs = model_configs(preset, n_labels=train.n_labels, **given)
    spec = encoder_spec or preset_encoder(preset, n_features=feature_count(train))
    encoder, values = encoded_data(
        spec, configs, train, queries, whole=whole, cache=cache, quiet=quiet
    )
    out.mkdir(parents=True, exist_ok=True)
    claim(out)
    with progress_bar("ablation", quiet=quiet) as bar:
        show = training_progress(bar)

        def tell(what: str, event: Any) -> None:
            if event is None:
                bar.update(completed=0, description=what, info="")
            else:
                show(event)

        ablation = Ablation(
            data=values, encoder=encoder, configs=configs, directory=out, progress=tell
        )
        rows = ablation.build_up(wanted, n_models=n_models)
        if ONE_VS_ALL in steps:
            rows.append(one_vs_all(ablation, epochs=ova_epochs, rate=ova_learning_rate))
        rows += ablation.sweep_lambda(lambdas)
        rows += ablation.sweep_edges(factors)
        rows += ablation.prune(thresholds=thresholds, top_ks=top_ks, keep=prune_keep)
    if not rows:
        raise InputError("nothing is asked for: give --steps, a sweep or a pruning")
    report = make_report(
        rows, configs, data=data, queries=queries, train=train, spec=spec, threads=n_threads
    )
    write_files(report, out)
    if ablation.store.n_found:
        note(f"{ablation.store.n_found} measurements were there already", quiet=quiet)
    if as_json:
        emit_json(report)
    else:
        print_tables(report, out)
    failed = [row for row in rows if row["error"] is not None]
    for row in failed:
        click.echo(f"{row['row']} failed: {row['error']}", err=True)
    if failed:
        raise click.exceptions.Exit(EXIT_FAILURE)
