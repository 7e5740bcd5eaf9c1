"""The final ranker within a model: candidates, evidence, held-out points, saving."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from cli_cases import files
from elias_cases import N_POINTS, QUICK, finally_ranked, fitted, queries, train_data
from saving_cases import sign

from learned_index import IndexConfig
from learned_index.data.vocabulary import LabelVocabulary
from learned_index.elias.config import EliasConfig
from learned_index.elias.final_ranking import (
    N_ADDED,
    N_ALIKE,
    N_NAMED,
    alike_of,
    evidence_of,
    listed,
    names_of,
)
from learned_index.elias.label_texts import label_points
from learned_index.elias.model import ELIAS
from learned_index.encoders.lexical.lsa import FeatureSvdEncoder, LSAEncoder
from learned_index.errors import InputError, ModelFormatError, TrainingInterrupted
from learned_index.ranking.evidence import EVIDENCE
from learned_index.ranking.spelling import Spelling
from learned_index.training.checkpoint import CheckpointOptions, StopFlag


@pytest.fixture(scope="module")
def model() -> ELIAS:
    return finally_ranked("trees")


def ranked(model: ELIAS, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Oracle: shortlist, candidates, evidence and score, sorted row by row."""
    x, sparse = model.encoder.encode(texts), model.features.encode(texts)
    head, _ = model.shortlist([x], model.config.rerank_size)
    final = model.final_ranker_
    found = listed(model, head, sparse, x, names=final)
    scores = final.score(evidence_of(model, found, sparse, final), found.ids)
    return found.ids, scores


def test_the_ranking_is_that_of_its_parts(model: ELIAS) -> None:
    ids, scores = ranked(model, queries())
    result = model.search(queries(), 30)
    for row in range(40):
        best = sorted((-s, n) for n, s in enumerate(scores[row]) if ids[row, n] >= 0)[:30]
        n = len(best)
        assert result.ids[row, :n].tolist() == [ids[row, place] for _, place in best]
        assert result.scores[row, :n].tolist() == [-score for score, _ in best]


def test_nearest_records_add_labels_that_the_index_does_not_list() -> None:
    model = finally_ranked("linear", rerank_size=3)
    ids, _ = ranked(model, queries())
    assert ids.shape == (40, 3 + N_ALIKE + N_ADDED)
    index = model.search(queries(), 3, score="index").ids
    assert (ids[:, :3] == index).all() and (ids[:, 3:] >= 0).any(axis=1).all()
    for row in ids:
        assert len(set(row[row >= 0].tolist())) == (row >= 0).sum()
    without = finally_ranked("linear", records="no")
    assert without.records_ is None and without.report_["records"] is None
    assert ranked(without, queries())[0].shape == (40, 12 + N_ALIKE)
    neither = finally_ranked("linear", records="no", label_text="off")
    assert neither.final_ranker_.n_named == 0
    assert ranked(neither, queries())[0].shape == (40, 12)


def join_by_name(model: ELIAS, share: sp.csr_matrix, n_named: int, *, once: bool = False) -> None:
    """Labels join by a score, ``share`` being what each term counts for it."""
    ids, _ = ranked(model, queries())
    texts = model.features.encode(queries())
    scores = ((texts > 0 if once else texts).astype(np.float64) @ share.T).toarray()
    for row in range(40):
        with_name = np.setdiff1d(np.flatnonzero(scores[row]), ids[row, :3])
        named = ids[row, 3:][ids[row, 3:] >= 0]
        assert len(named) == min(n_named, len(with_name)) and np.isin(named, with_name).all()
        left = np.setdiff1d(with_name, named)
        assert not len(left) or scores[row, left].max() <= scores[row, named].min() + 1e-6
    assert any((ids[:, 3:] >= 0).any(axis=1))


def test_labels_whose_names_are_spelled_like_words_of_the_text_join_the_shortlist() -> None:
    model = finally_ranked("linear", records="no", rerank_size=3)
    alike = Spelling(model.features.terms_).names(model.vocabulary.names(range(30)))
    assert len(alike.terms) > len(model.final_ranker_.names.terms)
    shape = 30, model.features.dim
    join_by_name(
        model, sp.csr_matrix((alike.weights, alike.terms, alike.indptr), shape=shape), N_ALIKE
    )


