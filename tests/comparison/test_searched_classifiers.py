"""Searches over classifiers that were trained against all labels, beside the index's own."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
import scipy.sparse as sp
from compare_cases import DIM, FakeLoader, FakeModel, labelled_points, make_data, quick, row_of

from learned_index.baselines import over_classifiers, parse_baselines, parse_classifiers
from learned_index.baselines.ova import OneVsAll
from learned_index.comparison import ComparisonData, compare, evaluate
from learned_index.comparison.classifiers import KeptClassifiers, trained_classifiers
from learned_index.comparison.reference import exact_neighbours
from learned_index.comparison.workspace import Workspace, prepare
from learned_index.errors import InputError
from learned_index.types import SearchResult


def one_vs_all(**options):
    return parse_baselines("ova")[0].with_options(epochs=2, **options)


def by_hand(model, rows):
    """Scores of one-vs-all, written out: w (x + P x) + b."""
    items = model._index._index
    matrix = model._projection_DD
    projected = rows if matrix is None else rows + rows @ matrix.T
    return projected @ items[:, :-1].T + items[:, -1]


@pytest.mark.parametrize("projection", ["none", "residual"])
def test_exact_search_over_the_items_is_a_sort_of_one_vs_alls_own_scores(tmp_path, projection):
    points, labels = labelled_points()
    queries = points[:40] + np.float32(0.01)
    model = OneVsAll(epochs=3, projection=projection, projection_learning_rate=0.05)
    model.build(points, labels)
    assert projection == "none" or np.abs(model._projection_DD).max() > 0.01
    kept = KeptClassifiers.of(model, dim=points.shape[1], facts={})
    kept.save_pretrained(tmp_path / "kept")
    kept = KeptClassifiers.from_pretrained(tmp_path / "kept")
    workspace = Workspace(tmp_path)
    data = ComparisonData(
        queries_ND=queries, truth_NL=labels[:40], propensities=np.ones(labels.shape[1])
    )
    prepare(workspace, kept, data)
    found, scores = exact_neighbours(workspace.load("lifted"), workspace.load("items"), 10)
    expected = by_hand(model, queries)
    np.testing.assert_allclose(
        scores, np.take_along_axis(expected, found, axis=1), rtol=1e-4, atol=1e-4
    )
    np.testing.assert_array_equal(found, np.argsort(-expected, axis=1, kind="stable")[:, :10])
    np.testing.assert_array_equal(found, model.search(queries, 10).ids)


@pytest.fixture(scope="module")
def both():
    index, others = parse_classifiers("index,ova:epochs=2")
    data = make_data()
    trained = {spec.name: trained_classifiers(spec, data) for spec in others}
    for each in trained.values():  # labels without training points would tie
        _, bias = each.label_classifiers()
        bias += np.random.default_rng(5).standard_normal(len(bias)).astype(np.float32) / 50
    specs = parse_baselines("learned,exact,ivf:IVF8,Flat,knn")
    specs = over_classifiers(specs, index=index, others=others)
    result = compare(specs, FakeLoader(), data, other_classifiers=trained, settings=quick())
    return result, trained["ova:epochs=2"]


def test_rows_over_other_classifiers_carry_their_name_and_have_their_own_exact_search(both):
    result, trained = both
    assert result.failed == []
    assert {row["method"]: row["classifiers"] for row in result.rows} == {
        "learned": "index", "exact": "index", "ivf:IVF8,Flat": "index", "knn": None,
        "exact@ova:epochs=2": "ova:epochs=2", "ivf:IVF8,Flat@ova:epochs=2": "ova:epochs=2",
    }  # fmt: skip
    data = make_data()
    weights, bias = trained.label_classifiers()
    ids = np.argsort(-(trained.project(data.queries_ND) @ weights.T + bias), axis=1)[:, :100]
    expected = evaluate(ids, data.truth_NL, propensities=data.propensities)
    row = row_of(result, "exact@ova:epochs=2")
    assert {key: row[key] for key in expected} == pytest.approx(expected)
    assert row["neighbour_recall@100"] == 100.0
    assert row_of(result, "exact")["neighbour_recall@100"] == 100.0
    own = FakeModel().search(data.queries_ND, 100).ids
    assert row_of(result, "exact")["R@100"] == pytest.approx(
        evaluate(own, data.truth_NL, propensities=data.propensities)["R@100"]
    )
    exact = result.environment["exact"]
    assert exact["ova:epochs=2"]["R@100"] == pytest.approx(expected["R@100"])
    # The best of the curve of IVF, whose lists are all read in the end, is exact search.
    curve = [p for p in result.curves if p["method"] == "ivf:IVF8,Flat@ova:epochs=2"]
    assert max(point["neighbour_recall@100"] for point in curve) == pytest.approx(100)


def test_one_table_has_all_methods_at_the_exact_recall_of_either_classifiers(both):
    result, _ = both
    exact = result.environment["exact"]
    targets = {row["target"]: row["least"] for row in result.operating if row["metric"] == "R@100"}
    assert list(targets.values()) == pytest.approx(
        [metrics["R@100/choosing"] - 0.5 for metrics in exact.values()]
    )
    for name in targets:
        there = [row["method"] for row in result.operating if row["target"] == name]
        assert there == [row["method"] for row in result.rows]
    assert result.environment["best_recall"] == max(
        point["R@100"] for point in result.curves if point["method"] != "knn"
    )


class _Curved(FakeModel):
    """Classifiers of few labels behind a projection that cannot be folded."""

    def __init__(self):
        super().__init__(curved=True, n_labels=40)

    @property
    def search(self):
        def search(queries, k):
            scores = self.project(queries) @ self.weights.T + self.bias
            ids = np.argsort(-scores, axis=1)[:, :k]
            return SearchResult(ids, np.take_along_axis(scores, ids, axis=1))

        return search


def test_other_classifiers_may_know_fewer_labels_and_have_a_curved_projection():
    (exact,) = parse_baselines("exact")
    result = compare(
        [exact, exact.over("few")], FakeLoader(), make_data(), settings=quick(),
        other_classifiers={"few": _Curved()},
    )  # fmt: skip
    data = make_data()
    ids = np.full((60, 100), -1)
    ids[:, :40] = _Curved().search(data.queries_ND, 40).ids
    expected = evaluate(ids, data.truth_NL, propensities=data.propensities)
    assert result.failed == []
    assert row_of(result, "exact@few")["R@100"] == pytest.approx(expected["R@100"])
    assert row_of(result, "exact@few")["neighbour_recall@100"] == 100.0


class CountedOneVsAll(OneVsAll):
    built = 0

    def build(self, *data):
        CountedOneVsAll.built += 1
        super().build(*data)


def counted(data, folder, **options):
    CountedOneVsAll.built = 0
    spec = one_vs_all(**options)
    spec = type(spec)(name=spec.name, adapter=CountedOneVsAll, options=spec.options)
    return trained_classifiers(spec, data, folder), CountedOneVsAll.built


def test_classifiers_are_trained_once_for_the_same_data_and_settings(tmp_path, caplog):
    data = make_data()
    first, built = counted(data, tmp_path)
    assert built == 1 and first.facts["train_s"] > 0 and first.facts["options"]["epochs"] == 2
    again, built = counted(make_data(), tmp_path)
    assert built == 0 and again.facts == first.facts
    for one, other in zip(first.label_classifiers(), again.label_classifiers(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert counted(data, tmp_path, learning_rate=0.1)[1] == 1
    assert counted(data, tmp_path)[1] == 1  # the last settings alone are kept
    fewer = sp.csr_matrix(data.labels_NL)[:, ::-1]
    other = ComparisonData(**{**data.__dict__, "labels_NL": sp.csr_matrix(fewer)})
    assert counted(other, tmp_path)[1] == 1
    assert counted(other, tmp_path)[1] == 0
    (place,) = tmp_path.iterdir()
    (place / "classifiers.safetensors").write_bytes(b"damaged")
    with caplog.at_level(logging.WARNING):
        assert counted(other, tmp_path)[1] == 1
    assert "is trained again" in caplog.text
    assert counted(other, None)[1] == 1  # nothing is kept


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("own", "'own' names no label classifiers .* there are index .* and ova"),
        ("hnsw", "'hnsw' names no label classifiers"),
        ("index,knn", "'knn' names no label classifiers"),
        ("ova:epochz=3", "no option 'epochz'"),
        ("ova,ova", "named twice"),
        ("ova:epochs=0", "epochs"),
    ],
)
def test_wrong_classifiers_are_refused(text, message):
    with pytest.raises(InputError, match=message):
        parse_classifiers(text)


def test_which_methods_search_which_classifiers():
    specs = parse_baselines("learned,exact,knn,hnsw")
    index, others = parse_classifiers("ova")
    names = [s.name for s in over_classifiers(specs, index=index, others=others)]
    assert names == ["learned", "knn", "exact@ova", "hnsw@ova"]
    index, others = parse_classifiers("ova,index")
    names = [s.name for s in over_classifiers(specs, index=index, others=others)]
    assert names == ["learned", "exact", "knn", "hnsw", "exact@ova", "hnsw@ova"]
    assert over_classifiers(specs, index=True, others=[]) == specs
    with pytest.raises(InputError, match="none of learned, knn searches label classifiers"):
        over_classifiers(parse_baselines("learned,knn"), index=True, others=others)
    with pytest.raises(InputError, match="knn is built from training data and searches no label"):
        parse_baselines("knn")[0].over("ova")


def test_classifiers_that_are_not_there_are_refused():
    (exact,) = parse_baselines("exact")
    with pytest.raises(InputError, match="exact@ova searches the label classifiers 'ova', which"):
        compare([exact.over("ova")], FakeLoader(), make_data(), settings=quick())
    with pytest.raises(InputError, match="names the classifiers of the trained index"):
        compare(
            [exact], FakeLoader(), make_data(), settings=quick(),
            other_classifiers={"index": FakeModel()},
        )  # fmt: skip
    with pytest.raises(InputError, match="exact trains no label classifiers"):
        trained_classifiers(exact, make_data())
    data = ComparisonData(**{**make_data().__dict__, "embeddings_ND": None})
    with pytest.raises(InputError, match="ova learns from training vectors and labels"):
        trained_classifiers(one_vs_all(), data)


def test_measurements_over_other_classifiers_are_kept_apart(tmp_path):
    """The same method and data, other items: one file each, and each goes with its classifiers."""
    (exact,) = parse_baselines("exact")

    def run(model):
        compare(
            [exact, exact.over("other")], FakeLoader(), make_data(), settings=quick(),
            other_classifiers={"other": model}, results=tmp_path,
        )  # fmt: skip
        return {
            told["name"]: told["digest"]
            for told in (json.loads(path.read_text()) for path in tmp_path.iterdir())
        }

    first = run(FakeModel())
    assert set(first) == {"exact", "exact@other"}
    changed = FakeModel()
    changed.weights = changed.weights + np.ones(DIM, np.float32)
    second = run(changed)
    assert second["exact"] == first["exact"] and second["exact@other"] != first["exact@other"]
