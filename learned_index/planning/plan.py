"""What a training will need, before it begins: parameters, memory, disk.

Legend: N points, L labels, C clusters, M edges a cluster, D dimension, V terms, R labels that are
ranked again, B batch, K labels scored.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from torch import nn

from learned_index.elias.final_ranking import MOST_RECORDS
from learned_index.elias.parts import EliasParts
from learned_index.elias.points import parts_of
from learned_index.elias.validation import ENOUGH_TO_LEARN
from learned_index.index.build.partition import default_edges_per_cluster, default_n_clusters
from learned_index.index.hierarchy import default_edges_per_region, hierarchy_shape
from learned_index.inputs.points import n_rows
from learned_index.ranking.record_layout import TERMS_PER_RECORD

FLOAT = 4
ENTRY = 8
"""Bytes of an entry of a sparse matrix: a value and a column."""
_SVDS = ("lsa", "feature-svd")
_SAMPLE = 20_000
_SAMPLE_CHARACTERS = 4_000_000
"""Of the sample, about; two seconds of counting."""
_MAX_TERMS = 200_000
_VECTORS_IN_MEMORY = 2**31
"""Vectors of a trained encoder that take more are kept on disk between the stages."""
RANKER_SHARE = (0.2, 0.7)
"""Share of the terms of a label's points that keep a weight at a threshold of 0.05: where they are
few of all terms, and where they are all. Measured on four data sets, met within a factor of 2."""
LIBRARIES = 180 * 2**20
"""Bytes of libraries and compiled code that are loaded when they are first used, measured."""
PAIR_BYTES = 45
"""Peak bytes per (point, shortlisted label) while the ranker is made ready."""


@dataclass(frozen=True)
class DataShape:
    """Sizes of a training set.

    Attributes:
        n_points: N.
        n_labels: L.
        n_pairs: (Point, label) pairs.
        terms: Different terms of a point, on average.
        n_terms: V; of texts estimated from a sample.
        form: ``"texts"`` or ``"features"``.
        feature_terms: As ``terms``, of the sparse features: words and pairs of words.
        n_features: As ``n_terms``, likewise.
    """

    n_points: int
    n_labels: int
    n_pairs: int
    terms: float
    n_terms: int
    form: str
    feature_terms: float
    n_features: int

    @classmethod
    def of(cls, points: Any, labels_NL: sp.csr_matrix) -> DataShape:
        """Measure texts (a sample of them) or rows of features."""
        size, pairs = n_rows(points), int(labels_NL.nnz)
        if sp.issparse(points):
            terms = points.nnz / max(1, size)
            width = int(points.shape[1])
            return cls(size, labels_NL.shape[1], pairs, terms, width, "features", terms, width)
        rows = range(0, size, max(1, size // _SAMPLE))
        characters = sum(len(points[row]) for row in rows)
        rows = rows[:: max(1, characters // _SAMPLE_CHARACTERS)]
        runs = [re.findall(r"\w+", points[row].lower()) for row in rows]
        words: list[set[Any]] = [set(run) for run in runs]
        both = [one.union(pairwise(run)) for one, run in zip(words, runs, strict=True)]
        (terms, n_terms), (features, n_features) = _counted(words, size), _counted(both, size)
        return cls(size, labels_NL.shape[1], pairs, terms, n_terms, "texts", features, n_features)


def _counted(sample: list[set[Any]], size: int) -> tuple[float, int]:
    """Mean number of different terms of a text, and different terms of ``size`` such texts."""
    terms = sum(map(len, sample)) / max(1, len(sample))
    least = 2 if size >= 1000 else 1
    n_terms = _vocabulary(sample, least)
    if len(sample) < size:
        # Heaps' law with the growth between half of the sample and all of it.
        half = _vocabulary(sample[::2], least)
        growth = min(1.0, max(0.0, np.log2(max(n_terms, 1) / max(half, 1))))
        n_terms = int(n_terms * (size / len(sample)) ** growth)
    return terms, min(max(n_terms, 1), _MAX_TERMS)


def _vocabulary(bags: list[set[Any]], least: int) -> int:
    frequency = Counter(term for bag in bags for term in bag)
    return sum(count >= least for count in frequency.values())


@dataclass(frozen=True)
class Plan:
    """What a training needs.

    Attributes:
        shape: The data.
        dim: D.
        n_clusters: C.
        edges_per_cluster: M.
        parameters: By part, numbers in the saved model (all members together).
        memory: Bytes of main memory by what takes them, while training; beside what the process
            has now.
        peak_bytes: The largest sum of them at one time.
        device_bytes: Bytes on the GPU, where one is used; else 0.
        disk_bytes: Size of the saved model.
    """

    shape: DataShape
    dim: int
    n_clusters: int
    edges_per_cluster: int
    parameters: dict[str, int]
    memory: dict[str, int]
    peak_bytes: int
    device_bytes: int
    disk_bytes: int


class _IndexShape(NamedTuple):
    """Numbers of one index: D, C, M, regions, and edges of a region."""

    dim: int
    C: int
    M: int
    n_regions: int
    M0: int

    @classmethod
    def of(cls, model: EliasParts, shape: DataShape) -> _IndexShape:
        """What the configuration, and the defaults for these data, will make."""
        config, L = model.index_config, shape.n_labels
        C = min(config.n_clusters or default_n_clusters(L, config.hierarchy), L)
        regions = hierarchy_shape(config, C)
        S = 0 if regions is None else regions.n_regions
        return cls(
            dim=sum(_dim(part, shape) for part in parts_of(model.encoder)),
            C=C,
            M=min(config.edges_per_cluster or default_edges_per_cluster(L, C), L),
            n_regions=S,
            M0=min(config.edges_per_region or default_edges_per_region(C, S), C) if S else 0,
        )


def make_plan(model: EliasParts, shape: DataShape, *, trained: bool, device: str = "cpu") -> Plan:
    """Estimate parameters, memory and disk of a training.

    Args:
        model: Not fitted; its encoder may be loaded.
        shape: The training data.
        trained: Whether the encoder is trained with the index.
        device: Where index and encoder are trained.
    """
    config, index = model.config, _IndexShape.of(model, shape)
    encoder = sum(_parameters(part, shape) for part in parts_of(model.encoder))
    weights = _ranker_weights(model, shape) if config.ranker != "none" else 0
    per_member = _index_parameters(model, shape, index)
    parameters = {
        "encoder": (config.n_models if trained else 1) * encoder,
        **{name: config.n_models * count for name, count in per_member.items()},
        "ranker, sparse": weights,
        "ranker, dense": shape.n_labels * (index.dim + 1) if config.ranker != "none" else 0,
    }
    memory = _memory(model, shape, index, trained=trained, weights=weights)
    activations = _activations(model, shape) if trained else 0
    if trained:
        # Weights, gradients, two moments, an average; then the tokens.
        memory["encoder training"] = FLOAT * 4 * encoder + int(16 * shape.n_points * shape.terms)
    device_bytes = 0
    if not device.startswith("cpu"):
        device_bytes = memory["index training"] + memory["batch"]
        device_bytes += memory.get("encoder training", 0) + activations
    elif trained:
        memory["activations"] = activations
    peak = _peak(memory, ranked=config.ranker != "none")
    edge_labels = FLOAT * (index.C * index.M + index.n_regions * index.M0)
    memory["index"] = FLOAT * sum(per_member.values()) + edge_labels
    disk = FLOAT * (sum(parameters.values()) - weights) + ENTRY * weights
    # Beside the parameters: each edge's label, each label's cluster, count and name, the terms.
    disk += config.n_models * (edge_labels + FLOAT * shape.n_labels)
    disk += (8 + 40) * shape.n_labels + 20 * shape.n_terms
    if model.config.ranker != "none":
        disk += 20 * (shape.n_features - shape.n_terms) + _record_bytes(model, shape, index.dim)
    if not trained and getattr(model.encoder, "name", "") == "minilm":
        disk -= FLOAT * encoder  # stored by name
    return Plan(shape, index.dim, index.C, index.M, parameters, memory, peak, device_bytes, disk)


def _index_parameters(model: EliasParts, shape: DataShape, index: _IndexShape) -> dict[str, int]:
    dim = index.dim
    return {
        "router": 2 * index.C * dim,  # of the index and of its fixed tree
        "edges": index.C * index.M,
        "regions": index.n_regions * (dim + index.M0),
        "projection": dim * dim if model.index_config.projection != "none" else 0,
        "label classifiers": shape.n_labels * (dim + 1),
    }


def _peak(memory: dict[str, int], *, ranked: bool) -> int:
    """What is held all the time, and the largest of what the phases need one after the other."""
    before = ("libraries", "earlier members", "tf-idf", "vectors", "encoder")
    training = ("encoder training", "index training", "batch", "activations")
    phases = (
        sum(memory.get(name, 0) for name in training),
        memory["clustering"] + memory["index"],
        memory["ranker training"] + memory["index"] if ranked else 0,
        memory["building features"] - memory["tf-idf"],
    )
    return sum(memory[name] for name in before) + max(phases)


def _memory(
    model: EliasParts, shape: DataShape, index: _IndexShape, *, trained: bool, weights: int
) -> dict[str, int]:
    config, training = model.config, model.training_config
    dim, C, M = index.dim, index.C, index.M
    N, L, R = shape.n_points, shape.n_labels, config.rerank_size
    K = min(training.training_shortlist_size or model.index_config.shortlist_size, L)
    B, W = training.batch_size, min(model.index_config.beam_width, C)
    classifiers, router = FLOAT * L * dim, FLOAT * C * dim
    tfidf = int(ENTRY * N * shape.feature_terms)
    features = config.ranker != "none" or config.clustering_features != "none"
    visits = min(C * L, W * shape.n_pairs)
    # The terms of a label's points, as one sparse row each.
    label_terms = shape.n_pairs / max(1, L) * shape.feature_terms
    centroid_terms = min(shape.n_features, label_terms) * L
    vectors = FLOAT * N * dim
    if trained and vectors > _VECTORS_IN_MEMORY:
        vectors = 0
    one_index = classifiers + 2 * router + 2 * FLOAT * C * M
    return {
        "libraries": LIBRARIES,
        "tf-idf": tfidf if features else 0,
        "building features": int(3.5 * tfidf) + 200 * shape.n_features if features else 0,
        "encoder": sum(_fitted_bytes(part, shape) for part in parts_of(model.encoder)),
        # A joined encoder has the vectors of its parts beside the whole.
        "vectors": vectors * (2 if hasattr(model.encoder, "encoders") else 1),
        "earlier members": (config.n_models - 1) * one_index,
        "index": one_index,
        "clustering": 3 * classifiers
        + (int(2 * ENTRY * centroid_terms) if config.clustering_features != "none" else 0),
        # Weights, two moments, an average; gradients where steps are gathered.
        "index training": classifiers * (5 if training.label_update_every > 1 else 4)
        + 6 * router + 7 * FLOAT * C * M + 5 * FLOAT * dim * dim + 24 * visits,
        "batch": B * (60 * K + 16 * C + 16 * dim + 24 * W * M),
        "ranker training": PAIR_BYTES * (N * R + shape.n_pairs)
        + 2 * ENTRY * weights + classifiers,
        "records": 2 * _record_bytes(model, shape, dim) if config.ranker != "none" else 0,
    }  # fmt: skip


def _record_bytes(model: EliasParts, shape: DataShape, dim: int) -> int:
    """Bytes of the records that a final ranker reads; 0 where none will be learned."""
    config, N = model.config, shape.n_points
    few = config.final_ranker == "auto" and config.validation_limit < ENOUGH_TO_LEARN
    if config.final_ranker == "fixed" or few or N < 10 * ENOUGH_TO_LEARN:
        return 0
    if config.records == "no" or (config.records == "auto" and N > MOST_RECORDS):
        return 0
    one = dim + 4 + 5 * min(TERMS_PER_RECORD, int(shape.feature_terms))
    return N * one + 4 * shape.n_pairs + 8 * (N + shape.n_features)


def _activations(model: EliasParts, shape: DataShape) -> int:
    """Activations of a transformer for one batch (Korthikanti et al. 2022, section 4).

    A layer keeps about ``B T H (34 + 5 a T / H)`` bytes in half precision (T tokens, hidden size
    H, a heads), twice that in float32.
    """
    config = _transformer_config(model.encoder)
    if config is None:
        return 0
    tokens = min(getattr(model.encoder, "max_length", 256), 1.5 * shape.terms + 2)
    hidden, heads = config.hidden_size, config.num_attention_heads
    layer = tokens * hidden * (34 + 5 * heads * tokens / hidden)
    wide = 2 if model.training_config.precision != "bfloat16" else 1
    return int(wide * model.training_config.batch_size * config.num_hidden_layers * layer)


def _transformer_config(encoder: Any) -> Any | None:
    for module in encoder.modules() if isinstance(encoder, nn.Module) else ():
        config = getattr(module, "config", None)
        if hasattr(config, "num_hidden_layers") and hasattr(config, "num_attention_heads"):
            return config
    return None


def _dim(encoder: Any, shape: DataShape) -> int:
    """Vector length after fitting: an SVD has no more dimensions than points or terms."""
    if encoder.kind == "dense-feature-rows":
        return shape.n_terms
    if encoder.kind in _SVDS:
        return min(int(encoder.dim), shape.n_points, shape.n_terms)
    return int(encoder.dim)


def _parameters(encoder: Any, shape: DataShape) -> int:
    """Numbers in an encoder, before it is fitted."""
    if isinstance(encoder, nn.Module):
        count = sum(parameter.numel() for parameter in encoder.parameters())
        return count or shape.n_terms * _dim(encoder, shape)  # a bag of words before its fit
    return shape.n_terms * _dim(encoder, shape) if encoder.kind in _SVDS else 0


def _fitted_bytes(encoder: Any, shape: DataShape) -> int:
    """Memory of what an encoder will learn; loaded networks are in the process already."""
    if isinstance(encoder, nn.Module) and any(True for _ in encoder.parameters()):
        return 0
    return 4 * FLOAT * _parameters(encoder, shape)  # the decomposition works on copies


def _ranker_weights(model: EliasParts, shape: DataShape) -> int:
    """Sparse weights that the ranker will keep.

    A label is trained on its points and on those that shortlist it; their different terms follow
    Heaps' law up to the vocabulary.
    """
    R = min(model.config.rerank_size, shape.n_labels)
    points = (shape.n_points * R + shape.n_pairs) / max(1, shape.n_labels)
    negatives = min(points, model.ranker_config.max_negatives)
    seen = shape.feature_terms * negatives**0.6
    rare, common = RANKER_SHARE
    share = rare + (common - rare) * min(1.0, seen / (2 * shape.n_features))
    share *= (0.05 / max(0.01, model.ranker_config.weight_threshold)) ** 0.75
    return int(min(1.0, share) * min(shape.n_features, seen) * shape.n_labels)
