"""The report as one HTML file: no script, nothing from the network, every text escaped."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from learned_index.evaluation.report import charts
from learned_index.evaluation.report.answers import SHOWN
from learned_index.evaluation.significance import N_RESAMPLES
from learned_index.evaluation.training_points import TRAINING_BANDS
from learned_index.persistence import atomic_file
from learned_index.ranking.bands import FREQUENCY_BANDS
from learned_index.system.extras import require
from learned_index.system.memory import gigabytes

SECTIONS = (
    *(("data", "Data"), ("training", "Training"), ("metrics", "Metrics")),
    *(("calibration", "Calibration"), ("frequency", "Label frequency"), ("speed", "Speed")),
    *(("answers", "Answers"), ("card", "Model card")),
)
_TILES = ("P@1", "P@5", "nDCG@5", "PSP@5", "R@10", "R@100")
_UNRELIABLE = 10.0
"""Calibration error of the best label, in percent, from which a reader is warned."""


def write_page(contents: dict[str, Any], path: Path) -> None:
    """Write the page; the file appears when it is whole.

    Args:
        contents: From :func:`~learned_index.evaluation.report.contents.report_contents`.
        path: The HTML file.
    """
    text = page(contents)
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def page(contents: dict[str, Any]) -> str:
    """The page as a text, see :func:`write_page`."""
    jinja2 = require("jinja2")
    markup = require("markupsafe", extra="report").Markup
    files = resources.files("learned_index.evaluation.report")
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["python"] = repr
    environment.globals |= {
        "number": number,
        "place_text": place_text,
        "band_text": lambda name: band_text(name, FREQUENCY_BANDS),
        "training_band_text": lambda name: band_text(name, TRAINING_BANDS),
    }
    template = environment.from_string(files.joinpath("page.html").read_text(encoding="utf-8"))
    told = contents["card"]["holds"]
    training = contents["training"] or {"curves": [], "seconds": {}}
    drawn = drawings(contents, training["curves"])
    comparison = contents["comparison"]
    return str(
        template.render(
            c=contents,
            name=Path(contents["model"]).name or contents["model"],
            css=markup(files.joinpath("page.css").read_text(encoding="utf-8")),
            sections=SECTIONS,
            points=contents["points"],
            tiles=_tiles(contents),
            # Charts come from an XML writer, which has escaped what data brought.
            charts={
                name: {k: markup(svg) for k, svg in chart.items()}
                if isinstance(chart, dict)
                else None
                if chart is None
                else markup(chart)
                for name, chart in drawn.items()
            },
            seconds=training["seconds"],
            training_file=f"{contents['model']}.report.json",
            data_notes=_data_notes(contents["points"]),
            has_index=any(row["index"] is not None for row in contents["metrics"]),
            n_models=told["n_models"],
            comparison_rows=[] if comparison is None else charts.numbered(comparison),
            shown=SHOWN,
            n_resamples=N_RESAMPLES,
            card=_card(contents),
            limits=_limits(contents),
            settings=_settings(contents),
        )
    )


def drawings(contents: dict[str, Any], curves: list[dict[str, Any]]) -> dict[str, Any]:
    """All charts of the page by name; None where there is nothing to draw."""
    calibration, comparison = contents["calibration"], contents["comparison"]
    points = contents["points"]
    return {
        "frequency": charts.frequency_chart(points["training"]["frequencies"]),
        "labels": charts.labels_chart(points["labels_histogram"]),
        "loss": charts.loss_chart(curves),
        "course": charts.course_chart(curves),
        "metrics": charts.metric_chart(contents["metrics"]),
        "reliability": {}
        if calibration is None
        else {
            k: charts.reliability_chart(bins, f"best {k}")
            for k, bins in calibration["bins"].items()
        },
        "groups": charts.group_chart(contents["groups"]) if contents["groups"] else None,
        "comparison": None if comparison is None else charts.comparison_chart(comparison),
    }


# -- texts ---------------------------------------------------------------------------------------


def number(value: float | None, digits: int, divisor: float = 1) -> str:
    """A number with so many digits behind the point; a dash for none."""
    return "–" if value is None else f"{value / divisor:,.{digits}f}"


def place_text(place: int | None) -> str:
    """Where a true label stands that is not among the answers shown."""
    if place is None:
        return "not found"
    return "never trained" if place < 0 else f"place {place}"


def band_text(name: str, bands: tuple[tuple[str, int], ...]) -> str:
    """A band of labels with its numbers of training points; other names are left as they are."""
    lows = dict(bands)
    if name not in lows:
        return name
    order = [low for _, low in bands]
    at = order.index(lows[name])
    if at == 0:
        return f"{name} ({lows[name]} or more)"
    high = order[at - 1] - 1
    return f"{name} ({lows[name]}{'' if high == lows[name] else f' to {high}'})"


def _tiles(contents: dict[str, Any]) -> list[tuple[str, str]]:
    values = {row["name"]: row for row in contents["metrics"]}
    found = [
        (
            f"{values[name]['value']:.1f}",
            f"{name}, % ({values[name]['low']:.1f} to {values[name]['high']:.1f})",
        )
        for name in _TILES
    ]
    trained = contents["points"]["training"]
    found.append((f"{trained['n_labels']:,}", "labels"))
    if contents["calibration"] is not None:
        error = contents["calibration"]["quality"]["all"].get("ECE@1")
        if error is not None:
            found.append((f"{error:.1f}", "calibration error of the best label, %"))
    return found


def _data_notes(points: Mapping[str, Any]) -> str:
    notes = []
    for key, text in (
        ("n_labels_unseen", "labels of the split were never trained"),
        ("n_unlabelled", "points have no label"),
        ("n_unanswered", "points got no answer (blank, or of unknown words)"),
    ):
        if points[key]:
            notes.append(f"{points[key]:,} {text}")
    return "; ".join(notes) + "." if notes else "Every point has a label and got an answer."


def _card(contents: dict[str, Any]) -> dict[str, str]:
    """What the model is, for a reader who has never seen it."""
    told, trained = contents["card"]["holds"], contents["card"]["trained"] or {}
    found = {
        "model": contents["model"],
        "task": f"the right few of {told['n_labels']:,} labels for a text or a vector",
        "encoder": f"{trained.get('encoder', told['encoder'])}, {told['dim']} dimensions",
        "trained on": f"{told['n_training_points']:,} points"
        + (f" of {trained['data']}" if "data" in trained else ""),
        "labels with a training point": "unknown"
        if told["n_labels_trained"] is None
        else f"{told['n_labels_trained']:,}",
        "models": f"{told['n_models']}, {_clusters(told)}",
        "ranker": "none" if told["ranker"] is None else _ranker(told),
        "calibration": "none"
        if told["calibration"] is None
        else f"{told['calibration']['method']}, on held-out points",
        "preset": trained.get("preset"),
        "size on disk": gigabytes(told["disk_bytes"]),
        "trained with": _machine(trained),
    }
    return {name: str(value) for name, value in found.items() if value}


def _clusters(told: dict[str, Any]) -> str:
    if "engine" in told:
        return f"compiled for search, {told['n_clusters']:,} clusters"
    return f"{told['n_clusters']:,} clusters"


def _ranker(told: dict[str, Any]) -> str:
    final = told["final_ranker"]
    weights = f"sparse, {told['ranker']['n_weights']:,} weights"
    return weights if final is None else f"{weights}; final order by a {final['method']} model"


def _machine(trained: dict[str, Any]) -> str | None:
    parts = [trained.get("cpu")]
    if trained.get("threads"):
        parts.append(f"{trained['threads']} threads")
    if trained.get("peak_rss_mb"):
        parts.append(f"{trained['peak_rss_mb']:,.0f} MB at the peak")
    return ", ".join(str(part) for part in parts if part) or None


def _limits(contents: dict[str, Any]) -> list[str]:
    """What a reader should know before using the model, as far as the figures tell it."""
    found = [
        f"The figures are those of the {contents['split']} split; texts of another kind or "
        "language will be answered worse."
    ]
    bands = contents["bands"]
    many, few = bands.get("seen"), bands.get("few-shot")
    if many and few and few["R@100"] < many["R@100"]:
        found.append(
            f"Rare labels are found less often: {few['R@100']:.0f} % of the pairs of labels with "
            f"one to three training points, {many['R@100']:.0f} % of the others (R@100)."
        )
    if contents["points"]["n_labels_unseen"]:
        found.append(
            f"{contents['points']['n_labels_unseen']:,} labels of the split were never trained; "
            "they count as misses unless the model answers them by their names."
        )
    if contents["calibration"] is None:
        found.append("Its scores are no probabilities: they order the answers of one text only.")
    else:
        error = contents["calibration"]["quality"]["all"].get("ECE@1")
        if error is not None and error >= _UNRELIABLE:
            found.append(
                f"Probabilities of the best label are off by {error:.0f} points in the mean here."
            )
    found.append("A text always gets its best labels, also where none is right: set a threshold.")
    return found


def _settings(contents: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Every configuration, as name and value."""
    told, trained = contents["card"]["holds"], contents["card"]["trained"] or {}
    groups = {
        name: told[name]
        for name in ("elias", "index", "training", "ranker", "engine", "hierarchy")
        if isinstance(told.get(name), dict)
    }
    if isinstance(trained.get("versions"), dict):
        groups["versions"] = trained["versions"]
    return {
        title: {str(name): "auto" if value is None else str(value) for name, value in each.items()}
        for title, each in groups.items()
    }