def test_names_of_models_that_compare_no_spelling_stand_in_the_text() -> None:
    model = copy.copy(finally_ranked("linear", records="no", rerank_size=3))
    final = model.final_ranker_.with_names(model.final_ranker_.names, None)
    final.n_named = N_NAMED  # as earlier versions saved them
    model.final_ranker_ = final
    terms = model.features.encode(model.vocabulary.names(range(30))) > 0
    bm25 = model.final_ranker_.name_lists(model.features.dim).scores
    names = final.names
    share = sp.csr_matrix((bm25, names.terms, names.indptr), shape=terms.shape)
    join_by_name(model, share, N_NAMED, once=True)


def test_changed_names_are_those_of_the_labels_as_they_are() -> None:
    model = finally_ranked("trees")
    key = model.vocabulary.keys[3]
    changed = model.rename_labels({key: "sort rain"})
    grown = changed.add_labels({"new": []}, texts={"new": "bread rain"}).remove_labels([5])
    names = [*changed.vocabulary.names(range(30)), "bread rain"]
    names[5] = ""
    shape = 31, model.features.dim
    found, expected = (
        sp.csr_matrix((each.weights, each.terms, each.indptr), shape=shape).toarray() > 0
        for each in (grown.final_ranker_.alike, Spelling(model.features.terms_).names(names))
    )
    np.testing.assert_array_equal(found, expected)
    others = np.setdiff1d(np.arange(30), [3, 5])
    before, after = (
        sp.csr_matrix((a.weights, a.terms, a.indptr), shape=(len(a.indptr) - 1, shape[1]))
        for a in (model.final_ranker_.alike, grown.final_ranker_.alike)
    )
    assert abs(before[others] - after[others]).max() == 0


def test_removed_and_merged_labels_are_not_found_by_their_names() -> None:
    model = finally_ranked("linear", records="no", rerank_size=3)
    ids = np.unique(ranked(model, queries())[0][:, 3:])
    gone = ids[ids >= 0][:6]
    kept = int(np.setdiff1d(np.arange(30), gone)[0])
    removed = model.remove_labels(gone)
    key = model.vocabulary.keys[kept]
    for changed in (
        removed,
        model.merge_labels(dict.fromkeys(gone.tolist(), kept)),
        removed.rename_labels({key: "another"}),
    ):
        assert not np.isin(changed.search(queries(), 30).ids, gone).any()
        assert not np.isin(ranked(changed, queries())[0], gone).any()


@pytest.mark.parametrize("compiled", [False, True])
def test_filtered_labels_do_not_come_back_through_the_records(model: ELIAS, compiled: bool) -> None:
    searched = model.to_engine() if compiled else model
    denied = np.unique(searched.search(queries(), 2).ids)[:6]
    for result in (
        searched.search(queries(), 40, deny=denied),
        searched.search(queries(), 40, score="probability", deny=denied),
    ):
        assert (result.ids >= 0).any() and not np.isin(result.ids, denied).any()
    allowed = searched.search(queries(), 40, allow=denied).ids
    assert np.isin(allowed[allowed >= 0], denied).all()


def test_the_index_alone_is_asked_without_the_final_ranker(model: ELIAS) -> None:
    plain = model.search(queries(), 9, score="index")
    found = model.index.search(model.encoder.encode(queries()), 9)
    assert plain.ids.tobytes() == found.ids.tobytes()


def test_held_out_points_are_given_back(model: ELIAS) -> None:
    train = train_data()
    assert model.report_["n_held_out"] == 120 and model.n_points == N_POINTS
    named = len(label_points(model).labels_M)  # their texts are records too
    assert named > 10
    assert len(model.records_) == N_POINTS + named == model.report_["records"]["n_records"]
    assert model.label_counts.sum() == train.labels.nnz
    kept = finally_ranked("trees", refit="no")
    assert kept.n_points == len(kept.records_) - named == N_POINTS - 120
    # The final ranker and the figures are from before.
    assert kept.report_["validation"] == model.report_["validation"]
    assert kept.report_["final_ranker"] == model.report_["final_ranker"]
    assert kept.report_["calibration"] == model.report_["calibration"]
    assert kept.ranker_.n_weights != model.ranker_.n_weights


