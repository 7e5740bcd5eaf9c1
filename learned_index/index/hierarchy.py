"""Regions above the clusters: the index's own construction, one level up.

With clusters alone a query is scored against all C of them, and C grows with the labels. Here S
regions, about twice the root of C, are scored; weighted edges lead from the best W0 of them to
clusters; only the K0 clusters with the best paths are scored as before. Regions are a router and
a :class:`~learned_index.index.graph.ClusterLabelGraph` with clusters in the place of labels,
and are trained by the same loss (docs/method.md, "Deep routing").
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from learned_index.errors import InputError
from learned_index.index.config import IndexConfig
from learned_index.index.graph import ClusterLabelGraph
from learned_index.index.level import Walk, teacher_rows, walk_edges
from learned_index.index.router import ClusterRouter
from learned_index.kernels.beam import best_clusters
from learned_index.kernels.classify import score_labels
from learned_index.kernels.search.routing import routing_coverage, routing_widths
from learned_index.kernels.walk import explore

DENSE_CLUSTERS = 32768
"""While training, all clusters of a deep index are scored up to so many."""
DEEP_FROM_CLUSTERS = 4096
"""``hierarchy="auto"`` makes regions for so many clusters or more (docs/method.md)."""


class HierarchyShape(NamedTuple):
    """Numbers from which a hierarchy is allocated.

    Attributes:
        n_regions: S.
        region_beam_width: W0, regions explored at the configured beam width.
        n_candidates: K0, clusters scored at the configured beam width.
        beam_width: W, the configured one.
    """

    n_regions: int
    region_beam_width: int
    n_candidates: int
    beam_width: int


def hierarchy_shape(config: IndexConfig, n_clusters: int) -> HierarchyShape | None:
    """What the configuration asks for over C clusters; None: a flat index.

    Raises:
        InputError: More regions than clusters.
    """
    deep = config.hierarchy == "deep" or (
        config.hierarchy == "auto"
        and (config.n_regions is not None or n_clusters >= DEEP_FROM_CLUSTERS)
    )
    if not deep:
        return None
    n_regions = config.n_regions or int(np.clip(round(2 * math.sqrt(n_clusters)), 1, n_clusters))
    if n_regions > n_clusters:
        raise InputError(
            f"n_regions is {n_regions}, expected 1 to {n_clusters} (the number of clusters)"
        )
    width = min(config.beam_width, n_clusters)
    candidates = config.candidate_clusters or default_candidates(n_clusters, width)
    return HierarchyShape(
        n_regions=n_regions,
        region_beam_width=min(config.region_beam_width or 10, n_regions),
        n_candidates=min(max(candidates, width), n_clusters),
        beam_width=config.beam_width,
    )


def default_candidates(n_clusters: int, beam_width: int) -> int:
    """K0 = 16 beams, from 2,844 clusters on 0.3 sqrt(C) of them."""
    return round(beam_width * max(16.0, 0.3 * math.sqrt(n_clusters)))


def default_edges_per_region(n_clusters: int, n_regions: int) -> int:
    """M0 = 6 C / S, at most C (about six regions per cluster)."""
    return int(min(n_clusters, max(1, round(6 * n_clusters / n_regions))))


class RegionHierarchy(nn.Module):
    """S regions with weighted edges to C clusters.

    Letters beside those of :mod:`learned_index.types`: S regions, M0 edges per region, W0 regions
    explored, K0 candidate clusters scored.

    Args:
        n_clusters: C.
        dim: D.
        scale: alpha of the regions' scores.
        shape: S, W0, K0.

    Attributes:
        router: Scores regions: ``g = min(1, alpha softmax(x R^T))``.
        graph: Edges from regions to clusters.
        shape: S, W0, K0 and the W that they are for.
        coverage: Buffer, scalar: the part of the softmax over all clusters that the K0 candidates
            hold on average. Softmax over candidates times this is on the scale that the label
            losses know; 1 where training scored candidates alone.
    """

    router: ClusterRouter
    graph: ClusterLabelGraph
    coverage: torch.Tensor

    def __init__(self, n_clusters: int, dim: int, *, scale: float, shape: HierarchyShape) -> None:
        super().__init__()
        self.shape = shape
        self.router = ClusterRouter(shape.n_regions, dim, scale=scale)
        self.graph = ClusterLabelGraph.from_partition(
            np.arange(n_clusters) % shape.n_regions, shape.n_regions
        )
        self.register_buffer("coverage", torch.ones(()))

    @property
    def n_regions(self) -> int:
        """Number of regions S."""
        return self.shape.n_regions

    @property
    def n_clusters(self) -> int:
        """Number of clusters C."""
        return self.graph.n_labels

    @property
    def W0(self) -> int:  # noqa: N802
        """Regions explored at the configured beam width."""
        return self.shape.region_beam_width

    @property
    def K0(self) -> int:  # noqa: N802
        """Clusters scored at the configured beam width."""
        return self.shape.n_candidates

    def widths(self, beam_width: int) -> tuple[int, int]:
        """W0 and K0 for a beam of W clusters (:func:`~.routing.routing_widths`)."""
        regions, candidates = routing_widths(
            beam_width, self.shape.beam_width, self.W0, self.K0, self.n_regions, self.n_clusters
        )
        return int(regions), int(candidates)

    def coverage_at(self, n_candidates: int) -> float:
        """:attr:`coverage` for another number of candidates: a power law that is 1 for all C."""
        return float(routing_coverage(n_candidates, self.K0, self.n_clusters, float(self.coverage)))

    # -- torch paths ----------------------------------------------------------------------------

    @torch.no_grad()
    def beam(
        self,
        clusters: ClusterRouter,
        x_BD: torch.Tensor,
        beam_width: int,
        *,
        implementation: str = "auto",
        widths: tuple[int, int] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores and numbers of the best clusters that the best regions reach, best first.

        Args:
            clusters: The router of the clusters.
            x_BD: float32, projected queries.
            beam_width: W.
            implementation: Of the kernels: ``"auto"`` or ``"torch"``.
            widths: (W0, K0) in the place of :meth:`widths`.

        Returns:
            float32 B x W scores, ``min(1, coverage alpha softmax)`` over the candidates, and
            int64 B x W clusters, -1 (score 0) where fewer than W are reached.
        """
        n_regions, n_candidates = widths or self.widths(beam_width)
        candidates_BK = self.candidates(
            x_BD, n_regions, n_candidates, implementation=implementation
        )
        logits_BK = cluster_logits(clusters, x_BD, candidates_BK, implementation=implementation)
        top = logits_BK.topk(min(beam_width, n_candidates), dim=1).indices
        scores_BK = clusters.scores(logits_BK, share=self.coverage_at(n_candidates))
        return scores_BK.gather(1, top), candidates_BK.gather(1, top)

    @torch.no_grad()
    def candidates(
        self,
        x_BD: torch.Tensor,
        n_regions: int,
        n_candidates: int,
        *,
        implementation: str = "auto",
    ) -> torch.Tensor:
        """The K0 clusters with the best paths from the W0 best regions.

        Arguments as in :meth:`beam`; int64 B x K0 in no order, -1 at pads.
        """
        scores_BS, regions_BS = self.router.beam(x_BD, n_regions)
        return explore(
            regions_BS,
            scores_BS,
            self.graph.edge_labels_CM,
            self.graph.weights(),
            n_labels=self.n_clusters,
            shortlist_size=n_candidates,
            implementation=implementation,
        ).label_ids_BK

    def loss(
        self, x_BD: torch.Tensor, clusters_BW: torch.Tensor, targets_BW: torch.Tensor
    ) -> torch.Tensor:
        """Cross-entropy of the region paths to some clusters; differentiable in x, R and edges.

        Args:
            x_BD: float32, projected queries.
            clusters_BW: int64, -1 where unused, no cluster twice in a row.
            targets_BW: float32, their shares (:func:`region_targets`).
        """
        walk = self.walk(x_BD, clusters_BW, size=clusters_BW.shape[1])
        same = (walk.ids_BK[:, :, None] == clusters_BW[:, None, :]) & walk.positive_BK[:, :, None]
        targets_BK = (same * targets_BW[:, None, :]).sum(dim=2)
        return region_cross_entropy(walk.path_BK, targets_BK)

    def walk(self, x_BD: torch.Tensor, positives_BP: torch.Tensor, *, size: int) -> Walk:
        """Training's walk to clusters, with teacher forcing; differentiable in x, R and edges.

        Args:
            x_BD: float32, projected queries.
            positives_BP: int64, clusters that the queries should reach, -1 where unused, no
                cluster twice in a row; each is reached through the region with its strongest edge.
            size: Clusters to return; at least P, so that every positive is among them.
        """
        logits_BS = self.router.logits(x_BD)
        edges_SM = self.graph.weights()
        strongest = self.graph.strongest_cluster(edges_SM).to(x_BD.device)
        regions_BW = best_clusters(logits_BS, self.W0, teacher_rows(strongest, positives_BP))
        unused = regions_BW < 0
        scores_BW = self.router.scores(logits_BS).gather(1, regions_BW.clamp(min=0))
        return walk_edges(
            regions_BW,
            scores_BW.masked_fill(unused, 0.0),
            self.graph,
            edges_SM,
            positives_BP=positives_BP,
            size=size,
        )


