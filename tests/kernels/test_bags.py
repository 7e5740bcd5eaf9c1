"""Bags of terms and their sums: fast kernels against plain NumPy, gradients against torch."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learned_index.inputs.matrices import sparse_rows
from learned_index.kernels.bags import Block, Spelling, WordTable, bag_rows, plain, sum_bags
from learned_index.kernels.bags.cpu import _in_order
from learned_index.kernels.bags.gradient import summed


def random_block(rng: np.random.Generator, n_words: int, n_terms: int, most: int) -> Block:
    counts = rng.integers(0, most + 1, n_words) if n_terms else np.zeros(n_words, np.int64)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    terms = rng.integers(0, max(1, n_terms), offsets[-1]).astype(np.int64)
    return Block(offsets, terms, rng.uniform(0.1, 3.0, n_terms).astype(np.float32))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_texts=st.integers(0, 9),
    n_pieces=st.integers(0, 12),
    n_words=st.integers(0, 9),
    most_words=st.integers(1, 12),
)
def test_bags_are_the_plain_ones(
    seed: int, n_texts: int, n_pieces: int, n_words: int, most_words: int
) -> None:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 20, n_texts)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ids = rng.integers(0, 7, offsets[-1]).astype(np.int64)
    blocks = random_block(rng, 7, n_pieces, 3), random_block(rng, 7, n_words, 1)
    rows = bag_rows(ids, offsets, *blocks, most_words=most_words)
    fast = rows.matrix()
    slow = plain.bag_rows(ids, offsets, *blocks, most_words=most_words)
    assert fast.shape == slow.shape
    fast.check_format(full_check=True)
    for row in range(n_texts):
        ids_of_row = rows.indices[rows.indptr[row] : rows.indptr[row + 1]]
        assert (np.diff(ids_of_row) > 0).all()
    assert (rows.values != 0).all()
    np.testing.assert_allclose(fast.toarray(), slow.toarray(), atol=1e-6)
    table = rng.standard_normal((fast.shape[1], 5)).astype(np.float32)
    for normalise in (False, True):
        out = np.full((n_texts, 5), np.nan, np.float32)
        sum_bags(fast, table, normalise=normalise, out=out)
        expected = plain.sum_bags(slow, table, normalise=normalise)
        np.testing.assert_allclose(out, expected, atol=1e-5)


@pytest.mark.parametrize("n_texts", [1, 4, 40])
def test_sum_and_gradient_are_those_of_an_embedding_bag(n_texts: int) -> None:
    rng = np.random.default_rng(n_texts)
    lengths = rng.integers(0, 12, n_texts)
    lengths[0] = 5
    offsets = torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64))
    ids = torch.from_numpy(rng.integers(0, 30, lengths.sum()))  # rows repeat, also within a text
    weights = torch.from_numpy(rng.standard_normal(lengths.sum()).astype(np.float32))
    direction = torch.from_numpy(rng.standard_normal((n_texts, 6)).astype(np.float32))
    table = torch.from_numpy(rng.standard_normal((30, 6)).astype(np.float32)).requires_grad_()
    gradients = []
    for how in ("torch", "own"):
        table.grad = None
        if how == "torch":
            x_BD = torch.nn.functional.embedding_bag(
                ids, table, offsets, mode="sum", per_sample_weights=weights
            )
        else:
            x_BD = summed(table, ids, offsets, weights)
        (x_BD * direction).sum().backward()
        assert table.grad is not None
        gradients.append((x_BD.detach(), table.grad))
    (expected, dense), (found, sparse) = gradients
    torch.testing.assert_close(found, expected)
    assert sparse.is_sparse
    assert sparse._nnz() == len(set(ids.tolist()))
    sparse = sparse.coalesce()
    assert sparse.indices()[0].tolist() == sorted(set(ids.tolist()))
    torch.testing.assert_close(sparse.to_dense(), dense, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("n_terms", [1, 3, 512, 513, 1 << 18, (1 << 27) + 1])
def test_terms_are_sorted(n_terms: int) -> None:
    terms = np.random.default_rng(n_terms).integers(0, n_terms, 300)
    terms[:2] = 0, n_terms - 1
    for some in (terms, terms[:1], terms[:0]):
        assert _in_order(some.copy(), n_terms).tolist() == np.sort(some).tolist()


@settings(max_examples=100, deadline=None)
@given(
    known=st.lists(st.text("ab\u00e9\U0001d400 \ud800", max_size=4), max_size=40, unique=True),
    asked=st.lists(st.text("ab\u00e9\U0001d400 \ud800", max_size=4), max_size=20),
)
def test_a_table_of_words_answers_as_a_dict(known: list[str], asked: list[str]) -> None:
    numbers = {word: 3 * place + 1 for place, word in enumerate(known)}
    spelling = Spelling.of(asked)
    assert spelling.words() == asked
    assert spelling.some(np.arange(len(asked))[::2]) == asked[::2]
    found = WordTable(numbers).numbers(spelling)
    assert found.tolist() == [numbers.get(word, -1) for word in asked]


def test_a_table_has_room_for_many_words() -> None:
    words = [f"w{i}" for i in range(30_000)]
    table = WordTable({word: i for i, word in enumerate(words)})
    assert table.numbers(Spelling.of([*words, "w30000", "w"])).tolist() == [*range(30_000), -1, -1]


def test_rows_are_the_matrix_that_they_come_from() -> None:
    matrix = sp.random(20, 30, 0.2, "csr", np.float32, np.random.default_rng(0))
    rows = sparse_rows(matrix)
    assert sparse_rows(rows) is rows and rows.part(0, 20) is rows and rows.shape == matrix.shape
    np.testing.assert_array_equal(rows.matrix().toarray(), matrix.toarray())
    for start, stop in ((0, 3), (5, 20), (7, 7)):
        part = rows.part(start, stop).matrix()
        part.check_format(full_check=True)
        np.testing.assert_array_equal(part.toarray(), matrix[start:stop].toarray())
