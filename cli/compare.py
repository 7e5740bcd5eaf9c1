"""``li compare``: measure a saved model and its rivals in one run."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from learned_index.cli.shared.common import (
    EXIT_FAILURE,
    emit_json,
    output_console,
    progress_bar,
    standard_options,
    use_threads,
    wide_option,
)
from learned_index.cli.shared.compare_tables import comparison_table, operating_table
from learned_index.cli.shared.help import PanelCommand
from learned_index.cli.shared.options import (
    cache_option,
    config_options,
    given_values,
    model_option,
    propensity_option,
    split_option,
)
from learned_index.cli.shared.peers import interpreters_of, python_option, word_features
from learned_index.cli.shared.tables import DataSource, data_option
from learned_index.comparison.settings import INDEX_CLASSIFIERS, ComparisonSettings
from learned_index.system.extras import require

if TYPE_CHECKING:
    from learned_index.comparison import Comparison, ComparisonData, MethodSpec
    from learned_index.comparison.classifiers import KeptClassifiers
    from learned_index.data import SplitName

NOT_OPTIONS = ("threads", "latency_queries", "label_slack", "isolation", "seed")
"""Settings of a comparison that only the library is asked for; threads all commands have."""


class CompareCommand(PanelCommand):
    """The command, whose whole help names every method with its options."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the panels, and behind them the methods."""
        super().format_options(ctx, formatter)
        if not self.shows_all(ctx):
            return
        from learned_index.baselines import default_baselines, methods, options_of

        rows = [("default:", default_baselines())]
        for name, adapter in methods().items():
            options = ", ".join(options_of(adapter))
            rows.append((f"{name}:", adapter.about.summary + (f" [{options}]" if options else "")))
        with formatter.section("Methods, with their options"):
            formatter.write_dl(rows)


