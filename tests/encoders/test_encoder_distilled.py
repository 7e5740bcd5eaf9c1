"""Static tables and students: against their formulas, saved without the teacher, trained."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from encoder_models import make_bert, make_sentence_transformer, sample_texts

from learned_index.encoders import (
    LSAEncoder,
    SentenceTransformerEncoder,
    StaticEncoder,
    StudentEncoder,
    load_encoder,
    parse_encoder,
)
from learned_index.encoders.distilled import student as student_module
from learned_index.encoders.distilled.pieces import WordPieces
from learned_index.encoders.distilled.table import piece_table
from learned_index.encoders.lexical.words import WordLists
from learned_index.errors import InputError, ModelFormatError, NotFittedError

TRAIN = sample_texts(120)
QUERIES = [*sample_texts(20, seed=1), "", "zzz!", "red", "Unknown-word fox0 the FOX"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("teacher")
    return make_sentence_transformer(root / "st", make_bert(root / "bert"))


@pytest.fixture(scope="module")
def teacher(folder: Path) -> SentenceTransformerEncoder:
    return SentenceTransformerEncoder(str(folder))


@pytest.fixture
def no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEARNED_INDEX_CACHE", "off")


def test_words_are_found_in_order() -> None:
    words = WordLists.of(["A red, RED fox.", "", "fox_1 a"])
    assert words.distinct == ["a", "red", "fox", "fox_1"]
    assert words.ids.tolist() == [0, 1, 1, 2, 3, 0]
    assert words.offsets.tolist() == [0, 4, 4, 6]
    assert words.in_texts().tolist() == [2, 1, 1, 1]


def test_pieces_of_words_are_those_of_whole_texts(teacher: SentenceTransformerEncoder) -> None:
    pieces = WordPieces.of(teacher.tokenizer)
    text = "red unknownword foxes index 2x"
    offsets, found = pieces.lists(text.split())
    whole = teacher.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert found.tolist() == whole
    assert offsets[-1] == len(whole)
    assert pieces.surroundings() == ([2], [3])  # [CLS] and [SEP]


def test_no_more_than_so_many_words_are_remembered(
    teacher: SentenceTransformerEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    free, bounded = WordPieces.of(teacher.tokenizer), WordPieces.of(teacher.tokenizer)
    words = [f"{word}{n}" for n in range(20) for word in ("red", "fox", "index")]
    expected = [free.lists(words[n : n + 6])[1].tolist() for n in range(0, 60, 3)]
    monkeypatch.setattr("learned_index.encoders.distilled.pieces._MOST_KEPT", 10)
    for n, pieces in zip(range(0, 60, 3), expected, strict=False):
        assert bounded.lists(words[n : n + 6])[1].tolist() == pieces
        assert len(bounded._known) <= 10
    assert len(free._known) == 60


def test_the_table_holds_the_teachers_vector_of_each_piece(
    teacher: SentenceTransformerEncoder, no_cache: None
) -> None:
    pieces = WordPieces.of(teacher.tokenizer)
    table = piece_table(teacher, pieces)
    assert table.shape == (pieces.n_pieces, teacher.dim)
    np.testing.assert_allclose(table.mean(axis=0), 0, atol=1e-5)
    expected = teacher.encode(["red", "fox"])  # words that are pieces
    ids = [int(pieces.lists([word])[1][0]) for word in ("red", "fox")]
    np.testing.assert_allclose(table[ids[0]] - table[ids[1]], expected[0] - expected[1], atol=1e-5)


def test_a_teacher_in_int8_makes_nearly_the_same_table(
    teacher: SentenceTransformerEncoder, no_cache: None
) -> None:
    pytest.importorskip("onnxruntime", reason="int8 needs onnxruntime, of the extra onnx")
    pytest.importorskip("onnx", reason="int8 needs onnx, of the extra onnx")
    pieces = WordPieces.of(teacher.tokenizer)
    exact = piece_table(teacher, pieces)
    rounded_teacher = copy.deepcopy(teacher)
    rounded_teacher.precision = "int8"
    rounded = piece_table(rounded_teacher, pieces)
    assert not np.array_equal(rounded, exact)
    lengths = np.linalg.norm(rounded, axis=1) * np.linalg.norm(exact, axis=1)
    assert ((rounded * exact).sum(axis=1) / lengths).mean() > 0.95
    np.testing.assert_array_equal(piece_table(rounded_teacher, pieces), rounded)


def test_a_saved_student_keeps_the_pieces_of_its_words(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = StudentEncoder(str(folder), teaching_texts=10).fit(TRAIN)
    encoder.save_pretrained(tmp_path / "s")
    again = load_encoder(tmp_path / "s")
    cut: list[str] = []
    original = WordPieces.lists
    monkeypatch.setattr(
        WordPieces, "lists", lambda self, words: cut.extend(words) or original(self, words)
    )
    texts = [*TRAIN[:5], "zebra " + TRAIN[0]]
    np.testing.assert_array_equal(again.encode(texts), encoder.encode(texts))
    known = encoder._word_table.words()
    assert known and cut and not set(cut) & set(known)


def test_the_table_is_kept_and_made_again_if_damaged(
    teacher: SentenceTransformerEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEARNED_INDEX_CACHE", str(tmp_path))
    pieces = WordPieces.of(teacher.tokenizer)
    first = piece_table(teacher, pieces)
    (path,) = (tmp_path / "tables").iterdir()
    monkeypatch.setattr(type(teacher), "forward", lambda *_: pytest.fail("made twice"))
    np.testing.assert_array_equal(piece_table(teacher, pieces), first)
    monkeypatch.undo()
    monkeypatch.setenv("LEARNED_INDEX_CACHE", str(tmp_path))
    path.write_bytes(b"damaged")
    np.testing.assert_array_equal(piece_table(teacher, pieces), first)


def test_static_is_the_weighted_mean_of_pieces(teacher: SentenceTransformerEncoder) -> None:
    encoder = StaticEncoder(teacher, max_words=12, smoothing=1e-2).fit(TRAIN)
    pieces = WordPieces.of(teacher.tokenizer)
    table = piece_table(teacher, pieces)

    def pieces_of(text: str, most: int | None) -> list[int]:
        return [p for w in text.split()[:most] for p in pieces.lists([w])[1].tolist()]

    count = np.bincount(
        np.array([p for text in TRAIN for p in pieces_of(text, None)]), minlength=len(table)
    )
    weight = 1e-2 / (1e-2 + count / count.sum())

    def summed(text: str) -> Any:
        counts = np.bincount(np.array(pieces_of(text, 12)), minlength=len(table)) * weight
        return counts / np.linalg.norm(counts) @ table

    mean = np.mean([summed(text) for text in TRAIN], axis=0)
    for text in TRAIN[:5]:
        expected = summed(text) - mean
        found = encoder.encode([text])[0]
        np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-4)


def test_the_student_is_ridge_regression_on_pieces_and_words(
    folder: Path, teacher: SentenceTransformerEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The closed form against the primal problem, solved by least squares."""
    monkeypatch.setattr(student_module, "RIDGES", (0.5,))
    encoder = StudentEncoder(teacher, teaching_texts=80, min_df=1).fit(TRAIN)
    assert encoder.report_["teaching_texts"] == 80
    assert encoder.report_["ridge"] == 0.5
    bags = encoder.tokenize_all(TRAIN)
    n_pieces = WordPieces.of(teacher.tokenizer).n_pieces
    table = piece_table(teacher, WordPieces.of(teacher.tokenizer))
    s = bags[:, 1 : 1 + n_pieces] @ table
    s = s - s.mean(axis=0)
    chosen = np.sort(np.random.default_rng(0).permutation(len(TRAIN))[:80])
    s_taught = s[chosen]
    scale = 1 / np.sqrt((s_taught**2).sum(axis=1).mean())
    x = np.concatenate([bags[:, 1 + n_pieces :].toarray(), s * scale], axis=1).astype(np.float64)
    target = teacher.encode([TRAIN[row] for row in chosen])
    mean = target.mean(axis=0)
    rows = np.concatenate([x[chosen], np.sqrt(0.5) * np.eye(x.shape[1])])
    goal = np.concatenate([target - mean, np.zeros((x.shape[1], target.shape[1]))])
    weights = np.linalg.lstsq(rows, goal, rcond=None)[0]
    expected = x @ weights + mean
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(encoder.encode(TRAIN), expected, atol=2e-4)


