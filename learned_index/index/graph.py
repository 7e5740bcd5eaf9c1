"""The sparse weighted graph from clusters to labels (paper, sections 3.1 and 3.3)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch
from torch import nn

from learned_index.errors import InputError
from learned_index.inputs.matrices import largest_first
from learned_index.kernels.edges import edge_strengths, edge_weights, strongest_clusters
from learned_index.types import Float32Array, Int64Array

Keep: TypeAlias = Literal["reachable", "none"]
"""What happens to a label that would lose its last edge: it keeps its strongest, or is lost."""


@dataclass(frozen=True, kw_only=True)
class PruningReport:
    """What one call of :meth:`~learned_index.LearnedGraphIndex.prune` dropped.

    Attributes:
        threshold: Least weight of an edge that was kept, or None.
        top_k: Edges kept of each cluster, or None.
        keep: The rule for labels that would lose their last edge.
        n_edges_before: Edges before.
        n_edges: Edges after.
        weight_share: Sum of the kept weights / sum of all weights, 0 to 1.
        width_before: Places of a cluster's row (M) before.
        width: Places of a cluster's row after: the largest number of edges of a cluster.
        n_rescued: Labels that kept an edge only by the rule.
        n_unreachable_before: Labels without any edge before.
        n_unreachable: Labels without any edge after.
    """

    threshold: float | None
    top_k: int | None
    keep: Keep
    n_edges_before: int
    n_edges: int
    weight_share: float
    width_before: int
    width: int
    n_rescued: int
    n_unreachable_before: int
    n_unreachable: int

    @property
    def dropped_share(self) -> float:
        """Part of the edges that was dropped, 0 to 1."""
        return 1.0 - self.n_edges / max(1, self.n_edges_before)


class ClusterLabelGraph(nn.Module):
    """Row-sparse adjacency A (C x L) with M kept labels per cluster.

    Stored as two dense C x M tensors: label ids and, once the edges are learned, their logits. A
    fixed graph (stage 1, the tree, overlapping clusters) has no logits and weight 1 on every edge.
    A pruned graph holds fixed weights in place of logits: a softmax over the edges left would
    change them.

    Args:
        edge_labels_CM: int32, -1 where a row has fewer than M edges.
        n_labels: L.
        edge_logits_CM: float32 logits ``a``, or None for a fixed graph.
        edge_weights_CM: float32 weights in [0, 1] that are not trained, in place of logits.
        scale: beta of ``e = min(1, beta * softmax(a))``.

    Attributes:
        edge_labels_CM: Buffer, int32.
        edge_logits_CM: Parameter or None.
        edge_weights_CM: Buffer or None.
        pruning: What was dropped, if the graph was pruned.
    """

    edge_labels_CM: torch.Tensor
    edge_weights_CM: torch.Tensor | None

    def __init__(
        self,
        edge_labels_CM: torch.Tensor,
        n_labels: int,
        *,
        edge_logits_CM: torch.Tensor | None = None,
        edge_weights_CM: torch.Tensor | None = None,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        if edge_logits_CM is not None and edge_weights_CM is not None:
            raise InputError("a graph has logits or fixed weights of its edges, got both")
        if edge_weights_CM is not None and (
            edge_weights_CM.shape != edge_labels_CM.shape or edge_weights_CM.dtype != torch.float32
        ):
            raise InputError(
                f"edge weights are {edge_weights_CM.dtype} {tuple(edge_weights_CM.shape)}, "
                f"expected torch.float32 {tuple(edge_labels_CM.shape)} as their labels"
            )
        self.n_labels = n_labels
        self.scale = scale
        self.pruning: PruningReport | None = None
        self.register_buffer("edge_labels_CM", edge_labels_CM.to(torch.int32).contiguous())
        self.edge_logits_CM = None if edge_logits_CM is None else nn.Parameter(edge_logits_CM)
        self.register_buffer("edge_weights_CM", edge_weights_CM)

    @classmethod
    def from_partition(cls, cluster_of_label_L: Int64Array, n_clusters: int) -> ClusterLabelGraph:
        """The fixed graph in which every label hangs from its one cluster, with weight 1."""
        n_labels = len(cluster_of_label_L)
        return cls._unweighted(np.arange(n_labels), cluster_of_label_L, n_clusters, n_labels)

    @classmethod
    def from_counts(
        cls,
        counts_CL: sp.csr_matrix,
        cluster_of_label_L: Int64Array,
        *,
        edges_per_cluster: int,
        scale: float,
        init: str,
        seed: int,
    ) -> ClusterLabelGraph:
        """The graph that starts stage 2: the M labels that most visit each cluster.

        Args:
            counts_CL: CSR, A' = M^T Y: how much the points of label l visit cluster c.
            cluster_of_label_L: Stage-1 partition. A label that no row's top M keeps is put back
                into the row of its strongest count (of its stage-1 cluster if it has none), in
                place of the row's weakest edge that its label can spare: every label stays
                reachable.
            edges_per_cluster: M.
            scale: beta.
            init: ``"counts"``: a = log of the counts, so that e starts proportional to them;
                ``"uniform"``: a ~ U(0, 1), the paper's choice.
            seed: Seed of the uniform start.
        """
        counts_CL = counts_CL.tocsr()
        C, L = counts_CL.shape
        M = min(edges_per_cluster, L)
        edge_labels = np.full((C, M), -1, np.int64)
        edge_counts = np.zeros((C, M), np.float32)
        for c in range(C):
            span = slice(counts_CL.indptr[c], counts_CL.indptr[c + 1])
            values, columns = counts_CL.data[span], counts_CL.indices[span]
            top = np.lexsort((columns, -values))[:M]
            edge_labels[c, : len(top)] = columns[top]
            edge_counts[c, : len(top)] = values[top]
        _attach_orphans(edge_labels, edge_counts, counts_CL, cluster_of_label_L)
        logits: npt.NDArray[np.float32]
        if init == "counts":
            # An orphan may have no visit: from log 0 no gradient would lead back.
            logits = np.log(np.maximum(edge_counts, np.float32(1e-3)))
        else:
            rng = np.random.default_rng(seed)
            logits = np.asarray(rng.random(edge_counts.shape, dtype=np.float32))
        return cls(
            torch.from_numpy(edge_labels),
            L,
            edge_logits_CM=torch.from_numpy(logits),
            scale=scale,
        )

    @classmethod
    def from_assignment(
        cls, counts_CL: sp.csr_matrix, cluster_of_label_L: Int64Array, *, clusters_per_label: int
    ) -> ClusterLabelGraph:
        """The fixed graph in which every label hangs from several clusters, with weight 1 each.

        Given what the points visit, it maximises ``sum_{l, c assigned} A'_cl`` with at most so
        many clusters a label (Liu et al., Label Disentanglement in Partition-based Extreme
        Multilabel Classification, NeurIPS 2021, equation 6): each label gets its largest counts.

        Args:
            counts_CL: As in :meth:`from_counts`.
            cluster_of_label_L: Stage-1 partition, for labels that no cluster's points have.
            clusters_per_label: lambda; a label with fewer positive counts gets fewer clusters.
        """
        by_label = counts_CL.tocsc()
        n_clusters, n_labels = counts_CL.shape
        labels_T, order_T, place_T = largest_first(by_label)
        kept_T = (place_T < clusters_per_label) & (by_label.data[order_T] > 0)
        labels, clusters = labels_T[kept_T], by_label.indices[order_T][kept_T]
        orphans = np.setdiff1d(np.arange(n_labels), labels)
        labels = np.concatenate([labels, orphans])
        clusters = np.concatenate([clusters, cluster_of_label_L[orphans]])
        return cls._unweighted(labels, clusters, n_clusters, n_labels)

    @classmethod
    def _unweighted(
        cls, labels: Int64Array, clusters: Int64Array, n_clusters: int, n_labels: int
    ) -> ClusterLabelGraph:
        """A fixed graph of edges ``clusters[i]`` to ``labels[i]``, in order of the labels."""
        order = np.lexsort((labels, clusters))
        counts = np.bincount(clusters, minlength=n_clusters)
        offsets = np.concatenate([[0], np.cumsum(counts)])
        edge_labels = np.full((n_clusters, int(counts.max())), -1, np.int32)
        row = clusters[order]
        edge_labels[row, np.arange(len(order)) - offsets[row]] = labels[order]
        return cls(torch.from_numpy(edge_labels), n_labels)

    def weights(self) -> torch.Tensor:
        """Edge weights e, float32 C x M in [0, 1], 0 at pads; differentiable in the logits."""
        if self.edge_logits_CM is None:
            return torch.clamp(self.strengths(), max=1.0)
        return edge_weights(self.edge_logits_CM, self.edge_labels_CM, self.scale)

    def strengths(self) -> torch.Tensor:
        """Edge weights before the cut at 1 where they are known: they order equal weights."""
        if self.edge_weights_CM is not None:
            return self.edge_weights_CM
        if self.edge_logits_CM is None:
            return (self.edge_labels_CM >= 0).to(torch.float32)
        return edge_strengths(self.edge_logits_CM, self.edge_labels_CM, self.scale)

    @torch.no_grad()
    def arrays(self) -> tuple[npt.NDArray[np.int32], Float32Array]:
        """Targets (int32, -1 at pads) and weights of the edges, C x M on the CPU."""
        weights = np.ascontiguousarray(self.weights().cpu().numpy())
        return self.edge_labels_CM.cpu().numpy(), weights

    def strongest_cluster(self, weights_CM: torch.Tensor | None = None) -> torch.Tensor:
        """For each label the cluster with its strongest edge, int64 L; -1 for no edge at all."""
        weights = (self.weights() if weights_CM is None else weights_CM).detach()
        return strongest_clusters(self.edge_labels_CM, weights, self.n_labels)


def as_csr(targets: npt.NDArray[Any], weights: npt.NDArray[Any], n_targets: int) -> sp.csr_matrix:
    """Rows of targets (-1 at pads) and their weights as CSR float32, rows x n_targets."""
    used = targets >= 0
    offsets = np.concatenate([[0], np.cumsum(used.sum(axis=1))])
    return sp.csr_matrix(
        (weights[used].astype(np.float32, copy=False), targets[used], offsets),
        (len(targets), n_targets),
    )


def _attach_orphans(
    edge_labels: Int64Array,
    edge_counts: Float32Array,
    counts_CL: sp.csr_matrix,
    cluster_of_label_L: Int64Array,
) -> None:
    C, M = edge_labels.shape
    L = counts_CL.shape[1]
    if C * M < L:
        raise InputError(
            f"{C} clusters with {M} edges hold at most {C * M} labels, there are {L}; raise "
            "edges_per_cluster or n_clusters"
        )
    degree = np.bincount(edge_labels[edge_labels >= 0], minlength=L)
    orphans = np.flatnonzero(degree == 0)
    if not len(orphans):
        return
    by_label = counts_CL.tocsc()
    free = (edge_labels >= 0).sum(axis=1)
    for label in orphans:
        span = slice(by_label.indptr[label], by_label.indptr[label + 1])
        order = np.argsort(-by_label.data[span], kind="stable")
        clusters, values = by_label.indices[span][order], by_label.data[span][order]
        # Asked of the matrix, each count would take longer than all else that is done here.
        visits = dict(zip(clusters.tolist(), values.tolist(), strict=True))
        for c in chain(visits, [int(cluster_of_label_L[label])], range(C)):
            value = np.float32(visits.get(c, 0.0))
            if free[c] < M:
                slot = int(free[c])
                free[c] += 1
            else:
                spare = np.flatnonzero(degree[edge_labels[c]] > 1)
                if not len(spare):
                    continue
                slot = int(spare[np.argmin(edge_counts[c, spare])])
                degree[edge_labels[c, slot]] -= 1
            edge_labels[c, slot] = label
            edge_counts[c, slot] = value
            degree[label] = 1
            break
