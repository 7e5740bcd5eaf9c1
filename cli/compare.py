"""``li compare``: measure a saved index and its rivals in one run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from learned_index.cli.shared.common import (
    EXIT_FAILURE,
    emit_json,
    handle_errors,
    json_option,
    output_console,
    progress_bar,
    quiet_option,
    threads_option,
    use_threads,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from learned_index.baselines import BaselineSpec
    from learned_index.comparison import Comparison, ComparisonData
    from learned_index.data import DataFolder, SplitName
    from learned_index.elias.model import ELIAS
    from learned_index.index.learned_graph_index import LearnedGraphIndex
    from learned_index.text_index import TextIndex


@dataclass(frozen=True)
class SavedIndex:
    """Loads the index of a saved model, without its encoder.

    Each method is measured in its own process, which is told where the index lies. Of a full model
    it is the index of the first member.

    Attributes:
        directory: The model's directory.
    """

    directory: Path

    def __call__(self) -> LearnedGraphIndex:
        """Load the index; the files were verified when the whole model was loaded."""
        from learned_index.elias.saving import index_directory
        from learned_index.index.learned_graph_index import LearnedGraphIndex

        return LearnedGraphIndex.from_pretrained(index_directory(self.directory), verify=False)

    def digest(self) -> str:
        """Return the index's manifest, which holds the checksums of its files."""
        from learned_index.elias.saving import index_directory
        from learned_index.persistence import MANIFEST_NAME

        path = index_directory(self.directory) / MANIFEST_NAME
        return path.read_text(encoding="utf-8")


