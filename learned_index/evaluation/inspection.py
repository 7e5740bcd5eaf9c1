"""What a model knows of a cluster and of a label: edges, words, neighbours, records."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from learned_index.data.dataset import Dataset
from learned_index.elias.model import ELIAS
from learned_index.evaluation.examples import Examples, cluster_examples
from learned_index.evaluation.ranker_words import WordWeight, label_words, mean_words
from learned_index.index.learned_graph_index import LearnedGraphIndex
from learned_index.inputs.numbers import whole_number
from learned_index.types import Encoder, Int64Array

N_SHOWN = 10
"""Labels, words and examples that are told unless another number is asked for."""


@dataclass(frozen=True)
class LabelEdge:
    """A label that a cluster leads to.

    Attributes:
        label: Its name.
        key: Its key.
        weight: Weight e of the edge, 0 to 1.
        n_points: Training points that have the label; None: unknown.
    """

    label: str
    key: str
    weight: float
    n_points: int | None


@dataclass(frozen=True)
class ClusterEdge:
    """A cluster that leads to a label: its number, and the weight e of the edge, 0 to 1."""

    cluster: int
    weight: float


@dataclass(frozen=True)
class NearLabel:
    """A label whose classifier points the same way: cosine of the two, -1 to 1."""

    label: str
    key: str
    cosine: float


@dataclass(frozen=True)
class InspectedCluster:
    """A cluster of one index.

    Attributes:
        cluster: Its number, from 0.
        member: The index of the model, from 0.
        n_edges: Labels that it leads to.
        n_strongest: Labels of these whose strongest edge comes from it.
        weight: Sum of the weights of all its edges.
        labels: The strongest edges, the strongest first; of equal weight those first that were
            stronger before the cut of ``e = min(1, beta softmax)``, then the smaller id.
        words: Features with the largest weights above 0 in the mean of the ranker's classifiers of
            all its labels, each weighted by its edge; None where the model has no ranker.
        examples: Points whose best cluster it is; None where no data were given.
    """

    cluster: int
    member: int
    n_edges: int
    n_strongest: int
    weight: float
    labels: list[LabelEdge]
    words: list[WordWeight] | None
    examples: Examples | None

    def to_dict(self) -> dict[str, Any]:
        """All of it as lists, dictionaries, numbers and strings."""
        return asdict(self)


@dataclass(frozen=True)
class InspectedLabel:
    """A label of a model, and where it hangs in one of its indexes.

    Attributes:
        label: Its name.
        key: Its key.
        member: The index of the model, from 0.
        n_points: Training points that have it; None: unknown.
        n_records: Remembered training records that have it; None where the model remembers none.
        clusters: All clusters that lead to it, in the order of :attr:`InspectedCluster.labels`.
            Where there are none, the index finds it for no query.
        stage1_cluster: Its cluster in the partition of stage 1, from before the edges were learned.
        positive: Features with the largest weights above 0 in the ranker's classifier of the label;
            None where the model has no ranker.
        negative: Those with the smallest weights below 0, likewise.
        nearest: Labels with the largest cosines between their classifiers and this one's, of the
            index, without the biases. None was removed or has a classifier of zeros; empty where
            this one has.
    """

    label: str
    key: str
    member: int
    n_points: int | None
    n_records: int | None
    clusters: list[ClusterEdge]
    stage1_cluster: int
    positive: list[WordWeight] | None
    negative: list[WordWeight] | None
    nearest: list[NearLabel]

    def to_dict(self) -> dict[str, Any]:
        """All of it as lists, dictionaries, numbers and strings."""
        return asdict(self)


def inspect_cluster(
    model: ELIAS,
    cluster: int,
    *,
    member: int = 0,
    k: int = N_SHOWN,
    dataset: Dataset | None = None,
    vectors: Any | None = None,
) -> InspectedCluster:
    """Tell what a cluster holds.

    Args:
        model: Trained, not compiled.
        cluster: Its number, 0 to C - 1.
        member: Which index of an ensemble.
        k: Labels, words and examples wanted, at most.
        dataset: Points to take examples from, the training split for instance; None: none.
        vectors: N x D vectors of these points, of :func:`member_encoder`; None: encode them.

    Raises:
        InputError: A cluster or member that does not exist, a compiled model, vectors that are not
            those of the points.
        NotFittedError: The model is not trained.
    """
    index, encoder = inspected_member(model, member), member_encoder(model, member)
    cluster = whole_number(cluster, "cluster", low=0, high=index.n_clusters - 1)
    k = whole_number(k, "k")
    labels_CM, weights_CM, strengths_CM = _edges(index)
    columns = np.flatnonzero(labels_CM[cluster] >= 0)
    columns = columns[np.lexsort((labels_CM[cluster, columns], -strengths_CM[cluster, columns]))]
    labels, weights = labels_CM[cluster, columns], weights_CM[cluster, columns]
    with torch.no_grad():
        strongest_L = index.graph.strongest_cluster(index.graph.strengths())
    examples = None
    if dataset is not None:
        examples = cluster_examples(index, encoder, cluster, dataset, k=k, vectors=vectors)
    return InspectedCluster(
        cluster=cluster,
        member=member,
        n_edges=len(labels),
        n_strongest=int((strongest_L == cluster).sum()),
        weight=float(weights.sum(dtype=np.float64)),
        labels=[
            LabelEdge(*_names(model, label), float(weight), _n_points(model, label))
            for label, weight in zip(labels[:k].tolist(), weights[:k], strict=True)
        ],
        words=mean_words(model, labels, weights, k),
        examples=examples,
    )


def inspect_label(
    model: ELIAS, label: str | int, *, member: int = 0, k: int = N_SHOWN
) -> InspectedLabel:
    """Tell where a label hangs and what is known of it.

    Args:
        model: Trained, not compiled.
        label: Its key, its name, or its id.
        member: Which index of an ensemble.
        k: Words and nearest labels wanted, at most; clusters are told all.

    Raises:
        InputError: A label or member that does not exist, a compiled model.
        NotFittedError: The model is not trained.
    """
    index = inspected_member(model, member)
    number = model.vocabulary.id(label) if isinstance(label, str) else label
    number = whole_number(number, "label", low=0, high=model.n_labels - 1)
    k = whole_number(k, "k")
    labels_CM, weights_CM, strengths_CM = _edges(index)
    rows, columns = np.nonzero(labels_CM == number)
    order = np.lexsort((rows, -strengths_CM[rows, columns]))
    positive, negative = label_words(model, number, k)
    name, key = _names(model, number)
    return InspectedLabel(
        label=name,
        key=key,
        member=member,
        n_points=_n_points(model, number),
        n_records=None if model.records_ is None else int(model.records_.counts()[number]),
        clusters=[
            ClusterEdge(int(rows[at]), float(weights_CM[rows[at], columns[at]])) for at in order
        ],
        stage1_cluster=int(index.cluster_of_label_L[number]),
        positive=positive,
        negative=negative,
        nearest=_nearest(model, index, number, k),
    )


def inspected_member(model: ELIAS, member: int) -> LearnedGraphIndex:
    """An index of a model by its number.

    Raises:
        InputError: There is none of this number, or the model is compiled.
        NotFittedError: The model is not trained.
    """
    members = model.trained_members()
    return members[whole_number(member, "member", low=0, high=len(members) - 1)]


def member_encoder(model: ELIAS, member: int) -> Encoder:
    """The encoder whose vectors an index of a model takes: its own, or that of all."""
    return model.encoders[min(member, len(model.encoders) - 1)]


@torch.no_grad()
def _edges(index: LearnedGraphIndex) -> tuple[Int64Array, Any, Any]:
    """Labels of the edges (-1 at pads), their weights, and what orders them, C x M each."""
    labels_CM, weights_CM = index.graph.arrays()
    return labels_CM.astype(np.int64), weights_CM, index.graph.strengths().cpu().numpy()


def _nearest(model: ELIAS, index: LearnedGraphIndex, label: int, k: int) -> list[NearLabel]:
    w_LD, _ = index.label_classifiers()
    lengths_L = np.sqrt(np.einsum("ld,ld->l", w_LD, w_LD))
    if lengths_L[label] == 0:
        return []
    # No copy of all classifiers: they are the largest part of a model.
    products_L = w_LD @ w_LD[label]
    others = np.flatnonzero(lengths_L)
    others = others[~np.isin(others, [label, *model.removed_labels])]
    cosines = products_L[others] / (lengths_L[others] * lengths_L[label])
    order = np.argsort(-cosines, kind="stable")[:k]
    return [
        NearLabel(*_names(model, int(others[at])), float(np.clip(cosines[at], -1, 1)))
        for at in order
    ]


def _names(model: ELIAS, label: int) -> tuple[str, str]:
    return model.vocabulary.name(label), model.vocabulary.keys[label]


def _n_points(model: ELIAS, label: int) -> int | None:
    return None if model.label_counts is None else int(model.label_counts[label])
