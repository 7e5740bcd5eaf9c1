"""A model whose labels and texts try to break out of a page, and the command that reports on it."""

from __future__ import annotations

import json
from pathlib import Path

from cli_cases import ok
from conftest import tiny_dataset
from elias_cases import new_model

from learned_index.data import Dataset, LabelVocabulary, labels_from_lists, write_dataset

ATTACK = "<script>document.title='broken'</script><img src=x onerror=\"document.title='broken'\">"
ENTITIES = "a & b < c > d \"quoted\" 'so' {{ 7 * 7 }} {% raw %} &lt;b&gt;"
LONG = "Donaudampfschifffahrtsgesellschaft" * 6


def hostile(split: str, n_points: int, *, seed: int, new_label: bool = False) -> Dataset:
    """The texts of the small data set with markup in texts and names of labels."""
    data = tiny_dataset(split, n_points, seed=seed)  # type: ignore[arg-type]
    texts = [f"{text} {ATTACK if row % 3 else ENTITIES}" for row, text in enumerate(data.texts)]
    names = [data.vocabulary.name(label) for label in range(len(data.vocabulary))]
    names = [f"{name} {(ATTACK, ENTITIES, LONG)[label % 3]}" for label, name in enumerate(names)]
    keys, rows = (
        list(data.vocabulary.keys),
        [data.labels[r].indices.tolist() for r in range(n_points)],
    )
    if new_label:
        keys, names = [*keys, "never"], [*names, f"never trained {ATTACK}"]
        rows[0] = [*rows[0], len(keys) - 1]
    return Dataset(
        split=data.split,
        labels=labels_from_lists(rows, len(keys)),
        vocabulary=LabelVocabulary(keys, names),
        texts=texts,
    )


def comparison() -> dict:
    """What ``li compare`` writes, with a name that is markup and a method that failed."""
    row = {"P@1": 40.0, "P@5": 20.0, "R@10": 60.0, "R@100": 80.0, "neighbour_recall@100": None,
           "latency_ms_p50": 0.5, "qps": 2000.0, "build_s": None, "disk_bytes": 2**21,
           "error": None, "reached_target": True}  # fmt: skip
    failed = dict.fromkeys(row) | {"method": "scann", "error": f"not here {ATTACK}"}
    return {
        "rows": [{**row, "method": "learned"}, {**row, "method": ATTACK, "R@100": 70.0}, failed],
        "pareto": [
            {"method": "learned", "load": "single", "metric": "R@100", "recall": r, "ms": ms}
            for r, ms in ((70.0, 0.1), (80.0, 0.5))
        ],
        "environment": {"data": "my-data", "split": "test", "n_queries": 40, "n_labels": 31},
    }


def make(root: Path) -> Path:
    """Data, a model and a comparison in a folder, and ``report.html`` made of them."""
    train, test = hostile("train", 300, seed=0), hostile("test", 60, seed=2, new_label=True)
    write_dataset(root / "data", [train], format_name="text")
    write_dataset(root / "test", [test], format_name="jsonl")
    model = new_model(calibration="isotonic", n_models=2)
    model.fit(train.texts, train.labels, vocabulary=train.vocabulary).save_pretrained(
        root / "model"
    )
    told = {"curves": model.report_["curves"], "step_seconds": model.report_["seconds"],
            "data": ATTACK, "encoder": "lsa:16", "threads": 1, "cpu": ATTACK}  # fmt: skip
    (root / "model.report.json").write_text(json.dumps(told))
    (root / "compare.json").write_text(json.dumps(comparison()))
    ok("report", root / "model", "--data", root / "test", "--out", root / "report.html",
       "--comparison", root / "compare.json", "--threads", 1, "--cache", "off")  # fmt: skip
    return root / "report.html"
