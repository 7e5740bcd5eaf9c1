"""The cache of encoded texts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from counting_encoder import TEXTS, Counting

from learned_index.encoders import (
    ConcatenatedEncoder,
    LSAEncoder,
    TfidfEncoder,
    cached_encode,
)
from learned_index.system.cache import cache_directory

X = np.random.default_rng(0).standard_normal((23, 4)).astype(np.float32)


def test_cache_by_content(tmp_path: Path) -> None:
    encoder = Counting().fit(TEXTS)
    first = cached_encode(encoder, TEXTS, cache=tmp_path)
    assert encoder.rows == len(TEXTS)
    seen: list[tuple[int, int]] = []
    same = Counting().fit(TEXTS)  # another object with the same content
    second = cached_encode(same, TEXTS, cache=tmp_path, progress=lambda *x: seen.append(x))
    assert same.rows == 0
    assert seen == [(23, 23)]
    np.testing.assert_array_equal(first, second)
    assert isinstance(second, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        second[0, 0] = 1
    refitted = Counting().fit(TEXTS[:9])
    cached_encode(refitted, TEXTS, cache=tmp_path)
    assert refitted.rows == len(TEXTS)
    cached_encode(same, [*TEXTS[1:], TEXTS[0]], cache=tmp_path)
    assert same.rows == len(TEXTS)
    assert len(list(tmp_path.rglob("*.npy"))) == 3


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", "cut"])
def test_damaged_cache_file_is_made_again(tmp_path: Path, damage: bytes | str) -> None:
    encoder = Counting().fit(TEXTS)
    expected = np.array(cached_encode(encoder, TEXTS, cache=tmp_path))
    (path,) = tmp_path.rglob("*.npy")
    path.write_bytes(path.read_bytes()[:-40] if damage == "cut" else damage)
    np.testing.assert_array_equal(cached_encode(encoder, TEXTS, cache=tmp_path), expected)
    assert encoder.rows == 2 * len(TEXTS)


def test_cache_place_and_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEARNED_INDEX_CACHE", str(tmp_path / "here"))
    assert cache_directory() == tmp_path / "here"
    cached_encode(Counting().fit(TEXTS), TEXTS, cache="off")
    cached_encode(LSAEncoder(4).fit(TEXTS), TEXTS)  # cheap: not worth a file
    assert not (tmp_path / "here").exists()
    cached_encode(Counting().fit(TEXTS), TEXTS)
    assert (tmp_path / "here").exists()
    monkeypatch.setenv("LEARNED_INDEX_CACHE", "off")
    assert cache_directory() is None
    assert type(cached_encode(Counting().fit(TEXTS), TEXTS)) is np.ndarray
    monkeypatch.delenv("LEARNED_INDEX_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert "learned-index" in str(cache_directory())


def test_joined_encoders_share_the_cache_of_their_parts(tmp_path: Path) -> None:
    costly, lsa = Counting().fit(TEXTS), LSAEncoder(6).fit(TEXTS)
    cached_encode(costly, TEXTS, cache=tmp_path)
    both = ConcatenatedEncoder([lsa, costly], weights=[1, 2])
    seen: list[tuple[int, int]] = []
    found = cached_encode(
        both, TEXTS, cache=tmp_path, chunk_size=4, progress=lambda *x: seen.append(x)
    )
    assert costly.rows == len(TEXTS)
    assert seen[-1] == (23, 23)
    np.testing.assert_array_equal(found, both.encode(TEXTS))


def test_cache_passes_sparse_and_foreign_encoders_through(tmp_path: Path) -> None:
    tfidf = TfidfEncoder().fit(TEXTS)
    assert (cached_encode(tfidf, TEXTS, cache=tmp_path) != tfidf.encode(TEXTS)).nnz == 0

    class Foreign:
        kind = "foreign"
        dim = 4

        def encode(self, texts: list[str]) -> np.ndarray:
            return X[: len(texts)]

    np.testing.assert_array_equal(cached_encode(Foreign(), TEXTS, cache=tmp_path), X)
    assert list(tmp_path.iterdir()) == []
