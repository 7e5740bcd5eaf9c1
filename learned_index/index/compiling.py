"""A trained index in plain arrays, as the search engine takes it."""

from __future__ import annotations

import numpy as np
import torch

from learned_index.engine.building import IndexParts, RegionParts
from learned_index.index.graph import as_csr
from learned_index.index.hierarchy import RegionHierarchy
from learned_index.index.network import IndexNetwork


@torch.no_grad()
def engine_parts(index: IndexNetwork) -> IndexParts:
    """Vectors, edges and constants of an index, on the CPU.

    ``w.(s x + P s x) = (s (I + P)^T w).x`` with the input scale s: the map is handed over so that
    the engine folds it into the vectors and takes queries as they come.
    """
    scale = float(index.input_scale)
    fold = None
    if index.projection is not None:
        projection = index.projection.weight.detach().cpu().numpy()
        fold = scale * (np.eye(index.dim, dtype=np.float32) + projection)
    elif scale != 1.0:
        fold = np.float32(scale) * np.eye(index.dim, dtype=np.float32)
    weights, biases = index.label_classifiers()
    return IndexParts(
        cluster_vectors_CD=index.router.vectors(),
        edges_CL=as_csr(*index.graph.arrays(), index.n_labels),
        label_vectors_LD=weights,
        label_biases_L=biases,
        fold_DD=fold,
        router_scale=index.config.router_scale,
        path_exponent=index.config.path_exponent,
        regions=None if index.hierarchy is None else _region_parts(index.hierarchy),
    )


def _region_parts(hierarchy: RegionHierarchy) -> RegionParts:
    return RegionParts(
        vectors_RD=hierarchy.router.vectors(),
        edges_RC=as_csr(*hierarchy.graph.arrays(), hierarchy.n_clusters),
        scale=hierarchy.router.scale,
        beam_width=hierarchy.shape.region_beam_width,
        n_candidates=hierarchy.shape.n_candidates,
        reference_width=hierarchy.shape.beam_width,
        coverage=float(hierarchy.coverage),
    )
