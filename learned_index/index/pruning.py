"""Fewer edges in a learned graph: the weak ones dropped, the others left as they are.

The paper's appendix prunes about 84 % of the learned edges without loss. A pruned graph holds the
weights themselves, not the logits: ``e = min(1, beta softmax(a))`` over fewer edges would be other
weights, and so other answers.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from learned_index.errors import InputError
from learned_index.index.graph import ClusterLabelGraph, Keep, PruningReport
from learned_index.inputs.numbers import real_number, whole_number
from learned_index.types import Float32Array, Int64Array

_Mask: TypeAlias = npt.NDArray[np.bool_]


def prune_graph(
    graph: ClusterLabelGraph,
    *,
    threshold: float | None = None,
    top_k: int | None = None,
    keep: Keep = "reachable",
) -> tuple[ClusterLabelGraph, PruningReport]:
    """Drop edges of a graph; see :meth:`LearnedGraphIndex.prune` for the arguments.

    Returns:
        A graph of its own on the same device, its rows packed to the left in the old order; and
        what was dropped.
    """
    if threshold is None and top_k is None:
        raise InputError("nothing says what to prune; give threshold, top_k or both")
    if threshold is not None:
        threshold = real_number(threshold, "threshold", low=0.0, high=1.0)
    if top_k is not None:
        top_k = whole_number(top_k, "top_k")
    if keep not in ("reachable", "none"):
        raise InputError(f"keep is {keep!r}, expected 'reachable' or 'none'")
    labels_CM, weights_CM = graph.arrays()
    strengths_CM: Float32Array = graph.strengths().detach().cpu().numpy()
    present = labels_CM >= 0
    kept = present.copy()
    if threshold is not None:
        kept &= weights_CM >= np.float32(threshold)
    if top_k is not None:
        kept &= _strongest_of_rows(labels_CM, strengths_CM, top_k)
    reachable = _labels_in(labels_CM[present], graph.n_labels)
    lost = reachable & ~_labels_in(labels_CM[kept], graph.n_labels)
    if keep == "reachable":
        _restore(kept, labels_CM, strengths_CM, lost)
    left = _labels_in(labels_CM[kept], graph.n_labels)
    report = PruningReport(
        threshold=threshold,
        top_k=top_k,
        keep=keep,
        n_edges_before=int(present.sum()),
        n_edges=int(kept.sum()),
        weight_share=_share(weights_CM, kept, present),
        width_before=labels_CM.shape[1],
        width=max(1, int(kept.sum(axis=1).max(initial=0))),
        n_rescued=int(lost.sum()) if keep == "reachable" else 0,
        n_unreachable_before=int((~reachable).sum()),
        n_unreachable=int((~left).sum()),
    )
    pruned = _with_edges(graph, labels_CM, weights_CM, kept)
    pruned.pruning = report
    return pruned, report


def without_labels(graph: ClusterLabelGraph, removed_L: _Mask) -> ClusterLabelGraph:
    """A graph of its own without the edges to some labels; the others weigh what they weighed."""
    labels_CM, weights_CM = graph.arrays()
    kept = (labels_CM >= 0) & ~removed_L[np.maximum(labels_CM, 0)]
    fewer = _with_edges(graph, labels_CM, weights_CM, kept)
    fewer.pruning = graph.pruning
    return fewer


def with_merged_labels(graph: ClusterLabelGraph, target_L: Int64Array) -> ClusterLabelGraph:
    """A graph of its own in which the edges to some labels lead to others.

    Where a cluster leads to several that become one, the strongest edge stays.

    Args:
        graph: Left as it is.
        target_L: For each label the one that takes its edges: itself, as a rule.
    """
    labels_CM, weights_CM = graph.arrays()
    present = labels_CM >= 0
    target_CM = np.where(present, target_L[np.maximum(labels_CM, 0)], -1).astype(np.int32)
    # Rows in which nothing is moved have no label twice.
    rows = np.flatnonzero((target_CM != labels_CM).any(axis=1))
    order = np.lexsort((-weights_CM[rows], target_CM[rows]), axis=1)
    sorted_labels = np.take_along_axis(target_CM[rows], order, 1)
    again = np.zeros(order.shape, dtype=np.bool_)
    again[:, 1:] = sorted_labels[:, 1:] == sorted_labels[:, :-1]
    kept = present.copy()
    kept_rows = kept[rows]
    np.put_along_axis(kept_rows, order, np.take_along_axis(kept_rows, order, 1) & ~again, axis=1)
    kept[rows] = kept_rows
    merged = _with_edges(graph, target_CM, weights_CM, kept)
    merged.pruning = graph.pruning
    return merged


def with_labels_renumbered(
    graph: ClusterLabelGraph, target: Int64Array, n_labels: int
) -> ClusterLabelGraph:
    """A graph of its own whose edges lead to the labels' new ids.

    Args:
        graph: Left as it is.
        target: int64. The new id of each label of the graph, -1 for those that go.
        n_labels: How many labels there are then.
    """
    labels_CM, weights_CM = graph.arrays()
    target_CM = np.where(labels_CM >= 0, target[np.maximum(labels_CM, 0)], -1).astype(np.int32)
    taken = _with_edges(graph, target_CM, weights_CM, target_CM >= 0, n_labels=n_labels)
    taken.pruning = graph.pruning
    return taken


def _with_edges(
    graph: ClusterLabelGraph,
    labels_CM: npt.NDArray[np.int32],
    weights_CM: Float32Array,
    kept: _Mask,
    *,
    n_labels: int | None = None,
) -> ClusterLabelGraph:
    width = max(1, int(kept.sum(axis=1).max(initial=0)))
    packed_labels, packed_weights = _packed(labels_CM, weights_CM, kept, width=width)
    fixed = graph.edge_logits_CM is None and graph.edge_weights_CM is None
    fewer = ClusterLabelGraph(
        torch.from_numpy(packed_labels),
        graph.n_labels if n_labels is None else n_labels,
        edge_weights_CM=None if fixed else torch.from_numpy(packed_weights),
        scale=graph.scale,
    )
    return fewer.to(graph.edge_labels_CM.device)


def _labels_in(labels: npt.NDArray[np.int32], n_labels: int) -> _Mask:
    found = np.zeros(n_labels, dtype=np.bool_)
    found[labels] = True
    return found


def _strongest_of_rows(
    labels_CM: npt.NDArray[np.int32], strengths_CM: Float32Array, top_k: int
) -> _Mask:
    """The ``top_k`` strongest edges of each row; of equal ones those to smaller labels."""
    strength = np.where(labels_CM >= 0, strengths_CM, -np.inf)
    order = np.lexsort((labels_CM, -strength), axis=1)[:, :top_k]
    chosen = np.zeros(labels_CM.shape, dtype=np.bool_)
    np.put_along_axis(chosen, order, True, axis=1)
    return chosen


def _restore(
    kept: _Mask, labels_CM: npt.NDArray[np.int32], strengths_CM: Float32Array, lost_L: _Mask
) -> None:
    """Give each lost label its strongest edge back; of equal ones the first cluster's."""
    rows, columns = np.nonzero((labels_CM >= 0) & lost_L[np.maximum(labels_CM, 0)])
    labels = labels_CM[rows, columns]
    order = np.lexsort((rows, -strengths_CM[rows, columns], labels))
    first = order[np.unique(labels[order], return_index=True)[1]]
    kept[rows[first], columns[first]] = True


def _share(weights_CM: Float32Array, kept: _Mask, present: _Mask) -> float:
    total = float(weights_CM[present].sum(dtype=np.float64))
    return float(weights_CM[kept].sum(dtype=np.float64)) / total if total > 0 else 1.0


def _packed(
    labels_CM: npt.NDArray[np.int32], weights_CM: Float32Array, kept: _Mask, *, width: int
) -> tuple[npt.NDArray[np.int32], Float32Array]:
    rows, columns = np.nonzero(kept)
    place = (np.cumsum(kept, axis=1) - 1)[rows, columns]
    labels = np.full((len(labels_CM), width), -1, np.int32)
    weights = np.zeros((len(labels_CM), width), np.float32)
    labels[rows, place] = labels_CM[rows, columns]
    weights[rows, place] = weights_CM[rows, columns]
    return labels, weights
