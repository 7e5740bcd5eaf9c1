"""omikuji and pecos in the comparison, with stand-ins for the packages and with themselves."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from compare_cases import FakeLoader, make_data, quick, row_of
from system_cases import CALLS, FAKES, best, points

from learned_index.baselines import parse_baselines
from learned_index.baselines.native_output import native_output_held
from learned_index.baselines.omikuji_trees import OmikujiTrees
from learned_index.baselines.pecos_trees import PecosTrees
from learned_index.comparison import (
    ComparisonData,
    compare,
    evaluate,
    kept,
    label_propensities,
)
from learned_index.encoders.lexical.point_features import TEXT_FEATURES, point_features
from learned_index.errors import InputError, LearnedIndexError, MissingExtraError, NotFittedError
from learned_index.system.threads import limit_threads

SYSTEMS = {"omikuji": OmikujiTrees, "pecos": PecosTrees}


@pytest.fixture(params=sorted(SYSTEMS))
def fake(request, monkeypatch):
    """One of the adapters' names, its package replaced by a stand-in."""
    for name, module in FAKES[request.param]().items():
        monkeypatch.setitem(sys.modules, name, module)
    CALLS.clear()
    return request.param


def calls(what):
    return [value for name, value in CALLS if name == what]


def system_data(n_queries=40):
    """A comparison of the fake model with points that have words."""
    base = make_data(n_queries)
    x, y, queries, truth = points(n_test=n_queries)
    wide = (y.shape[0], base.truth_NL.shape[1])
    y = sp.csr_matrix((y.data, y.indices, y.indptr), shape=wide)
    truth = sp.csr_matrix((truth.data, truth.indices, truth.indptr), shape=base.truth_NL.shape)
    return ComparisonData(
        queries_ND=base.queries_ND, truth_NL=truth, propensities=label_propensities(y),
        labels_NL=y, features_NF=x, query_features_NF=queries,
    )  # fmt: skip


def changed(data, **changes):
    return ComparisonData(**{**data.__dict__, **changes})


def test_the_answers_are_the_package_s_own_in_order(fake):
    x, y, queries, _ = points()
    adapter = SYSTEMS[fake]()
    adapter.build(x, y)
    found = adapter.search(queries, 12, beam_size=9)
    centroids = (y.T @ x).toarray()
    assert found.ids.dtype == np.int64 and found.ids.shape == (40, 12)
    for row in range(40):
        ids, scores = best(centroids @ queries[row].toarray()[0], 9, 12)
        np.testing.assert_allclose(found.scores[row, :9], scores, rtol=1e-4)
        assert len(set(found.ids[row, :9]) & set(ids)) >= 8  # equal scores in another order
        assert (found.ids[row, 9:] == -1).all() and np.isneginf(found.scores[row, 9:]).all()
    assert adapter.search(queries[:0], 5).ids.shape == (0, 5)


