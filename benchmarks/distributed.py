"""Several processes train what one process trains, up to rounding.

    python benchmarks/distributed.py --data DIR --encoder bow --processes 2

Trains the same index twice, in one process and under torchrun, and compares the parameters, the
metrics on the test split, and the time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from learned_index import LearnedGraphIndex, TrainingConfig
from learned_index.data import open_dataset
from learned_index.encoders.lexical.bow import BagOfWordsEncoder
from learned_index.encoders.lexical.lsa import LSAEncoder
from learned_index.index.fit import fit_end_to_end
from learned_index.metrics import evaluate, label_propensities
from learned_index.persistence import load_arrays, save_arrays


def train(arguments: argparse.Namespace) -> None:
    """Train in this process, or in this one of several; process 0 writes what came out."""
    torch.set_num_threads(arguments.threads)
    folder = open_dataset(arguments.data)
    data, test = folder.read("train"), folder.read("test")
    assert data.texts is not None and test.texts is not None
    training = TrainingConfig(
        seed=arguments.seed,
        stage1_epochs=arguments.epochs,
        stage2_epochs=arguments.epochs,
        warm_epochs=1,
        label_update_every=arguments.label_update_every,
    )
    index = LearnedGraphIndex(training=training)
    encoder: Any = (BagOfWordsEncoder if arguments.encoder == "bow" else LSAEncoder)(arguments.dim)
    encoder.fit(data.texts)
    start = time.perf_counter()
    if arguments.encoder == "bow":
        fit_end_to_end(index, encoder, data.texts, data.labels)
    else:
        index.fit(encoder.encode(data.texts), data.labels)
    seconds = time.perf_counter() - start
    if os.environ.get("RANK", "0") != "0":
        return
    arrays = {name: tensor.numpy() for name, tensor in index.state_dict().items()}
    if arguments.encoder == "bow":
        arrays["encoder"] = encoder.bag.weight.detach().numpy()
    save_arrays(arguments.worker / "parameters.safetensors", arrays)
    result = index.search(encoder.encode(test.texts), k=100)
    metrics = evaluate(result, test.labels, propensities=label_propensities(data.labels))
    report = {"seconds": seconds, **metrics}
    (arguments.worker / "report.json").write_text(json.dumps(report))


def main() -> None:
    """Train twice and compare; the exit code is 1 when parameters differ more than allowed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--encoder", choices=["bow", "lsa"], default="bow")
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=2, help="of each of the two stages")
    parser.add_argument("--label-update-every", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tolerance", type=float, default=1e-3)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker is not None:
        train(arguments)
        return
    reports, parameters = [], []
    with tempfile.TemporaryDirectory() as folder:
        for count in (1, arguments.processes):
            out = Path(folder) / str(count)
            out.mkdir()
            launcher = ["-m", "torch.distributed.run", "--standalone"]
            launcher += ["--nproc-per-node", str(count)]
            command = [sys.executable, *(launcher if count > 1 else []), __file__]
            subprocess.run([*command, *sys.argv[1:], "--worker", str(out)], check=True)
            reports.append(json.loads((out / "report.json").read_text()))
            parameters.append(load_arrays(out / "parameters.safetensors"))
    worst = {
        name: float(np.abs(parameters[0][name] - parameters[1][name]).max())
        for name in parameters[0]
    }
    print("| processes | seconds | P@1 | P@5 | R@100 |\n|---|---|---|---|---|")
    for count, report in zip((1, arguments.processes), reports, strict=True):
        cells = " | ".join(f"{report[k]:.2f}" for k in ("seconds", "P@1", "P@5", "R@100"))
        print(f"| {count} | {cells} |")
    name, difference = max(worst.items(), key=lambda item: item[1])
    print(f"largest difference of a parameter: {difference:.2e} in {name}")
    sys.exit(difference > arguments.tolerance)


if __name__ == "__main__":
    main()
