"""Stored vectors and joined encoders."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from counting_encoder import TEXTS
from safetensors.numpy import save_file

from learned_index.encoders import (
    ConcatenatedEncoder,
    LSAEncoder,
    PrecomputedEncoder,
    TfidfEncoder,
    cached_encode,
    load_encoder,
    parse_encoder,
)
from learned_index.encoders.vector_files import read_vectors
from learned_index.errors import InputError, NotFittedError

X = np.random.default_rng(0).standard_normal((23, 4)).astype(np.float32)


def test_joined_is_the_formula() -> None:
    a, b = LSAEncoder(6).fit(TEXTS), LSAEncoder(3, seed=1, word_ngrams=2).fit(TEXTS)
    texts = [*TEXTS, "", "unknownword"]
    found = ConcatenatedEncoder([a, b], weights=[2, 1]).encode(texts)
    parts = np.concatenate([2 * a.encode(texts), b.encode(texts)], axis=1).astype(np.float64)
    norm = np.linalg.norm(parts, axis=1, keepdims=True)
    np.testing.assert_allclose(found, parts / np.where(norm > 0, norm, 1), atol=1e-6)
    assert not found[-2:].any()


def test_joined_refuses() -> None:
    lsa = LSAEncoder(4)
    with pytest.raises(InputError, match="got 1 encoder"):
        ConcatenatedEncoder([lsa])
    with pytest.raises(InputError, match="3 weights for 2"):
        ConcatenatedEncoder([lsa, lsa], weights=[1, 2, 3])
    with pytest.raises(InputError, match="positive"):
        ConcatenatedEncoder([lsa, lsa], weights=[1, 0])
    with pytest.raises(InputError, match="'tfidf' makes sparse vectors"):
        ConcatenatedEncoder([lsa, TfidfEncoder()])


# ---- precomputed -----------------------------------------------------------------------------


def write_vectors(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".npz":
        np.savez(path, vectors=array, other=np.zeros(3))
    else:
        save_file({"embeddings": np.ascontiguousarray(array)}, str(path))


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors"])
@pytest.mark.parametrize(
    ("spec", "train", "test"),
    [
        ("", "train", "test"),
        ("x_{split}SUFFIX", "x_train", "x_test"),
        ("x_trainSUFFIX", "x_train", "x_test"),
        ("{split}/vSUFFIX", "train/v", "test/v"),
    ],
)
def test_precomputed_splits(tmp_path: Path, suffix: str, spec: str, train: str, test: str) -> None:
    write_vectors(tmp_path / f"{train}{suffix}", X)
    write_vectors(tmp_path / f"{test}{suffix}", X[:5] + 1)
    description = str(tmp_path / spec.replace("SUFFIX", suffix))
    encoder = parse_encoder(description).fit(TEXTS)
    assert encoder.dim == 4
    np.testing.assert_array_equal(encoder.encode(TEXTS), X)
    np.testing.assert_array_equal(encoder.encode([TEXTS[3], TEXTS[1]]), X[[3, 1]])
    queries = ["q1", "q2", "q3", "q4", "q5"]
    found = cached_encode(encoder, queries, split="test")
    np.testing.assert_array_equal(found, X[:5] + 1)
    assert isinstance(found, np.memmap) == (suffix == ".npy")
    encoder.save_pretrained(tmp_path / "saved")
    loaded = load_encoder(tmp_path / "saved")
    np.testing.assert_array_equal(cached_encode(loaded, queries, split="test"), X[:5] + 1)


def test_precomputed_repeated_texts_keep_their_rows(tmp_path: Path) -> None:
    write_vectors(tmp_path / "train.npy", X[:3])
    encoder = PrecomputedEncoder(tmp_path).fit(["same", "same", "other"])
    np.testing.assert_array_equal(encoder.encode(["same", "same", "other"]), X[:3])
    np.testing.assert_array_equal(encoder.encode(["same"]), X[:1])


def test_precomputed_cannot_encode_new_text(tmp_path: Path) -> None:
    write_vectors(tmp_path / "train.npy", X)
    encoder = PrecomputedEncoder(tmp_path)
    with pytest.raises(NotFittedError, match="bind"):
        encoder.encode(["red"])
    encoder.fit(TEXTS)
    with pytest.raises(InputError, match="cannot encode new text"):
        encoder.encode(["a question nobody stored"])
    with pytest.raises(InputError, match=r"23 rows, the train split has 22 texts"):
        encoder.fit(TEXTS[:-1])
    with pytest.raises(InputError, match=r"no vectors for the split 'test'.*test\.npy"):
        encoder.bind(TEXTS, "test")


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_precomputed_other_float_types(tmp_path: Path, dtype: type) -> None:
    write_vectors(tmp_path / "train.npy", X.astype(dtype))
    found = PrecomputedEncoder(tmp_path).fit(TEXTS).encode(TEXTS)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, X, atol=2e-3)


def damaged_vectors(kind: str) -> np.ndarray:
    bad = X.copy()
    if kind == "nan":
        bad[17, 2] = np.nan
    elif kind == "inf":
        bad[3, 0] = -np.inf
    return {"flat": X[:, 0], "int": X.astype(np.int64), "cube": X[None], "wide": X[:, :0]}.get(
        kind, bad
    )


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("nan", "row 17 holds NaN"),
        ("inf", "row 3 holds NaN or inf"),
        ("flat", "shape"),
        ("int", "int64"),
        ("cube", "shape"),
        ("wide", "shape"),
    ],
)
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors"])
def test_unusable_vectors(tmp_path: Path, kind: str, message: str, suffix: str) -> None:
    write_vectors(tmp_path / f"train{suffix}", damaged_vectors(kind))
    with pytest.raises(InputError, match=message):
        PrecomputedEncoder(tmp_path).fit(TEXTS)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors"])
def test_truncated_vectors(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"train{suffix}"
    write_vectors(path, X)
    whole = path.read_bytes()
    for damaged in (whole[:-30], whole[:20], b"", b"no vectors at all"):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"cannot be read as vectors|rows, the train split"):
            PrecomputedEncoder(tmp_path).fit(TEXTS)


def test_pickled_vectors_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "train.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="cannot be read as vectors"):
        PrecomputedEncoder(tmp_path)


def test_splits_of_different_width(tmp_path: Path) -> None:
    write_vectors(tmp_path / "train.npy", X)
    write_vectors(tmp_path / "test.npy", X[:, :3])
    with pytest.raises(InputError, match="3 columns, expected 4"):
        PrecomputedEncoder(tmp_path).fit(TEXTS).bind(TEXTS, "test")


def test_precomputed_joined_with_lsa(tmp_path: Path) -> None:
    write_vectors(tmp_path / "v_train.npy", X)
    write_vectors(tmp_path / "v_test.npy", X[:2])
    encoder = parse_encoder(f"lsa:3+{tmp_path}/v_train.npy").fit(TEXTS)
    assert encoder.dim == 7
    found = cached_encode(encoder, TEXTS[5:7], split="test", cache="off")
    expected = X[:2] / np.linalg.norm(X[:2], axis=1, keepdims=True) / np.sqrt(2)
    np.testing.assert_allclose(found[:, 3:], expected, atol=1e-6)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors"])
@pytest.mark.parametrize("what", ["missing", "folder", "pipe", "device", "empty"])
def test_what_is_no_file_of_vectors_is_refused(suffix: str, what: str, tmp_path: Path) -> None:
    path = tmp_path / f"train{suffix}"
    if what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "device":
        path.symlink_to("/dev/zero")
    elif what == "empty":
        path.write_bytes(b"")
    with pytest.raises(InputError, match=rf"train\{suffix}"):
        read_vectors(path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"(5, 3)", b"(9, 3)"),
        (b"(5, 3)", b"(5,2)"),
        (b"(5, 3), }" + b" " * 20, b"(4000000000, 4000000000), }  "),
        (b"'<f8'", b"'|O'"),
        (b"'<f8'", b"'<f9'"),
        (b"{'descr'", b"['descr'"),
        (b"\x93NUMPY\x01", b"\x93NUMPY\x09"),
    ],
)
def test_a_header_that_lies_about_vectors(old: bytes, new: bytes, tmp_path: Path) -> None:
    path = tmp_path / "train.npy"
    np.save(path, np.ones((5, 3)))
    assert read_vectors(path).shape == (5, 3)
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new.ljust(len(old)), 1))
    with pytest.raises(InputError, match=r"train\.npy cannot be read as vectors"):
        read_vectors(path)
