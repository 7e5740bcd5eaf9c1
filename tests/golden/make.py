"""Make the golden files anew: data, trained models and engines, their answers.

    python tests/golden/make.py

Data and models come from the explicit seeds in ``tests/golden_cases.py``. Run it only when answers
are meant to change, and look at the difference: the tests compare later versions of the package
with what this wrote. A query is left out where two of the best k + 1 scores nearly tie, because
processors round differently.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import golden_cases as cases
import numpy as np


def distinct_rows(model: Any, question: str, queries: Any) -> np.ndarray:
    """Queries whose best k + 1 scores are more than ``GAP`` apart, in every order they have."""
    order = question if question in ("search", "index") else "ranking"
    _, scores = cases.answer(model, order, queries, k=cases.K + 1)
    found = np.where(np.isfinite(scores), scores, -np.arange(1.0, cases.K + 2))
    return np.flatnonzero((found[:, :-1] - found[:, 1:] > cases.GAP).all(axis=1))


def make(folder: Path) -> dict[str, int]:
    """Write all files; return the number of answers of each question."""
    np.savez_compressed(folder / "vectors.npz", **cases.draw_vectors())
    cases.write_texts(cases.draw_texts(), folder)
    vectors, texts = cases.read_vectors(folder), cases.read_texts(folder)
    shutil.rmtree(folder / "models", ignore_errors=True)
    answers: dict[str, np.ndarray] = {}
    counts: dict[str, int] = {}
    names: dict[str, Any] = {}
    for name, trained in cases.train_all(vectors, texts).items():
        cases.save(trained, folder / "models" / name)
        model = cases.load(name, folder / "models" / name)
        for question in cases.QUESTIONS[name]:
            queries = vectors.queries if question == "search" else texts.queries
            rows = distinct_rows(model, question, queries)
            ids, scores = cases.answer(model, question, queries)
            key = f"{name}/{question}"
            answers[f"{key}/rows"] = rows.astype(np.int64)
            answers[f"{key}/ids"] = ids[rows]
            answers[f"{key}/scores"] = scores[rows]
            counts[key] = len(rows)
        if name == "model":
            rows = answers["model/ranking/rows"]
            names = cases.named_answers(model, [texts.queries[row] for row in rows])
    np.savez_compressed(folder / "answers.npz", **answers)
    text = json.dumps(names, ensure_ascii=False)
    (folder / "names.json").write_text(text + "\n", encoding="utf-8", newline="\n")
    return counts


if __name__ == "__main__":
    for key, number in make(cases.FOLDER).items():
        print(f"{key:24} {number:4} answers")