@click.command(
    epilog="Example: li compare --data my-data --model model --out comparison "
    "--baselines exact,hnsw,ivf:IVF512,SQ8,RFlat,tree"
)
@click.option("--data", required=True, type=str, help="Data folder, or api-docs.")
@click.option(
    "--model",
    "model_path",
    required=True,
    type=click.Path(path_type=Path),
    help="Directory of a trained model.",
)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory for the reports. Methods measured there before, under the same conditions, "
    "are not measured again.",
)
@click.option(
    "--baselines",
    multiple=True,
    help="Methods, separated by commas; may be given again. A FAISS index_factory string follows "
    "a colon (hnsw:HNSW16, ivf:IVF512,Flat) or stands in parentheses, and so do options "
    "(hnswlib:links=48). Of other packages, if installed: lorann, lorann-queries, scann, hnswlib, "
    "usearch; of FAISS also ivf-sq8 and ivf-pq; engine is the index's search engine; ova, "
    "one-vs-all, is trained. Whole systems, trained here on words: omikuji (or "
    "omikuji:preset=bonsai), pecos (or pecos:max_leaf_size=50,nr_splits=32).  "
    "[default: engine,exact,exact-int8,hnsw,ivf,tree,knn]",
)
@click.option(
    "--split",
    type=click.Choice(["train", "dev", "test"]),
    default="test",
    show_default=True,
    help="Part of the data that asks the queries.",
)
@click.option(
    "--target-recall",
    type=click.FloatRange(0, 1),
    default=0.99,
    show_default=True,
    help="The table shows each method at its fastest setting with this share of the best R@100 "
    "that a search of the model reached.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=256,
    show_default=True,
    help="Queries per batch for the throughput; single queries are always timed too.",
)
@click.option(
    "--repeats",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Repetitions of every timing; medians are reported.",
)
@click.option(
    "--timing-seconds",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="Seconds of single queries timed at each setting and repetition, 200 queries at least.",
)
@click.option(
    "--max-queries",
    type=click.IntRange(min=1),
    default=None,
    help="Measure on this many points, drawn at random with a fixed seed.  [default: all]",
)
@click.option(
    "--ova-epochs",
    type=click.IntRange(min=1),
    default=None,
    help="Epochs of one-vs-all.  [default: as many as the index was trained]",
)
@click.option(
    "--ova-learning-rate",
    type=click.FloatRange(min=0, min_open=True),
    default=None,
    help="Peak learning rate of one-vs-all.  [default: 0.03]",
)
@click.option("--cache", default=None, help="Directory of encoded texts; off keeps nothing.")
@threads_option
@quiet_option
@json_option
@handle_errors
def compare(
    data: str,
    model_path: Path,
    out: Path,
    baselines: tuple[str, ...],
    split: Any,
    target_recall: float,
    batch_size: int,
    repeats: int,
    timing_seconds: float,
    max_queries: int | None,
    ova_epochs: int | None,
    ova_learning_rate: float | None,
    cache: str | None,
    threads: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Measure a trained index and other search methods on the same data.

    exact, exact-int8, hnsw, ivf and the other vector searches search the very label classifiers
    that the index ranks with, its projection folded in; tree is its stage-1 partition with the
    same classifiers; knn votes with the nearest training points; ova trains all labels
    one-vs-all. pecos and omikuji are whole systems: label trees that are trained on the words of
    the points (tf-idf, or the data's own features) and see nothing of the model; exact 100 does
    not apply to them. Making tf-idf is not part of a query's time, as encoding is not for the
    others. Of a model of li train its (first) index is compared, without the ranker. Each is
    measured in its own process at every setting of its query-time knobs: accuracy in percent,
    recall of the exact 100 best classifiers, latency of single queries on one thread, throughput
    of batches, build time, memory, disk.

    The second table tells the cheapest setting of each method that keeps the recall of the true
    labels within half a point of exact scoring, or finds 90, 95 and 99 percent of the exact 100.

    A method that fails gets a row with the reason, the others go on, and the exit code is 1.
    """
    from learned_index.baselines import DEFAULT_BASELINES, parse_baselines
    from learned_index.comparison import (
        ComparisonEvent,
        ComparisonSettings,
        write_comparison,
    )
    from learned_index.comparison import compare as run
    from learned_index.comparison.method import WITH_TRAINING_VECTORS
    from learned_index.comparison.report import comparison_parts
    from learned_index.elias.model import ELIAS
    from learned_index.text_index import trained_index

    specs = parse_baselines(baselines or DEFAULT_BASELINES)
    if all(spec.name != "learned" for spec in specs):
        specs = [*parse_baselines("learned"), *specs]
    n_threads = use_threads(threads)
    model = ELIAS.from_pretrained(model_path)
    trained_index(model.index)  # an engine cannot give the rivals the classifiers
    specs = [
        _as_trained(spec, model, epochs=ova_epochs, learning_rate=ova_learning_rate)
        for spec in specs
    ]
    from learned_index.cli.shared.pipeline import claim
    from learned_index.cli.shared.sources import resolve_data

    values = _comparison_data(
        model,
        resolve_data(data, quiet=quiet),
        split,
        with_training=any(spec.inputs in WITH_TRAINING_VECTORS for spec in specs),
        with_features=any(spec.inputs == "points" for spec in specs),
        max_queries=max_queries,
        cache=cache,
        quiet=quiet,
    )
    out.mkdir(parents=True, exist_ok=True)
    claim(out)
    with progress_bar("comparing", total=100 * len(specs), quiet=quiet) as bar:

        def show(event: ComparisonEvent) -> None:
            bar.update(
                completed=100 * (event.number + event.share), info=f"{event.method}: {event.text}"
            )

        result = run(
            specs,
            SavedIndex(model_path),
            values,
            settings=ComparisonSettings(
                target_recall=target_recall,
                threads=n_threads,
                batch_size=batch_size,
                repeats=repeats,
                timing_s=timing_seconds,
            ),
            known_build_s={"learned": _training_seconds(model_path), "tree": None},
            workspace_parent=out,
            results=out / "methods",
            progress=show,
        )
    result.environment.update(data=data, split=split, model=str(model_path))
    write_comparison(result, out)
    if as_json:
        emit_json(comparison_parts(result))
    else:
        _print(result, out)
    for row in result.rows:
        if row["error"] is not None:
            click.echo(f"{row['method']} failed: {row['error']}", err=True)
    if result.failed:
        raise click.exceptions.Exit(EXIT_FAILURE)


def _as_trained(
    spec: BaselineSpec,
    model: TextIndex | ELIAS,
    *,
    epochs: int | None = None,
    learning_rate: float | None = None,
) -> BaselineSpec:
    """Give one-vs-all the epochs, batches, warm-up, projection and seed of the index."""
    if spec.method != "ova":
        return spec
    from learned_index.text_index import trained_index

    index = trained_index(model.index)
    training = index.training_config
    if learning_rate is not None:
        spec = spec.with_options(learning_rate=learning_rate)
    return spec.with_options(
        epochs=epochs or max(1, (training.stage1_epochs or 0) + (training.stage2_epochs or 0)),
        batch_size=training.batch_size,
        warmup=training.warmup_fraction,
        weight_decay=training.weight_decay,
        projection=index.config.projection,
        seed=training.seed,
    )


def _comparison_data(
    model: TextIndex | ELIAS,
    folder: DataFolder,
    split: SplitName,
    *,
    with_training: bool,
    with_features: bool,
    max_queries: int | None,
    cache: str | None,
    quiet: bool,
) -> ComparisonData:
    """Encode what is needed and number all labels as the model does, unknown ones behind."""
    import numpy as np

    from learned_index.cli.shared.measure import encode_split, renumbered
    from learned_index.cli.shared.sources import plain_points
    from learned_index.comparison import ComparisonData, propensities_from_counts
    from learned_index.errors import InputError

    test = folder.read(split)
    if test.n_points == 0:
        raise InputError(f"the {split} split has no points; nothing can be measured")
    rows: Sequence[int] | Any = slice(None)
    if max_queries is not None and max_queries < test.n_points:
        rows = np.sort(np.random.default_rng(0).permutation(test.n_points)[:max_queries])
    vectors = encode_split(model.encoder, test, cache=cache, quiet=quiet)
    truth = renumbered(model.vocabulary, test)
    embeddings = labels = features = query_features = None
    if with_training or with_features:
        train = folder.read("train")
        labels = renumbered(model.vocabulary, train)
    if with_training:
        embeddings = encode_split(model.encoder, train, cache=cache, quiet=quiet)
    if with_features:
        from learned_index.encoders.lexical.point_features import point_features

        with progress_bar("features of words", quiet=quiet):
            features, query_features = point_features(plain_points(train), plain_points(test))
            query_features = query_features[rows]
    counts = np.zeros(truth.shape[1], dtype=np.int64)
    if model.label_counts is not None:
        counts[: len(model.label_counts)] = model.label_counts
    return ComparisonData(
        queries_ND=np.asarray(vectors[rows], dtype=np.float32),
        truth_NL=truth[rows],
        propensities=propensities_from_counts(counts, n_points=max(model.n_points, 1)),
        embeddings_ND=embeddings,
        labels_NL=labels,
        features_NF=features,
        query_features_NF=query_features,
    )


def _training_seconds(model_path: Path) -> float | None:
    """Return the training time that ``li train-index`` wrote beside the model, if it did."""
    import json

    from learned_index.cli.shared.report import report_path

    try:
        report = json.loads(report_path(model_path).read_text(encoding="utf-8"))
        seconds = report["train_seconds"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return float(seconds) if isinstance(seconds, int | float) else None


def _print(result: Comparison, out: Path) -> None:
    from learned_index.cli.shared.compare_tables import comparison_table, operating_table

    console = output_console()
    if not console.is_terminal:
        console.width = 200  # a file or a pipe has no edge to wrap at
    console.print(comparison_table(result))
    console.print(operating_table(result))
    click.echo(f"written: {out / 'compare.json'}, compare.csv, pareto.csv, operating.csv, .png")
