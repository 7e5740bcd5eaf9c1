"""``li ablate``: the tables of the paper on any data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from learned_index.cli.common import (
    EXIT_FAILURE,
    emit_json,
    handle_errors,
    json_option,
    note,
    progress_bar,
    quiet_option,
    threads_option,
    use_threads,
)
from learned_index.cli.options import config_options, given_values
from learned_index.elias.config import EliasConfig
from learned_index.errors import InputError
from learned_index.graph.config import IndexConfig, TrainingConfig
from learned_index.presets import PRESETS, preset_encoder
from learned_index.ranking.config import RankerConfig

if TYPE_CHECKING:
    from learned_index.analysis.ablation import Ablation, Row
    from learned_index.analysis.shared import AblationData
    from learned_index.data import DataFolder, Dataset
    from learned_index.presets import ModelConfigs
    from learned_index.types import Encoder

T = TypeVar("T")
ONE_VS_ALL = "one-vs-all"
DEFAULT_STEPS = "stage1,stage2,ranker,calibration,ensemble"
HOLDOUT_FRACTION = 0.1
HOLDOUT_LIMIT = 2000


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
    epilog="Example: li ablate --data my-data --lambda 0.05,0.5,3 --edges 2.5,5,10,20 "
    "--prune-threshold 0.01,0.1,0.5 --out ablation"
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
@handle_errors
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
    from learned_index.analysis.ablation import Ablation
    from learned_index.analysis.shared import STEPS
    from learned_index.cli.ablate_report import make_report, print_tables, write_files
    from learned_index.cli.pipeline import check_labels
    from learned_index.cli.sources import feature_count, resolve_data
    from learned_index.presets import model_configs

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
    whole, train, queries = _splits(folder, split, holdout, seed=seed)
    check_labels(train, quiet=quiet)
    configs = model_configs(preset, n_labels=train.n_labels, **given)
    spec = encoder_spec or preset_encoder(preset, n_features=feature_count(train))
    encoder, values = _encoded(spec, configs, whole, train, queries, cache=cache, quiet=quiet)
    out.mkdir(parents=True, exist_ok=True)
    with progress_bar("ablation", quiet=quiet) as bar:
        from learned_index.cli.pipeline import training_progress

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
            rows.append(_one_vs_all(ablation, epochs=ova_epochs, rate=ova_learning_rate))
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


# -- data -------------------------------------------------------------------------------------


def _splits(
    folder: DataFolder, split: str, holdout: int | None, *, seed: int
) -> tuple[Dataset, Dataset, Dataset]:
    """The whole training split, the points to train on, and those to measure on."""
    from learned_index.cli.pipeline import choose_points

    if split == "test":
        whole, train, _ = choose_points(folder, 0, seed=seed)
        if "test" not in folder.splits:
            raise InputError(f"{folder.path} has no test split for --split test")
        return whole, train, folder.read("test")
    if holdout is None and "dev" not in folder.splits:
        n_points = folder.read("train").n_points
        holdout = max(1, min(HOLDOUT_LIMIT, int(HOLDOUT_FRACTION * n_points)))
    whole, train, queries = choose_points(folder, holdout, seed=seed)
    if queries is None or queries.n_points == 0:
        raise InputError(
            f"{folder.path} has no dev split, and no training point can be held out without taking "
            "a label its last one; use --split test"
        )
    return whole, train, queries


def _encoded(
    spec: str,
    configs: ModelConfigs,
    whole: Dataset,
    train: Dataset,
    queries: Dataset,
    *,
    cache: str | None,
    quiet: bool,
) -> tuple[Encoder, AblationData]:
    """Fit the encoder on the points that are not held out, and encode once for all rows."""
    import numpy as np

    from learned_index.analysis.shared import AblationData
    from learned_index.cli.measure import renumbered
    from learned_index.cli.sources import (
        bind,
        encode_points,
        make_encoder,
        plain_points,
        points_for,
    )
    from learned_index.elias import ELIAS
    from learned_index.elias.points import default_features, fit_encoder, take

    has_texts = train.texts is not None
    encoder = make_encoder(spec, has_texts=has_texts, seed=configs.training.seed)
    held = ELIAS(
        encoder, configs.index, training=configs.training, config=configs.model
    ).held_out_rows(train.labels)
    kept = np.setdiff1d(np.arange(train.n_points), held)
    points = points_for(encoder, train)
    with progress_bar(f"fitting {spec}", quiet=quiet):
        fit_encoder(encoder, take(points, kept), whole_split=points_for(encoder, whole))
    vectors = encode_points(encoder, points, what="encoding", cache=cache, quiet=quiet)
    if queries.split != "train":
        bind(encoder, queries)
    query_vectors = encode_points(
        encoder, points_for(encoder, queries), what="encoding queries", cache=cache, quiet=quiet
    )
    features = None
    if configs.model.clustering_features == "tfidf":
        with progress_bar("sparse features", quiet=quiet):
            maker = default_features(plain_points(train))
            fit_encoder(maker, take(plain_points(train), kept), whole_split=plain_points(train))
            features = maker.encode(plain_points(train))
    return encoder, AblationData(
        points=plain_points(train),
        labels_NL=train.labels,
        vectors_ND=vectors,
        queries=plain_points(queries),
        query_vectors=query_vectors,
        truth=renumbered(train.vocabulary, queries),
        features_NV=features,
    )


# -- one-vs-all -------------------------------------------------------------------------------


def _one_vs_all(ablation: Ablation, *, epochs: int | None, rate: float | None) -> Row:
    """All labels scored in every step, the encoder trained along where the index trains it."""
    import copy
    import time

    import numpy as np

    from learned_index.baselines.ova import OneVsAll
    from learned_index.elias.points import dense_vectors, take
    from learned_index.training.optimisers import encoder_groups
    from learned_index.training.sources import EncoderInputs

    data, configs = ablation.data, ablation.configs
    rows = np.flatnonzero(np.diff(ablation.kept_labels.indptr))
    labels = ablation.kept_labels[rows]
    training = configs.training.resolve_epochs(
        len(rows), trained="encoder" if ablation.trains_encoder else "index"
    )
    trained = (training.stage1_epochs or 0) + (training.stage2_epochs or 0)
    if ablation.trains_encoder:
        trained += training.warm_epochs or 0
    settings: dict[str, Any] = {
        "epochs": epochs or max(1, trained),
        "batch_size": training.batch_size,
        "learning_rate": rate or 0.03,
        "projection_learning_rate": training.projection_learning_rate,
        "weight_decay": training.weight_decay,
        "warmup": training.warmup_fraction,
        "projection": configs.index.projection,
        "centroid_scale": training.label_init_scale,
        "initial_bias": float(np.log(labels.nnz / (labels.shape[0] * labels.shape[1]))),
        "dropout": training.dropout,
        "seed": training.seed,
    }

    def run() -> tuple[Any, float, dict[str, Any]]:
        model = OneVsAll(**settings)
        start = time.perf_counter()
        if ablation.trains_encoder:
            encoder = copy.deepcopy(ablation.encoder)
            groups, _ = encoder_groups(
                encoder,  # type: ignore[arg-type]
                learning_rate=training.encoder_learning_rate,
                weight_decay=training.encoder_weight_decay,
            )
            texts: Any = take(data.points, rows)
            points = EncoderInputs(encoder, texts, precision=training.precision)
            model.fit_end_to_end(points, labels, encoder_groups=groups)
            seconds = time.perf_counter() - start
            queries: Any = dense_vectors(encoder, data.queries)
        else:
            model.build(data.vectors_ND[rows], labels)
            seconds = time.perf_counter() - start
            queries = np.asarray(data.query_vectors, dtype=np.float32)
        return model.search(queries, 100), seconds, {"epochs": settings["epochs"]}

    return ablation.external("build-up", ONE_VS_ALL, settings, run)
