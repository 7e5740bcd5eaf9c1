"""One training step of stage 2, its parts timed one by one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from learned_index.inputs.positives import padded_positives
from learned_index.kernels.beam import best_clusters, cluster_scores
from learned_index.kernels.classify import score_labels
from learned_index.kernels.losses import both_losses
from learned_index.kernels.walk import explore, path_scores
from learned_index.training.batches import dropout_mask
from learned_index.types import Int64Array
from on_cpu.instance import StageTwo

PARTS = (
    "batch: rows, dropout, positives",
    "projection",
    "edge weights",
    "router",
    "beam with teacher forcing",
    "explore",
    "path scores",
    "label scores",
    "losses",
    "label scores backward, RowAdamW",
    "AdamW of projection, router, edges",
)


@dataclass
class Clock:
    """Milliseconds by part.

    Attributes:
        now: Gives seconds.
        spent_ms: Sums.
    """

    now: Callable[[], float] = time.perf_counter
    spent_ms: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        """Count what happens inside to a part."""
        start = self.now()
        yield
        self.spent_ms[part] += 1e3 * (self.now() - start)


@dataclass
class Seen:
    """What a step met, for its floors.

    Attributes:
        n_queries: B.
        n_paths: Edges of the explored clusters, over all queries.
        n_pairs: Shortlisted pairs (query, label).
        n_rows: Different labels among them.
    """

    n_queries: int
    n_paths: int
    n_pairs: int
    n_rows: int


def timed_step(
    stage: StageTwo, rows: Int64Array, now: Callable[[], float] = time.perf_counter
) -> tuple[float, Clock, Seen]:
    """The same step as :meth:`StageTwo.step`, cut at its parts; the loss, times and sizes.

    Cuts are leaves of autograd: each part has its own backward pass, called in reverse order.
    """
    index, training, optimisers = stage.index, stage.config, stage.optimisers
    router, graph, clock = index.router, index.graph, Clock(now)
    with clock.of(PARTS[0]):
        mask_BD = dropout_mask(len(rows), stage.inputs.dim, training.dropout, stage.generator)
        x_BD = stage.inputs.batch(rows, seed=(0,)) * mask_BD
        positives_BP = padded_positives(stage.labels_NL, rows)
    with clock.of("projection"):
        projected_BD = index.projected(x_BD)
        x_BD = projected_BD.detach().requires_grad_()
    with clock.of("edge weights"):
        weights_CM = graph.weights()
        edges_CM = weights_CM.detach().requires_grad_()
    with clock.of("beam with teacher forcing"):
        strongest_L = index.strongest_clusters(weights_CM)
        teacher_BP = torch.where(positives_BP >= 0, strongest_L[positives_BP.clamp(min=0)], -1)
    with clock.of("router"):
        logits_BC = router.logits(x_BD)
    with clock.of("beam with teacher forcing"):
        clusters_BW = best_clusters(logits_BC, index.config.beam_width, teacher_BP)
    with clock.of("router"):
        found_BW = cluster_scores(logits_BC, clusters_BW, router.scale)
        scores_BW = found_BW.detach().requires_grad_()
    with clock.of("explore"):
        shortlist = explore(
            clusters_BW, scores_BW, graph.edge_labels_CM, edges_CM,
            n_labels=index.n_labels, shortlist_size=index.config.shortlist_size,
            positives_BP=positives_BP,
        )  # fmt: skip
    ids_BK = shortlist.label_ids_BK
    with clock.of("path scores"):
        found_BK = path_scores(
            scores_BW, edges_CM, clusters_BW, shortlist, found_BK=shortlist.path_BK
        )
        path_BK = found_BK.detach().requires_grad_()
    with clock.of("label scores"):
        scored_BK = score_labels(
            x_BD, index.label_weight_LD, index.label_bias_L, ids_BK,
            optimiser=optimisers.row_optimiser,
        )  # fmt: skip
        logits_BK = scored_BK.detach().requires_grad_()
    with clock.of("losses"):
        both = both_losses(logits_BK, path_BK, shortlist.n_positives_B, shortlist.n_valid_B)
        loss = both[0] + training.shortlist_loss_weight * both[1]
        value = float(loss.detach())
        loss.backward()
    optimisers.zero_grad()
    with clock.of("label scores backward, RowAdamW"):
        scored_BK.backward(logits_BK.grad)
    with clock.of("path scores"):
        found_BK.backward(path_BK.grad)
    with clock.of("router"):
        found_BW.backward(scores_BW.grad)
    with clock.of("edge weights"):
        weights_CM.backward(edges_CM.grad)
    with clock.of("projection"):
        projected_BD.backward(x_BD.grad)
    with clock.of("AdamW of projection, router, edges"):
        optimisers.step(last=False)
    stage.stage.done += 1
    used = ids_BK[ids_BK >= 0]
    seen = Seen(
        n_queries=len(rows),
        n_paths=int((graph.edge_labels_CM[clusters_BW[clusters_BW >= 0]] >= 0).sum()),
        n_pairs=used.numel(),
        n_rows=len(torch.unique(used)),
    )
    return value, clock, seen
