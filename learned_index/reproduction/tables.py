"""Tables of methods: precision (1), the ideas of an index (2), time and size (6)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from learned_index.evaluation.compared import report_path, training_costs
from learned_index.metrics import point_values
from learned_index.plotting import COLOURS, new_figure, save_figure, titled
from learned_index.reproduction.answers import STAGE_2, WHOLE, Answered, answers, failures
from learned_index.reproduction.results import Made, Row
from learned_index.reproduction.study import Study, interval

PRECISIONS = ("P@1", "P@3", "P@5", "PSP@1", "PSP@3", "PSP@5")
OF_INDEXES = ("P@1", "P@3", "P@5", "R@10", "R@20", "R@100")
SETTINGS = (
    "The model and its stages are searched as trained. The other indexes are trained here on the "
    "model's vectors with its epochs, batches and rates; whole systems on tf-idf, with their own "
    "defaults, on all training points, while the model holds some out to calibrate on."
)
"""How the methods were run, in words."""


def table_1(study: Study) -> Made:
    """Precision and propensity-scored precision of all methods."""
    return _measured(answers(study), study, PRECISIONS, plotted=("P@1", "P@5", "PSP@5"))


def table_2(study: Study) -> Made:
    """Precision and recall of the indexes alone."""
    indexes = [each for each in answers(study) if each.is_index]
    return _measured(indexes, study, OF_INDEXES, plotted=("P@1", "R@10", "R@100"))


def metric_intervals(
    found: Answered, study: Study, names: Sequence[str]
) -> dict[str, tuple[float, float, float]]:
    """Return metrics of a method in percent, each with its interval."""
    values = [point_values(ids, study.truth, propensities=study.propensities) for ids in found.ids]
    return {
        name: interval(
            100.0 * np.stack([each[name].values_N for each in values]),
            weights=values[0][name].weights_N,
        )
        for name in names
    }


def _measured(
    found: Sequence[Answered], study: Study, names: Sequence[str], *, plotted: Sequence[str]
) -> Made:
    rows: list[Row] = []
    for each in found:
        if each.error is not None:
            continue
        row: Row = {"method": each.title}
        for name, (mean, low, high) in metric_intervals(each, study, names).items():
            row |= {name: mean, f"{name} low": low, f"{name} high": high}
        rows.append({**row, "trainings": len(each.ids)})

    def draw(paths: Sequence[Path]) -> None:
        draw_dots(rows, plotted, paths, title=_title(plotted), below=_below(study))

    return Made(
        rows=rows,
        columns=("method", *names),
        draw=draw if rows else None,
        caption=f"Percent. In the CSV file: {study.spread()}. " + SETTINGS,
        failed=failures(found),
    )


def _title(names: Sequence[str]) -> str:
    return "Model, indexes and whole systems" if "PSP@5" in names else "Indexes, equal vectors"


def _below(study: Study) -> str:
    return f"{study.below}\nLines: {study.spread()}."


def draw_dots(
    rows: Sequence[Row], names: Sequence[str], paths: Sequence[Path], *, title: str, below: str
) -> None:
    """Draw metrics as dots with their intervals, a line for each method and a panel for each."""
    height = 1.3 + 0.3 * len(rows)
    figure, panels = new_figure(len(names), width=3.4, height=height, sharey=True)
    titled(figure, title, below=below)
    places = np.arange(len(rows))
    for axes, name in zip(panels, names, strict=True):
        for place, row in zip(places, rows, strict=True):
            ours = row["method"].startswith(("ELIAS", "whole"))
            colour = COLOURS[0] if ours else COLOURS[-1]
            axes.hlines(place, row[f"{name} low"], row[f"{name} high"], color=colour, linewidth=1.5)
            axes.plot([row[name]], [place], "o", color=colour, markersize=5)
            axes.annotate(
                f"{row[name]:.1f}", (row[name], place), (0, 5), textcoords="offset points",
                ha="center", size=7, color=colour,
            )  # fmt: skip
        axes.set_yticks(places, [row["method"] for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.7)
        axes.margins(x=0.1)
        axes.grid(visible=True, axis="x", linewidth=0.4, alpha=0.5)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlabel(f"{name} (%)")
    save_figure(figure, *paths)


def table_6(study: Study) -> Made:
    """Training time, time of a query, and size of every method."""
    rows: list[Row] = []
    found = answers(study)
    for each in found:
        if each.error is not None:
            continue
        build, disk, memory = (each.fact(n) for n in ("build_s", "disk_bytes", "peak_rss_mb"))
        if each.name in (STAGE_2, WHOLE):  # loaded here; trained before
            costs = [training_costs(report_path(path)) for path in study.model_paths]
            known = [told[each.name] for told in costs if told[each.name] is not None]
            build = float(np.mean(known)) if known else None
        qps = each.fact("qps")
        rows.append(
            {
                "method": each.title,
                "training s": build,
                "query ms": each.fact("latency_ms_p50"),
                "query in a batch ms": None if not qps else 1000.0 / qps,
                "disk MB": None if disk is None else disk / 1e6,
                "memory MB": memory,
            }
        )
    return Made(
        rows=rows,
        caption="One query on one thread (median), a query in batches of 256 on "
        f"{study.threads} thread{'s' if study.threads > 1 else ''}, and the peak of memory of a "
        "process that builds and searches. Encoding and tf-idf are in no time. Times of the "
        "model's own training stand in its report.",
        failed=failures(found),
    )
