"""Encoder and index alone: texts in, names out; saved whole or not at all."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from cli_cases import files
from conftest import tiny_dataset
from elias_cases import (
    INDEX_ALONE,
    INTERRUPTIONS,
    check_damaged_model,
    check_interrupted_save,
    without_ranker,
)

from learned_index import (
    ELIAS,
    EliasConfig,
    IndexConfig,
    LabelVocabulary,
    LearnedGraphIndex,
    SearchEngine,
    TrainingConfig,
)
from learned_index.encoders.lexical.lsa import LSAEncoder
from learned_index.encoders.lexical.tfidf import TfidfEncoder
from learned_index.encoding import encoder_class
from learned_index.errors import InputError, MissingExtraError, ModelFormatError, NotFittedError
from learned_index.index.build.clustering import sparse_label_centroids
from learned_index.types import Encoder

QUICK = TrainingConfig(seed=3, batch_size=32, stage1_epochs=3, stage2_epochs=3)


def fit(
    encoder: Encoder | None = None,
    *,
    index: IndexConfig | None = None,
    training: TrainingConfig = QUICK,
    config: EliasConfig = INDEX_ALONE,
    **arguments: Any,
) -> ELIAS:
    train = tiny_dataset("train", 300, seed=0)
    return without_ranker(encoder, index, training=training, config=config).fit(
        train.texts, train.labels, vocabulary=train.vocabulary, **arguments
    )


@pytest.fixture(scope="module")
def model() -> ELIAS:
    return fit()


@pytest.fixture(scope="module")
def saved(model: ELIAS, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "model"
    model.save_pretrained(path)
    return path


def test_finds_the_topic(model: ELIAS) -> None:
    test = tiny_dataset("test", 40, seed=2)
    found = model.predict(test.texts, k=5)
    right = [test.label_names(row)[0] in dict(found[row]) for row in range(40)]
    assert np.mean(right) > 0.9
    for row in found:
        scores = [score for _, score in row]
        assert scores == sorted(scores, reverse=True)
        assert len({name for name, _ in row}) == len(row)


def test_names_and_ids_say_the_same(model: ELIAS) -> None:
    texts = tiny_dataset("test", 8, seed=5).texts
    result = model.search(texts, 4)
    for row, named in enumerate(model.predict(texts, 4)):
        ids = [label for label in result.ids[row] if label >= 0]
        assert [name for name, _ in named] == model.vocabulary.names(ids)
        assert [score for _, score in named] == result.scores[row][: len(ids)].tolist()


@pytest.mark.parametrize("blank", ["", "   ", "\t\u2003"])
def test_a_blank_query_has_no_answer_and_changes_no_other(model: ELIAS, blank: str) -> None:
    text = "filter noise frequency"
    assert model.predict([blank, text], k=3) == [[], model.predict([text], k=3)[0]]
    result = model.search([blank], 3)
    assert result.ids.tolist() == [[-1] * 3]
    assert np.isneginf(result.scores).all()


def test_no_queries(model: ELIAS) -> None:
    assert model.predict([], k=3) == []
    assert model.search([], 3).ids.shape == (0, 3)
    with pytest.raises(InputError, match="k"):
        model.search([], 0)


def test_one_string_is_not_a_list_of_letters(model: ELIAS) -> None:
    for ask in (model.predict, model.search):
        with pytest.raises(InputError, match="list of strings"):
            ask("filter noise")


def test_more_labels_than_there_are(model: ELIAS) -> None:
    (found,) = model.predict(["sort a list"], k=1000)
    assert 0 < len(found) <= 30


def test_saved_model_answers_the_same(model: ELIAS, saved: Path) -> None:
    texts = [*tiny_dataset("test", 40, seed=2).texts, "", "unknown wörds ☃"]
    again = ELIAS.from_pretrained(saved)
    for mine, theirs in zip(model.search(texts, 7), again.search(texts, 7), strict=True):
        assert mine.tobytes() == theirs.tobytes()
    assert again.vocabulary == model.vocabulary
    assert again.n_points == 300
    assert again.label_counts.tolist() == model.label_counts.tolist()


def test_same_seed_same_bytes(saved: Path, tmp_path: Path) -> None:
    fit().save_pretrained(tmp_path / "again")
    assert files(tmp_path / "again") == files(saved)


def test_another_seed_gives_another_model(saved: Path, tmp_path: Path) -> None:
    other = TrainingConfig(seed=4, batch_size=32, stage1_epochs=3, stage2_epochs=3)
    fit(training=other).save_pretrained(tmp_path / "other")
    assert files(tmp_path / "other") != files(saved)


def test_embeddings_from_a_cache_give_the_same_model(saved: Path, tmp_path: Path) -> None:
    train = tiny_dataset("train", 300, seed=0)
    encoder = LSAEncoder(dim=16).fit(train.texts)
    fit(encoder, embeddings=encoder.encode(train.texts)).save_pretrained(tmp_path / "model")
    assert files(tmp_path / "model") == files(saved)


def test_the_index_is_that_of_the_vectors(model: ELIAS) -> None:
    train, texts = tiny_dataset("train", 300, seed=0), tiny_dataset("test", 40, seed=2).texts
    encoder = LSAEncoder(dim=16).fit(train.texts)
    index = LearnedGraphIndex(training=QUICK).fit(encoder.encode(train.texts), train.labels)
    alone, found = index.search(encoder.encode(texts), 7), model.search(texts, 7)
    assert found.ids.tobytes() == alone.ids.tobytes()
    assert found.scores.tobytes() == alone.scores.tobytes()


def test_nothing_is_held_out_and_there_is_nothing_but_the_index(model: ELIAS) -> None:
    assert model.n_points == 300 and model.report_["n_held_out"] == 0
    assert model.ranker_ is None and model.calibrator_ is None and model.features is None
    with pytest.raises(InputError, match="without calibration"):
        model.predict_proba(["sort a list"])


def test_the_ranking_score_is_that_of_the_index(model: ELIAS) -> None:
    texts = tiny_dataset("test", 40, seed=2).texts
    ranking, index = model.search(texts, 30), model.search(texts, 30, score="index")
    assert ranking.ids.tobytes() == index.ids.tobytes()
    assert ranking.scores.tobytes() == index.scores.tobytes()


def test_clustering_features_are_used(tmp_path: Path) -> None:
    clusters = IndexConfig(n_clusters=6)
    model = fit(index=clusters, config=replace(INDEX_ALONE, clustering_features="tfidf"))
    alone = fit(index=clusters)
    assert model.predict(["bread oven flour"], k=1)[0][0][0] == "Cooking"
    model.save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model" / "features").exists(), "search does not need them"
    of_both = [m.index.cluster_of_label_L.tolist() for m in (model, alone)]
    assert of_both[0] != of_both[1]


def test_nothing_in_the_model_depends_on_its_place(saved: Path) -> None:
    everything = b"".join(files(saved).values())
    assert str(saved.parent).encode() not in everything
    assert {name.split(".")[-1] for name in files(saved)} <= {"json", "safetensors", "txt"}


def test_sparse_encoder_is_refused() -> None:
    with pytest.raises(InputError, match="dense"):
        fit(TfidfEncoder())


def test_texts_and_labels_must_be_as_many() -> None:
    with pytest.raises(InputError, match="2 texts and 1 rows"):
        without_ranker().fit(["a", "b"], [[0]])


# -- parts that are trained already ----------------------------------------------------------------


@pytest.fixture(params=["index", "engine"])
def index(request: pytest.FixtureRequest, model: ELIAS) -> LearnedGraphIndex | SearchEngine:
    return model.index if request.param == "index" else model.to_engine().index


def test_parts_answer_as_the_model_they_come_from(model, index, tmp_path: Path) -> None:
    texts = [*tiny_dataset("test", 20, seed=2).texts, ""]
    whole = model if isinstance(index, LearnedGraphIndex) else model.to_engine()
    for names in (model.vocabulary, list(model.vocabulary)):
        parts = ELIAS.from_parts(model.encoder, index, names)
        assert parts.predict(texts, 7) == whole.predict(texts, 7)
        assert parts.label_counts is None and parts.n_points == 0
    parts.save_pretrained(tmp_path / "parts")
    assert not (tmp_path / "parts" / "counts.safetensors").exists()
    again = ELIAS.from_pretrained(tmp_path / "parts")
    assert again.label_counts is None
    assert again.predict(texts, 7) == whole.predict(texts, 7)


def test_parts_know_the_counts_that_they_are_given(model: ELIAS, tmp_path: Path) -> None:
    parts = ELIAS.from_parts(
        model.encoder, model.index, model.vocabulary, label_counts=model.label_counts, n_points=300
    )
    parts.save_pretrained(tmp_path / "parts")
    again = ELIAS.from_pretrained(tmp_path / "parts")
    assert again.n_points == 300
    assert again.label_counts.tolist() == model.label_counts.tolist()


def test_parts_must_fit(model: ELIAS, index) -> None:
    other = LSAEncoder(dim=5).fit(tiny_dataset("train", 300, seed=0).texts)
    with pytest.raises(InputError, match="5-dimensional vectors, the index expects 16"):
        ELIAS.from_parts(other, index, model.vocabulary)
    for names in (LabelVocabulary(["a", "b"]), ["a", "b"]):
        with pytest.raises(InputError, match="names 2 labels, the index has 30"):
            ELIAS.from_parts(model.encoder, index, names)


def test_parts_must_be_what_they_are_called(model: ELIAS) -> None:
    with pytest.raises(InputError, match="for an encoder"):
        ELIAS.from_parts(3, model.index, model.vocabulary)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="sparse vectors"):
        ELIAS.from_parts(TfidfEncoder(), model.index, model.vocabulary)
    for wrong in (None, "abc", 30):
        with pytest.raises(InputError, match="vocabulary"):
            ELIAS.from_parts(model.encoder, model.index, wrong)  # type: ignore[arg-type]
    for wrong in (None, IndexConfig(), model):
        with pytest.raises(InputError, match="index"):
            ELIAS.from_parts(model.encoder, wrong, model.vocabulary)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="label_counts"):
        ELIAS.from_parts(
            model.encoder, model.index, model.vocabulary, label_counts=np.ones(3, np.int64)
        )


def test_parts_that_are_not_fitted_are_refused(model: ELIAS) -> None:
    with pytest.raises(NotFittedError):
        ELIAS.from_parts(model.encoder, LearnedGraphIndex(), model.vocabulary)


# -- on disk ---------------------------------------------------------------------------------------


def test_an_existing_model_is_replaced_only_when_asked(model: ELIAS, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.txt").write_text("precious")
    with pytest.raises(InputError, match="exists"):
        model.save_pretrained(tmp_path / "model")
    assert (tmp_path / "model" / "mine.txt").read_text() == "precious"
    with pytest.raises(InputError, match="no saved model"):
        model.save_pretrained(tmp_path / "model", overwrite=True)
    assert (tmp_path / "model" / "mine.txt").read_text() == "precious"
    model.save_pretrained(tmp_path / "other")
    model.save_pretrained(tmp_path / "other", overwrite=True)
    ELIAS.from_pretrained(tmp_path / "other")


@pytest.mark.parametrize("interruption", INTERRUPTIONS)
@pytest.mark.parametrize("part", ["encoder", "index", "vocabulary"])
def test_an_interrupted_save_leaves_the_old_model(
    model: ELIAS, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interruption, part: str
) -> None:
    check_interrupted_save(model, part, interruption, tmp_path, monkeypatch)


def all_files() -> list[str]:
    return ["labels.txt", "counts.safetensors", "encoder/", "member_0/", "manifest.json"]


@pytest.mark.parametrize("name", all_files())
@pytest.mark.parametrize("damage", ["truncate", "flip", "remove"])
def test_a_damaged_model_is_refused(saved: Path, tmp_path: Path, name: str, damage: str) -> None:
    check_damaged_model(saved, tmp_path / "model", name, damage)


def test_foreign_directories_are_refused(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFormatError, match="not a directory"):
        ELIAS.from_pretrained(tmp_path / "missing")
    with pytest.raises(ModelFormatError, match=r"manifest\.json is missing"):
        ELIAS.from_pretrained(tmp_path)
    with pytest.raises(ModelFormatError, match="expected a 'elias'"):
        ELIAS.from_pretrained(saved / "member_0" / "index")


def test_an_encoder_of_a_missing_package_is_named(saved: Path, tmp_path: Path) -> None:
    target = tmp_path / "model"
    shutil.copytree(saved, target)
    manifest = json.loads((target / "manifest.json").read_text())
    manifest["config"]["encoders"] = ["crystal-ball"]
    (target / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(MissingExtraError, match="crystal-ball"):
        ELIAS.from_pretrained(target)


def test_encoder_classes_are_found_by_kind() -> None:
    assert encoder_class("lsa") is LSAEncoder


def test_long_feature_rows_and_labels_without_points_keep_the_largest_features() -> None:
    """Trailing labels without a training point used to break the cut to the largest features."""
    rng = np.random.default_rng(0)
    labels = sp.csr_matrix((rng.random((12, 6)) < 0.4).astype(np.float32))
    labels = sp.hstack([labels, sp.csr_matrix((12, 3), dtype=np.float32)], format="csr")
    features = sp.random(12, 40, density=0.3, format="csr", random_state=rng, dtype=np.float32)
    cut = sparse_label_centroids(labels, features, max_features=4).toarray()
    full = sparse_label_centroids(labels, features, max_features=40).toarray()
    assert (cut[6:] == 0).all()
    for row, whole in zip(cut[:6], full[:6], strict=True):
        kept = np.argsort(-whole, kind="stable")[:4]
        kept = kept[whole[kept] > 0]
        expected = np.zeros_like(whole)
        expected[kept] = whole[kept] / np.linalg.norm(whole[kept])
        np.testing.assert_allclose(row, expected, atol=1e-6)
