"""Save and load an index: one directory, safetensors and JSON."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from learned_index.errors import InputError, ModelFormatError
from learned_index.graph.adjacency import ClusterLabelGraph
from learned_index.graph.config import IndexConfig, TrainingConfig
from learned_index.graph.pruning import PruningReport
from learned_index.persistence import (
    atomic_directory,
    load_arrays,
    read_manifest,
    save_arrays,
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
                "pruning": None if pruning is None else asdict(pruning),
            },
        )


def load_index(directory: Path, *, verify: bool) -> LearnedGraphIndex:
    """See :meth:`LearnedGraphIndex.from_pretrained`."""
    from learned_index.graph.learned_graph_index import LearnedGraphIndex

    manifest = read_manifest(directory, kind=KIND, verify=verify)
    arrays = load_arrays(directory / _ARRAYS)
    try:
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
        )
        if config.get("pruning") is not None:
            index.graph.pruning = PruningReport(**config["pruning"])
    except (KeyError, TypeError, RuntimeError, InputError) as error:
        raise ModelFormatError(
            f"{directory} does not hold a whole index ({error}); save or copy it again"
        ) from error
    return index.eval()


def restore_index(
    index: LearnedGraphIndex,
    tensors: dict[str, torch.Tensor],
    *,
    dim: int,
    n_labels: int,
    n_clusters: int,
    edge_scale: float,
) -> None:
    """Give an index the shape and the values that its ``state_dict`` had.

    Raises:
        InputError: Ids out of range.
        KeyError: A tensor is missing.
        RuntimeError: A tensor has another shape.
    """
    index.allocate(dim=dim, n_labels=n_labels, n_clusters=n_clusters)
    edge_labels = tensors["graph.edge_labels_CM"]
    _check_ids(edge_labels.numpy(), n_clusters, n_labels)
    _check_ids(tensors["cluster_of_label_L"][None].numpy(), 1, n_clusters)
    logits, weights = (tensors.get(f"graph.edge_{name}_CM") for name in ("logits", "weights"))
    index.graph = ClusterLabelGraph(
        edge_labels,
        n_labels,
        edge_logits_CM=None if logits is None else logits.clone(),
        edge_weights_CM=weights,
        scale=edge_scale,
    )
    index.load_state_dict(tensors)


def _check_ids(ids: np.ndarray[Any, Any], n_rows: int, limit: int) -> None:
    """The compiled search does not check bounds: ids from a file are checked here."""
    if ids.ndim != 2 or ids.shape[0] != n_rows or ids.dtype != np.int32:
        raise InputError(f"ids have shape {ids.shape} and dtype {ids.dtype}")
    if ids.size and (ids.min() < -1 or ids.max() >= limit):
        raise InputError(f"ids run from {ids.min()} to {ids.max()}, expected up to {limit - 1}")
