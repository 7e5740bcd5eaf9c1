"""How long a training will take: a short measurement on this machine, scaled up."""

from __future__ import annotations

import copy
import time
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import nn

from learned_index.elias.parts import EliasParts
from learned_index.elias.points import parts_of, take
from learned_index.index.build.clustering import balanced_partition
from learned_index.index.graph import ClusterLabelGraph
from learned_index.index.hierarchy import hierarchy_shape
from learned_index.index.learned_graph_index import LearnedGraphIndex
from learned_index.inputs.points import n_rows
from learned_index.kernels.update import RowAdamW
from learned_index.planning.plan import Plan
from learned_index.ranking.sparse_ranker import SparseRanker
from learned_index.system.timing import seconds_of

_TEXTS = 64
_FITTED = 1000
_SYNTHETIC_BYTES = 2**28
_CLUSTERED = 2000
_RANKED_LABELS = 64


def expected_seconds(
    model: EliasParts, plan: Plan, points: Any, *, trained: bool
) -> dict[str, float]:
    """Measure a few texts and steps, and scale them to the whole training.

    Args:
        model: Not fitted.
        plan: Its plan.
        points: The training texts or feature rows.
        trained: Whether the encoder is trained with the index.

    Returns:
        Seconds by step, with ``"total"``. Vectors that are in a cache already cost nothing, what
        this does not know. Steps that depend on the data's difficulty (the ranker) are rough.
    """
    training = model.training_config.resolve_epochs(
        plan.shape.n_points, trained="encoder" if trained else "index"
    )
    stage1, stage2 = training.stage1_epochs or 0, training.stage2_epochs or 0
    steps = -(-plan.shape.n_points // training.batch_size)
    fit, encode = np.sum([_seconds_per_text(p, points) for p in parts_of(model.encoder)], axis=0)
    epochs = stage1 + stage2
    found = {
        "fitting the encoder": float(fit * plan.shape.n_points),
        "encoding": float(encode * plan.shape.n_points),
        "clustering": model.config.n_models * _clustering_seconds(plan),
        "index": model.config.n_models * epochs * steps * _step_seconds(model, plan),
        "ranker": _ranker_seconds(model, plan) if model.config.ranker != "none" else 0.0,
    }
    if trained:
        warm = training.warm_epochs or 0
        # Forward and backward cost about three forward passes (a backward pass has two products).
        passes = 3 * (epochs + warm) + 3
        found["encoding"] = model.config.n_models * passes * found["encoding"]
        found["index"] *= (epochs + warm) / max(1, epochs)
    found["total"] = sum(found.values())
    return found


def _seconds_per_text(encoder: Any, points: Any) -> tuple[float, float]:
    """Time of fitting and of encoding one point, measured on some drawn evenly.

    Stored vectors cost nothing.
    """
    if encoder.kind == "precomputed":
        return 0.0, 0.0
    learns = getattr(encoder, "needs_fit", True)
    size = min(_FITTED if learns else _TEXTS, n_rows(points))
    sample = take(points, np.linspace(0, n_rows(points) - 1, size).astype(np.int64))
    if hasattr(encoder, "expected_seconds"):  # its fit is no matter of so much a text
        fit, encode = encoder.expected_seconds(sample, n_texts=n_rows(points))
        return fit / n_rows(points), encode
    fit = 0.0
    if learns:
        encoder = copy.deepcopy(encoder)
        fit = seconds_of(lambda: encoder.fit(sample)) / size
    encoder.encode(sample[:4])
    start = time.perf_counter()
    encoder.encode(sample)
    return fit, (time.perf_counter() - start) / size


def _step_seconds(model: EliasParts, plan: Plan) -> float:
    """Time of one training step of the index on random data of the plan's shape."""
    training = model.training_config
    dim = plan.dim
    L = max(1, min(plan.shape.n_labels, _SYNTHETIC_BYTES // (12 * dim)))
    C, M = min(plan.n_clusters, L), min(plan.edges_per_cluster, L)
    index = LearnedGraphIndex(model.index_config, training=training)
    regions = hierarchy_shape(model.index_config, C)
    index.allocate(dim=dim, n_labels=L, n_clusters=C, hierarchy=regions)
    rng = np.random.default_rng(0)
    generator = torch.Generator().manual_seed(0)
    edges = np.stack([rng.choice(L, size=M, replace=False) for _ in range(C)]).astype(np.int32)
    index.graph = ClusterLabelGraph(
        torch.from_numpy(edges),
        L,
        edge_logits_CM=torch.randn(C, M, generator=generator),
        scale=max(1.0, L / C),
    )
    with torch.no_grad():
        index.router.weight_CD.normal_(generator=generator)
        index.label_weight_LD.normal_(generator=generator)
    rows = RowAdamW(L, dim, learning_rate=1e-3, weight_decay=0.0)
    optimiser = torch.optim.AdamW([p for p in index.parameters() if p.requires_grad], lr=1e-3)
    x_BD = nn.functional.normalize(torch.randn(training.batch_size, dim, generator=generator))
    labels = max(1, round(plan.shape.n_pairs / max(1, plan.shape.n_points)))
    positives = torch.randint(0, L, (training.batch_size, labels), generator=generator)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        index(x_BD, positives, row_optimiser=rows).loss.backward()
        optimiser.step()

    index.train()
    return seconds_of(step, repeats=2)


def _clustering_seconds(plan: Plan) -> float:
    """Time of the recursive 2-means, scaled by L log2 C from a small one."""
    L = min(plan.shape.n_labels, _CLUSTERED)
    C = min(plan.n_clusters, max(2, L // 40), L)
    if C < 2:
        return 0.0
    rng = np.random.default_rng(0)
    centroids = rng.normal(size=(L, plan.dim)).astype(np.float32)
    seconds = seconds_of(lambda: balanced_partition([centroids], C))
    sparse = 1.0 + min(plan.shape.n_terms, plan.shape.terms * 10) / plan.dim
    work = plan.shape.n_labels * np.log2(max(2, plan.n_clusters)) / (L * np.log2(C))
    return float(seconds * work * sparse)


def _ranker_seconds(model: EliasParts, plan: Plan) -> float:
    """Time of training the ranker, scaled by (point, label) pairs from a few random labels."""
    shape = plan.shape
    R = min(model.config.rerank_size, shape.n_labels)
    pairs = shape.n_points * R + shape.n_pairs
    per_label = int(np.clip(pairs / max(1, shape.n_labels), 8, 512))
    rng = np.random.default_rng(0)
    terms = int(max(1, round(shape.terms)))
    V = max(shape.n_terms, terms)
    columns = rng.integers(0, V, size=per_label * terms)
    values = np.full(len(columns), 1 / np.sqrt(terms), np.float32)
    offsets = np.arange(0, len(columns) + 1, terms)
    sparse = sp.csr_matrix((values, columns, offsets), shape=(per_label, V))
    sparse.sum_duplicates()
    dense = rng.normal(size=(per_label, plan.dim)).astype(np.float32)
    dense /= np.linalg.norm(dense, axis=1, keepdims=True)
    count = min(_RANKED_LABELS, shape.n_labels)
    truth = sp.random(per_label, count, density=0.05, format="csr", random_state=0)
    truth.data[:] = 1
    shortlist = np.tile(np.arange(count), (per_label, 1))
    seconds = seconds_of(
        lambda: SparseRanker(model.ranker_config).fit(
            sparse, dense, truth.astype(np.float32), shortlist
        )
    )
    return float(seconds * pairs / (per_label * count))
