"""Same seed, same bytes; same answers at any batch size and thread count; threads change rounding.

    python benchmarks/reproducibility.py --data DIR --encoder lsa

Trains three models in fresh processes with `li train-index` (two with 2 threads, one with 1),
compares the bytes of the first two, the metrics of the first and the third, and one model's answers
with 1 and 2 threads, one query at a time and all at once.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from learned_index.data import open_dataset
from learned_index.elias.model import ELIAS


def digest(directory: Path) -> str:
    """SHA-256 over the names and contents of all files."""
    total = hashlib.sha256()
    for path in sorted(p for p in directory.rglob("*") if p.is_file()):
        total.update(str(path.relative_to(directory)).encode())
        total.update(path.read_bytes())
    return total.hexdigest()


def li(*arguments: str) -> Any:
    """Run the command line in a fresh process and return its JSON."""
    command = [sys.executable, "-m", "learned_index.cli", *arguments, "--json"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Run all comparisons; the exit code is 1 when one fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--encoder", default="lsa")
    parser.add_argument("--preset", default="default")
    arguments = parser.parse_args()
    ok = True

    def report(what: str, good: bool, detail: str = "") -> None:
        nonlocal ok
        ok &= good
        print(f"{'ok  ' if good else 'FAIL'} {what} {detail}", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        models, metrics = {}, {}
        for name, threads in (("a", 2), ("b", 2), ("one", 1)):
            models[name] = Path(folder) / name
            li(
                *("train-index", "--data", str(arguments.data), "--out", str(models[name])),
                *("--encoder", arguments.encoder, "--preset", arguments.preset),
                *("--seed", "1", "--threads", str(threads)),
            )
            metrics[name] = li("evaluate", str(models[name]), "--data", str(arguments.data))
            print(name, {k: round(metrics[name][k], 2) for k in ("P@1", "R@10", "R@100")})
        report(
            "two fresh processes save the same bytes", digest(models["a"]) == digest(models["b"])
        )
        differences = {
            k: abs(metrics["a"][k] - metrics["one"][k])
            for k in metrics["a"]
            if "@" in k and isinstance(metrics["a"][k], float)
        }
        worst = max(differences, key=differences.__getitem__)
        report(
            "1 and 2 threads train within 0.2 points",
            differences[worst] <= 0.2,
            f"(largest difference: {worst} {differences[worst]:.2f})",
        )
        model = ELIAS.from_pretrained(models["a"])
        texts = open_dataset(arguments.data).read("test").texts
        assert texts is not None
        (queries,) = model.encode(texts[:500])
        torch.set_num_threads(1)
        one = model.index.search(queries, k=100)
        single = [model.index.search(q[None], k=100) for q in queries]
        torch.set_num_threads(2)
        two = model.index.search(queries, k=100)
        same = all(
            np.array_equal(getattr(one, f), getattr(two, f))
            and np.array_equal(getattr(one, f), np.vstack([getattr(s, f) for s in single]))
            for f in ("ids", "scores")
        )
        report("answers with 1 and 2 threads, single and batched, are identical", same)
    sys.exit(not ok)


if __name__ == "__main__":
    main()
