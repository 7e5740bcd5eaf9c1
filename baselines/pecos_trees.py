"""PECOS XR-Linear: a label tree with a linear classifier for each node."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import scipy.sparse as sp

from learned_index.baselines.points import DEFAULT_BEAM, PointSystem, best_of_sparse
from learned_index.baselines.registry import register
from learned_index.comparison.method import BoundSearch, Ids
from learned_index.config import parameter, seed_parameter
from learned_index.persistence import directory_bytes
from learned_index.system.threads import current_threads
from learned_index.types import Float32Array

INSTALL = (
    "it wants older packages and so an environment of its own: python -m venv pecos; "
    "pecos/bin/pip install 'numpy<2' 'scipy<1.14' scikit-learn safetensors; "
    "pecos/bin/pip install --no-deps libpecos; then name that: --python pecos=pecos/bin/python"
)


@register("pecos", summary="label tree over words (PECOS)", package="libpecos", install=INSTALL)
class PecosTrees(PointSystem):
    """XR-Linear of PECOS (Yu et al., JMLR 2022); the knob is ``beam_size``.

    Trained as ``python -m pecos.xmc.xlinear.train`` does: label features from their points (PIFA),
    hierarchical k-means, then the classifiers of all layers. Searched in the form that the package
    loads for prediction.

    A classifier learns from its own points and those of its parent's labels (teacher-forcing,
    ``"tfn"``), or also from those that the layers above lead there (``"tfn+man"``).
    """

    nr_splits: int = parameter(16, "children of a node", low=2)
    max_leaf_size: int = parameter(100, "labels of a leaf, at most", low=2)
    negatives: Literal["tfn", "tfn+man"] = parameter("tfn", "points that a classifier learns from")
    seed: int = seed_parameter("of the k-means")

    def _train(self, x_NF: sp.csr_matrix, y_NL: sp.csr_matrix) -> Any:
        xmc, base, linear = (
            self.package(module)
            for module in ("pecos.xmc", "pecos.xmc.base", "pecos.xmc.xlinear.model")
        )
        parameters = {
            "nr_splits": self.nr_splits,
            "max_leaf_size": self.max_leaf_size,
            "neg_mining_chain": self.negatives,
            "seed": self.seed,
            "threads": current_threads(),
        }
        labels, model = y_NL.tocsc(), linear.XLinearModel
        chain = xmc.Indexer.gen(
            xmc.LabelEmbeddingFactory.create(labels, x_NF, method="pifa"),
            train_params=base.HierarchicalKMeans.TrainParams.from_dict(parameters, recursive=True),
        )
        if self.progress is not None:
            self.progress(0.2, 1, "training the layers")
        trained = model.train(
            x_NF,
            labels,
            C=chain,
            train_params=model.TrainParams.from_dict(parameters, recursive=True),
            pred_params=model.PredParams.from_dict(parameters, recursive=True),
            pred_kwargs={"beam_size": DEFAULT_BEAM},
        )
        with TemporaryDirectory() as folder:
            trained.save(folder)
            self._disk_bytes = directory_bytes(Path(folder))
            return model.load(folder, is_predict_only=True)

    def bind(self, k: int, **query_arguments: Any) -> BoundSearch:
        """Fix the beam; ``one`` runs on one thread, ``batch`` on all."""
        beam_size = query_arguments.get("beam_size", DEFAULT_BEAM)
        predict, threads = self._index.predict, current_threads()
        return BoundSearch(
            lambda row: predict(row, beam_size=beam_size, only_topk=k, threads=1),
            lambda rows: predict(rows, beam_size=beam_size, only_topk=k, threads=threads),
        )

    def _ranked(self, answer: Any) -> tuple[Ids, Float32Array]:
        return best_of_sparse(sp.csr_matrix(answer))

    def disk_bytes(self) -> int:
        """Return the size of the folder that PECOS wrote: the form it predicts in has no save."""
        self.require_built()
        return self._disk_bytes
