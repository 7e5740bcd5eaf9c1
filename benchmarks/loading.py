"""The engine of a saved model and vectors to search it with, for the benchmarks of the engine."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from learned_index.engine.config import EngineConfig
from learned_index.engine.search_engine import SearchEngine


def add_model_arguments(parser: argparse.ArgumentParser, *, queries: int, required: bool) -> None:
    """Add ``--model``, ``--data``, ``--split``, ``--precision`` and ``--queries``."""
    parser.add_argument("--model", type=Path, required=required, help="a saved model")
    parser.add_argument("--data", required=required, help="data folder of the model")
    parser.add_argument("--split", default="test")
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--queries", type=int, default=queries)


def engine_and_queries(chosen: argparse.Namespace) -> tuple[SearchEngine, np.ndarray]:
    """Make the engine of the model (of its first member), encode a split through the cache.

    Raises:
        SystemExit: The members of the model have encoders of their own.
    """
    from learned_index.cli.shared.sources import model_vectors, resolve_data
    from learned_index.elias.model import ELIAS

    model = ELIAS.from_pretrained(chosen.model)
    vectors = model_vectors(model, resolve_data(chosen.data).read(chosen.split))
    if vectors is None:
        raise SystemExit("the members of this model have encoders of their own")
    engine = model.trained_members()[0].to_engine(EngineConfig(precision=chosen.precision))
    return engine, np.ascontiguousarray(vectors[: chosen.queries], np.float32)