def region_targets(
    clusters_BW: torch.Tensor, scores_BW: torch.Tensor, teacher_BP: torch.Tensor
) -> torch.Tensor:
    """What the regions should reach: each explored cluster's share, float32 B x W, rows sum to 1.

    A cluster counts by its score, one that teacher forcing names in full.
    """
    named = (clusters_BW[:, :, None] == teacher_BP[:, None, :]).any(dim=2) & (clusters_BW >= 0)
    weights = torch.where(named, 1.0, scores_BW.detach())
    return weights / weights.sum(dim=1, keepdim=True).clamp(min=1e-12)


def region_cross_entropy(path_BW: torch.Tensor, targets_BW: torch.Tensor) -> torch.Tensor:
    """``-sum_c t_c log u_c``, mean over queries; paths of clusters that are not reached are 0."""
    log = torch.log(path_BW.clamp(min=1e-12))
    return -(log * targets_BW).sum() / path_BW.shape[0]


def cluster_logits(
    clusters: ClusterRouter,
    x_BD: torch.Tensor,
    ids_BK: torch.Tensor,
    *,
    implementation: str = "auto",
) -> torch.Tensor:
    """Logits of some clusters of each query, float32 B x K, -inf at pads; differentiable."""
    bias_C = x_BD.new_zeros(clusters.weight_CD.shape[0])
    logits_BK = score_labels(
        x_BD, clusters.weight_CD, bias_C, ids_BK, implementation=implementation
    )
    return logits_BK.masked_fill(ids_BK < 0, float("-inf"))
