"""Annif's own evaluation of a model, beside ours.

    python -m benchmarks.annif_eval my-model --data my-data --annif annif-env/bin/annif

Annif (an environment of its own: `pip install annif`) loads the labels as a vocabulary, asks the
model for every test text, and measures; `li evaluate` measures the same model on the same texts.
It asks `li serve` over its `http` backend, or, with `--backend learned_index`, the model in its own
process (`pip install examples/annif-backend` in Annif's environment). The figures must be equal:
ends with 1 where one differs by more than rounding.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.served import Server
from learned_index.data import Dataset, open_data
from learned_index.elias.model import ELIAS
from learned_index.evaluation.evaluate import evaluate
from learned_index.system.threads import limit_threads

PREFIX = "https://example.org/"
SAME = {"Precision@1": "P@1", "Precision@3": "P@3", "Precision@5": "P@5", "NDCG@5": "nDCG@5"}
"""Annif's name of a metric -> ours."""
PROJECT = """[asked]
name=asked
language=en
vocab=labels
limit=100
backend={backend}
"""
BACKENDS = ("http", "learned_index")
ROUNDING = 0.001
"""In percent: sums of float32 scores in another order."""


def points(arguments: argparse.Namespace) -> Dataset:
    """The test points that both measure on: with a label and a text."""
    data = open_data(arguments.data).read("test")
    rows = np.flatnonzero(np.diff(data.labels.indptr))[: arguments.texts]
    texts = [" ".join((data.texts or [])[row].split()) for row in rows]
    return replace(data, texts=texts, labels=data.labels[rows], ids=None)


def annif_figures(
    data: Dataset, model: ELIAS, backend: str, annif: Path, folder: Path
) -> dict[str, float]:
    """What Annif measures, in percent.

    Args:
        data: The points.
        model: Whose labels are the vocabulary.
        backend: The lines of a project that say whom Annif asks.
        annif: The command.
        folder: For Annif's files.
    """
    (folder / "projects.cfg").write_text(PROJECT.format(backend=backend))
    names = {*zip(model.vocabulary.keys, model.vocabulary, strict=True)}
    known = set(model.vocabulary.keys)
    names |= {
        (key, name)
        for key, name in zip(data.vocabulary.keys, data.vocabulary, strict=True)
        if key not in known
    }
    lines = [f"<{PREFIX}{key}>\t{name}" for key, name in sorted(names)]
    (folder / "labels.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    keys = data.vocabulary.keys
    rows = [
        f"{text}\t{' '.join(f'<{PREFIX}{keys[label]}>' for label in row.indices)}"
        for text, row in zip(data.texts or [], data.labels, strict=True)
    ]
    (folder / "test.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    for words in (
        ["load-vocab", "labels", "--language", "en", "labels.tsv"],
        ["eval", "asked", "--metrics-file", "figures.json", "test.tsv"],
    ):
        done = subprocess.run(
            [str(annif), *words], cwd=folder, env={**os.environ, "ANNIF_DATADIR": str(folder)},
            capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"annif {words[0]}: {done.stderr[-2000:]}")
    found = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
    return {name: 100 * float(found[name]) for name in SAME}


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Let both measure; the model is served where Annif asks over HTTP."""
    data, model = points(arguments), ELIAS.from_pretrained(arguments.model)
    annif = arguments.annif.absolute()
    if arguments.backend == "http":
        server = Server(arguments.model, 1, ["--uri-prefix", PREFIX])
        address = f"http://127.0.0.1:{server.port}/v1/projects/{server.model.name}/suggest"
        try:
            theirs = annif_figures(data, model, f"http\nendpoint={address}", annif, folder)
        finally:
            server.end()
    else:
        own = f"learned_index\nmodel={arguments.model.absolute()}\nuri_prefix={PREFIX}"
        theirs = annif_figures(data, model, own, annif, folder)
    ours = evaluate(model, data)
    return {
        "backend": arguments.backend,
        "n_points": data.n_points,
        **{name: {"annif": theirs[name], "li": ours[own]} for name, own in SAME.items()},
    }


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path, help="directory of the model")
    parser.add_argument("--data", required=True, help="data folder with a test split of texts")
    parser.add_argument("--annif", type=Path, required=True, help="the command of Annif")
    parser.add_argument("--backend", choices=BACKENDS, default="http", help="how Annif asks it")
    parser.add_argument("--texts", type=int, default=1000, help="at most so many test points")
    arguments = parser.parse_args()
    with limit_threads(1), tempfile.TemporaryDirectory(prefix="annif-") as folder:
        found = measure(arguments, Path(folder))
    print(json.dumps(found, indent=1))
    sys.exit(any(abs(found[name]["annif"] - found[name]["li"]) > ROUNDING for name in SAME))


if __name__ == "__main__":
    main()