def test_points_to_validate_on_stay_outside() -> None:
    train = train_data()
    held = train.subset(np.arange(120))
    given = fitted(final_ranker="linear", fit={"validation": (held.texts, held.labels)})
    named = len(label_points(given).labels_M)
    assert given.n_points == len(given.records_) - named == N_POINTS


def test_the_report_names_the_evidence(model: ELIAS) -> None:
    report = model.report_["final_ranker"]
    assert report["method"] == "trees" and report["n_points"] == 120
    assert tuple(report["weights"]) == EVIDENCE[: len(report["weights"])]
    assert {"records", "calibration", "ranker"} < set(model.report_["seconds"])


def test_few_held_out_points_leave_the_fixed_formula() -> None:
    few = fitted()
    assert few.final_ranker_ is None and few.records_ is None
    assert few.n_points == N_POINTS - 30
    assert fitted(final_ranker="linear").final_ranker_ is not None
    assert finally_ranked("fixed").final_ranker_ is None
    alone = finally_ranked("auto", ranker="none")
    assert alone.final_ranker_ is None and alone.records_ is None


def test_rows_of_features_have_a_final_ranker_too(tmp_path: Path) -> None:
    train = train_data()
    rng = np.random.default_rng(0)
    features = sp.csr_matrix(train.labels @ rng.random((train.labels.shape[1], 25)))
    model = ELIAS(
        FeatureSvdEncoder(dim=8),
        IndexConfig(n_clusters=6),
        training=QUICK,
        config=EliasConfig(validation_fraction=0.4, rerank_size=12, final_ranker="linear"),
    ).fit(features, train.labels)
    assert len(model.final_ranker_.names.terms) == 0 and len(model.records_) == N_POINTS
    model.save_pretrained(tmp_path / "m")
    again = ELIAS.from_pretrained(tmp_path / "m")
    assert again.predict(features[:9], 20) == model.predict(features[:9], 20)


@pytest.mark.parametrize("method", ["trees", "linear"])
def test_a_saved_model_answers_the_same(method: str, tmp_path: Path) -> None:
    model = finally_ranked(method, n_models=2)
    model.save_pretrained(tmp_path / "m")
    again = ELIAS.from_pretrained(tmp_path / "m")
    for score in ("ranking", "probability"):
        mine, theirs = (m.search(queries(), 40, score=score) for m in (model, again))
        assert mine.ids.tobytes() == theirs.ids.tobytes()
        assert mine.scores.tobytes() == theirs.scores.tobytes()
    again.save_pretrained(tmp_path / "n")
    assert files(tmp_path / "m") == files(tmp_path / "n")


def changed(saved: Path, target: Path, **values: object) -> Path:
    shutil.copytree(saved, target)
    path = target / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["config"].update(values)
    path.write_text(json.dumps(manifest))
    return target


def test_parts_of_other_models_are_refused(model: ELIAS, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "m")
    with pytest.raises(ModelFormatError, match="ranker"):
        ELIAS.from_pretrained(changed(tmp_path / "m", tmp_path / "a", has_ranker=False))
    train = train_data()
    fewer = [text.split()[0] for text in train.texts]
    other = ELIAS(
        LSAEncoder(dim=16),
        IndexConfig(n_clusters=6),
        training=QUICK,
        config=EliasConfig(validation_fraction=0.4, rerank_size=12, final_ranker="linear"),
    ).fit(fewer, train.labels, vocabulary=train.vocabulary)
    other.save_pretrained(tmp_path / "o")
    for part, message in (("records", "records are those"), ("final_ranker", "final ranker")):
        target = changed(tmp_path / "m", tmp_path / part)
        shutil.rmtree(target / part)
        shutil.copytree(tmp_path / "o" / part, target / part)
        resigned(target)
        if part == "final_ranker" and _terms(other) <= model.features.dim:
            continue
        with pytest.raises(ModelFormatError, match=message):
            ELIAS.from_pretrained(target)