@pytest.mark.parametrize("threads", [1, 2])
def test_single_queries_use_one_thread_and_batches_all(fake, threads):
    x, y, queries, _ = points()
    adapter = SYSTEMS[fake]()
    with limit_threads(threads):
        adapter.build(x, y)
        bound = adapter.bind(5, beam_size=20)
    rows = adapter.prepare_queries(queries)
    CALLS.clear()
    alone = [bound.one(row) for row in adapter.split_queries(rows)]
    assert len(alone) == 40 and calls("predict") == [1] * 40
    CALLS.clear()
    together = adapter.ids_of(bound.batch(rows[3:9]))
    assert set(calls("predict")) == {threads}
    expected = adapter.search(queries[3:9], 5, beam_size=20).ids
    np.testing.assert_array_equal(together, expected)
    one = np.concatenate([adapter.ids_of([a] if fake == "omikuji" else a) for a in alone[3:9]])
    np.testing.assert_array_equal(one, expected)


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        ("omikuji", {"n_trees": 3, "cluster_k": 2, "cluster_balanced": True, "max_depth": 20}),
        (
            "omikuji:preset=bonsai,n_trees=2",
            {"n_trees": 2, "cluster_k": 100, "cluster_balanced": False, "max_depth": 3},
        ),
        (
            "omikuji:cost=0.5,threshold=0.05",
            {"linear_c": 0.5, "linear_weight_threshold": 0.05, "n_trees": 3},
        ),
        ("pecos", {"nr_splits": 16, "max_leaf_size": 100, "neg_mining_chain": "tfn", "seed": 0}),
        (
            "pecos:max_leaf_size=20,nr_splits=4,negatives=tfn+man,seed=5",
            {"nr_splits": 4, "max_leaf_size": 20, "neg_mining_chain": "tfn+man", "seed": 5},
        ),
    ],
)
def test_options_reach_the_package(text, parameters, monkeypatch):
    for name, module in FAKES[text.partition(":")[0]]().items():
        monkeypatch.setitem(sys.modules, name, module)
    CALLS.clear()
    (spec,) = parse_baselines(text)
    adapter = spec.create()
    assert adapter.name == text and spec.inputs == "points"
    with limit_threads(1):
        adapter.build(*points()[:2])
    (given,) = calls("parameters")
    assert {key: given[key] for key in parameters} == parameters
    if adapter.method == "pecos":
        assert calls("clustering") == [given] and given["threads"] == 1
    else:
        assert calls("training threads") == [1]
    assert adapter.disk_bytes() > 100


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "omikuji:preset=annexml",
            "preset is 'annexml', expected 'parabel' or 'bonsai'",
        ),
        ("omikuji:n_trees=0", "n_trees is 0, expected at least 1"),
        ("omikuji:trees=3", "no option 'trees'; it has: features, ngrams, min_df, preset, n_trees"),
        ("omikuji:bonsai", "takes no factory string"),
        ("pecos:max_leaf_size=1", "max_leaf_size is 1, expected at least 2"),
        ("pecos:nr_splits=1", "nr_splits is 1"),
        ("pecos:nr_splits=many", "'many', expected a whole number"),
        ("pecos:negatives=man", "negatives is 'man', expected 'tfn' or 'tfn"),
        ("pecos:seed=-1", "seed is -1"),
    ],
)
def test_wrong_options_are_explained(text, message):
    with pytest.raises(InputError, match=message.replace("+", r"\+")):
        parse_baselines(text)


def test_wrong_input_is_refused(fake):
    x, y, queries, _ = points()
    adapter = SYSTEMS[fake]()
    with pytest.raises(NotFittedError, match="build"):
        adapter.search(queries, 5)
    with pytest.raises(InputError, match="ndarray, expected a scipy sparse matrix"):
        adapter.build(x.toarray(), y)
    with pytest.raises(InputError, match="one for each point"):
        adapter.build(x[:-1], y)
    with pytest.raises(InputError, match="0 labels"):
        adapter.build(x, y * 0)
    broken = x.copy()
    broken.data[x.indptr[7]] = np.nan
    with pytest.raises(InputError, match="row 7"):
        adapter.build(broken, y)
    adapter.build(x, y)
    with pytest.raises(InputError, match="columns"):
        adapter.search(queries[:, :-1], 5)
    with pytest.raises(InputError, match="not know"):
        adapter.search(queries, 5, nprobe=3)
    for wrong in (0, 2.5):
        with pytest.raises(InputError, match="beam_size is"):
            adapter.search(queries, 5, beam_size=wrong)


def test_a_missing_package_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "omikuji", None)
    for name in ("pecos", "pecos.xmc"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=r"pip install omikuji .*rivals"):
        OmikujiTrees().build(*points()[:2])
    with pytest.raises(
        MissingExtraError, match=r"of its own.*'numpy<2'.*libpecos; .*--python pecos="
    ):
        PecosTrees().build(*points()[:2])
    result = compare(
        parse_baselines("exact,omikuji,pecos"), FakeLoader(), system_data(), settings=quick()
    )
    assert result.failed == ["omikuji", "pecos"]
    assert "pip install omikuji" in row_of(result, "omikuji")["error"]


def test_a_whole_system_stands_in_the_table_with_its_own_ranking(fake):
    data = system_data()
    result = compare(parse_baselines(f"exact,{fake}"), FakeLoader(), data, settings=quick())
    assert result.failed == []
    row = row_of(result, fake)
    adapter = SYSTEMS[fake]()
    adapter.build(data.features_NF, data.labels_NL)
    curve = [point for point in result.curves if point["method"] == fake]
    assert [point["query_arguments"]["beam_size"] for point in curve] == [5, 10, 20, 50, 100]
    for point in curve:
        ids = adapter.search(data.query_features_NF, 100, **point["query_arguments"]).ids
        expected = evaluate(ids, data.truth_NL, propensities=data.propensities)
        assert {key: point[key] for key in expected} == pytest.approx(expected)
    assert row["neighbour_recall@100"] is None and row["disk_bytes"] > 100 and row["qps"] > 0
    # It finds far more than the random classifiers, and must not move what these should reach.
    assert row["R@100"] > result.environment["best_recall"] + 20
    targets = {line["target"] for line in result.operating if line["method"] == fake}
    assert len(targets) == 1 and next(iter(targets)).startswith("R@100")
    assert {line["metric"] for line in result.pareto if line["method"] == fake} == {"R@100"}
    assert result.environment["n_features"] == data.features_NF.shape[1]
    assert result.environment["features_timed"] is False


