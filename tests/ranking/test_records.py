"""The memory of training records: searches and votes against plain NumPy."""

from __future__ import annotations

import sys
import threading
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from saving_cases import sign

from learned_index.errors import InputError, ModelFormatError
from learned_index.persistence import load_arrays, save_arrays
from learned_index.ranking import record_layout as layout
from learned_index.ranking import records as module
from learned_index.ranking.record_layout import TERMS_PER_RECORD
from learned_index.ranking.records import N_NEAREST, Records
from learned_index.system.memory import give_back

N, V, D, L = 1500, 600, 70, 40


def rows_of_tfidf(n: int, *, seed: int) -> sp.csr_matrix:
    """Rows of length 1; the first five terms are in a third of the rows, two rows are empty."""
    rng = np.random.default_rng(seed)
    dense = np.where(rng.random((n, V)) < 0.08, rng.random((n, V)), 0)
    dense[:, :5] = np.where(rng.random((n, 5)) < 0.35, rng.random((n, 5)), 0)
    dense[:2] = 0
    dense /= np.maximum(np.linalg.norm(dense, axis=1, keepdims=True), 1e-9)
    return sp.csr_matrix(dense, dtype=np.float32)


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    rng = np.random.default_rng(1)
    labels = sp.csr_matrix((rng.random((N, L)) < 0.05).astype(np.float32))
    cells = rng.integers(0, 12, N)
    vectors = rng.normal(size=(N, D)).astype(np.float32) + 2 * np.eye(12, D)[cells]
    return {
        "sparse": rows_of_tfidf(N, seed=0),
        "vectors": vectors.astype(np.float32),
        "labels": labels,
        "cells": cells,
        "asked": rows_of_tfidf(25, seed=5),
        "asked_vectors": rng.normal(size=(25, D)).astype(np.float32),
    }


@pytest.fixture(scope="module")
def records(data: dict[str, Any]) -> Records:
    return Records.of(data["sparse"], data["vectors"], data["labels"], data["cells"])


def order_of(data: dict[str, Any]) -> Any:
    """The points with labels in the order in which the records are numbered."""
    rows = np.flatnonzero(np.diff(data["labels"].indptr))
    return rows[np.argsort(data["cells"][rows], kind="stable")]


def plain_rows(data: dict[str, Any]) -> Any:
    """The rows that are remembered, pruned and rounded one by one."""
    rows = data["sparse"][order_of(data)].toarray()
    too_frequent = (rows > 0).sum(axis=0) > 0.1 * len(rows)
    kept = np.where(too_frequent, 0, rows)
    for row in kept:
        row[np.argsort(-row, kind="stable")[TERMS_PER_RECORD:]] = 0
    return np.rint(kept * 255) / 255


def plain_by_words(data: dict[str, Any]) -> Any:
    """All similarities."""
    return data["asked"].toarray() @ plain_rows(data).T


def test_nearest_by_words_are_those_of_a_plain_search(data, records) -> None:
    exact = plain_by_words(data)
    assert ((data["sparse"].toarray()[:, :5] > 0).mean(axis=0) > 0.1).any()
    assert (data["sparse"].toarray() > 0).sum(axis=1).max() > TERMS_PER_RECORD
    ids, similarities = records.by_words(data["asked"])
    for row in range(2, 25):
        found = ids[row] >= 0
        np.testing.assert_allclose(
            np.sort(similarities[row])[::-1], np.sort(exact[row])[::-1][:N_NEAREST], atol=1e-5
        )
        np.testing.assert_allclose(similarities[row][found], exact[row][ids[row][found]], atol=1e-5)
        assert len(set(ids[row].tolist())) == N_NEAREST
    assert (ids[:2] == -1).all() and (similarities[:2] == 0).all()


def test_nearest_by_vectors_are_those_of_a_plain_search(data, records, monkeypatch) -> None:
    monkeypatch.setattr(module, "PROBED", 12)  # all cells
    rows = data["vectors"][order_of(data)]
    exact = (data["asked_vectors"] / np.linalg.norm(data["asked_vectors"], axis=1)[:, None]) @ (
        rows / np.linalg.norm(rows, axis=1)[:, None]
    ).T
    ids, similarities = records.by_vectors(data["asked_vectors"])
    for row in range(25):
        best = np.sort(exact[row])[::-1][:N_NEAREST]
        np.testing.assert_allclose(np.sort(similarities[row])[::-1], best, atol=0.01)
        np.testing.assert_allclose(similarities[row], exact[row][ids[row]], atol=0.01)


