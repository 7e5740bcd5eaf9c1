"""Save and load an index: one directory, safetensors and JSON."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from learned_index.engine import SearchEngine
from learned_index.engine.saving import KIND as ENGINE_KIND
from learned_index.engine.saving import load_engine
from learned_index.errors import InputError
from learned_index.graph.adjacency import ClusterLabelGraph
from learned_index.graph.config import IndexConfig, TrainingConfig
from learned_index.graph.hierarchy import HierarchyShape
from learned_index.graph.pruning import PruningReport
from learned_index.persistence import (
    atomic_directory,
    load_arrays,
    read_manifest,
    reading_model,
    save_arrays,
    saved_kind,
    write_manifest,
)

if TYPE_CHECKING:
    from learned_index.graph.learned_graph_index import LearnedGraphIndex

KIND = "learned-graph-index"
_ARRAYS = "index.safetensors"


def save_index(index: LearnedGraphIndex, directory: Path, *, overwrite: bool) -> None:
    """See :meth:`LearnedGraphIndex.save_pretrained`."""
    arrays = {name: tensor.detach().cpu().numpy() for name, tensor in index.state_dict().items()}
    pruning = index.graph.pruning
    with atomic_directory(directory, overwrite=overwrite) as temporary:
        save_arrays(temporary / _ARRAYS, arrays)
        write_manifest(
            temporary,
            kind=KIND,
            config={
                "index": index.config.to_dict(),
                "training": index.training_config.to_dict(),
                "dim": index.dim,
                "n_labels": index.n_labels,
                "n_clusters": index.n_clusters,
                "edge_scale": index.graph.scale,
                "hierarchy": describe_hierarchy(index),
                "pruning": None if pruning is None else asdict(pruning),
            },
        )


def load_index(directory: Path, *, verify: bool) -> LearnedGraphIndex:
    """See :meth:`LearnedGraphIndex.from_pretrained`."""
    from learned_index.graph.learned_graph_index import LearnedGraphIndex

    manifest = read_manifest(directory, kind=KIND, verify=verify)
    arrays = load_arrays(manifest.file(_ARRAYS))
    with reading_model(directory, "index"):
        config = manifest.config
        index = LearnedGraphIndex(
            IndexConfig.from_dict(config["index"]),
            training=TrainingConfig.from_dict(config["training"]),
        )
        dim, n_labels, n_clusters = (int(config[key]) for key in ("dim", "n_labels", "n_clusters"))
        restore_index(
            index,
            {name: torch.from_numpy(array) for name, array in arrays.items()},
            dim=dim,
            n_labels=n_labels,
            n_clusters=n_clusters,
            edge_scale=float(config["edge_scale"]),
            hierarchy=config.get("hierarchy"),
        )
        if config.get("pruning") is not None:
            index.graph.pruning = PruningReport(**config["pruning"])
    return index.eval()


def restore_index(
    index: LearnedGraphIndex,
    tensors: dict[str, torch.Tensor],
    *,
    dim: int,
    n_labels: int,
    n_clusters: int,
    edge_scale: float,
    hierarchy: dict[str, Any] | None = None,
) -> None:
    """Give an index the shape and the values that its ``state_dict`` had.

    Args:
        index: Its parameters are replaced.
        tensors: The ``state_dict``.
        dim: D.
        n_labels: L.
        n_clusters: C.
        edge_scale: beta.
        hierarchy: What :func:`describe_hierarchy` gave; None: a flat index.

    Raises:
        InputError: Ids out of range.
        KeyError: A tensor is missing.
        RuntimeError: A tensor has another shape.
    """
    shape = None if hierarchy is None else HierarchyShape(**hierarchy["shape"])
    if shape is not None:
        _check_shape(shape, n_clusters)
    index.allocate(dim=dim, n_labels=n_labels, n_clusters=n_clusters, hierarchy=shape)
    _check_ids(tensors["cluster_of_label_L"][None].numpy(), 1, n_clusters)
    index.graph = _graph(tensors, "graph.", n_clusters, n_labels, edge_scale)
    if hierarchy is not None and index.hierarchy is not None:
        index.hierarchy.graph = _graph(
            tensors,
            "hierarchy.graph.",
            index.hierarchy.n_regions,
            n_clusters,
            float(hierarchy["edge_scale"]),
        )
    index.load_state_dict(tensors)


def describe_hierarchy(index: LearnedGraphIndex) -> dict[str, Any] | None:
    """JSON-able facts from which the hierarchy is allocated again; None for a flat index."""
    if index.hierarchy is None:
        return None
    return {
        "shape": index.hierarchy.shape._asdict(),
        "edge_scale": index.hierarchy.graph.scale,
    }


def _check_shape(shape: HierarchyShape, n_clusters: int) -> None:
    limits = (n_clusters, shape.n_regions, n_clusters)
    for name, value, limit in zip(shape._fields, shape, limits, strict=False):
        if not 1 <= value <= limit:
            raise InputError(f"{name} of the hierarchy is {value}, expected 1 to {limit}")
    if shape.beam_width < 1:
        raise InputError(f"beam_width of the hierarchy is {shape.beam_width}, expected at least 1")


def _graph(
    tensors: dict[str, torch.Tensor], prefix: str, n_rows: int, n_targets: int, scale: float
) -> ClusterLabelGraph:
    edge_labels = tensors[f"{prefix}edge_labels_CM"]
    _check_ids(edge_labels.numpy(), n_rows, n_targets)
    logits, weights = (tensors.get(f"{prefix}edge_{name}_CM") for name in ("logits", "weights"))
    return ClusterLabelGraph(
        edge_labels,
        n_targets,
        edge_logits_CM=None if logits is None else logits.clone(),
        edge_weights_CM=weights,
        scale=scale,
    )


def _check_ids(ids: np.ndarray[Any, Any], n_rows: int, limit: int) -> None:
    """The compiled search does not check bounds: ids from a file are checked here."""
    if ids.ndim != 2 or ids.shape[0] != n_rows or ids.dtype != np.int32:
        raise InputError(f"ids have shape {ids.shape} and dtype {ids.dtype}")
    if ids.size and (ids.min() < -1 or ids.max() >= limit):
        raise InputError(f"ids run from {ids.min()} to {ids.max()}, expected up to {limit - 1}")


def open_index(directory: Path, *, verify: bool = True) -> LearnedGraphIndex | SearchEngine:
    """Open a saved index, or a search engine that was made of one.

    Raises:
        ModelFormatError: Neither, or truncated, edited or newer.
    """
    if saved_kind(directory) == ENGINE_KIND:
        return load_engine(directory, verify=verify)
    return load_index(directory, verify=verify)