def test_kept_results_belong_to_the_features(fake, tmp_path):
    data = system_data()

    def trained(data):
        CALLS.clear()
        specs = parse_baselines(fake)
        result = compare(specs, FakeLoader(), data, settings=quick(), results=tmp_path)
        assert result.failed == []
        return len(calls("parameters"))

    assert [trained(data), trained(data)] == [1, 0]
    assert trained(changed(data, query_features_NF=data.query_features_NF[::-1])) == 1
    assert trained(changed(data, features_NF=data.features_NF * 2)) == 1


def test_kept_results_of_the_others_outlive_a_new_system(monkeypatch, tmp_path):
    """To install omikuji must not cost the hours that other methods were measured."""
    for name, module in FAKES["omikuji"]().items():
        monkeypatch.setitem(sys.modules, name, module)
    events = []

    def measured(version):
        monkeypatch.setattr(kept, "versions", lambda names: dict.fromkeys(names, version))
        events.clear()
        compare(
            parse_baselines("exact,omikuji"), FakeLoader(), system_data(), settings=quick(),
            results=tmp_path, progress=lambda done, total, text="": events.append(text),
        )  # fmt: skip
        return {text.split(":")[0] for text in events if "measured earlier" not in text}

    assert measured("1.0") == {"exact", "omikuji"}
    assert measured("1.0") == set()
    assert measured("2.0") == {"omikuji"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features_NF": None}, "omikuji learns from sparse features"),
        ({"query_features_NF": None}, "query_features_NF"),
        ({"labels_NL": None}, "give labels_NL"),
        ({"features_NF": sp.csr_matrix((7, 3))}, "7 rows of training features and 200 rows"),
        ({"query_features_NF": sp.csr_matrix((40, 3))}, r"are \(40, 3\), expected \(40, "),
        ({"query_features_NF": sp.csr_matrix((39, 3))}, r"are \(39, 3\)"),
    ],
)
def test_data_that_do_not_fit_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        compare(
            parse_baselines("omikuji"), FakeLoader(), changed(system_data(), **change),
            settings=quick(),
        )  # fmt: skip


def test_features_of_texts_are_those_of_scikit_learn():
    from sklearn.feature_extraction.text import TfidfVectorizer

    train = ["a red fox", "The RED sky, the fox; the night", "a blue night", "rare"]
    queries = ["red red fox", "", "unknown words", "Night the"]
    x, q = point_features(train, queries)
    oracle = TfidfVectorizer(
        token_pattern=r"(?u)\b\w+\b", min_df=TEXT_FEATURES["min_df"], sublinear_tf=True
    )
    np.testing.assert_allclose(x.toarray(), oracle.fit_transform(train).toarray(), atol=1e-6)
    np.testing.assert_allclose(q.toarray(), oracle.transform(queries).toarray(), atol=1e-6)
    assert x.dtype == q.dtype == np.float32 and x.has_canonical_format
    assert TEXT_FEATURES["word_ngrams"] == 1 and TEXT_FEATURES["max_features"] == 300_000


def test_features_of_the_data_are_taken_as_they_are_with_rows_of_length_1():
    from sklearn.preprocessing import normalize

    rows = sp.random(30, 9, density=0.3, format="csr", random_state=0)
    x, q = point_features(rows[:20], rows[20:])
    np.testing.assert_allclose(x.toarray(), normalize(rows[:20]).toarray(), atol=1e-6)
    np.testing.assert_allclose(q.toarray(), normalize(rows[20:]).toarray(), atol=1e-6)
    with pytest.raises(InputError, match="feature rows and the queries texts"):
        point_features(rows, ["a text"])
    with pytest.raises(InputError, match="3 features, expected 9"):
        point_features(rows, sp.csr_matrix((2, 3)))


