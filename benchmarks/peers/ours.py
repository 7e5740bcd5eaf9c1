"""Measure a model that ``li train`` saved, as the peers are measured: the vectors are given.

Encoding is timed apart, on a sample and without a cache.
"""

from __future__ import annotations

import argparse
import time
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from learned_index.cli.shared.sources import bind, points_for
from learned_index.data import open_dataset
from learned_index.elias.model import ELIAS
from learned_index.encoders import cached_encode
from learned_index.system.threads import limit_threads
from peers.harness import folder_bytes, measure_search, write_outcome

SAMPLE = 256
"""Queries that are encoded to learn what encoding costs."""


def main() -> None:
    """Load, encode, search, write ``top.npz`` and ``measurements.json``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--split", required=True)
    parser.add_argument("--model", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--threads", required=True, type=int)
    parser.add_argument("--k", required=True, type=int)
    arguments = parser.parse_args()
    test = open_dataset(arguments.data).read(arguments.split)
    model = ELIAS.from_pretrained(arguments.model)
    for encoder in model.encoders:
        bind(encoder, test)
    points: Any = points_for(model.encoder, test)
    with limit_threads(arguments.threads):
        print("encoding", flush=True)
        encode_ms = _encode_ms(model, points)
        vectors = [
            np.asarray(
                cached_encode(encoder, points) if test.texts is not None else encoder.encode(points)
            )
            for encoder in model.encoders
        ]
        sparse = None if model.ranker_ is None else model.features.encode(points)  # type: ignore[union-attr]

    limit = ExitStack()
    limited_to = 0

    def search(rows: slice, threads: int) -> Any:
        nonlocal limited_to
        if threads != limited_to:  # only then: setting it takes longer than a search
            limit.close()
            limit.enter_context(limit_threads(threads))
            limited_to = threads
        return model.search(
            points[rows],
            arguments.k,
            vectors=[x[rows] for x in vectors],
            sparse=None if sparse is None else sparse[rows],
        )

    print("predicting", flush=True)
    with limit:
        ids, scores, times = measure_search(
            search,
            lambda answer: (answer.ids, answer.scores),
            n_queries=len(vectors[0]),
            threads=arguments.threads,
        )
    measurements = {
        **times,
        "encode_ms": encode_ms,
        "model_bytes": folder_bytes(arguments.model),
        "versions": {"learned-index": version("learned-index")},
    }
    write_outcome(arguments.out, ids, scores, measurements)


def _encode_ms(model: ELIAS, points: Any) -> float:
    """Milliseconds per query for vectors and sparse features, in one batch of the sample."""
    sample = points[:SAMPLE]
    model.encode(sample[:8])
    start = time.perf_counter()
    model.encode(sample)
    if model.ranker_ is not None and model.features is not None:
        model.features.encode(sample)
    count = sample.shape[0] if hasattr(sample, "shape") else len(sample)
    return 1e3 * (time.perf_counter() - start) / max(count, 1)


if __name__ == "__main__":
    main()