@click.command(
    cls=CompareCommand,
    common=(
        *("data", "model_path", "baselines", "classifiers", "out", "split", "max_queries"),
        *("target_recall", "wide", "threads"),
    ),
    examples=(
        "li compare --data my-data --model model --out comparison",
        "li compare --data my-data --model model --out comparison \\",
        "  --baselines model,exact,tree",
    ),
)
@data_option
@model_option
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
    help="Methods, separated by commas; may be given again; --help-all tells them. A FAISS "
    "index_factory string follows a colon (hnsw:HNSW16, ivf:IVF512,Flat) or stands in parentheses, "
    "and so do options (hnswlib:links=48).",
)
@python_option
@click.option(
    "--classifiers",
    default=INDEX_CLASSIFIERS,
    show_default=True,
    metavar="index|ova|index,ova",
    help="Label classifiers that the vector searches search: the model's, which were trained on "
    "shortlists; those of one-vs-all, trained here against all labels (ova:epochs=9 with other "
    "settings) and kept in OUT; or both.",
)
@split_option
@config_options(ComparisonSettings, skip=NOT_OPTIONS)
@wide_option
@click.option(
    "--max-queries",
    type=click.IntRange(min=1),
    help="Measure on this many points, drawn at random with a fixed seed.  [default: all]",
)
@propensity_option
@cache_option
@standard_options
def compare(
    data: DataSource,
    model_path: Path,
    out: Path,
    baselines: tuple[str, ...],
    interpreters: tuple[str, ...],
    classifiers: str,
    split: SplitName,
    max_queries: int | None,
    propensity: tuple[float, float],
    cache: str | None,
    threads: int | None,
    quiet: bool,
    as_json: bool,
    wide: bool,
    **measuring: Any,
) -> None:
    """Measure a trained model and other search methods on the same data.

    exact, exact-int8, hnsw, ivf and the other vector searches search the very label classifiers
    that the index ranks with, its projection folded in; with --classifiers index,ova those of
    one-vs-all, too, which were trained for a scan of all labels (rows NAME@ova). tree is the
    index's stage-1 partition with the same classifiers; knn votes with the nearest training points;
    ova trains all labels one-vs-all. trained-graph, trained-tree, overlap, slice and glas are other
    indexes over labels, trained here in the budget of the model's. model is the whole model with
    its ranker; learned its (first) index alone. pecos, omikuji, dismec and tfidf-knn are whole
    systems that are trained on the words of the points (tf-idf, or the data's own features) and see
    nothing of the model; features=vectors gives them its vectors, features=joined words and vectors
    side by side. exact 100 does not apply to those that rank by themselves. Encoding and making
    tf-idf are not part of a query's time. Each is measured in its own process at every setting of
    its query-time knobs: accuracy in percent, recall of the exact 100 best classifiers, latency of
    single queries on one thread, throughput of batches, build time, memory, disk.

    The second table tells the cheapest setting of each method that keeps the recall of the true
    labels within half a point of exact scoring, or finds 90, 95 and 99 percent of the exact 100;
    chosen on one half of the queries, with its recall on the other.

    A method that fails gets a row with the reason, the others go on, and the exit code is 1.
    """
    from learned_index.baselines import over_classifiers, parse_classifiers
    from learned_index.cli.shared import output, sources
    from learned_index.comparison import compare as run
    from learned_index.comparison import write_comparison
    from learned_index.comparison.report import comparison_parts
    from learned_index.elias.model import ELIAS
    from learned_index.evaluation import compared

    require("matplotlib", extra="report")  # for the plot: told now, not after hours
    index, others = parse_classifiers(classifiers)
    specs = over_classifiers(_methods(baselines, interpreters), index=index, others=others)
    given = given_values(ComparisonSettings, measuring)
    settings = ComparisonSettings(threads=use_threads(threads), **given)
    model = ELIAS.from_pretrained(model_path)
    model.trained_members()  # an engine cannot give the rivals the classifiers
    specs, others = (
        [compared.as_trained(spec, model) for spec in each] for each in (specs, others)
    )
    folder = sources.resolve_data(data, quiet=quiet)
    values = compared.comparison_data(
        model,
        folder,
        split,
        [*specs, *others],
        encode=partial(sources.encode_split, cache=cache, quiet=quiet),
        word_features=partial(word_features, quiet=quiet),
        max_queries=max_queries,
        propensity=propensity,
    )
    encode_ms = None
    if values.model_queries is not None:
        encode_ms = compared.encoding_ms(model, values.model_queries.points)
    out.mkdir(parents=True, exist_ok=True)
    output.claim(out)
    costs = compared.training_costs(compared.report_path(model_path))
    trained = {
        spec.name: train_classifiers(spec, values, out / "classifiers", quiet=quiet)
        for spec in others
    }
    with progress_bar("comparing", total=len(specs), quiet=quiet) as bar:
        result = run(
            specs,
            compared.SavedModel(model_path),
            values,
            other_classifiers=trained,
            settings=settings,
            known_build_s={"learned": costs["learned"], "model": costs["model"], "tree": None},
            workspace_parent=out,
            results=out / "methods",
            progress=bar.count,
        )
    result.environment.update(
        data=str(data),
        split=split,
        model=str(model_path),
        encode_ms=encode_ms,
        training=costs,
        classifiers={name: each.facts for name, each in trained.items()},
    )
    write_comparison(result, out)
    if as_json:
        emit_json(comparison_parts(result))
        show_failures(result)
    else:
        show(result, out, wide=wide)
    if result.failed:
        raise click.exceptions.Exit(EXIT_FAILURE)


def train_classifiers(
    spec: MethodSpec, data: ComparisonData, folder: Path, *, quiet: bool
) -> KeptClassifiers:
    """Train label classifiers, or take those that an earlier run kept in the folder."""
    from learned_index.comparison.classifiers import trained_classifiers

    with progress_bar(f"training {spec.name}", quiet=quiet) as bar:
        return trained_classifiers(spec, data, folder, progress=bar.count)


def _methods(baselines: tuple[str, ...], interpreters: tuple[str, ...]) -> list[MethodSpec]:
    """Read the methods, the index always among them, and who measures them."""
    from learned_index.baselines import default_baselines, parse_baselines

    specs = parse_baselines(baselines or default_baselines(), python=interpreters_of(interpreters))
    if all(spec.name != "learned" for spec in specs):
        specs = [*parse_baselines("learned"), *specs]
    return specs


def show(result: Comparison, out: Path, *, wide: bool = False) -> None:
    """Print the tables, what was written, and what failed."""
    console = output_console(wide=wide)
    console.print(comparison_table(result, wide=wide))
    console.print(operating_table(result, wide=wide))
    click.echo(f"written: {out / 'compare.json'}, compare.csv, pareto.csv, operating.csv, .png")
    show_failures(result)


def show_failures(result: Comparison) -> None:
    """Print why methods failed, on standard error."""
    for row in result.rows:
        if row["error"] is not None:
            click.echo(f"{row['method']} failed: {row['error']}", err=True)
