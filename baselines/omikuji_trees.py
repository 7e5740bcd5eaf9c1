"""omikuji: forests of label trees, Parabel and Bonsai.

``benchmarks/peers`` trains the same package in an environment that has not this project, so it
cannot use this adapter.
"""

from __future__ import annotations

import copy
import os
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from learned_index.baselines.base import BoundSearch, require_built
from learned_index.baselines.native_output import native_output_held
from learned_index.baselines.package_search import batch_threads, import_package
from learned_index.baselines.point_system import (
    DEFAULT_BEAM,
    PointSystem,
    check_at_least,
    check_choice,
)
from learned_index.data.formats.xmc import write_xmc
from learned_index.persistence import directory_bytes
from learned_index.types import PAD_ID, PAD_SCORE, Float32Array

Preset: TypeAlias = Literal["parabel", "bonsai"]
PRESETS: dict[Preset, dict[str, Any]] = {
    "parabel": {},
    "bonsai": {"cluster_k": 100, "cluster_balanced": False, "max_depth": 3},
}
"""Hyper-parameters that differ from the package's own, which are Parabel's."""

Pairs: TypeAlias = list[tuple[int, float]]


class OmikujiTrees(PointSystem):
    """omikuji (Prabhu et al., WWW 2018; Khandagale et al., 2020); the knob is ``beam_size``.

    The package trains on a text file, which is written and read inside ``build``. Its ``predict``
    takes one query as a list of (feature, value) pairs, made beforehand; it has no call for a
    batch, so the threads share the rows of one. It takes no seed: two builds differ a little.

    Args:
        preset: ``"parabel"``: balanced binary trees; ``"bonsai"``: 100 children, unbalanced,
            depth 3.
        n_trees: Trees of the forest.
        name: The method as the user wrote it.
    """

    method = "omikuji"

    def __init__(
        self, *, preset: Preset = "parabel", n_trees: int = 3, name: str | None = None
    ) -> None:
        super().__init__(name=name)
        check_choice(preset, get_args(Preset), what="preset of omikuji")
        check_at_least(n_trees, 1, what="n_trees of omikuji")
        self.preset: Preset = preset
        self.n_trees = n_trees
        self._single: Any = None
        self._pool: tuple[tuple[int, int], ThreadPoolExecutor] | None = None

    def _train(self, x_NF: sp.csr_matrix, y_NL: sp.csr_matrix) -> Any:
        omikuji = import_package("omikuji")
        chosen = omikuji.Model.default_hyper_param()
        for parameter, value in {**PRESETS[self.preset], "n_trees": self.n_trees}.items():
            setattr(chosen, parameter, value)
        with TemporaryDirectory() as folder:
            path = Path(folder) / "train.xmc.txt"
            write_xmc(path, x_NF, y_NL)
            with native_output_held():
                model = omikuji.Model.train_on_data(str(path), chosen, n_threads=batch_threads())
        # A pool of threads belongs to the Python object; the trees are shared.
        self._single = copy.copy(model)
        self._single.init_prediction_thread_pool(1)
        self._pool = None
        return model

    def prepare_queries(self, queries_BF: sp.csr_matrix) -> list[Pairs]:
        """Make a list of (feature, value) pairs of each row."""
        indices, values, bounds = queries_BF.indices, queries_BF.data, queries_BF.indptr
        return [
            list(zip(indices[start:end].tolist(), values[start:end].tolist(), strict=True))
            for start, end in pairwise(bounds.tolist())
        ]

    def split_queries(self, prepared_B: list[Pairs]) -> list[Pairs]:
        """Return the lists as they are."""
        return prepared_B

    def bind(self, k: int, **query_arguments: Any) -> BoundSearch:
        """Fix the beam; ``one`` runs on one thread, ``batch`` on as many as torch uses."""
        beam_size = query_arguments.get("beam_size", DEFAULT_BEAM)
        single, threads = self._single.predict, batch_threads()

        def one(row: Pairs) -> list[tuple[int, float]]:
            return single(row, beam_size, k)  # type: ignore[no-any-return]

        if threads == 1:
            return BoundSearch(one, lambda rows: [one(row) for row in rows])
        owner = os.getpid(), threads  # a forked child does not have its parent's threads
        if self._pool is None or self._pool[0] != owner:
            self._pool = owner, ThreadPoolExecutor(threads)
            self._model.init_prediction_thread_pool(threads)
        predict, share = self._model.predict, self._pool[1].map

        def batch(rows: list[Pairs]) -> list[list[tuple[int, float]]]:
            return list(share(lambda row: predict(row, beam_size, k), rows))

        return BoundSearch(one, batch)

    def _ranked(self, answer: Any) -> tuple[npt.NDArray[np.integer[Any]], Float32Array]:
        width = max(map(len, answer), default=0)
        ids = np.full((len(answer), width), PAD_ID, dtype=np.int64)
        scores = np.full((len(answer), width), PAD_SCORE, dtype=np.float32)
        for row, found in enumerate(answer):
            if found:
                ids[row, : len(found)], scores[row, : len(found)] = zip(*found, strict=True)
        return ids, scores

    def disk_bytes(self) -> int:
        """Return the size of the folder that omikuji writes."""
        require_built(self._model, self.name)
        with TemporaryDirectory() as folder:
            with native_output_held():
                self._model.save(folder)
            return directory_bytes(Path(folder))
