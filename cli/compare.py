"""``li compare``: measure a saved index and its rivals in one run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from learned_index.cli.common import (
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
    from learned_index.data import DataFolder, SplitName
    from learned_index.elias import ELIAS
    from learned_index.evaluation import Comparison, ComparisonData
    from learned_index.graph import LearnedGraphIndex
    from learned_index.text_index import TextIndex

COLUMNS = (
    # Heading, key of the row, format, divisor.
    ("P@1", "P@1", ".2f", 1),
    ("P@5", "P@5", ".2f", 1),
    ("PSP@5", "PSP@5", ".2f", 1),
    ("R@10", "R@10", ".2f", 1),
    ("R@100", "R@100", ".2f", 1),
    ("exact 100", "neighbour_recall@100", ".2f", 1),
    ("p50 ms", "latency_ms_p50", ".3f", 1),
    ("p99 ms", "latency_ms_p99", ".3f", 1),
    ("queries/s", "qps", ",.0f", 1),
    ("build s", "build_s", ",.1f", 1),
    ("peak MB", "peak_rss_mb", ",.0f", 1),
    ("disk MB", "disk_bytes", ",.1f", 2**20),
)


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
        from learned_index.graph import LearnedGraphIndex

        return LearnedGraphIndex.from_pretrained(index_directory(self.directory), verify=False)


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
    help="Directory for compare.json, compare.csv and compare.png.",
)
@click.option(
    "--baselines",
    multiple=True,
    help="Methods, separated by commas; may be given again. A FAISS index_factory string follows "
    "a colon (hnsw:HNSW16, ivf:IVF512,Flat) or stands in parentheses. "
    "[default: exact,exact-int8,hnsw,ivf,tree,knn; there is ova, one-vs-all, too]",
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
    max_queries: int | None,
    ova_epochs: int | None,
    ova_learning_rate: float | None,
    cache: str | None,
    threads: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Measure a trained index and other search methods on the same data.

    exact, exact-int8, hnsw and ivf search the very label classifiers that the index ranks with;
    tree is its stage-1 partition with the same classifiers; knn votes with the nearest training
    points; ova trains all labels one-vs-all. Of a model of li train its (first) index is compared,
    without the ranker. Each is measured in its own process at every setting
    of its query-time knob: accuracy in percent, recall of the exact 100 best classifiers, latency
    of single queries on one thread, throughput of batches, build time, memory, disk.

    A method that fails gets a row with the reason, the others go on, and the exit code is 1.
    """
    from learned_index.baselines import DEFAULT_BASELINES, parse_baselines
    from learned_index.elias import load_model
    from learned_index.evaluation import (
        ComparisonEvent,
        ComparisonSettings,
        write_comparison_csv,
        write_comparison_json,
    )
    from learned_index.evaluation import compare as run
    from learned_index.evaluation.plot import plot_comparison

    specs = parse_baselines(baselines or DEFAULT_BASELINES)
    if all(spec.name != "learned" for spec in specs):
        specs = [*parse_baselines("learned"), *specs]
    n_threads = use_threads(threads)
    model = load_model(model_path)
    specs = [
        _as_trained(spec, model, epochs=ova_epochs, learning_rate=ova_learning_rate)
        for spec in specs
    ]
    from learned_index.cli.sources import resolve_data

    values = _comparison_data(
        model,
        resolve_data(data, quiet=quiet),
        split,
        with_training=any(spec.inputs == "training" for spec in specs),
        max_queries=max_queries,
        cache=cache,
        quiet=quiet,
    )
    out.mkdir(parents=True, exist_ok=True)
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
                target_recall=target_recall, threads=n_threads, batch_size=batch_size
            ),
            known_build_s={"learned": _training_seconds(model_path), "tree": None},
            workspace_parent=out,
            progress=show,
        )
    result.environment.update(data=data, split=split, model=str(model_path))
    write_comparison_json(result, out / "compare.json")
    write_comparison_csv(result, out / "compare.csv")
    plot_comparison(result, out / "compare.png")
    if as_json:
        emit_json({"rows": result.rows, "curves": result.curves, "environment": result.environment})
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
    training = model.index.training_config
    if learning_rate is not None:
        spec = spec.with_options(learning_rate=learning_rate)
    return spec.with_options(
        epochs=epochs or max(1, (training.stage1_epochs or 0) + (training.stage2_epochs or 0)),
        batch_size=training.batch_size,
        warmup=training.warmup_fraction,
        weight_decay=training.weight_decay,
        projection=model.index.config.projection,
        seed=training.seed,
    )


