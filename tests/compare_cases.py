"""A small model made of random classifiers, and data for it, to compare methods with."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp
import torch

from learned_index.comparison import (
    ComparisonData,
    ComparisonSettings,
    label_propensities,
)
from learned_index.comparison.method import MethodSpec
from learned_index.types import SearchResult

N_LABELS, DIM = 250, 8


class FakeModel:
    """Random classifiers behind a residual projection; a beam searches a part of the labels."""

    n_clusters = 10

    def __init__(self, *, share=1.0, curved=False, n_labels=N_LABELS):
        generator = np.random.default_rng(0)
        self.weights = generator.standard_normal((n_labels, DIM)).astype(np.float32)
        self.bias = generator.standard_normal(n_labels).astype(np.float32)
        self.matrix = (0.2 * generator.standard_normal((DIM, DIM))).astype(np.float32)
        self.share, self.curved = share, curved

    def label_classifiers(self):
        return torch.from_numpy(self.weights), torch.from_numpy(self.bias)

    def project(self, queries):
        queries = np.asarray(queries)
        return np.tanh(queries) if self.curved else queries + queries @ self.matrix

    def search(self, queries, k, *, beam_width=10):
        seen = max(1, int(self.share * len(self.bias) * beam_width / self.n_clusters))
        scores = self.project(queries) @ self.weights[:seen].T + self.bias[:seen]
        ids = np.argsort(-scores, axis=1)[:, :k]
        best = np.take_along_axis(scores, ids, axis=1)
        pad = ((0, 0), (0, k - ids.shape[1]))
        return SearchResult(
            np.pad(ids, pad, constant_values=-1),
            np.pad(best, pad, constant_values=-np.inf).astype(np.float32),
        )

    def fixed_tree(self):
        return FakeModel(share=0.5)


@dataclass(frozen=True)
class FakeLoader:
    options: dict = field(default_factory=dict)

    def __call__(self):
        return FakeModel(**self.options)


def spec_of(adapter):
    return MethodSpec(name=adapter.method, adapter=adapter)


def make_data(n_queries=60, n_labels=N_LABELS):
    """Truth: labels that the classifiers rank high, and some others."""
    generator = np.random.default_rng(1)
    model = FakeModel()
    rows = generator.standard_normal((n_queries + 80, DIM)).astype(np.float32)
    scores = model.project(rows) @ model.weights.T + model.bias
    scores += 2 * generator.standard_normal(scores.shape)
    top = np.argsort(-scores, axis=1)[:, :3]
    labels = sp.csr_matrix(
        (np.ones(top.size, np.float32), (np.repeat(np.arange(len(rows)), 3), top.ravel())),
        shape=(len(rows), n_labels),
    )
    return ComparisonData(
        queries_ND=rows[:n_queries],
        truth_NL=labels[:n_queries],
        propensities=label_propensities(labels[n_queries:]),
        embeddings_ND=rows[n_queries:],
        labels_NL=labels[n_queries:],
    )


def quick(**changes):
    values = {
        "isolation": "none", "threads": 1, "batch_size": 16, "latency_queries": 5, "repeats": 2,
        "timing_seconds": 0.0,
    }  # fmt: skip
    return ComparisonSettings(**{**values, **changes})


def row_of(result, method):
    return next(row for row in result.rows if row["method"] == method)


def labelled_points(n_points=400, dim=12, n_labels=30, seed=0):
    """Points around one centre per label, one or two labels each."""
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((n_labels, dim))
    first = generator.integers(0, n_labels, n_points)
    second = generator.integers(0, n_labels, n_points)
    points = (
        centres[first] + 0.5 * centres[second] + 0.1 * generator.standard_normal((n_points, dim))
    )
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    labels = sp.lil_matrix((n_points, n_labels), dtype=np.float32)
    labels[np.arange(n_points), first] = 1
    labels[np.arange(n_points), second] = 1
    return points.astype(np.float32), labels.tocsr()
