"""Label scores against dense products (equation 6), and the update in their backward pass."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from kernel_cases import dense_scores, scoring_case

from learned_index.errors import InputError
from learned_index.kernels.classify import cpu, plain, score_labels
from learned_index.kernels.classify.gathered import add_rows, dot_rows
from learned_index.kernels.update import RowGradients


def address(array):
    return np.uintp(array.ctypes.data)


@pytest.mark.parametrize("dim", [1, 15, 16, 32, 33, 96, 100, 200])
@pytest.mark.parametrize("n", [0, 1, 4, 7])
def test_products_with_gathered_rows_equal_numpy(dim, n):
    rng = np.random.default_rng(dim + n)
    table = rng.normal(size=(9, dim)).astype(np.float32)
    x, before = rng.normal(size=(2, dim)).astype(np.float32)
    rows = rng.integers(0, 9, size=max(n, 1)).astype(np.int32)
    weights = rng.normal(size=max(n, 1)).astype(np.float32)
    out = np.full(n + 4, 7.0, np.float32)
    stride = np.uintp(4 * dim)
    dot_rows(address(x), address(table), stride, address(rows), n, dim, out, address(x))
    wide = table.astype(np.float64)[rows[:n]]
    np.testing.assert_allclose(out[:n], wide @ x, rtol=1e-5, atol=1e-5)
    assert out[n + 3] == 7.0  # at most three places beyond the result are written
    total = np.append(before, np.float32(7.0))
    add_rows(address(table), stride, address(rows), address(weights), n, dim, address(total))
    np.testing.assert_allclose(total[:dim], before + weights[:n] @ wide, rtol=1e-5, atol=1e-5)
    assert total[dim] == 7.0


@pytest.mark.parametrize("implementation", ["numba", "torch"])
@pytest.mark.parametrize("block", [7, 65536])
def test_label_scores_and_gradients_equal_the_dense_oracle(implementation, block, monkeypatch):
    monkeypatch.setattr(plain, "BLOCK", block)
    x, w, bias, ids, upstream = scoring_case()
    z = score_labels(x, w, bias, ids, implementation=implementation)
    gradients = torch.autograd.grad(z, (x, w, bias), upstream)
    doubles = [t.detach().double().requires_grad_() for t in (x, w, bias)]
    oracle = dense_scores(*doubles, ids)
    expected = torch.autograd.grad(oracle, doubles, upstream.double())
    torch.testing.assert_close(z.double(), oracle, rtol=1e-5, atol=1e-5)
    for got, want in zip(gradients, expected, strict=True):
        torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=1e-5)


def test_the_dense_oracle_has_the_gradients_of_finite_differences():
    x, w, bias, ids, _ = scoring_case(B=3, K=4, L=6, D=5)
    doubles = [t.detach().double().requires_grad_() for t in (x, w, bias)]
    assert torch.autograd.gradcheck(lambda *t: dense_scores(*t, ids), doubles)


@pytest.mark.parametrize("dim", [33, 200])
@pytest.mark.parametrize("kind", ["returned", "collected"])
def test_gradients_over_several_blocks_of_labels_equal_the_dense_oracle(dim, kind, monkeypatch):
    monkeypatch.setattr(cpu, "_BLOCK_FLOATS", 3 * dim)
    x, w, bias, ids, upstream = scoring_case(B=9, K=20, L=60, D=dim)
    collected = RowGradients(60, dim) if kind == "collected" else None
    z = score_labels(x, w, bias, ids, optimiser=collected)
    if collected is None:
        gradients = torch.autograd.grad(z, (x, w, bias), upstream)
    else:
        grad_x = torch.autograd.grad(z, (x,), upstream)
        gradients = (*grad_x, collected.weight_LD, collected.bias_L)
    doubles = [t.detach().double().requires_grad_() for t in (x, w, bias)]
    oracle = dense_scores(*doubles, ids)
    torch.testing.assert_close(z.double(), oracle, rtol=1e-5, atol=1e-5)
    expected = torch.autograd.grad(oracle, doubles, upstream.double())
    for got, want in zip(gradients, expected, strict=True):
        torch.testing.assert_close(got.double(), want, rtol=1e-4, atol=1e-5)


def test_scoring_gives_the_same_bits_at_any_current_threads(with_threads):
    def run():
        x, w, bias, ids, upstream = scoring_case(B=40, K=60, L=500, D=24)
        z = score_labels(x, w, bias, ids)
        return [z, *torch.autograd.grad(z, (x, w, bias), upstream)]

    with with_threads(1):
        one = run()
    with with_threads(3):
        three = run()
    assert all(torch.equal(a, b) for a, b in zip(one, three, strict=True))


def test_tables_that_addresses_would_misread_are_refused():
    x, w, bias, ids, _ = scoring_case()
    with pytest.raises(InputError, match=r"weight_LD.*contiguous"):
        score_labels(x, w.detach().T.contiguous().T, bias, ids)
    with pytest.raises(InputError, match=r"x_BD is torch\.float64"):
        score_labels(x.double(), w, bias, ids)
