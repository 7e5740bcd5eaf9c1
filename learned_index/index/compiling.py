"""A trained index in plain arrays, as the search engine takes it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch

from learned_index.engine.building import IndexParts, RegionParts
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
        cluster_vectors_CD=index.router.weight_CD.detach().cpu().numpy(),
        edges_CL=_as_csr(
            index.graph.edge_labels_CM.cpu().numpy(),
            index.graph.weights().detach().cpu().numpy(),
            index.n_labels,
        ),
        label_vectors_LD=weights,
        label_biases_L=biases,
        fold_DD=fold,
        router_scale=index.config.router_scale,
        path_exponent=index.config.path_exponent,
        regions=None if index.hierarchy is None else _region_parts(index.hierarchy),
    )


def _region_parts(hierarchy: RegionHierarchy) -> RegionParts:
    return RegionParts(
        vectors_RD=hierarchy.region_RD,
        edges_RC=_as_csr(
            hierarchy.region_edge_clusters, hierarchy.region_edge_weights, hierarchy.n_clusters
        ),
        scale=hierarchy.scale,
        beam_width=hierarchy.shape.region_beam_width,
        n_candidates=hierarchy.shape.n_candidates,
        reference_width=hierarchy.shape.beam_width,
        coverage=float(hierarchy.coverage),
    )


def _as_csr(
    targets: npt.NDArray[np.int32], weights: npt.NDArray[Any], n_targets: int
) -> sp.csr_matrix:
    """Padded rows of targets and weights as a CSR matrix."""
    used = targets >= 0
    offsets = np.concatenate([[0], np.cumsum(used.sum(axis=1))])
    return sp.csr_matrix(
        (weights[used].astype(np.float32), targets[used], offsets), (len(targets), n_targets)
    )