def test_what_a_package_writes_stays_off_the_terminal(capfd):
    with native_output_held():
        os.write(1, b"INFO to stdout\n")
        os.write(2, b"a bar 1 %\ra bar 2 %")
    print("after")
    failing = pytest.raises(LearnedIndexError, match=r"failed; the package wrote: ERROR no room")
    with failing, native_output_held():
        os.write(1, b"bar 1 %\rbar 2 %\rERROR no room\n")
        raise RuntimeError("training failed")
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("after\n", "")


def test_the_package_can_be_installed_beside_libpecos():
    """Newer numpy and scipy it refuses; the lower bounds of this project must stay below."""
    import tomllib

    from packaging.requirements import Requirement

    path = Path(__file__).parents[2] / "pyproject.toml"
    project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    wanted = {(r := Requirement(text)).name: r for text in project["dependencies"]}
    assert wanted["numpy"].specifier.contains("1.26.4")
    assert wanted["scipy"].specifier.contains("1.13.1")


# With the packages themselves, where they are installed.


def test_omikuji_answers_like_the_saved_forest(tmp_path):
    omikuji = pytest.importorskip("omikuji")
    x, y, queries, truth = points()
    adapter = OmikujiTrees()
    with limit_threads(1):
        adapter.build(x, y)
    with native_output_held():
        adapter._index.save(str(tmp_path))
        plain = omikuji.Model.load(str(tmp_path))
    found = adapter.search(queries, 10, beam_size=7)
    for row in range(queries.shape[0]):
        pairs = list(zip(queries[row].indices.tolist(), queries[row].data.tolist(), strict=True))
        expected = plain.predict(pairs, beam_size=7, top_k=10)
        np.testing.assert_allclose(
            found.scores[row, : len(expected)], [s for _, s in expected], rtol=1e-5
        )
    assert np.mean(truth[np.arange(40), found.ids[:, 0]]) > 0.7 and plain.n_trees == 3
    assert adapter.disk_bytes() == pytest.approx(
        sum(path.stat().st_size for path in tmp_path.iterdir())
    )


def test_pecos_answers_like_a_plain_training(tmp_path):
    pytest.importorskip("pecos")
    from pecos.xmc import Indexer, LabelEmbeddingFactory
    from pecos.xmc.xlinear.model import XLinearModel

    x, y, queries, truth = points()
    adapter = PecosTrees(max_leaf_size=5, nr_splits=4)
    with limit_threads(1):
        adapter.build(x, y)
    features = LabelEmbeddingFactory.create(y.tocsc(), x, method="pifa")
    chain = Indexer.gen(features, max_leaf_size=5, nr_splits=4, seed=0, threads=1)
    plain = XLinearModel.train(x, y.tocsc(), C=chain, threads=1)
    for beam in (2, 10):
        found = adapter.search(queries, 10, beam_size=beam)
        expected = plain.predict(queries, beam_size=beam, only_topk=10, threads=1)
        for row in range(queries.shape[0]):
            scores = np.sort(expected[row].data)[::-1]
            np.testing.assert_allclose(found.scores[row, : len(scores)], scores, rtol=1e-3)
            assert (found.ids[row, len(scores) :] == -1).all()
    assert np.mean(truth[np.arange(40), found.ids[:, 0]]) > 0.7 and adapter.disk_bytes() > 1000


@pytest.mark.usefixtures("methods_in_forks")
@pytest.mark.parametrize("system", sorted(SYSTEMS))
def test_the_command_measures_it_in_its_own_process(
    system, text_model, text_folder, tmp_path, capfd
):
    pytest.importorskip(system)
    from cli_cases import ok

    printed = ok(
        "compare", "--data", text_folder, "--model", text_model, "--out", tmp_path / "out",
        "--baselines", system, "--threads", 1, "--cache", "off", "--repeats", 1,
        "--timing-seconds", 0, "--max-queries", 20, "--wide",
    )  # fmt: skip
    assert "rank by themselves" in " ".join(printed.split())
    report = json.loads((tmp_path / "out" / "compare.json").read_text())
    row = report["rows"][1]
    assert (row["method"], row["neighbour_recall@100"]) == (system, None)
    assert row["P@1"] > 20 and row["build_s"] > 0
    assert report["environment"]["n_queries"] == 20
    written = capfd.readouterr()  # by the process that measures
    assert "INFO" not in written.out and "[====" not in written.err
    assert not list(Path(tmp_path / "out").glob(".compare-*"))