def test_answers_do_not_depend_on_who_else_asks(data, records) -> None:
    """Queries that scan a cell together: an odd and an even number of them, cells of any size."""
    shortlist = np.tile(np.arange(9), (25, 1))
    together = records.votes(data["asked"], data["asked_vectors"], shortlist, n_added=7)
    ids, similarities = records.by_vectors(data["asked_vectors"])
    for row in range(25):
        one = slice(row, row + 1)
        alone = records.by_vectors(data["asked_vectors"][one])
        assert alone[0].tobytes() == ids[one].tobytes()
        assert alone[1].tobytes() == similarities[one].tobytes()
        votes = records.votes(
            data["asked"][one], data["asked_vectors"][one], shortlist[one], n_added=7
        )
        for mine, theirs in zip(votes, together, strict=True):
            assert mine.tobytes() == theirs[one].tobytes()


def test_only_the_nearest_cells_are_searched(data, records, monkeypatch) -> None:
    monkeypatch.setattr(module, "PROBED", 3)
    cell_of_record = data["cells"][order_of(data)]
    rows = data["vectors"] / np.linalg.norm(data["vectors"], axis=1)[:, None]
    rows = rows[order_of(data)]
    centroids = np.stack([rows[cell_of_record == cell].sum(axis=0) for cell in range(12)])
    centroids /= np.linalg.norm(centroids, axis=1)[:, None]
    nearest = np.argsort(-data["asked_vectors"] @ centroids.T, axis=1)[:, :3]
    ids, _ = records.by_vectors(data["asked_vectors"])
    for row in range(25):
        assert set(cell_of_record[ids[row]].tolist()) <= set(nearest[row].tolist())


def test_votes_are_squared_similarities_of_labels(data, records) -> None:
    rng = np.random.default_rng(3)
    shortlist = np.stack([rng.permutation(L)[:9] for _ in range(25)])
    shortlist[::4, -3:] = -1
    found = records.votes(data["asked"], data["asked_vectors"], shortlist, n_added=7)
    labels = data["labels"][order_of(data)].toarray()
    both = []
    for ids, similarities in (
        records.by_words(data["asked"]),
        records.by_vectors(data["asked_vectors"]),
    ):
        weights = np.where(ids >= 0, similarities.astype(np.float64) ** 2, 0)
        both.append(np.einsum("bt,btl->bl", weights, labels[np.maximum(ids, 0)]))
    for row in range(25):
        asked = shortlist[row]
        total = both[0][row] + both[1][row]
        rest = [x for x in np.argsort(-total, kind="stable") if total[x] > 0 and x not in asked]
        assert found.added[row].tolist() == (rest + [-1] * 7)[:7]
        for k, label in enumerate([*asked, *found.added[row]]):
            expected = (0, 0) if label < 0 else (both[0][row, label], both[1][row, label])
            np.testing.assert_allclose(
                (found.words[row, k], found.vectors[row, k]), expected, rtol=1e-5, atol=1e-7
            )


