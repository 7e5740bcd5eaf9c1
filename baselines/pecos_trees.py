"""PECOS XR-Linear: a label tree with a linear classifier for each node.

``benchmarks/peers`` trains the same package in an environment that has not this project, so it
cannot use this adapter.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from learned_index.baselines.base import BoundSearch, require_built
from learned_index.baselines.knn import best_of_sparse
from learned_index.baselines.package_search import batch_threads, import_package
from learned_index.baselines.point_system import (
    DEFAULT_BEAM,
    PointSystem,
    check_at_least,
    check_choice,
)
from learned_index.persistence import directory_bytes
from learned_index.types import Float32Array

Negatives: TypeAlias = Literal["tfn", "tfn+man"]
INSTALL = (
    "it wants older packages, so an environment of its own: pip install learned-index libpecos "
    "'numpy<2' 'scipy<1.14' 'pyarrow<22'"
)


class PecosTrees(PointSystem):
    """XR-Linear of PECOS (Yu et al., JMLR 2022); the knob is ``beam_size``.

    Trained as ``python -m pecos.xmc.xlinear.train`` does: label features from their points (PIFA),
    hierarchical k-means, then the classifiers of all layers. Searched in the form that the package
    loads for prediction.

    Args:
        nr_splits: Children of a node.
        max_leaf_size: Labels of a leaf, at most.
        negatives: Points that a classifier learns from beside its own: those of its parent's
            labels (teacher-forcing, ``"tfn"``), and also those that the layers above lead there
            (``"tfn+man"``).
        seed: Of the k-means.
        name: The method as the user wrote it.
    """

    method = "pecos"

    def __init__(
        self,
        *,
        nr_splits: int = 16,
        max_leaf_size: int = 100,
        negatives: Negatives = "tfn",
        seed: int = 0,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        check_at_least(nr_splits, 2, what="nr_splits of pecos")
        check_at_least(max_leaf_size, 2, what="max_leaf_size of pecos")
        check_choice(negatives, get_args(Negatives), what="negatives of pecos")
        check_at_least(seed, 0, what="seed of pecos")
        self.nr_splits, self.max_leaf_size = nr_splits, max_leaf_size
        self.negatives: Negatives = negatives
        self.seed = seed
        self._disk_bytes: int | None = None

    def _train(self, x_NF: sp.csr_matrix, y_NL: sp.csr_matrix) -> Any:
        xmc, base, linear = (
            import_package(module, distribution="libpecos", install=INSTALL)
            for module in ("pecos.xmc", "pecos.xmc.base", "pecos.xmc.xlinear.model")
        )
        parameters = {
            "nr_splits": self.nr_splits,
            "max_leaf_size": self.max_leaf_size,
            "neg_mining_chain": self.negatives,
            "seed": self.seed,
            "threads": batch_threads(),
        }
        labels = y_NL.tocsc()
        chain = xmc.Indexer.gen(
            xmc.LabelEmbeddingFactory.create(labels, x_NF, method="pifa"),
            train_params=base.HierarchicalKMeans.TrainParams.from_dict(parameters, recursive=True),
        )
        if self.progress is not None:
            self.progress(0.2, "training the layers")
        model = linear.XLinearModel.train(
            x_NF,
            labels,
            C=chain,
            train_params=linear.XLinearModel.TrainParams.from_dict(parameters, recursive=True),
            pred_params=linear.XLinearModel.PredParams.from_dict(parameters, recursive=True),
            pred_kwargs={"beam_size": DEFAULT_BEAM},
        )
        with TemporaryDirectory() as folder:
            model.save(folder)
            self._disk_bytes = directory_bytes(Path(folder))
            return linear.XLinearModel.load(folder, is_predict_only=True)

    def split_queries(self, prepared_BF: sp.csr_matrix) -> list[sp.csr_matrix]:
        """Return the rows, each a matrix."""
        return [prepared_BF[row] for row in range(prepared_BF.shape[0])]

    def bind(self, k: int, **query_arguments: Any) -> BoundSearch:
        """Fix the beam; ``one`` runs on one thread, ``batch`` on as many as torch uses."""
        beam_size = query_arguments.get("beam_size", DEFAULT_BEAM)
        predict, threads = self._model.predict, batch_threads()
        return BoundSearch(
            lambda row: predict(row, beam_size=beam_size, only_topk=k, threads=1),
            lambda rows: predict(rows, beam_size=beam_size, only_topk=k, threads=threads),
        )

    def _ranked(self, answer: Any) -> tuple[npt.NDArray[np.integer[Any]], Float32Array]:
        scores_BL = sp.csr_matrix(answer)
        width = int(np.diff(scores_BL.indptr).max(initial=0))
        found = best_of_sparse(scores_BL, width)
        return found.ids, found.scores

    def disk_bytes(self) -> int | None:
        """Return the size of the folder that PECOS writes."""
        require_built(self._model, self.name)
        return self._disk_bytes
