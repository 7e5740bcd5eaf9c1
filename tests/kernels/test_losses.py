"""Losses against their formulas in float64, and their gradients against finite differences."""

from __future__ import annotations

import pytest
import torch

from learned_index.kernels.losses import both_losses, classification_loss, shortlist_loss


def case(B=4, K=6, seed=0):
    g = torch.Generator().manual_seed(seed)
    z = 3 * torch.randn(B, K, generator=g, dtype=torch.float64)
    y_hat = torch.rand(B, K, generator=g, dtype=torch.float64) * 0.98 + 0.01
    positive = torch.rand(B, K, generator=g) < 0.3
    valid = torch.rand(B, K, generator=g) < 0.9
    return z, y_hat, positive, valid


def test_classification_loss_is_binary_cross_entropy_of_the_product():
    z, y_hat, positive, valid = case()
    p = y_hat * torch.sigmoid(z)
    by_formula = -(torch.where(positive, torch.log(p), torch.log(1 - p)) * valid).sum() / len(z)
    assert float(classification_loss(z, y_hat, positive, valid)) == pytest.approx(
        float(by_formula), rel=1e-12
    )


def test_classification_gradients_equal_finite_differences():
    z, y_hat, positive, valid = case()
    assert torch.autograd.gradcheck(
        lambda a, b: classification_loss(a, b, positive, valid),
        (z.requires_grad_(), y_hat.requires_grad_()),
    )


def test_classification_loss_is_exact_where_p_is_near_one():
    # p = sigmoid(40): in float32 1 - p is 0, its logarithm -40.
    z = torch.tensor([[40.0, -40.0]], requires_grad=True)
    y_hat = torch.ones(1, 2)
    valid = torch.ones(1, 2, dtype=torch.bool)
    loss = classification_loss(z, y_hat, torch.tensor([[False, True]]), valid)
    assert float(loss.detach()) == pytest.approx(80.0, rel=1e-6)
    loss.backward()
    assert z.grad.tolist() == [[pytest.approx(1.0), pytest.approx(-1.0)]]


def test_gradients_stay_finite_at_extreme_inputs():
    z = torch.tensor([[200.0, -200.0, 0.0, 200.0]], requires_grad=True)
    y_hat = torch.tensor([[1.0, 0.0, 0.0, 1e-30]], requires_grad=True)
    positive = torch.tensor([[False, True, True, True]])
    classification_loss(z, y_hat, positive, torch.ones_like(positive)).backward()
    assert torch.isfinite(z.grad).all()
    assert torch.isfinite(y_hat.grad).all()


def test_shortlist_loss_sums_over_the_positives():
    _, y_hat, positive, _ = case()
    expected = -torch.log(y_hat[positive]).sum() / len(y_hat)
    assert float(shortlist_loss(y_hat, positive)) == pytest.approx(float(expected))
    assert torch.autograd.gradcheck(lambda a: shortlist_loss(a, positive), y_hat.requires_grad_())


def test_both_losses_equal_the_plain_ones_with_gradients():
    g = torch.Generator().manual_seed(3)
    z = (4 * torch.randn(5, 8, generator=g)).requires_grad_()
    y_hat = torch.rand(5, 8, generator=g)
    y_hat[0, 3], y_hat[1, 0] = 1.0, 1.0
    y_hat.requires_grad_()
    n_positives, n_valid = torch.tensor([2, 1, 0, 3, 8]), torch.tensor([8, 5, 4, 3, 8])
    column = torch.arange(8)[None, :]
    positive, valid = column < n_positives[:, None], column < n_valid[:, None]
    fused = both_losses(z, y_hat, n_positives, n_valid)
    plain = (classification_loss(z, y_hat, positive, valid), shortlist_loss(y_hat, positive))
    assert both_losses(z, y_hat, n_positives, n_valid, implementation="torch") == plain
    for weights in ((1.0, 0.0), (0.0, 1.0), (1.0, 0.05)):
        got, want = (
            sum(w * part for w, part in zip(weights, parts, strict=True))
            for parts in (fused, plain)
        )
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)
        for a, b in zip(
            torch.autograd.grad(got, (z, y_hat), retain_graph=True),
            torch.autograd.grad(want, (z, y_hat), retain_graph=True),
            strict=True,
        ):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_a_second_pass_back_through_the_losses_gives_the_same_gradients():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(5, 40, generator=generator).requires_grad_()
    y = torch.rand(5, 40, generator=generator).requires_grad_()
    n_positives, n_valid = torch.tensor([0, 2, 3, 1, 40]), torch.tensor([40, 30, 3, 1, 40])
    both = both_losses(z, y, n_positives, n_valid)
    loss = 0.7 * both[0] + 0.3 * both[1]
    first = [g.clone() for g in torch.autograd.grad(loss, (z, y), retain_graph=True)]
    second = torch.autograd.grad(loss, (z, y))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    k = torch.arange(40)[None, :]
    positive, valid = k < n_positives[:, None], k < n_valid[:, None]
    plain = 0.7 * classification_loss(z, y, positive, valid) + 0.3 * shortlist_loss(y, positive)
    for got, want in zip(first, torch.autograd.grad(plain, (z, y)), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-7)