def test_the_student_is_closer_to_its_teacher_than_the_table(
    folder: Path, teacher: SentenceTransformerEncoder
) -> None:
    taught = StudentEncoder(str(folder), teaching_texts=100, min_df=1).fit(TRAIN)
    static = StaticEncoder(str(folder)).fit(TRAIN)
    texts = sample_texts(60, seed=9)
    truth = teacher.encode(texts)
    cosine = {e.kind: float((e.encode(texts) * truth).sum(axis=1).mean()) for e in (taught, static)}
    assert cosine["student"] > cosine["static"] + 0.02
    assert taught.report_["cosine"] > cosine["static"]


@pytest.mark.parametrize("kind", ["static", "student"])
def test_saved_without_the_teacher(
    kind: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = (
        StaticEncoder(str(folder))
        if kind == "static"
        else StudentEncoder(str(folder), teaching_texts=60)
    )
    with pytest.raises(NotFittedError):
        encoder.encode(["red"])
    encoder.fit(TRAIN)
    vectors = encoder.encode(QUERIES)
    assert not vectors[-4].any()  # the empty text
    assert vectors[-2].any()
    encoder.save_pretrained(tmp_path / "saved")
    monkeypatch.setattr(StaticEncoder, "_open_teacher", lambda *_: pytest.fail("teacher opened"))
    again = load_encoder(tmp_path / "saved")
    np.testing.assert_array_equal(again.encode(QUERIES), vectors)
    assert again.fingerprint() == encoder.fingerprint()
    (tmp_path / "saved" / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelFormatError):
        type(encoder).from_pretrained(tmp_path / "saved", verify=False)


def test_trained_rows_change_and_others_stay(folder: Path) -> None:
    encoder = StudentEncoder(str(folder), teaching_texts=60, min_df=1).fit(TRAIN)
    table = encoder.bag.weight  # type: ignore[union-attr]
    encoder(encoder.tokenize(["red fox"])).sum().backward()
    assert table.grad.is_sparse
    touched = set(table.grad.coalesce().indices()[0].tolist())
    assert 0 in touched  # the constant
    bags = encoder.tokenize_all(["red fox"])
    assert touched == set(bags.indices.tolist())
    assert sp.issparse(bags)


def test_bad_teachers_and_texts_are_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="lsa"):
        StaticEncoder(LSAEncoder(4))
    with pytest.raises(InputError, match="lsa"):
        StaticEncoder("lsa:4").fit(TRAIN)
    with pytest.raises(InputError, match="no word"):
        StudentEncoder(str(folder)).fit(["", "!!"])
    with pytest.raises(InputError, match="give one of them"):
        StudentEncoder(teaching_texts=100, teaching_seconds=3.0)