def _terms(model: ELIAS) -> int:
    return int(model.final_ranker_.names.terms.max(initial=-1)) + 1


def resigned(folder: Path) -> None:
    """A manifest of the files that are there now."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    names = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
    manifest["files"] = dict.fromkeys(name for name in names if name != "manifest.json")
    path.write_text(json.dumps(manifest))
    sign(folder)


def test_models_of_earlier_versions_keep_their_powers_of_p_and_q(tmp_path: Path) -> None:
    old = fitted(final_ranker="fixed")
    old.save_pretrained(tmp_path / "m")
    path = tmp_path / "m" / "manifest.json"
    manifest = json.loads(path.read_text())
    config = manifest["config"]
    for name in ("has_final_ranker", "has_records"):
        del config[name]
    for name in ("final_ranker", "records", "refit"):
        del config["model"][name]
    config["model"]["combination"] = "learned"
    config["combination"] = {"index_weight": 0.25, "ranker_weight": 1.5}
    path.write_text(json.dumps(manifest))
    model = ELIAS.from_pretrained(tmp_path / "m")
    assert model.config.final_ranker == "fixed"
    assert model.combination.index_weight == 0.25
    assert model.search(queries(), 5).scores.tobytes() != old.search(queries(), 5).scores.tobytes()


def test_a_training_that_was_stopped_goes_on_to_the_same_model(
    model: ELIAS, tmp_path: Path
) -> None:
    for step in ("calibration", "ranker"):
        flag, seen = StopFlag(), []

        def stop(event, step=step, flag=flag, seen=seen) -> None:
            seen.append(event.stage)
            # The ranker that is stopped is the second one.
            if event.stage == step and (step != "ranker" or "calibration" in seen):
                flag.set()

        options = CheckpointOptions(tmp_path / step, stop=flag)
        with pytest.raises(TrainingInterrupted):
            fitted(
                validation_fraction=0.4,
                final_ranker="trees",
                fit={"checkpoint": options, "progress": stop},
            )
        again = fitted(
            validation_fraction=0.4,
            final_ranker="trees",
            fit={"checkpoint": CheckpointOptions(tmp_path / step)},
        )
        again.save_pretrained(tmp_path / f"{step}.again")
    model.save_pretrained(tmp_path / "whole")
    for step in ("calibration", "ranker"):
        assert files(tmp_path / f"{step}.again") == files(tmp_path / "whole")


def test_unusable_choices_are_refused() -> None:
    for values in ({"final_ranker": "forest"}, {"records": "some"}, {"refit": True}):
        with pytest.raises(InputError):
            EliasConfig.from_dict(values)


def test_names_of_code_are_found_by_their_words() -> None:
    model = copy.copy(finally_ranked("linear", records="no", rerank_size=3))
    plain = model.vocabulary.names(range(30))
    first, second = (model.features.terms_[t] for t in single_words(model)[:2])
    texts = [*plain[:3], f"pantry.{first}_{second.title()}", *plain[4:]]
    model.vocabulary = LabelVocabulary(model.vocabulary.keys, texts)
    names = names_of(model, are_texts=True)
    found = {model.features.terms_[t] for t in names.terms[slice(*names.indptr[3:5])]}
    assert {first, second} <= found
    # The others are what they were.
    others = names_of(finally_ranked("linear", records="no", rerank_size=3), are_texts=True)
    for label in (0, 2, 4, 29):
        span = [slice(*each.indptr[label : label + 2]) for each in (names, others)]
        mine, theirs = names.terms[span[0]], others.terms[span[1]]
        np.testing.assert_array_equal(mine, theirs)
    alike = alike_of(model)
    assert alike is not None
    spelled = {model.features.terms_[t] for t in alike.terms[slice(*alike.indptr[3:5])]}
    assert {first, second} <= spelled


def single_words(model: Any) -> list[int]:
    """Terms of the sparse features that are one word."""
    return [n for n, term in enumerate(model.features.terms_) if term.isalpha()]
