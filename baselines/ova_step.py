"""One step of one-vs-all with gradients written out by hand, its warm start and its memory.

Legend: see :mod:`learned_index.types`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp

from learned_index.errors import InputError
from learned_index.system.extras import Deferred
from learned_index.system.memory import free_device_memory, free_memory
from learned_index.types import Float32Array

torch: Any = Deferred("torch", extra="train")

_USABLE = 0.9
"""Part of the memory that is free at the start which a training may take."""


class Step:
    """Forward and backward pass of one batch, in buffers that are used again."""

    def __init__(
        self, weights_LD: Any, bias_L: Any, projection_DD: Any | None, batch_size: int
    ) -> None:
        self.weights_LD, self.bias_L, self.projection_DD = weights_LD, bias_L, projection_DD
        self.scores_BL = torch.empty(batch_size, len(weights_LD), device=weights_LD.device)
        for part in self.parameters:
            part.grad = torch.empty_like(part)

    @property
    def parameters(self) -> list[Any]:
        """What is trained: W, b and, if there is one, P."""
        parts = (self.weights_LD, self.bias_L, self.projection_DD)
        return [part for part in parts if part is not None]

    def gradients(self, x_BD: Any, labels_BL: sp.csr_matrix, *, with_loss: bool) -> float | None:
        """Write the gradients of the mean loss into the parameters' ``grad``.

        Where ``x_BD`` has a gradient itself (it comes from an encoder that is trained), the
        backward pass goes on into the encoder.

        Args:
            x_BD: float32 vectors.
            labels_BL: Canonical CSR of their labels.
            with_loss: Compute the loss too.

        Returns:
            The mean loss, or None.
        """
        n_rows = len(x_BD)
        x = h_BD = x_BD.detach()
        if self.projection_DD is not None:
            h_BD = torch.addmm(x, x, self.projection_DD.T)
        scores_BL = self.scores_BL[:n_rows]
        torch.addmm(self.bias_L, h_BD, self.weights_LD.T, out=scores_BL)
        device = scores_BL.device
        rows_T, columns_T = (
            torch.from_numpy(part).long().to(device) for part in labels_BL.nonzero()
        )
        loss = None
        if with_loss:
            positive = scores_BL[rows_T, columns_T].sum()
            # Row by row: softplus of all at once would need a second B x L buffer.
            negative = sum(float(torch.nn.functional.softplus(row).sum()) for row in scores_BL)
            loss = (negative - float(positive)) / n_rows
        # From here on the scores' buffer holds their gradient, sigmoid(s) - y over B.
        scores_BL.sigmoid_()
        scores_BL[rows_T, columns_T] -= 1.0
        scores_BL.mul_(1.0 / n_rows)
        torch.mm(scores_BL.T, h_BD, out=self.weights_LD.grad)
        torch.sum(scores_BL, dim=0, out=self.bias_L.grad)
        if self.projection_DD is None and not x_BD.requires_grad:
            return loss
        gradient_BD = torch.mm(scores_BL, self.weights_LD)
        if self.projection_DD is not None:
            torch.mm(gradient_BD.T, x, out=self.projection_DD.grad)
        if x_BD.requires_grad:
            if self.projection_DD is not None:
                gradient_BD = torch.addmm(gradient_BD, gradient_BD, self.projection_DD)
            x_BD.backward(gradient_BD)
        return loss


def required_bytes(n_labels: int, dim: int, batch_size: int) -> int:
    """Bytes of one-vs-all's arrays: W, b, P with gradient and two moments, and B x L scores."""
    return 4 * (4 * (n_labels * (dim + 1) + dim * dim) + batch_size * n_labels)


def check_memory(
    n_labels: int, dim: int, batch_size: int, *, device: Any, limit: int | None
) -> None:
    """Refuse a training that does not fit into the memory, before it starts.

    Args:
        n_labels: L.
        dim: D.
        batch_size: B.
        device: Where it would run.
        limit: Bytes it may take; None: most of what is free.

    Raises:
        InputError: It would take more.
    """
    needed = required_bytes(n_labels, dim, batch_size)
    if limit is None:
        free = free_device_memory(str(device)) if device.type == "cuda" else free_memory()
        limit = None if free is None else int(_USABLE * free)
    if limit is not None and needed > limit:
        raise InputError(
            f"one-vs-all over {n_labels:,} labels with {dim} dimensions and batches of "
            f"{batch_size} needs {needed / 2**30:.2f} GiB, there are {limit / 2**30:.2f} GiB for "
            "it; take a smaller batch_size, fewer dimensions, or the learned index, which scores "
            "a shortlist only"
        )


def label_centroids(
    blocks: Iterator[tuple[slice, Float32Array]], labels: sp.csr_matrix, *, dim: int, scale: float
) -> Float32Array:
    """Return ``scale`` times the normalised sum of each label's points, zero without points.

    Args:
        blocks: Rows of the points and their vectors, float32.
        labels: Canonical CSR N x L.
        dim: D.
        scale: Length of a centroid.
    """
    sums_LD = np.zeros((labels.shape[1], dim), dtype=np.float32)
    for rows, block_BD in blocks:
        sums_LD += labels[rows].T @ block_BD
    norms_L1 = np.sqrt(np.einsum("ld,ld->l", sums_LD, sums_LD))[:, None]
    return np.asarray(sums_LD * (np.float32(scale) / np.maximum(norms_L1, np.float32(1e-12))))
