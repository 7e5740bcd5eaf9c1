"""Bags of terms and their sums: fast kernels against plain NumPy, gradients against torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learned_index.kernels.bags import Block, bag_rows, plain, sum_bags
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
