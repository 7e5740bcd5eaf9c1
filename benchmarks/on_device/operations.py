"""The operations of a step, each with its floor and in every implementation of the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch

from learned_index import LearnedGraphIndex
from learned_index.kernels.beam import best_clusters
from learned_index.kernels.classify import score_labels
from learned_index.kernels.losses import both_losses, classification_loss, shortlist_loss
from learned_index.kernels.machine.dispatch import Implementation, choose
from learned_index.kernels.update import RowAdamW, RowGradients
from learned_index.kernels.walk import explore, path_scores
from on_device.data import Shape, make_positives, make_queries
from on_device.measure import Rates, timed


@dataclass
class Operation:
    """Something to time.

    Attributes:
        name: What it does.
        n_bytes: What must be read and written at least, each byte once.
        flops: Multiplications and additions that it cannot do without.
        make: Implementation -> (call, what to do before each call).
        only: Implementations in which it exists; empty: all.
    """

    name: str
    n_bytes: float
    flops: float
    make: Callable[[str], tuple[Callable[[], Any], Callable[[], Any] | None]]
    only: tuple[str, ...] = ()


@contextmanager
def precision(implementation: str) -> Iterator[Implementation]:
    """TF32 in torch's matrix products for the implementation called ``torch tf32``."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = implementation == "torch tf32"
    try:
        yield cast(Implementation, implementation.split()[0])
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def implementations(device: torch.device) -> list[str]:
    """The device's own kernels and plain torch; on CUDA torch with TF32 too."""
    names = [str(choose(device)), "torch"]
    if device.type == "cuda":
        names.append("torch tf32")
    return list(dict.fromkeys(names))


def make_operations(
    index: LearnedGraphIndex, shape: Shape, device: torch.device
) -> Iterator[Operation]:
    """All operations on one batch, in the order of a step."""
    B, D, W, K = shape.batch, shape.dim, shape.beam_width, shape.shortlist_size
    x = make_queries(shape, seed=1, device=device).requires_grad_()
    positives = make_positives(shape, seed=2, device=device)
    with torch.no_grad():
        edges = index.graph.weights()
        teacher = index.graph.strongest_cluster(edges)[positives]
        clusters = best_clusters(index.router.logits(x), W, teacher)
        scores = index.router.scores(index.router.logits(x)).gather(1, clusters.clamp(min=0))
        scores = scores.masked_fill(clusters < 0, 0.0)
    labels = index.graph.edge_labels_CM
    M = labels.shape[1]

    def walk(implementation: str) -> Any:
        return explore(
            clusters, scores, labels, edges,
            n_labels=index.n_labels, shortlist_size=K, positives_BP=positives,
            implementation=implementation,
        )  # fmt: skip

    shortlist = walk(str(choose(device)))
    ids = shortlist.label_ids_BK
    used = ids[ids >= 0]
    n_pairs, n_used = used.numel(), len(torch.unique(used))
    n_clusters = len(torch.unique(clusters[clusters >= 0]))
    rows = 4 * D * n_used
    yield Operation(
        "walk and select", n_clusters * M * 8 + B * K * 24, 0,
        lambda name: (lambda: walk(name), None),
    )  # fmt: skip

    values = torch.rand(B, clusters.shape[1] * M, device=device)
    none_taken = torch.zeros(B, dtype=torch.long, device=device)

    def select(name: str) -> Any:
        if name == "torch":
            return values.topk(min(K, values.shape[1]), dim=1, sorted=False)
        from learned_index.kernels.select.cuda import select_largest

        out = torch.empty((B, K), dtype=torch.int32, device=device)
        return select_largest(values, none_taken, out)

    yield Operation(
        "selection alone", values.numel() * 4 + B * K * 4, 0,
        lambda name: (lambda: select(name), None), only=("triton", "torch"),
    )  # fmt: skip

    leaves = [t.detach().clone().requires_grad_() for t in (scores, edges)]
    upstream = torch.randn(B, K, device=device)

    def path_step(name: str) -> Any:
        out = path_scores(leaves[0], leaves[1], clusters, shortlist, implementation=name)
        return torch.autograd.grad(out, leaves, upstream)

    yield Operation(
        "path scores, forward and backward", n_pairs * 32 + edges.numel() * 4, 0,
        lambda name: (lambda: path_step(name), None), only=("triton", "torch"),
    )  # fmt: skip

    weight, bias = (t.detach() for t in (index.label_weight_LD, index.label_bias_L))

    def score(name: str, vectors: torch.Tensor) -> torch.Tensor:
        return score_labels(x.detach(), vectors, bias, ids, implementation=name)

    yield Operation(
        "label scores", rows + n_pairs * 12 + 4 * B * D, 2 * n_pairs * D,
        lambda name: (lambda: score(name, weight), None),
    )  # fmt: skip
    half = weight.to(torch.bfloat16)
    yield Operation(
        "label scores, bfloat16 rows", rows / 2 + n_pairs * 12 + 4 * B * D, 2 * n_pairs * D,
        lambda name: (lambda: score(name, half), None), only=("triton",),
    )  # fmt: skip
    yield from _backward_operations(index, x, ids, upstream, rows, n_pairs)

    def losses(name: str) -> Any:
        z, y = logits.requires_grad_(), paths.requires_grad_()
        if name == "torch":
            columns = torch.arange(K, device=device)[None]
            positive = columns < shortlist.n_positives_B[:, None]
            total = classification_loss(z, y, positive, ids >= 0) + shortlist_loss(y, positive)
        else:
            n_valid = (ids >= 0).sum(1)
            both = both_losses(z, y, shortlist.n_positives_B, n_valid, implementation=name)
            total = both[0] + both[1]
        return torch.autograd.grad(total, (z, y))

    logits = score_labels(x.detach(), weight, bias, ids)
    paths = path_scores(scores, edges, clusters, shortlist)
    yield Operation(
        "losses, forward and backward", n_pairs * 16, 0, lambda name: (lambda: losses(name), None)
    )


