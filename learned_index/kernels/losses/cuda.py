"""Both losses in Triton: the same as :mod:`.plain`; compared in ``tests/triton_cases.py``."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from learned_index.kernels.machine.launch import block_of, launch


@triton.jit
def loss_kernel(logits, paths, n_positives, n_valid, losses, grad_z, grad_path, K,
                BLOCK: tl.constexpr):  # fmt: skip
    """Sums of the cross-entropy and of -log y_hat over one query; gradients of the former."""
    row = tl.program_id(0).to(tl.int64)
    last_positive = tl.load(n_positives + row)
    last = tl.load(n_valid + row)
    cross_entropy = tl.zeros([BLOCK], tl.float32)
    shortlisting = tl.zeros([BLOCK], tl.float32)
    for start in range(0, K, BLOCK):
        k = start + tl.arange(0, BLOCK)
        valid = k < last
        z = tl.load(logits + row * K + k, mask=valid, other=0.0)
        y = tl.load(paths + row * K + k, mask=valid, other=0.0)
        positive = valid & (k < last_positive)
        u = tl.exp(-tl.abs(z))
        over = 1.0 / (1.0 + u)
        # 1 - y * sigmoid(z) = a * over, without cancellation
        a = tl.where(z >= 0, tl.maximum((1.0 - y) + u, 1e-30), 1.0 + (1.0 - y) * u)
        sigmoid = tl.where(z >= 0, over, u * over)
        rest = tl.where(z >= 0, u * over, over)
        safe = tl.maximum(y, 1e-12)
        log_y = tl.log(safe)
        ratio = sigmoid / (a * over)
        loss = tl.where(
            positive, -(log_y + tl.minimum(z, 0.0) - tl.log(1.0 + u)), -tl.log(a * over)
        )
        cross_entropy += tl.where(valid, loss, 0.0)
        shortlisting -= tl.where(positive, log_y, 0.0)
        g_z = tl.where(positive, -rest, y * rest * ratio)
        g_path = tl.where(positive, -1.0 / safe, ratio)
        tl.store(grad_z + row * K + k, tl.where(valid, g_z, 0.0), mask=k < K)
        tl.store(grad_path + row * K + k, tl.where(valid, g_path, 0.0), mask=k < K)
    tl.store(losses + row * 2, tl.sum(cross_entropy, 0))
    tl.store(losses + row * 2 + 1, tl.sum(shortlisting, 0))


def forward(
    *inputs: torch.Tensor,
) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
    """As :func:`.cpu.forward`, but the gradients are those of the summed cross-entropy."""
    z, path, n_positives_B, n_valid_B = (tensor.detach().contiguous() for tensor in inputs)
    B, K = z.shape
    grad_z, grad_path = torch.empty_like(z), torch.empty_like(path)
    loss_B2 = torch.empty((B, 2), dtype=torch.float32, device=z.device)
    launch(
        loss_kernel, B, z.device,
        z, path, n_positives_B, n_valid_B, loss_B2, grad_z, grad_path, K,
        BLOCK=block_of(K, 1024),
    )  # fmt: skip
    return loss_B2.double().sum(0).div(B).float(), (grad_z, grad_path)


def backward(
    grad: torch.Tensor,
    saved: tuple[torch.Tensor, ...],
    gradients: tuple[torch.Tensor, torch.Tensor],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients of the logits and of the path scores."""
    n_positives_B, (grad_z, grad_path) = saved[2], gradients
    B, K = grad_z.shape
    classification, shortlisting = (grad / B).unbind()
    head = torch.arange(K, device=grad_z.device)[None, :] < n_positives_B[:, None]
    # Both losses have the same gradient, -1 / y_hat, at a positive.
    factor = torch.where(head, classification + shortlisting, classification)
    return grad_z * classification, grad_path * factor
