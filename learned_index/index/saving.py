"""Save and load an index: one directory, safetensors and JSON."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from learned_index.errors import InputError
from learned_index.index.config import IndexConfig, TrainingConfig
from learned_index.index.graph import ClusterLabelGraph, PruningReport
from learned_index.index.hierarchy import HierarchyShape
from learned_index.index.network import IndexNetwork
from learned_index.inputs.numbers import real_number, whole_number
from learned_index.persistence import Manifest, load_arrays, save_arrays
from learned_index.persistence.contents import (
    LARGEST_WEIGHT,
    require_layout,
    require_range,
)

_ARRAYS = "index.safetensors"
_SCALARS = ("input_scale", "hierarchy.coverage")


def write_index(index: IndexNetwork, folder: Path) -> dict[str, Any]:
    """Write the arrays of an index, and return the rest of it for the manifest (JSON-able)."""
    arrays = {name: tensor.detach().cpu().numpy() for name, tensor in index.state_dict().items()}
    for name, array in arrays.items():
        if array.dtype == np.float32 and name not in _SCALARS:
            what = f"{name} of the index, whose training diverged,"
            require_range(what, array, -LARGEST_WEIGHT, LARGEST_WEIGHT)
    save_arrays(folder / _ARRAYS, arrays)
    pruning = index.graph.pruning
    return {
        "index": index.config.to_dict(),
        "training": index.training_config.to_dict(),
        "dim": index.dim,
        "n_labels": index.n_labels,
        "n_clusters": index.n_clusters,
        "edge_scale": index.graph.scale,
        "hierarchy": describe_hierarchy(index),
        "pruning": None if pruning is None else asdict(pruning),
    }


def saved_configs(manifest: Manifest) -> tuple[IndexConfig, TrainingConfig]:
    """The configurations with which the index of a manifest is made."""
    config = manifest.config
    return IndexConfig.from_dict(config["index"]), TrainingConfig.from_dict(config["training"])


def read_into(index: IndexNetwork, manifest: Manifest) -> None:
    """Give an index that was made with :func:`saved_configs` the saved parameters."""
    config = manifest.config
    arrays = load_arrays(manifest.file(_ARRAYS))
    dim, n_labels, n_clusters = (
        whole_number(config[name], name) for name in ("dim", "n_labels", "n_clusters")
    )
    restore_index(
        index,
        {name: torch.from_numpy(array) for name, array in arrays.items()},
        dim=dim,
        n_labels=n_labels,
        n_clusters=n_clusters,
        edge_scale=real_number(config["edge_scale"], "edge_scale", low=0.0, high=1e9),
        hierarchy=config.get("hierarchy"),
    )
    if config.get("pruning") is not None:
        index.graph.pruning = PruningReport(**config["pruning"])


def restore_index(
    index: IndexNetwork,
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
        InputError: A tensor is missing or has another shape or dtype; ids or numbers out of range.
        KeyError: The edges are missing.
    """
    shape = None if hierarchy is None else HierarchyShape(**hierarchy["shape"])
    if shape is not None:
        _check_shape(shape, n_clusters)
    # Files hold a scalar as an array of one.
    arrays = {
        name: (tensor.reshape(()) if tensor.shape == (1,) and name in _SCALARS else tensor)
        .detach().cpu().numpy()
        for name, tensor in tensors.items()
    }  # fmt: skip
    sizes = {"dim": dim, "n_labels": n_labels, "n_clusters": n_clusters}
    # Before anything is allocated: a size that the arrays do not have could be any number.
    _check_arrays(arrays, **sizes, projection=index.config.projection, shape=shape)
    index.allocate(**sizes, hierarchy=shape)
    index.graph = _graph(tensors, "graph.", n_clusters, n_labels, edge_scale)
    if hierarchy is not None and index.hierarchy is not None:
        index.hierarchy.graph = _graph(
            tensors,
            "hierarchy.graph.",
            index.hierarchy.n_regions,
            n_clusters,
            real_number(hierarchy["edge_scale"], "edge_scale", low=0.0, high=1e9),
        )
    index.load_state_dict(tensors)