def _comparison_data(
    model: TextIndex | ELIAS,
    folder: DataFolder,
    split: SplitName,
    *,
    with_training: bool,
    max_queries: int | None,
    cache: str | None,
    quiet: bool,
) -> ComparisonData:
    """Encode what is needed and number all labels as the model does, unknown ones behind."""
    import numpy as np

    from learned_index.cli.measure import encode_split, renumbered
    from learned_index.errors import InputError
    from learned_index.evaluation import ComparisonData, propensities_from_counts

    test = folder.read(split)
    if test.n_points == 0:
        raise InputError(f"the {split} split has no points; nothing can be measured")
    rows: Sequence[int] | Any = slice(None)
    if max_queries is not None and max_queries < test.n_points:
        rows = np.sort(np.random.default_rng(0).permutation(test.n_points)[:max_queries])
    vectors = encode_split(model.encoder, test, cache=cache, quiet=quiet)
    truth = renumbered(model.vocabulary, test)
    embeddings = labels = None
    if with_training:
        train = folder.read("train")
        embeddings = encode_split(model.encoder, train, cache=cache, quiet=quiet)
        labels = renumbered(model.vocabulary, train)
    counts = np.zeros(truth.shape[1], dtype=np.int64)
    if model.label_counts is not None:
        counts[: len(model.label_counts)] = model.label_counts
    return ComparisonData(
        queries_ND=np.asarray(vectors[rows], dtype=np.float32),
        truth_NL=truth[rows],
        propensities=propensities_from_counts(counts, n_points=max(model.n_points, 1)),
        embeddings_ND=embeddings,
        labels_NL=labels,
    )


def _training_seconds(model_path: Path) -> float | None:
    """Return the training time that ``li train-index`` wrote beside the model, if it did."""
    import json

    from learned_index.cli.report import report_path

    try:
        report = json.loads(report_path(model_path).read_text(encoding="utf-8"))
        seconds = report["train_seconds"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return float(seconds) if isinstance(seconds, int | float) else None


def comparison_table(result: Comparison) -> Table:
    """Lay out the rows of a comparison, each method at the setting chosen for it."""
    from rich.markup import escape

    from learned_index.evaluation.report import setting_text

    environment = result.environment
    table = Table(
        title=f"{environment['n_labels']:,} labels, {environment['n_queries']:,} queries; single "
        f"queries on one thread, batches of {environment['batch_size']} on "
        f"{environment['threads']}",
        caption=f"Each method at its fastest setting with {100 * environment['target_recall']:g}% "
        f"of the best R@100 ({environment['best_recall']:.2f}); ! at its best: not reached. Exact "
        f"search over the same classifiers: {environment['exact_recall']:.2f}. Metrics in "
        "percent; exact 100: recall of the exact 100 best classifiers.",
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("method", style="bold", overflow="fold")
    table.add_column("setting")
    for heading, *_ in COLUMNS:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in result.rows:
        if row["error"] is not None:
            table.add_row(escape(row["method"]), "[red]failed[/red]", *("" for _ in COLUMNS))
            continue
        mark = "" if row["reached_target"] else " !"
        cells = [
            "-" if row[key] is None else format(row[key] / divisor, pattern)
            for _, key, pattern, divisor in COLUMNS
        ]
        table.add_row(
            escape(row["method"]), escape(setting_text(row["query_arguments"])) + mark, *cells
        )
    return table


def _print(result: Comparison, out: Path) -> None:
    console = output_console()
    if not console.is_terminal:
        console.width = 180  # a file or a pipe has no edge to wrap at
    console.print(comparison_table(result))
    click.echo(f"written: {out / 'compare.json'}, compare.csv, compare.png")
