"""What the trainings tell: metrics, ``OUT.report.json``, tables on the screen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from learned_index.cli.shared.common import output_console, plain_table, print_pairs, titled
from learned_index.cli.shared.lines import say
from learned_index.cli.shared.sources import evaluate_shown, length_lines, lengths_of, model_vectors
from learned_index.cli.shared.training import Setup
from learned_index.elias.model import ELIAS
from learned_index.evaluation.compared import report_path
from learned_index.evaluation.probabilities import CALIBRATION_CUTOFFS
from learned_index.evaluation.training_points import TRAINING_BANDS
from learned_index.metrics import RECALL_CUTOFFS
from learned_index.persistence import atomic_file, write_json
from learned_index.ranking.bands import FREQUENCY_BANDS
from learned_index.system.environment import cpu_model, instruction_sets, versions
from learned_index.system.memory import peak_rss_mb

if TYPE_CHECKING:
    from rich.console import RenderableType

TABLE_METRICS = ("P@1", "P@3", "P@5", "PSP@1", "PSP@5", "R@10", "R@100")


def training_metrics(
    model: ELIAS, setup: Setup, *, evaluate_test: bool, cache: str | None, quiet: bool
) -> dict[str, dict[str, Any]]:
    """Metrics by "split, ranking": those of the training, and on the test split if asked."""
    names = {"without_ranker": "index", "with_ranker": "ranker"}
    found: dict[str, dict[str, Any]] = {
        f"validation, {names[name]}": values
        for name, values in model.report_.get("validation", {}).items()
    }
    if evaluate_test:
        test = setup.folder.read("test")
        vectors = model_vectors(model, test, cache=cache, quiet=quiet)
        found["test, index"] = evaluate_shown(
            model, test, vectors=vectors, query={"score": "index"}, quiet=quiet
        )
        if model.ranker_ is not None:
            found["test, ranker"] = evaluate_shown(model, test, vectors=vectors, quiet=quiet)
    return found


def training_summary(
    out: Path,
    setup: Setup,
    model: ELIAS,
    seconds: dict[str, float],
    metrics: dict[str, dict[str, Any]],
) -> dict[str, Any]:
    """What ``OUT.report.json`` and ``--json`` tell of a training.

    Args:
        out: Where the model was written.
        setup: What was asked for.
        model: The trained model.
        seconds: Of the steps of the command.
        metrics: From :func:`training_metrics`.
    """
    inside = dict(model.report_["seconds"])
    return {
        "model": str(out),
        "data": str(setup.folder.path),
        "encoder": setup.encoder_spec,
        "encoder_lengths": lengths_of(model.encoder),
        "preset": setup.preset,
        "n_points": model.n_points,
        "n_held_out": model.report_["n_held_out"],
        "n_labels": model.n_labels,
        "n_models": len(model.members),
        "n_clusters": model.index.n_clusters,
        "dim": model.index.dim,
        **{name: round(value, 3) for name, value in seconds.items()},
        "train_seconds": round(inside.get("training", 0.0), 3),
        "step_seconds": {name: round(value, 3) for name, value in inside.items()},
        "peak_rss_mb": peak_rss_mb(),
        "metrics": metrics,
        "curves": model.report_["curves"],
        "calibration": model.report_["calibration"],
        "ranker": model.report_["ranker"],
        "final_ranker": model.report_.get("final_ranker"),
        "records": model.report_["records"],
        "index": model.index.config.to_dict(),
        "training": model.training_config.to_dict(),
        "ranker_config": model.ranker_config.to_dict(),
        "elias": model.config.to_dict(),
        "versions": versions(),
    }


def show_training(summary: dict[str, Any], report: Path) -> None:
    """Print the summary of a training as tables; ``report`` is where all of it stands."""
    click.echo(
        f"{summary['model']}: {summary['n_labels']} labels, {summary['n_points']} points, "
        f"{summary['n_models']} model{'s' if summary['n_models'] > 1 else ''}"
    )
    for line in length_lines(summary["encoder_lengths"]):
        _say(line)
    steps = {
        "reading": summary["read_seconds"],
        "planning": summary["plan_seconds"],
        "encoding": summary["encode_seconds"] + summary["step_seconds"].get("encoding", 0.0),
        **{name: s for name, s in summary["step_seconds"].items() if name != "encoding"},
        "saving": summary["save_seconds"],
    }
    print_pairs("seconds", {name: f"{value:8.1f}" for name, value in steps.items()})
    if summary["metrics"]:
        output_console().print(metrics_table(summary["metrics"]))
    final, records = summary["final_ranker"], summary["records"]
    if final is not None:
        held = "" if records is None else f", {records['bytes'] / 1e6:.1f} MB of records"
        _say(f"final ranker: {final['method']}{held}")
    found = summary["calibration"]
    if found is not None:
        _say(
            f"calibration: {found['method']}, error over all shortlisted pairs "
            f"{found['calibration_error']:.2f} % (before {found['calibration_error_before']:.2f} %)"
        )
    for title, values in summary["metrics"].items():
        if "by_training_points" in values:
            print_training_points(values["by_training_points"], what=f"{title}: ")
        if "calibration" in values:
            print_calibration(values["calibration"], what=f"{title}: ")
    click.echo(f"report: {report}")


def _say(text: str) -> None:
    say("", text, indent="", width=0)


def metrics_table(metrics: dict[str, dict[str, Any]]) -> RenderableType:
    """The metrics of several measurements, one a row."""
    table = plain_table()
    table.add_column("", overflow="fold")
    for name in TABLE_METRICS:
        table.add_column(name, justify="right", no_wrap=True)
    for title, values in metrics.items():
        table.add_row(title, *(f"{values[name]:.2f}" for name in TABLE_METRICS))
    return titled(table, "percent")


def print_metrics(values: dict[str, Any], *, title: str) -> None:
    """Print metrics as a table with one row for each family (P, nDCG, PSP, R), and calibration."""
    families: dict[str, list[tuple[str, float]]] = {}
    for name, value in values.items():
        family, at, cutoff = name.partition("@")
        if at:
            families.setdefault(family, []).append((cutoff, float(value)))
    table = plain_table(show_header=False)
    for family, items in families.items():
        table.add_row(family, *(f"@{cutoff} {value:6.2f}" for cutoff, value in items))
    output_console().print(titled(table, title))
    if "by_training_points" in values:
        print_training_points(values["by_training_points"])
    if "calibration" in values:
        print_calibration(values["calibration"])


def print_training_points(bands: dict[str, dict[str, float | int]], *, what: str = "") -> None:
    """Print the recall of labels by how often they were trained, one row for each band."""
    names = ", ".join(f"{name} {low} or more" for name, low in TRAINING_BANDS[:-1])
    _say(f"{what}recall of labels by training points: {names}, {TRAINING_BANDS[-1][0]} none")
    table = plain_table()
    recalls = [f"R@{k}" for k in RECALL_CUTOFFS]
    table.add_column("")
    for column in ("labels", "pairs", *recalls):
        table.add_column(column, justify="right")
    for band, values in bands.items():
        counts = (f"{values[name]}" for name in ("n_labels", "n_pairs"))
        table.add_row(band, *counts, *(f"{values[name]:.2f}" for name in recalls))
    output_console().print(table)


def print_calibration(bands: dict[str, dict[str, float | int]], *, what: str = "") -> None:
    """Print how good the probabilities of the best labels are, one row for each band of labels."""
    names = " / ".join(f"{name} {low}+" for name, low in FREQUENCY_BANDS)
    _say(f"{what}probabilities of the best labels; by training points: {names}")
    table = plain_table()
    table.add_column("")
    columns = [f"{name}@{k}" for k in CALIBRATION_CUTOFFS for name in ("n", "ECE", "Brier")]
    for column in columns:
        table.add_column(f"{column} %" if column.startswith("ECE") else column, justify="right")
    digits = {"n": 0, "ECE": 2, "Brier": 4}
    for band, values in bands.items():
        cells = [
            f"{values[column]:.{digits[column.partition('@')[0]]}f}" if column in values else "—"
            for column in columns
        ]
        table.add_row(band, *cells)
    output_console().print(table)


def write_report(model: Path, values: dict[str, Any]) -> Path:
    """Write the report of a training run beside ``model``; it appears when it is whole.

    It tells the processor and its instructions, on which the model's bytes depend.
    """
    path = report_path(model)
    machine = {"cpu": cpu_model(), "instructions": instruction_sets()}
    with atomic_file(path) as temporary:
        write_json(temporary, values | machine)
    return path
