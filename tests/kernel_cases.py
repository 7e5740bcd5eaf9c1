"""Graphs and label scores that several tests of kernels share, and both by hand."""

from __future__ import annotations

import numpy as np
import torch


def random_graph(seed, *, B=6, W=4, C=9, M=7, L=25, P=3):
    rng = np.random.default_rng(seed)
    clusters = np.stack([rng.permutation(C)[:W] for _ in range(B)])
    clusters[0, -1] = -1
    edge_labels = np.stack([rng.permutation(L)[:M] for _ in range(C)]).astype(np.int32)
    edge_labels[2, 3:] = -1
    positives = np.stack([rng.permutation(L)[:P] for _ in range(B)])
    positives[1, 1:] = -1
    return (
        torch.from_numpy(clusters),
        torch.from_numpy(rng.random((B, W), np.float32)),
        torch.from_numpy(edge_labels),
        torch.from_numpy(rng.random((C, M), np.float32)),
        torch.from_numpy(positives),
    )


def paths_by_hand(clusters, scores, edge_labels, edge_weights):
    """Dictionaries label -> best path score, one per query, in plain Python."""
    out = []
    for row, s in zip(clusters.tolist(), scores, strict=True):
        best = {}
        for c, score in zip(row, s, strict=True):
            if c < 0:
                continue
            for label, weight in zip(edge_labels[c].tolist(), edge_weights[c], strict=True):
                if label >= 0:
                    best[label] = max(best.get(label, -1.0), float(score * weight))
        out.append(best)
    return out


def scoring_case(seed=0, B=7, K=11, L=30, D=13):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(B, D, generator=generator, requires_grad=True)
    w = torch.randn(L, D, generator=generator, requires_grad=True)
    bias = torch.randn(L, generator=generator, requires_grad=True)
    ids = torch.stack([torch.randperm(L, generator=generator)[:K] for _ in range(B)])
    ids[0, 5:] = -1
    upstream = torch.randn(B, K, generator=generator).masked_fill(ids < 0, 0.0)
    return x, w, bias, ids, upstream


def dense_scores(x, w, bias, ids):
    """Gather and einsum in float64: what the kernels must compute."""
    z = torch.einsum("bd,bkd->bk", x, w[ids.clamp(min=0)]) + bias[ids.clamp(min=0)]
    return z.masked_fill(ids < 0, 0.0)