def describe_hierarchy(index: IndexNetwork) -> dict[str, Any] | None:
    """JSON-able facts from which the hierarchy is allocated again; None for a flat index."""
    if index.hierarchy is None:
        return None
    return {
        "shape": index.hierarchy.shape._asdict(),
        "edge_scale": index.hierarchy.graph.scale,
    }


def _check_shape(shape: HierarchyShape, n_clusters: int) -> None:
    numbers = {name: whole_number(value, name) for name, value in shape._asdict().items()}
    limits = {"n_regions": n_clusters, "n_candidates": n_clusters}
    for name, limit in {**limits, "region_beam_width": shape.n_regions}.items():
        if numbers[name] > limit:
            raise InputError(f"{name} of the hierarchy is {numbers[name]}, expected 1 to {limit}")


def _check_arrays(
    arrays: dict[str, Any],
    *,
    dim: int,
    n_labels: int,
    n_clusters: int,
    projection: str,
    shape: HierarchyShape | None,
) -> None:
    """Check layout and contents of an index's arrays, beside the edges.

    Raises:
        InputError: A size, a dtype, an id or a number that does not fit; names the array.
    """
    float32 = np.dtype(np.float32)
    expected = {
        "label_weight_LD": (float32, (n_labels, dim)),
        "label_bias_L": (float32, (n_labels,)),
        "cluster_of_label_L": (np.dtype(np.int32), (n_labels,)),
        "tree_router_CD": (float32, (n_clusters, dim)),
        "router.weight_CD": (float32, (n_clusters, dim)),
        "input_scale": (float32, ()),
    }
    if projection == "residual":
        expected["projection.weight"] = (float32, (dim, dim))
    if shape is not None:
        expected["hierarchy.router.weight_CD"] = (float32, (shape.n_regions, dim))
        expected["hierarchy.coverage"] = (float32, ())
    require_layout(arrays, expected)
    for name, (dtype, _) in expected.items():
        if dtype == float32 and name not in _SCALARS:
            require_range(name, arrays[name], -LARGEST_WEIGHT, LARGEST_WEIGHT)
    require_range("cluster_of_label_L", arrays["cluster_of_label_L"], 0, n_clusters - 1)
    tiny = float(np.finfo(np.float32).tiny)
    require_range("input_scale", arrays["input_scale"], tiny, 1.0 / tiny)
    if shape is not None:
        require_range("hierarchy.coverage", arrays["hierarchy.coverage"], tiny, 1.0)


def _graph(
    tensors: dict[str, torch.Tensor], prefix: str, n_rows: int, n_targets: int, scale: float
) -> ClusterLabelGraph:
    edge_labels = tensors[f"{prefix}edge_labels_CM"]
    shape = tuple(edge_labels.shape)
    if len(shape) != 2 or shape[0] != n_rows or edge_labels.dtype != torch.int32:
        raise InputError(
            f"{prefix}edge_labels_CM is {edge_labels.dtype} {shape}, expected torch.int32 with "
            f"{n_rows} rows"
        )
    require_range(f"{prefix}edge_labels_CM", edge_labels.numpy(), -1, n_targets - 1)
    limits = {"edge_logits_CM": (-LARGEST_WEIGHT, LARGEST_WEIGHT), "edge_weights_CM": (0.0, 1.0)}
    found: dict[str, torch.Tensor] = {}
    for name, (low, high) in limits.items():
        full = f"{prefix}{name}"
        if full in tensors:
            found[name] = tensors[full].clone()
            array = found[name].detach().numpy()
            require_layout({full: array}, {full: (np.float32, shape)})
            require_range(full, array, low, high)
    return ClusterLabelGraph(edge_labels, n_targets, scale=scale, **found)
