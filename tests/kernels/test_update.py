"""AdamW on rows against torch.optim.AdamW, fused and on collected gradients."""

from __future__ import annotations

import torch
from kernel_cases import scoring_case

from learned_index.kernels.classify import score_labels
from learned_index.kernels.update import RowAdamW


def test_fused_update_equals_torch_adamw_where_every_row_is_touched():
    x, w, bias, _, _ = scoring_case()
    L = len(w)
    ids = torch.arange(L).expand(len(x), L).contiguous()
    reference_w, reference_bias = (t.detach().clone().requires_grad_() for t in (w, bias))
    reference = torch.optim.AdamW(
        [
            {"params": [reference_w], "weight_decay": 0.1},
            {"params": [reference_bias], "weight_decay": 0.0},
        ],
        lr=0.05,
    )
    fused = RowAdamW(L, w.shape[1], learning_rate=0.05, weight_decay=0.1)
    for step in range(4):
        upstream = torch.randn(len(x), L, generator=torch.Generator().manual_seed(step))
        z = score_labels(x, w, bias, ids, optimiser=fused)
        (grad_x,) = torch.autograd.grad(z, (x,), upstream)
        reference.zero_grad()
        x_copy = x.detach().clone().requires_grad_()
        (x_copy @ reference_w.T + reference_bias).backward(upstream)
        torch.testing.assert_close(grad_x, x_copy.grad, rtol=1e-4, atol=1e-4)
        reference.step()
        torch.testing.assert_close(w, reference_w, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(bias, reference_bias, rtol=1e-4, atol=1e-5)


def test_fused_update_leaves_rows_alone_that_no_query_shortlists():
    x, w, bias, _, _ = scoring_case()
    ids = torch.zeros((len(x), 1), dtype=torch.long)
    before = w.detach().clone()
    fused = RowAdamW(len(w), w.shape[1], learning_rate=0.1, weight_decay=0.5)
    z = score_labels(x, w, bias, ids, optimiser=fused)
    torch.autograd.grad(z, (x,), torch.ones_like(z))
    assert not torch.equal(w[0], before[0])
    assert torch.equal(w[1:], before[1:])


def test_optimiser_state_continues_bit_equal():
    def steps(optimiser, w, bias, n, start):
        x, _, _, ids, _ = scoring_case()
        for step in range(start, start + n):
            upstream = torch.randn(ids.shape, generator=torch.Generator().manual_seed(step))
            z = score_labels(x, w, bias, ids, optimiser=optimiser)
            torch.autograd.grad(z, (x,), upstream)

    _, w, bias, _, _ = scoring_case()
    unbroken = RowAdamW(30, 13, learning_rate=0.1)
    w2, bias2 = w.detach().clone().requires_grad_(), bias.detach().clone().requires_grad_()
    steps(unbroken, w, bias, 6, 0)
    first = RowAdamW(30, 13, learning_rate=0.1)
    steps(first, w2, bias2, 3, 0)
    second = RowAdamW(30, 13, learning_rate=0.1)
    second.load_state_dict(first.state_dict())
    steps(second, w2, bias2, 3, 3)
    assert torch.equal(w, w2)
    assert torch.equal(bias, bias2)


def test_the_fused_update_gives_the_same_bits_at_any_current_threads(with_threads):
    def run():
        x, w, bias, ids, upstream = scoring_case(B=40, K=60, L=500, D=40)
        rows = RowAdamW(500, 40, learning_rate=0.1, weight_decay=0.01)
        for _ in range(3):
            z = score_labels(x, w, bias, ids, optimiser=rows)
            (grad_x,) = torch.autograd.grad(z, (x,), upstream)
        return [z, grad_x, w, bias, *rows.moments]

    with with_threads(1):
        one = run()
    with with_threads(3):
        three = run()
    assert all(torch.equal(a, b) for a, b in zip(one, three, strict=True))
