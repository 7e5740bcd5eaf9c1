"""Edge weights against plain torch (equation 4)."""

from __future__ import annotations

import torch

from learned_index.kernels.edges import edge_weights


def test_edge_weights_equal_plain_torch_with_pads_and_cut_weights():
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(6, 37, generator=generator)
    labels = torch.arange(6 * 37, dtype=torch.int32).view(6, 37).clone()
    labels[1, 20:], labels[4], labels[5, 0] = -1, -1, -1
    upstream = torch.randn(6, 37, generator=generator)

    def run(implementation):
        leaf = logits.clone().requires_grad_()
        out = edge_weights(leaf, labels, 8.0, implementation=implementation)
        return out.detach(), *torch.autograd.grad(out, leaf, upstream)

    (got, grad), (want, want_grad) = run("numba"), run("torch")
    assert (want == 1.0).any() and (want[4] == 0.0).all()
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(grad, want_grad, rtol=1e-4, atol=1e-5)
    assert (got[labels < 0] == 0.0).all()
