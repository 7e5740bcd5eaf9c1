"""Stored vectors, joined encoders, the cache, resumable files, and what --encoder takes."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from encoder_models import make_bert, make_sentence_transformer, sample_texts
from safetensors.numpy import save_file

from learned_index.encoders import (
    ConcatenatedEncoder,
    EmbeddingCache,
    EncoderBase,
    LSAEncoder,
    PrecomputedEncoder,
    SentenceTransformerEncoder,
    TfidfEncoder,
    TransformerEncoder,
    cached_encode,
    default_cache_dir,
    load_encoder,
    parse_encoder,
    save_encoder,
)
from learned_index.encoders import chunked_file as chunked_module
from learned_index.errors import InputError, NotFittedError

TEXTS = sample_texts(23)
X = np.random.default_rng(0).standard_normal((23, 4)).astype(np.float32)


class Counting(LSAEncoder):
    """An LSA that counts the rows it encodes, and is worth caching."""

    cost = "expensive"

    def __init__(self, stop_after: int | None = None, error: BaseException | None = None) -> None:
        super().__init__(4)
        self.rows, self.stop_after = 0, stop_after
        self.error = error or KeyboardInterrupt()

    def encode(self, texts: list[str]) -> np.ndarray:
        if self.stop_after is not None and self.rows >= self.stop_after:
            raise self.error
        self.rows += len(texts)
        return super().encode(texts)


# ---- resumable files -------------------------------------------------------------------------


@pytest.mark.parametrize("stop_after", [1, 5, 10, 20])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "disk full")])
def test_resumed_file_has_the_same_bytes(
    tmp_path: Path, stop_after: int, error: BaseException
) -> None:
    Counting().fit(TEXTS).encode_to_file(TEXTS, tmp_path / "whole.npy", chunk_size=5)
    stopped = Counting(stop_after, error).fit(TEXTS)
    with pytest.raises(type(error)):
        stopped.encode_to_file(TEXTS, tmp_path / "x.npy", chunk_size=5)
    assert not (tmp_path / "x.npy").exists()
    resumed = Counting().fit(TEXTS)
    seen: list[tuple[int, int]] = []
    vectors = resumed.encode_to_file(
        TEXTS, tmp_path / "x.npy", chunk_size=5, progress=lambda *done: seen.append(done)
    )
    assert resumed.rows == len(TEXTS) - stopped.rows < len(TEXTS)
    assert seen[0] == (stopped.rows, 23)
    assert seen[-1] == (23, 23)
    assert (tmp_path / "x.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()
    assert isinstance(vectors, np.memmap)
    np.testing.assert_array_equal(vectors, resumed.encode(TEXTS))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["whole.npy", "x.npy"]


def interrupted(path: Path) -> Path:
    with pytest.raises(KeyboardInterrupt):
        Counting(10).fit(TEXTS).encode_to_file(TEXTS, path, chunk_size=5)
    (folder,) = path.parent.glob(".*.partial")
    return folder


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "data.npy").write_bytes(b"short"),
        lambda folder: (folder / "data.npy").unlink(),
        lambda folder: (folder / "progress.json").write_text('{"rows": 7}'),
        lambda folder: (folder / "progress.json").write_text('{"rows": 20}'),
        lambda folder: (folder / "progress.json").write_text("{"),
    ],
)
def test_damaged_partial_work_is_done_again(
    tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    damage(interrupted(tmp_path / "x.npy"))
    again = Counting().fit(TEXTS)
    vectors = again.encode_to_file(TEXTS, tmp_path / "x.npy", chunk_size=5)
    assert again.rows == len(TEXTS)
    np.testing.assert_array_equal(vectors, again.encode(TEXTS))


def test_half_a_chunk_on_disk_is_dropped(tmp_path: Path) -> None:
    folder = interrupted(tmp_path / "x.npy")
    with (folder / "data.npy").open("ab") as file:
        file.write(b"half a chunk, then the power went")
    again = Counting().fit(TEXTS)
    vectors = again.encode_to_file(TEXTS, tmp_path / "x.npy", chunk_size=5)
    assert again.rows == len(TEXTS) - 10
    np.testing.assert_array_equal(vectors, again.encode(TEXTS))


def test_other_texts_do_not_resume(tmp_path: Path) -> None:
    interrupted(tmp_path / "x.npy")
    other = Counting().fit(TEXTS)
    other.encode_to_file(TEXTS[::-1], tmp_path / "x.npy", chunk_size=5)
    assert other.rows == len(TEXTS)


def test_two_runs_of_one_job(tmp_path: Path) -> None:
    inner = Counting().fit(TEXTS)

    def second_run(done: int, total: int) -> None:
        if done == 10:
            inner.encode_to_file(TEXTS, tmp_path / "x.npy", chunk_size=5)

    outer = Counting().fit(TEXTS)
    vectors = outer.encode_to_file(TEXTS, tmp_path / "x.npy", chunk_size=5, progress=second_run)
    assert inner.rows == outer.rows == len(TEXTS)
    np.testing.assert_array_equal(vectors, outer.encode(TEXTS))
    assert [p.name for p in tmp_path.iterdir()] == ["x.npy"]


def test_full_disk_while_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    encoder = Counting().fit(TEXTS)
    monkeypatch.setattr(chunked_module, "_record", full)
    with pytest.raises(OSError, match="No space"):
        encoder.encode_to_file(TEXTS, tmp_path / "x.npy", chunk_size=5)
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []
    encoder.encode_to_file(TEXTS, tmp_path / "x.npy")


def test_file_of_no_texts_and_of_sparse_vectors(tmp_path: Path) -> None:
    encoder = LSAEncoder(4).fit(TEXTS)
    assert encoder.encode_to_file([], tmp_path / "none.npy").shape == (0, 4)
    with pytest.raises(InputError, match="makes sparse vectors"):
        TfidfEncoder().fit(TEXTS).encode_to_file(TEXTS, tmp_path / "x.npy")


def test_vectors_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    class Damaged(LSAEncoder):
        def encode(self, texts: list[str]) -> np.ndarray:
            rows = super().encode(texts).copy()
            rows[[text == TEXTS[7] for text in texts]] = np.nan
            return rows

    encoder = Damaged(4).fit(TEXTS)
    with pytest.raises(InputError, match="vector of text 7 is not finite"):
        encoder.encode_to_file(TEXTS, tmp_path / "x.npy", chunk_size=5)
    with pytest.raises(InputError, match="vector of text 7 is not finite"):
        cached_encode(encoder, TEXTS, cache="off")
    assert not (tmp_path / "x.npy").exists()


# ---- cache -----------------------------------------------------------------------------------


def test_cache_by_content(tmp_path: Path) -> None:
    encoder = Counting().fit(TEXTS)
    first = cached_encode(encoder, TEXTS, cache_dir=tmp_path)
    assert encoder.rows == len(TEXTS)
    seen: list[tuple[int, int]] = []
    same = Counting().fit(TEXTS)  # another object with the same content
    second = cached_encode(same, TEXTS, cache_dir=tmp_path, progress=lambda *x: seen.append(x))
    assert same.rows == 0
    assert seen == [(23, 23)]
    np.testing.assert_array_equal(first, second)
    assert isinstance(second, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        second[0, 0] = 1
    refitted = Counting().fit(TEXTS[:9])
    cached_encode(refitted, TEXTS, cache_dir=tmp_path)
    assert refitted.rows == len(TEXTS)
    cached_encode(same, [*TEXTS[1:], TEXTS[0]], cache_dir=tmp_path)
    assert same.rows == len(TEXTS)
    cache = EmbeddingCache(tmp_path)
    assert len(list(tmp_path.rglob("*.npy"))) == 3
    assert cache.size_bytes() > 3 * first.nbytes
    cache.clear()
    assert cache.size_bytes() == 0


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", "cut"])
def test_damaged_cache_file_is_made_again(tmp_path: Path, damage: bytes | str) -> None:
    encoder = Counting().fit(TEXTS)
    expected = np.array(cached_encode(encoder, TEXTS, cache_dir=tmp_path))
    (path,) = tmp_path.rglob("*.npy")
    path.write_bytes(path.read_bytes()[:-40] if damage == "cut" else damage)
    np.testing.assert_array_equal(cached_encode(encoder, TEXTS, cache_dir=tmp_path), expected)
    assert encoder.rows == 2 * len(TEXTS)


def test_cache_place_and_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEARNED_INDEX_CACHE", str(tmp_path / "here"))
    assert default_cache_dir() == tmp_path / "here"
    cached_encode(Counting().fit(TEXTS), TEXTS, cache="off")
    cached_encode(LSAEncoder(4).fit(TEXTS), TEXTS)  # cheap: not worth a file
    assert not (tmp_path / "here").exists()
    cached_encode(Counting().fit(TEXTS), TEXTS)
    assert (tmp_path / "here").exists()
    monkeypatch.setenv("LEARNED_INDEX_CACHE", "off")
    assert default_cache_dir() is None
    assert type(cached_encode(Counting().fit(TEXTS), TEXTS)) is np.ndarray
    monkeypatch.delenv("LEARNED_INDEX_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert "learned-index" in str(default_cache_dir())


def test_joined_encoders_share_the_cache_of_their_parts(tmp_path: Path) -> None:
    costly, lsa = Counting().fit(TEXTS), LSAEncoder(6).fit(TEXTS)
    cached_encode(costly, TEXTS, cache_dir=tmp_path)
    both = ConcatenatedEncoder([lsa, costly], weights=[1, 2])
    seen: list[tuple[int, int]] = []
    found = cached_encode(
        both, TEXTS, cache_dir=tmp_path, chunk_size=4, progress=lambda *x: seen.append(x)
    )
    assert costly.rows == len(TEXTS)
    assert seen[-1] == (23, 23)
    np.testing.assert_array_equal(found, both.encode(TEXTS))


def test_cache_passes_sparse_and_foreign_encoders_through(tmp_path: Path) -> None:
    tfidf = TfidfEncoder().fit(TEXTS)
    assert (cached_encode(tfidf, TEXTS, cache_dir=tmp_path) != tfidf.encode(TEXTS)).nnz == 0

    class Foreign:
        kind = "foreign"
        dim = 4

        def encode(self, texts: list[str]) -> np.ndarray:
            return X[: len(texts)]

    np.testing.assert_array_equal(cached_encode(Foreign(), TEXTS, cache_dir=tmp_path), X)
    assert list(tmp_path.iterdir()) == []


# ---- joined ----------------------------------------------------------------------------------


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
    with pytest.raises(InputError, match="tfidf makes sparse vectors"):
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
    save_encoder(encoder, tmp_path / "saved")
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


# ---- what --encoder takes --------------------------------------------------------------------


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bert(tmp_path_factory.mktemp("models") / "a+bert")


def test_specs(bert: Path, tmp_path: Path) -> None:
    def kind_and_dim(spec: str, **options: object) -> tuple[str, int]:
        encoder = parse_encoder(spec, **options)
        return encoder.kind, encoder.dim

    assert parse_encoder("tfidf").kind == "tfidf"
    assert kind_and_dim("lsa") == ("lsa", 256)
    assert kind_and_dim("lsa:512") == ("lsa", 512)
    assert kind_and_dim("bow:32", seed=3) == ("bow", 32)
    assert kind_and_dim("minilm", seed=3) == ("sentence-transformer", 384)
    assert kind_and_dim("lsa:16+minilm", batch_size=8) == ("concatenated", 400)
    assert kind_and_dim(str(bert), pooling="cls") == ("transformer", 32)
    assert kind_and_dim(f"hf:{bert}") == ("transformer", 32)
    st = make_sentence_transformer(tmp_path / "st", bert)
    assert kind_and_dim(str(st)) == ("sentence-transformer", 32)
    assert kind_and_dim(f"lsa:8+{st}", weights=[1, 2]) == ("concatenated", 40)
    joined = parse_encoder("lsa:8 + bow", dim=5, seed=7)
    assert isinstance(joined, ConcatenatedEncoder)
    assert [part.dim for part in joined.encoders] == [8, 5]  # the description wins
    assert joined.encoders[0].seed == 7
    save_encoder(LSAEncoder(4).fit(TEXTS), tmp_path / "saved")
    saved = parse_encoder(str(tmp_path / "saved"))
    np.testing.assert_array_equal(saved.encode(TEXTS), LSAEncoder(4).fit(TEXTS).encode(TEXTS))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("lsaa", "Did you mean 'lsa'"),
        ("", "Expected tfidf, lsa"),
        ("lsa+", "unknown encoder ''"),
        ("lsa:many", "expected a dimension"),
        ("lsa:0", "expected a dimension"),
        ("tfidf:3", "takes no dimension"),
        ("minilm:short", "expected a number of tokens"),
        ("two words", "unknown encoder 'two words'"),
        ("nobody/no-such-model", "hub cannot be reached.*Expected tfidf, lsa"),
        ("/no/such/folder", "does not exist.*Expected tfidf"),
        ("missing_{split}.npy", "no vectors for the split 'train'"),
        ("lsa+tfidf", "tfidf makes sparse vectors"),
    ],
)
def test_unknown_specs(spec: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match=message):
        parse_encoder(spec)


def test_options_nobody_has(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no option beam"):
        parse_encoder("lsa", beam=3)
    with pytest.raises(InputError, match="no option beam"):
        parse_encoder("lsa+bow", dim=3, beam=3)
    with pytest.raises(InputError, match="holds neither a model"):
        parse_encoder(str(tmp_path))
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputError, match="is no file of vectors"):
        parse_encoder(str(tmp_path / "notes.txt"))


def test_importing_the_encoders_loads_no_heavy_library() -> None:
    import subprocess
    import sys

    code = (
        "import sys, learned_index.encoders; "
        "heavy = {'transformers', 'sentence_transformers', 'sklearn'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_registered_classes_are_these() -> None:
    from importlib.metadata import entry_points

    classes: dict[str, type[EncoderBase]] = {
        entry.name: entry.load() for entry in entry_points(group="learned_index.encoders")
    }
    assert all(found.kind == name for name, found in classes.items())
    assert classes["transformer"] is TransformerEncoder
    assert classes["sentence-transformer"] is SentenceTransformerEncoder