def _backward_operations(
    index: LearnedGraphIndex,
    x: torch.Tensor,
    ids: torch.Tensor,
    upstream: torch.Tensor,
    rows: float,
    n_pairs: int,
) -> Iterator[Operation]:
    """Backward passes of the label scores; the forward pass before each is not measured."""
    L, D, device = index.n_labels, x.shape[1], x.device
    weight = index.label_weight_LD.detach().clone().requires_grad_()
    bias = index.label_bias_L.detach().clone().requires_grad_()
    base = n_pairs * 12 + 8 * x.numel()

    def backward(name: str, how: str) -> tuple[Callable[[], Any], Callable[[], Any]]:
        optimiser: Any = None
        if how == "fused":
            optimiser = RowAdamW(L, D, learning_rate=1e-6, device=device)
        elif how == "collected":
            optimiser = RowGradients(L, D, device=device)
        state: dict[str, Any] = {}
        with_rows = how != "x"

        def forward() -> None:
            inputs = (weight, bias) if with_rows else (weight.detach(), bias.detach())
            state["z"] = score_labels(x, *inputs, ids, optimiser=optimiser, implementation=name)

        def call() -> None:
            torch.autograd.grad(state["z"], (x,), upstream, retain_graph=False)

        return call, forward

    yield Operation(
        "backward: x alone", rows + base, 2 * n_pairs * D, lambda name: backward(name, "x"),
        only=("triton",),
    )  # fmt: skip
    yield Operation(
        "backward: x, row gradients added up", 3 * rows + base, 4 * n_pairs * D,
        lambda name: backward(name, "collected"),
    )  # fmt: skip
    yield Operation(
        "backward: x, AdamW on the rows (fused)", 6 * rows + base, 4 * n_pairs * D,
        lambda name: backward(name, "fused"), only=("triton", "numba"),
    )  # fmt: skip

    def unfused(name: str) -> tuple[Callable[[], Any], Callable[[], Any]]:
        gradients = RowGradients(L, D, device=device)
        optimiser = RowAdamW(L, D, learning_rate=1e-6, device=device)
        state: dict[str, Any] = {}

        def forward() -> None:
            state["z"] = score_labels(
                x, weight, bias, ids, optimiser=gradients, implementation=name
            )

        def call() -> None:
            torch.autograd.grad(state["z"], (x,), upstream)
            touched, weight_UD, bias_U = gradients.take()
            optimiser.step(
                weight.detach(), bias.detach(), weight_UD, bias_U, touched, implementation=name
            )

        return call, forward

    yield Operation(
        "backward: x, AdamW on the rows (apart)", 6 * rows + base, 4 * n_pairs * D, unfused
    )


def run_operation(
    operation: Operation, device: torch.device, rates: Rates, *, repeats: int
) -> list[dict[str, Any]]:
    """Times of one operation in all implementations, beside its floor."""
    floor_ms = 1e3 * max(operation.n_bytes / rates.bytes_per_s, operation.flops / rates.flops_per_s)
    out = []
    for name in implementations(device):
        if operation.only and name not in operation.only:
            continue
        with precision(name) as implementation:
            call, before = operation.make(implementation)
            timing = timed(call, device, repeats=repeats, prepare=before)
        out.append(
            {
                "operation": operation.name,
                "implementation": name,
                "median_ms": timing.median_ms,
                "fastest_ms": timing.fastest_ms,
                "floor_ms": floor_ms,
                "times_floor": timing.median_ms / floor_ms,
                "peak_mb": timing.peak_mb,
                "bytes": operation.n_bytes,
                "flops": operation.flops,
            }
        )
    return out
