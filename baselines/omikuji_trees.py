"""omikuji: forests of label trees, Parabel and Bonsai."""

from __future__ import annotations

import copy
import os
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, TypeAlias

import numpy as np
import scipy.sparse as sp

from learned_index.baselines.native_output import native_output_held
from learned_index.baselines.points import DEFAULT_BEAM, PointSystem
from learned_index.baselines.registry import register
from learned_index.comparison.method import BoundSearch, Ids
from learned_index.config import parameter
from learned_index.data.formats.xmc import write_xmc
from learned_index.system.threads import current_threads
from learned_index.types import PAD_ID, PAD_SCORE, Float32Array

PRESETS: dict[str, dict[str, Any]] = {
    "parabel": {},
    "bonsai": {"cluster_k": 100, "cluster_balanced": False, "max_depth": 3},
}
"""Hyper-parameters that differ from the package's own, which are Parabel's."""

Pairs: TypeAlias = list[tuple[int, float]]


@register("omikuji", summary="forests of label trees over words (omikuji)", package="omikuji")
class OmikujiTrees(PointSystem):
    """omikuji (Prabhu et al., WWW 2018; Khandagale et al., 2020); the knob is ``beam_size``.

    The package trains on a text file, which is written and read inside ``build``. Its ``predict``
    takes one query as a list of (feature, value) pairs, made beforehand; it has no call for a
    batch, so the threads share the rows of one. It takes no seed: two builds differ a little.
    """

    one_is_a_row = True

    preset: Literal["parabel", "bonsai"] = parameter(
        "parabel", "balanced binary trees; bonsai: 100 children, unbalanced, depth 3"
    )
    n_trees: int = parameter(3, "trees of the forest")
    cost: float = parameter(1.0, "C of the linear classifiers", low=1e-9)
    threshold: float = parameter(0.1, "weights of the classifiers below this are dropped", low=0.0)

    def _train(self, x_NF: sp.csr_matrix, y_NL: sp.csr_matrix) -> Any:
        omikuji = self.package("omikuji")
        chosen = omikuji.Model.default_hyper_param()
        own = {
            "n_trees": self.n_trees,
            "linear_c": self.cost,
            "linear_weight_threshold": self.threshold,
        }
        for name, value in {**PRESETS[self.preset], **own}.items():
            setattr(chosen, name, value)
        with TemporaryDirectory() as folder:
            path = Path(folder) / "train.xmc.txt"
            write_xmc(path, x_NF, y_NL)
            with native_output_held():
                model = omikuji.Model.train_on_data(str(path), chosen, n_threads=current_threads())
        # A pool of threads belongs to the Python object; the trees are shared.
        self._single = copy.copy(model)
        self._single.init_prediction_thread_pool(1)
        self._pool: tuple[tuple[int, int], ThreadPoolExecutor] | None = None
        return model

    def prepare_queries(self, queries: sp.csr_matrix) -> list[Pairs]:
        """Make a list of (feature, value) pairs of each row."""
        indices, values = queries.indices, queries.data
        return [
            list(zip(indices[start:end].tolist(), values[start:end].tolist(), strict=True))
            for start, end in pairwise(queries.indptr.tolist())
        ]

    def bind(self, k: int, **query_arguments: Any) -> BoundSearch:
        """Fix the beam; ``one`` runs on one thread, ``batch`` on all."""
        beam_size = query_arguments.get("beam_size", DEFAULT_BEAM)
        single, threads = self._single.predict, current_threads()

        def one(row: Pairs) -> Pairs:
            return single(row, beam_size, k)  # type: ignore[no-any-return]

        if threads == 1:
            return BoundSearch(one, lambda rows: [one(row) for row in rows])
        owner = os.getpid(), threads  # a forked child does not have its parent's threads
        if self._pool is None or self._pool[0] != owner:
            self._pool = owner, ThreadPoolExecutor(threads)
            self._index.init_prediction_thread_pool(threads)
        predict, share = self._index.predict, self._pool[1].map

        def batch(rows: list[Pairs]) -> list[Pairs]:
            return list(share(lambda row: predict(row, beam_size, k), rows))

        return BoundSearch(one, batch)

    def _ranked(self, answer: Any) -> tuple[Ids, Float32Array]:
        width = max(map(len, answer), default=0)
        ids = np.full((len(answer), width), PAD_ID, dtype=np.int64)
        scores = np.full((len(answer), width), PAD_SCORE, dtype=np.float32)
        for row, found in enumerate(answer):
            if found:
                ids[row, : len(found)], scores[row, : len(found)] = zip(*found, strict=True)
        return ids, scores

    def _save(self, folder: Path) -> None:
        with native_output_held():
            self._index.save(str(folder))