def test_likeness_is_the_product_with_the_mean_of_a_labels_records(data, monkeypatch) -> None:
    every = np.tile(np.arange(L), (25, 1))
    products, kept = plain_by_words(data), plain_rows(data)
    labels = data["labels"][order_of(data)].toarray()
    for most in (1000, 3):
        monkeypatch.setattr(layout, "MOST_OWN", most)
        made = Records.of(data["sparse"], data["vectors"], data["labels"], data["cells"])
        found = made.votes(data["asked"], data["asked_vectors"], every, n_added=2).likeness
        for label in range(L):
            own = np.flatnonzero(labels[:, label])
            if len(own) > most:
                own = own[np.arange(most) * len(own) // most]
            length = np.linalg.norm(kept[own].sum(axis=0))
            expected = products[:, own].sum(axis=1) / length if length > 0 else np.zeros(25)
            np.testing.assert_allclose(found[:, label], expected, rtol=1e-4, atol=1e-6)
        assert (found[2:] > 0).any() and (found[:2] == 0).all()


def test_likeness_of_added_labels_is_theirs(data, records) -> None:
    nothing = np.full((25, 1), -1)
    found = records.votes(data["asked"], data["asked_vectors"], nothing, n_added=6)
    every = np.tile(np.arange(L), (25, 1))
    whole = records.votes(data["asked"], data["asked_vectors"], every, n_added=1).likeness
    expected = np.take_along_axis(whole[:, :L], np.maximum(found.added, 0), 1)
    np.testing.assert_array_equal(found.likeness[:, 1:], np.where(found.added >= 0, expected, 0))
    assert (found.likeness[:, 0] == 0).all()


def test_labels_that_are_not_allowed_are_not_added(data, records) -> None:
    allowed = np.arange(L) % 3 == 0
    nothing = np.full((25, 1), -1)
    found = records.votes(
        data["asked"], data["asked_vectors"], nothing, n_added=L, allowed_L=allowed
    )
    added = found.added[found.added >= 0]
    assert len(added) and (added % 3 == 0).all()


def test_a_row_does_not_depend_on_the_batch_or_the_threads(data, records, with_threads) -> None:
    shortlist = np.tile(np.arange(5), (25, 1))
    with with_threads(1):
        whole = records.votes(data["asked"], data["asked_vectors"], shortlist, n_added=9)
    with with_threads(3):
        again = records.votes(data["asked"], data["asked_vectors"], shortlist, n_added=9)
    for a, b in zip(whole, again, strict=True):
        assert a.tobytes() == b.tobytes()
    for row in (0, 7, 24):
        part = slice(row, row + 1)
        one = records.votes(
            data["asked"][part], data["asked_vectors"][part], shortlist[part], n_added=9
        )
        for a, b in zip(one, whole, strict=True):
            assert a.tobytes() == b[part].tobytes()


@pytest.mark.skipif(sys.platform != "linux", reason="memory is given back by glibc alone")
def test_votes_stay_while_the_system_takes_free_memory_back(data, records) -> None:
    """What a kernel reads must be its own to the end: what it has freed may become zeros."""
    rng = np.random.default_rng(2)
    sparse, vectors = rows_of_tfidf(400, seed=9), rng.normal(size=(400, D)).astype(np.float32)
    ids = np.tile(np.arange(10), (400, 1))
    expected = records.votes(sparse, vectors, ids, n_added=3)
    ends = threading.Event()

    def take_back() -> None:
        while not ends.is_set():
            give_back()

    thread = threading.Thread(target=take_back)
    thread.start()
    try:
        for _ in range(20):
            found = records.votes(sparse, vectors, ids, n_added=3)
            for one, other in zip(found, expected, strict=True):
                np.testing.assert_array_equal(one, other)
    finally:
        ends.set()
        thread.join()


def test_values_below_zero_do_not_count(data, records) -> None:
    asked = data["asked"].copy()
    asked.data[::2] *= -1
    positive = asked.maximum(0).tocsr()
    for a, b in zip(records.by_words(asked), records.by_words(positive), strict=True):
        assert a.tobytes() == b.tobytes()


def test_saved_records_answer_the_same(data, records, tmp_path) -> None:
    records.save_pretrained(tmp_path / "r")
    again = Records.from_pretrained(tmp_path / "r")
    assert len(again) == len(records) and again.nbytes == records.nbytes
    nothing = np.full((25, 1), -1)
    for a, b in zip(
        again.votes(data["asked"], data["asked_vectors"], nothing, n_added=9),
        records.votes(data["asked"], data["asked_vectors"], nothing, n_added=9),
        strict=True,
    ):
        assert a.tobytes() == b.tobytes()


DAMAGES: dict[str, tuple[str, Any]] = {
    "label beyond": ("label_ids", lambda a: a + L),
    "label below": ("label_ids", lambda a: a - L),
    "a label twice": ("label_ids", lambda a: a * 0),
    "record beyond": ("term_records", lambda a: a + N),
    "a record twice": ("term_records", lambda a: a * 0),
    "no weight": ("term_weights", lambda a: a * 0),
    "lists beyond": ("term_indptr", lambda a: a * 2),
    "an own record beyond": ("own_records", lambda a: a + N),
    "own records beyond": ("own_indptr", lambda a: a * 2),
    "labels without own records": ("own_indptr", lambda a: a[1:]),
    "a scale below": ("own_scales", lambda a: a - 1),
    "cells beyond": ("cell_offsets", lambda a: a + 1),
    "short codes": ("codes_NP", lambda a: np.ascontiguousarray(a[:, :64])),
    "fewer codes": ("codes_NP", lambda a: a[1:]),
    "NaN": ("units_N", lambda a: a * np.float32(np.nan)),
    "wide floats": ("centroids_CD", lambda a: a.astype(np.float64)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_hostile_arrays_are_refused(records, tmp_path, damage) -> None:
    records.save_pretrained(tmp_path / "r")
    path = tmp_path / "r" / "records.safetensors"
    name, change = DAMAGES[damage]
    arrays = load_arrays(path)
    arrays[name] = change(arrays[name])
    path.unlink()
    save_arrays(path, arrays)
    sign(tmp_path / "r")
    with pytest.raises(ModelFormatError):
        Records.from_pretrained(tmp_path / "r")


def test_what_does_not_fit_is_refused(data, records) -> None:
    ids = np.zeros((25, 1), np.int64)
    with pytest.raises(InputError, match="use the same encoders"):
        records.votes(data["asked"][:, :9], data["asked_vectors"], ids, n_added=1)
    with pytest.raises(InputError, match="must lie in -1"):
        records.votes(data["asked"], data["asked_vectors"], ids + L, n_added=1)
    with pytest.raises(InputError, match="cells"):
        Records.of(data["sparse"], data["vectors"], data["labels"], data["cells"][1:])
