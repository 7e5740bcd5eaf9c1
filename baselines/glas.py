"""Nearest-neighbour search over classifiers that were trained for it: GLaS.

Guo et al., Breaking the Glass Ceiling for Embedding-Based Classifiers for Large Output Spaces,
NeurIPS 2019. Classifiers are trained on random negatives with a term that spreads them over the
sphere (:mod:`learned_index.baselines.shortlists.spreading`); a query's labels are those of the
largest inner products, which a graph (HNSW) finds.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from learned_index.baselines.classifiers import TrainedClassifiers, training_vectors
from learned_index.baselines.faiss_index import HnswSearch
from learned_index.baselines.points import training_labels
from learned_index.baselines.registry import register
from learned_index.comparison.method import BoundSearch, Ids
from learned_index.config import parameter
from learned_index.types import Float32Array, Int64Array


@register("glas", summary="a graph over classifiers trained for it (GLaS)")
class GlasSearch(TrainedClassifiers):
    """Classifiers spread over the sphere, in a graph of themselves; the knob is ``ef_search``.

    The negatives of a step are drawn from all labels alike, the same for the points of a batch.
    """

    arguments: ClassVar[dict[str, type]] = {"ef_search": int}
    sweep = HnswSearch.sweep

    shortlist_size: int = parameter(2000, "random negatives K of a training point")
    # The term is a mean over pairs of labels: at 10 nothing changes, from 1000 on directions do.
    spreading_weight: float = parameter(1000.0, "weight of the spreading term; 0 is off", low=0.0)
    spreading_labels: int = parameter(1024, "labels of a batch that the term is taken over")
    links: int = parameter(32, "links of a node of the graph")
    ef_construction: int = parameter(200, "candidates examined for each node while building")

    def build(self, *data: Any) -> None:
        """Train on embeddings (memory-mapped ones are read batch by batch) and their labels.

        Raises:
            InputError: Shapes do not fit, or a vector holds NaN or infinity.
            MissingExtraError: FAISS is not installed.
        """
        from learned_index.baselines.shortlists.spreading import SpreadingTerm
        from learned_index.baselines.shortlists.training import ShortlistTraining

        vectors_ND = training_vectors(data[0])
        labels = training_labels(data[1], n_points=len(vectors_ND))
        self._dim = vectors_ND.shape[1]
        term = None
        if self.spreading_weight:
            term = SpreadingTerm(
                labels,
                weight=self.spreading_weight,
                most_labels=self.spreading_labels,
                seed=self.seed,
            )
        training = ShortlistTraining(
            self,
            vectors_ND,
            labels,
            negatives=_RandomLabels(labels.shape[1], self.shortlist_size, seed=self.seed),
            regulariser=term,
        )
        training.run()
        matrix = training.projection_DD
        self._projection_DD = None if matrix is None else matrix.detach().numpy()
        weight_LD, bias_L = training.weight_LD.detach().numpy(), training.bias_L.detach().numpy()
        graph = HnswSearch(
            name=self.name,
            factory=f"HNSW{self.links}",
            metric="reduced",
            ef_construction=self.ef_construction,
        )
        graph.build(np.concatenate([weight_LD, bias_L[:, None]], axis=1))
        self._index = graph

    fit = build

    def prepare_queries(self, queries: Any) -> Any:
        """Return the queries as float32."""
        return self.checked_queries(queries)

    def bind(self, k: int, **query_arguments: Any) -> BoundSearch:
        """Fix the knob: what is left is the projection and FAISS's own ``search``."""
        self.require_built()
        graph = self._index
        bound = graph.bind(k, **query_arguments)

        def items(rows: Float32Array) -> Float32Array:
            prepared: Float32Array = graph.prepare_queries(self.projected(rows))
            return prepared

        return BoundSearch(lambda row: bound.one(items(row)), lambda rows: bound.batch(items(rows)))

    def _answer(self, rows: Any, k: int, arguments: dict[str, Any]) -> tuple[Ids, Any]:
        return tuple(self._index.search(self.projected(rows), k, **arguments))


class _RandomLabels:
    """K of L labels at random, other ones for each batch; see ``shortlists.training.Negatives``."""

    def __init__(self, n_labels: int, size: int, *, seed: int) -> None:
        self._n_labels, self._size = n_labels, min(size, n_labels)
        self._generator = np.random.default_rng(seed)

    def __call__(self, rows: Int64Array) -> Int64Array:
        drawn_K = self._generator.choice(self._n_labels, self._size, replace=False)
        return np.broadcast_to(np.sort(drawn_K).astype(np.int64), (len(rows), self._size))
