"""PECOS XR-Linear: a label tree with a linear classifier for each node (libpecos)."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import scipy.sparse as sp

from peers.harness import main, ranked_csr


class XRLinear:
    """Trains as ``python -m pecos.xmc.xlinear.train`` does: PIFA, hierarchical k-means, chain.

    Args:
        folder: Not used.
        threads: Threads of training.
        **parameters: Those of the command line by name, e.g. ``nr_splits``, ``neg_mining_chain``.
    """

    def __init__(self, *, folder: Path, threads: int, **parameters: Any) -> None:
        self._parameters: dict[str, Any] = {**parameters, "threads": threads}
        self._model: Any = None

    def train(self, x_NF: sp.csr_matrix, y_NL: sp.csr_matrix) -> None:
        """Cluster the labels and train all layers."""
        from pecos.xmc import Indexer, LabelEmbeddingFactory  # type: ignore[import-not-found]
        from pecos.xmc.base import HierarchicalKMeans  # type: ignore[import-not-found]
        from pecos.xmc.xlinear.model import XLinearModel  # type: ignore[import-not-found]

        labels = y_NL.tocsc()
        label_features = LabelEmbeddingFactory.create(labels, x_NF, method="pifa")
        clustering = HierarchicalKMeans.TrainParams.from_dict(self._parameters, recursive=True)
        # A leaf size of 100 or more labels than there are would be one-vs-all, as in PECOS itself.
        chain = Indexer.gen(label_features, train_params=clustering)
        self._model = XLinearModel.train(
            x_NF,
            labels,
            C=chain,
            train_params=XLinearModel.TrainParams.from_dict(self._parameters, recursive=True),
            pred_params=XLinearModel.PredParams.from_dict(self._parameters, recursive=True),
            pred_kwargs={"beam_size": self._parameters.get("beam_size", 10)},
        )

    def save_and_load(self, folder: Path) -> None:
        """Save, and load in the mode that is meant for prediction."""
        from pecos.xmc.xlinear.model import XLinearModel

        self._model.save(str(folder))
        self._model = XLinearModel.load(str(folder), is_predict_only=True)

    def search(self, x_BF: sp.csr_matrix, k: int, threads: int) -> sp.csr_matrix:
        """Predict with the model's beam."""
        return self._model.predict(x_BF, only_topk=k, threads=threads)

    def ranked(self, answer: sp.csr_matrix, k: int) -> tuple[Any, Any]:
        """Sort each row by score."""
        return ranked_csr(answer, k)

    def versions(self) -> dict[str, str]:
        """Version of libpecos."""
        return {"libpecos": version("libpecos")}


if __name__ == "__main__":
    main(XRLinear)
