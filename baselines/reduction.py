"""Inner products as distances: the norm coordinate."""

from __future__ import annotations

import numpy as np

from learned_index.types import Float32Array


class NormCoordinate:
    """The usual reduction of inner-product search to L2 search.

    Items get the coordinate ``sqrt(m^2 - |item|^2)``, m the largest norm, so that all have norm m,
    and queries a zero; the order by distance is then the order by inner product. Label classifiers
    differ in norm, and a graph built on raw inner products leaves items that no search reaches.

    Attributes:
        largest_norm: m; 0 before :meth:`lift_items`.
    """

    def __init__(self) -> None:
        self.largest_norm = 0.0

    def lift_items(self, items_LE: Float32Array) -> Float32Array:
        """Return the items with their coordinate, float32 L x (E + 1)."""
        squared_L = np.einsum("le,le->l", items_LE, items_LE, dtype=np.float64)
        largest = float(squared_L.max(initial=0.0))
        self.largest_norm = largest**0.5
        lifted_LE = np.empty((len(items_LE), items_LE.shape[1] + 1), dtype=np.float32)
        lifted_LE[:, :-1] = items_LE
        lifted_LE[:, -1] = np.sqrt(np.maximum(largest - squared_L, 0.0))
        return lifted_LE

    def lift_queries(self, queries_BE: Float32Array) -> Float32Array:
        """Return the queries with a zero, float32 B x (E + 1)."""
        lifted_BE = np.zeros((len(queries_BE), queries_BE.shape[1] + 1), dtype=np.float32)
        lifted_BE[:, :-1] = queries_BE
        return lifted_BE

    def products(self, queries_BE: Float32Array, distances_BK: Float32Array) -> Float32Array:
        """Return the inner products that belong to squared distances, B x K."""
        norms_B1 = np.einsum("be,be->b", queries_BE, queries_BE)[:, None]
        products_BK: Float32Array = (norms_B1 + self.largest_norm**2 - distances_BK) / 2
        return products_BK
