"""What a model knows of clusters and labels, against loops over single edges and points."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from conftest import tiny_dataset
from elias_cases import finally_ranked, fitted, train_data, without_ranker

from learned_index import ELIAS, IndexConfig
from learned_index.data import Dataset
from learned_index.errors import InputError
from learned_index.evaluation.inspection import inspect_cluster, inspect_label, member_encoder
from learned_index.index.paths import best_clusters, label_paths


@pytest.fixture(scope="module")
def models() -> dict[str, ELIAS]:
    train = train_data()
    deep = IndexConfig(n_clusters=8, hierarchy="deep", beam_width=3)
    return {
        "full": finally_ranked("trees"),
        "ensemble": fitted(n_models=2),
        "deep": without_ranker(index=deep).fit(
            train.texts, train.labels, vocabulary=train.vocabulary
        ),
    }


def edges(model: ELIAS, member: int) -> dict[tuple[int, int], tuple[float, float]]:
    """(cluster, label) -> weight e and what it was before the cut at 1, one edge at a time."""
    graph = model.members[member].graph
    found = {}
    for cluster in range(len(graph.edge_labels_CM)):
        logits = graph.edge_logits_CM[cluster].tolist()
        labels = graph.edge_labels_CM[cluster].tolist()
        real = [(label, a) for label, a in zip(labels, logits, strict=True) if label >= 0]
        total = sum(math.exp(a) for _, a in real)
        for label, a in real:
            strength = graph.scale * math.exp(a) / total
            found[cluster, label] = min(1.0, strength), strength
    return found


def weights_of(model: ELIAS, label: int) -> dict[str, float]:
    """The classifier of a label, asked for one word at a time: margin less bias."""
    n, dim = model.ranker_.n_features_, model.ranker_.dim_
    ids = np.full((n + 1, 1), label)
    words = sp.vstack([sp.identity(n, np.float32), sp.csr_matrix((1, n), dtype=np.float32)])
    margins = model.ranker_.score(words.tocsr(), np.zeros((n + 1, dim)), ids)[:, 0]
    return dict(zip(model.features.terms_, margins[:-1] - margins[-1], strict=True))


MEMBERS = [("full", 0), ("ensemble", 0), ("ensemble", 1), ("deep", 0)]


@pytest.mark.parametrize(("kind", "member"), MEMBERS)
def test_edges_of_clusters_and_labels_are_those_of_a_loop(models, kind, member):
    model = models[kind]
    expected = edges(model, member)
    for cluster in range(model.members[member].n_clusters):
        found = inspect_cluster(model, cluster, member=member, k=1000)
        own = {label: each for (c, label), each in expected.items() if c == cluster}
        order = sorted(own, key=lambda label: (-own[label][1], label))
        assert [edge.key for edge in found.labels] == [model.vocabulary.keys[i] for i in order]
        for edge, label in zip(found.labels, order, strict=True):
            assert edge.weight == pytest.approx(own[label][0], rel=1e-4)
            assert edge.label == model.vocabulary.name(label)
            assert edge.n_points == model.label_counts[label]
        assert (found.cluster, found.member, found.n_edges) == (cluster, member, len(own))
        assert found.weight == pytest.approx(sum(e for e, _ in own.values()), rel=1e-4)
        strongest = 0
        for label in own:
            strengths = [s for (_, other), (_, s) in expected.items() if other == label]
            strongest += own[label][1] == max(strengths)
        assert found.n_strongest == strongest
        assert found.labels[:3] == inspect_cluster(model, cluster, member=member, k=3).labels
    for label in range(model.n_labels):
        found = inspect_label(model, model.vocabulary.keys[label], member=member, k=1)
        own = {c: each for (c, other), each in expected.items() if other == label}
        order = sorted(own, key=lambda cluster: (-own[cluster][1], cluster))
        assert [edge.cluster for edge in found.clusters] == order
        weights = [own[cluster][0] for cluster in order]
        assert [edge.weight for edge in found.clusters] == pytest.approx(weights, rel=1e-4)
        assert found.stage1_cluster == int(model.members[member].cluster_of_label_L[label])


def test_edges_that_are_cut_at_1_stand_in_the_order_of_before_the_cut():
    train = train_data()
    model = without_ranker(index=IndexConfig(n_clusters=6, edge_scale=10.0)).fit(
        train.texts, train.labels, vocabulary=train.vocabulary
    )
    graph = model.index.graph
    with torch.no_grad():
        graph.edge_logits_CM[2] = -20.0
        for place in range(3):  # with beta above 3 all of them would weigh more than 1
            graph.edge_logits_CM[2, place] = 0.01 * place
    found = inspect_cluster(model, 2).labels
    keys = [model.vocabulary.keys[label] for label in graph.edge_labels_CM[2, :3].tolist()]
    assert [edge.weight for edge in found[:3]] == [1.0, 1.0, 1.0] and found[3].weight < 1
    assert [edge.key for edge in found[:3]] == keys[::-1]
    graph.edge_labels_CM[2, [0, 2]] = graph.edge_labels_CM[2, [2, 0]]
    assert [edge.key for edge in inspect_cluster(model, 2).labels[:3]] == keys


def test_the_members_of_an_ensemble_differ(models):
    first, second = (inspect_cluster(models["ensemble"], 0, member=m) for m in (0, 1))
    assert first.labels != second.labels


@pytest.mark.parametrize("kind", ["full", "ensemble"])
def test_words_are_the_weights_of_the_classifiers(models, kind):
    model = models[kind]
    by_label = [weights_of(model, label) for label in range(model.n_labels)]
    for label, weights in enumerate(by_label):
        found = inspect_label(model, label, k=5)
        assert found.n_points == model.label_counts[label]
        for words, sign in ((found.positive, 1), (found.negative, -1)):
            expected = sorted((w for w in weights.values() if sign * w > 1e-6), key=abs)[::-1][:5]
            got = [word.weight for word in words]
            assert got == pytest.approx(expected, abs=1e-5)
            assert got == pytest.approx([weights[word.term] for word in words], abs=1e-5)
    assert inspect_label(model, "cooking", k=5).positive
    for cluster in range(model.index.n_clusters):
        own = {label: e for (c, label), (e, _) in edges(model, 0).items() if c == cluster}
        mean = {
            term: sum(e * by_label[label][term] for label, e in own.items()) / sum(own.values())
            for term in by_label[0]
        }
        found = inspect_cluster(model, cluster, k=8)
        expected = sorted((w for w in mean.values() if w > 0), reverse=True)[:8]
        assert [word.weight for word in found.words] == pytest.approx(expected, abs=1e-5)
        for word in found.words:
            assert word.weight == pytest.approx(mean[word.term], abs=1e-5)


def test_nearest_labels_have_the_largest_cosines(models):
    model = models["full"]
    w, _ = model.index.label_classifiers()
    for label in range(model.n_labels):
        cosines = {
            model.vocabulary.keys[other]: float(
                np.dot(w[label], w[other]) / math.sqrt(np.dot(w[label], w[label]))
                / math.sqrt(np.dot(w[other], w[other]))
            )
            for other in range(model.n_labels)
            if other != label
        }  # fmt: skip
        found = inspect_label(model, label, k=4).nearest
        assert [n.cosine for n in found] == pytest.approx(
            sorted(cosines.values(), reverse=True)[:4], abs=1e-5
        )
        assert [n.cosine for n in found] == pytest.approx([cosines[n.key] for n in found], abs=1e-5)
    assert len(inspect_label(model, 0, k=1000).nearest) == model.n_labels - 1
    gone = inspect_label(model.remove_labels([1, 2]), 0, k=1000).nearest
    assert not {near.key for near in gone} & {model.vocabulary.keys[label] for label in (1, 2)}
    assert len(gone) == model.n_labels - 3


def test_classifiers_of_zeros_are_near_to_nothing():
    train = train_data()
    model = without_ranker().fit(train.texts, train.labels, vocabulary=train.vocabulary)
    with torch.no_grad():
        model.index.label_weight_LD[4] = 0.0
    assert inspect_label(model, 4).nearest == []
    keys = [near.key for near in inspect_label(model, 5, k=1000).nearest]
    assert len(keys) == model.n_labels - 2 and model.vocabulary.keys[4] not in keys


def test_records_are_counted(models):
    model = models["full"]
    for label in range(model.n_labels):
        expected = sum(
            label in model.records_.labels_of(record) for record in range(len(model.records_))
        )
        assert inspect_label(model, label).n_records == expected
    assert sum(inspect_label(model, label).n_records for label in range(model.n_labels)) > 0


@pytest.mark.parametrize(("kind", "member"), MEMBERS)
def test_examples_are_the_points_whose_best_cluster_it_is(models, kind, member):
    model, train = models[kind], train_data()
    texts = [*train.texts[:120], "   ", "unheard"]
    labels = sp.vstack([train.labels[:120], train.labels[:2]]).tocsr()
    data = Dataset(split="train", labels=labels, vocabulary=train.vocabulary, texts=texts,
                   ids=[f"p{row}" for row in range(122)])  # fmt: skip
    index, vectors = model.members[member], member_encoder(model, member).encode(texts)
    best, logits = [], index.project(vectors) @ index.router.vectors().T
    for row in range(120):
        if index.hierarchy is None:
            chances = np.exp(logits[row].astype(np.float64) - logits[row].max())
            cluster = int(chances.argmax())
            score = min(1.0, index.router.scale * float(chances[cluster] / chances.sum()))
        else:
            x = index.projected(torch.from_numpy(vectors[row : row + 1]))
            scores, clusters = index.beam(x, index.config.beam_width)
            cluster, score = int(clusters[0, 0]), float(scores[0, 0])
        best.append((cluster, score))
    seen = ties = 0
    for cluster in range(index.n_clusters):
        here = [row for row in range(120) if best[row][0] == cluster]
        found = inspect_cluster(model, cluster, member=member, k=200, dataset=data).examples
        assert (found.split, found.n_points, found.n_here) == ("train", 122, len(here))
        assert sorted(point.row for point in found.points) == here
        for point in found.points:
            assert point.score == pytest.approx(best[point.row][1], rel=1e-4)
            assert (point.id, point.text) == (f"p{point.row}", texts[point.row])
            assert point.labels == train.label_names(point.row)
        keys = [(point.score, float(logits[point.row, cluster])) for point in found.points]
        for (score, logit), (next_score, next_logit) in pairwise(keys):
            ties += score == next_score
            assert score > next_score or (score == next_score and logit > next_logit - 1e-4)
        few = inspect_cluster(
            model, cluster, member=member, k=2, dataset=data, vectors=vectors
        ).examples
        assert few.points == found.points[:2] and few.n_here == found.n_here
        seen += len(here)
    assert seen == 120 and ties > 5


def test_best_clusters_do_not_depend_on_batches_and_begin_the_paths(models, monkeypatch):
    model = models["full"]
    vectors = model.encode(tiny_dataset("test", 30, seed=2).texts)[0]
    whole = best_clusters(model.index, vectors)
    monkeypatch.setattr("learned_index.index.paths._BATCH", 7)
    for a, b in zip(whole, best_clusters(model.index, vectors), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    for row in range(30):
        paths = [label_paths(model.index, vectors[row : row + 1], label) for label in range(30)]
        largest = max(float(path.scores.max(initial=0)) for path in paths)
        assert whole.scores[row] == pytest.approx(largest, rel=1e-5)


def test_points_without_texts_are_shown_by_their_row(models):
    model = models["deep"]
    vectors = np.eye(3, model.index.dim, dtype=np.float32)
    rows = sp.csr_matrix(np.eye(3, dtype=np.float32))
    data = Dataset(split="test", labels=train_data().labels[:3], vocabulary=model.vocabulary,
                   features=rows)  # fmt: skip
    points = [
        point
        for cluster in range(model.index.n_clusters)
        for point in inspect_cluster(model, cluster, dataset=data, vectors=vectors).examples.points
    ]
    assert sorted(point.row for point in points) == [0, 1, 2]
    assert {(point.id, point.text) for point in points} == {(None, None)}


def test_a_model_without_ranker_has_no_words_and_no_records(models):
    model = models["deep"]
    label, cluster = inspect_label(model, 0), inspect_cluster(model, 0)
    assert label.positive is label.negative is label.n_records is None
    assert cluster.words is cluster.examples is None
    model.label_counts, counts = None, model.label_counts
    try:
        assert inspect_label(model, 0).n_points is None
        assert {edge.n_points for edge in inspect_cluster(model, 0).labels} == {None}
    finally:
        model.label_counts = counts


def test_what_is_found_is_json(models):
    for model in models.values():
        label = inspect_label(model, 0).to_dict()
        cluster = inspect_cluster(model, 0, dataset=train_data()).to_dict()
        for values in (label, cluster):
            assert json.loads(json.dumps(values, allow_nan=False)) == values


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda m: inspect_cluster(m, 6), "cluster is 6, expected 0 to 5"),
        (lambda m: inspect_cluster(m, -1), "cluster is -1, expected at least 0"),
        (lambda m: inspect_cluster(m, "3"), "expected a whole number"),
        (lambda m: inspect_cluster(m, 0, member=1), "member is 1, expected 0 to 0"),
        (lambda m: inspect_cluster(m, 0, k=0), "k is 0"),
        (lambda m: inspect_label(m, "cookin"), "did you mean"),
        (lambda m: inspect_label(m, 30), "label is 30, expected 0 to 29"),
        (lambda m: inspect_label(m, 0, member=1), "member is 1, expected 0 to 0"),
        (lambda m: inspect_label(m.to_engine(), 0), "use the model that it was compiled from"),
        (lambda m: inspect_cluster(m.to_engine(), 0), "use the model that it was compiled from"),
        (
            lambda m: inspect_cluster(m, 0, dataset=train_data(), vectors=np.ones((3, 16))),
            "got 3 vectors for 300 points",
        ),
        (
            lambda m: inspect_cluster(m, 0, dataset=train_data(), vectors=np.ones((300, 3))),
            "dimension 3, the index was built for 16",
        ),
    ],
)
def test_what_cannot_be_inspected_is_refused(models, call, said):
    with pytest.raises(InputError, match=said):
        call(models["full"])
