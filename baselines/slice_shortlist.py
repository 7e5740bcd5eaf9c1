"""Slice: negatives and shortlists are the nearest label centroids (Jain et al., WSDM 2019).

Also the shortlist of Astec and DeepXML (Dahiya et al., WSDM 2021). A graph over the centroids of
the labels (mean of their points' unit vectors) is searched with a point's vector; what it finds are
the point's negatives in training and the labels to score in search. The graph knows nothing of the
classifiers and does not change.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from learned_index.baselines.classifiers import TrainedClassifiers, blocks_of, training_vectors
from learned_index.baselines.faiss_index import HnswSearch
from learned_index.baselines.ova_step import label_centroids
from learned_index.baselines.points import training_labels
from learned_index.baselines.registry import register
from learned_index.comparison.method import Ids
from learned_index.config import parameter
from learned_index.system.extras import Deferred
from learned_index.types import PAD_ID, PAD_SCORE, Float32Array, Int64Array

torch: Any = Deferred("torch", extra="train")

_BYTES_IN_MEMORY = 2**31
_ROWS_AT_ONCE = 1024


@register("slice", summary="shortlists of the nearest label centroids (Slice, Astec)")
class SliceSearch(TrainedClassifiers):
    """Label classifiers behind a graph (HNSW) over label centroids; the knob is ``ef_search``.

    A query's ``min(ef_search, shortlist_size)`` nearest centroids are scored by
    ``beta sigmoid(z) + (1 - beta) sigmoid(cosine)``, classifier and centroid together.
    """

    arguments: ClassVar[dict[str, type]] = {"ef_search": int}

    shortlist_size: int = parameter(2000, "labels K of a shortlist, in training and search")
    links: int = parameter(32, "links of a node of the graph")
    ef_construction: int = parameter(200, "candidates examined for each node while building")
    classifier_share: float = parameter(
        0.5, "beta: weight of the classifier beside the cosine", low=0.0, high=1.0
    )

    def build(self, *data: Any) -> None:
        """Train on embeddings (memory-mapped ones are read batch by batch) and their labels.

        Raises:
            InputError: Shapes do not fit, or a vector holds NaN or infinity.
            MissingExtraError: FAISS is not installed.
        """
        from learned_index.baselines.shortlists.training import ShortlistTraining

        vectors_ND = training_vectors(data[0])
        labels = training_labels(data[1], n_points=len(vectors_ND))
        self._dim = vectors_ND.shape[1]
        unit_blocks = ((rows, unit_rows(block)) for rows, block in blocks_of(vectors_ND))
        centroids_LD = label_centroids(unit_blocks, labels, dim=self._dim, scale=1.0)
        graph = HnswSearch(
            name=self.name,
            factory=f"HNSW{self.links}",
            metric="reduced",
            ef_construction=self.ef_construction,
        )
        graph.build(centroids_LD)
        self._graph, self._n_labels = graph, labels.shape[1]
        shortlists_NK = self._shortlists(vectors_ND)
        training = ShortlistTraining(
            self,
            vectors_ND,
            labels,
            negatives=lambda rows: shortlists_NK[rows].astype(np.int64),
        )
        training.run()
        self._weight_LD, self._bias_L = training.weight_LD.detach(), training.bias_L.detach()
        matrix = training.projection_DD
        self._projection_DD = None if matrix is None else matrix.detach().numpy()
        self._index = graph

    fit = build

    def _shortlists(self, vectors_ND: Any) -> npt.NDArray[np.int32]:
        """The nearest centroids of all points, N x K; beyond 2 GiB they lie in a file."""
        shape = (len(vectors_ND), min(self.shortlist_size, self._n_labels))
        if 4 * shape[0] * shape[1] <= _BYTES_IN_MEMORY:
            out = np.empty(shape, np.int32)
        else:
            # The file has no name any more; it goes when the mapping does.
            with tempfile.TemporaryFile(prefix="learned-index-") as file:
                out = np.memmap(file, np.int32, mode="w+", shape=shape)
        for start in range(0, len(vectors_ND), _ROWS_AT_ONCE):
            rows = np.asarray(vectors_ND[start : start + _ROWS_AT_ONCE], dtype=np.float32)
            out[start : start + _ROWS_AT_ONCE] = self.shortlist(rows, self.shortlist_size)[0]
        return out

    def shortlist(self, rows: Float32Array, ef_search: int) -> tuple[Int64Array, Float32Array]:
        """Return labels and cosines of the nearest centroids, padded with -1 and -inf.

        Args:
            rows: Vectors, B x D.
            ef_search: Candidates of the graph's search.
        """
        width = min(ef_search, self.shortlist_size, self._n_labels)
        return tuple(self._graph.search(unit_rows(rows), width, ef_search=ef_search))  # type: ignore[return-value]

    def query_grid(self) -> Sequence[dict[str, Any]]:
        """Return the sweep of ``ef_search``; beyond the shortlist it finds nearer centroids."""
        values = (100, 150, 200, 300, 400, 600, 800, 1200, 1600, 2400, 3200)
        most = 2 * min(self.shortlist_size, self._n_labels)
        return [{"ef_search": value} for value in values if value <= max(most, values[0])]

    def _answer(self, rows: Any, k: int, arguments: dict[str, Any]) -> tuple[Ids, Any]:
        from learned_index.kernels.classify import score_labels

        ids_BK, cosines_BK = self.shortlist(rows, arguments.get("ef_search", self.shortlist_size))
        x_BD = torch.from_numpy(np.ascontiguousarray(self.projected(rows)[:, :-1]))
        ids = torch.from_numpy(ids_BK)
        with torch.no_grad():
            logits_BK = score_labels(x_BD, self._weight_LD, self._bias_L, ids)
        scores_BK = self.combined(logits_BK, torch.from_numpy(cosines_BK))
        scores_BK = scores_BK.masked_fill(ids == PAD_ID, PAD_SCORE)
        best = torch.topk(scores_BK, min(k, scores_BK.shape[1]), dim=1)
        return ids.gather(1, best.indices).numpy(), best.values.numpy()

    def combined(self, logits_BK: Any, cosines_BK: Any) -> Any:
        """Return ``beta sigmoid(z) + (1 - beta) sigmoid(cosine)`` of two tensors."""
        share = self.classifier_share
        return share * logits_BK.sigmoid() + (1.0 - share) * cosines_BK.sigmoid()

    def disk_bytes(self) -> int:
        """Return the bytes of graph and centroids, W, b and P."""
        classifiers = self._weight_LD.nbytes + self._bias_L.nbytes if self._index else 0
        return super().disk_bytes() + int(classifiers)


def unit_rows(rows: Float32Array) -> Float32Array:
    """Return the rows at length 1; rows of zeros stay."""
    norms_B1 = np.sqrt(np.einsum("bd,bd->b", rows, rows))[:, None]
    return np.asarray(rows / np.maximum(norms_B1, np.float32(1e-12)))