def test_an_encoder_can_teach(teacher: SentenceTransformerEncoder, folder: Path) -> None:
    by_object = StudentEncoder(teacher, teaching_texts=60).fit(TRAIN)
    by_name = StudentEncoder(str(folder), teaching_texts=60).fit(TRAIN)
    np.testing.assert_allclose(by_object.encode(QUERIES), by_name.encode(QUERIES), atol=0.05)


def test_descriptions() -> None:
    assert isinstance(parse_encoder("static"), StaticEncoder)
    student = parse_encoder("student:500", seed=3)
    assert isinstance(student, StudentEncoder)
    assert student._config()["teaching_texts"] == 500
    assert student._config()["seed"] == 3
    with pytest.raises(InputError, match="number of texts"):
        parse_encoder("student:many")


def test_teaching_time_sets_the_number_of_texts(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(student_module, "_STEP", 10)
    monkeypatch.setattr(student_module, "_LEAST_TEXTS", 20)
    monkeypatch.setattr(student_module, "_MOST_TEXTS", 50)
    encoder = StudentEncoder(str(folder), teaching_seconds=1000.0).fit(TRAIN)
    assert encoder.report_["teaching_texts"] == 50
    assert torch.is_tensor(encoder.bag.weight)  # type: ignore[union-attr]


def test_the_teacher_is_no_part_of_the_student(teacher: SentenceTransformerEncoder) -> None:
    encoder = StudentEncoder(teacher, teaching_texts=60)
    assert not list(encoder.parameters())
    assert encoder.dim == teacher.dim  # known before the fit
    encoder.fit(TRAIN)
    assert [name for name, _ in encoder.named_parameters()] == ["bag.weight"]


def test_the_time_of_a_fit_is_planned(teacher: SentenceTransformerEncoder) -> None:
    few = StudentEncoder(teacher, teaching_texts=50).expected_seconds(TRAIN[:40], n_texts=1000)
    many = StudentEncoder(teacher, teaching_texts=900).expected_seconds(TRAIN[:40], n_texts=1000)
    assert 0 < few[0] < many[0]
    assert few[1] > 0
