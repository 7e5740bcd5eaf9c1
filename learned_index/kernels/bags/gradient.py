"""The sum of bags with its gradient for the table: only the touched rows, each written once.

For y_b = Σ_t w_bt E_t the gradient of row E_t is Σ_b w_bt g_b. torch's own EmbeddingBag writes one
row for each term of each text and adds up equal ones afterwards: ten times the memory traffic.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch

from learned_index.kernels.bags.cpu import sum_rows
from learned_index.kernels.machine.dense import add_scaled
from learned_index.kernels.machine.flags import FAST
from learned_index.kernels.machine.parallel import run_ranges, split_by_weight
from learned_index.system.threads import current_threads


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _by_row(ids, offsets, n_rows):
    """The bags turned round: touched rows ascending, where their entries begin, and these.

    Returns:
        int64 U, int64 U + 1, and for each entry its text and its place in ``ids``, int64 T.
    """
    counts = np.zeros(n_rows, np.int64)
    for t in range(ids.shape[0]):
        counts[ids[t]] += 1
    n_touched = 0
    for row in range(n_rows):
        n_touched += counts[row] > 0
    rows, begins = np.empty(n_touched, np.int64), np.zeros(n_touched + 1, np.int64)
    u = 0
    for row in range(n_rows):
        if counts[row] > 0:
            rows[u] = row
            begins[u + 1] = begins[u] + counts[row]
            counts[row] = begins[u]  # from here on: where the next entry goes
            u += 1
    texts, places = np.empty(ids.shape[0], np.int64), np.empty(ids.shape[0], np.int64)
    for text in range(offsets.shape[0] - 1):
        for t in range(offsets[text], offsets[text + 1]):
            s = counts[ids[t]]
            texts[s], places[s] = text, t
            counts[ids[t]] = s + 1
    return rows, begins, texts, places


@numba.njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def _row_gradients(start, stop, begins, texts, places, weights, gradient_BD, out_UD):
    for u in range(start, stop):
        total = out_UD[u]
        total[:] = np.float32(0.0)
        for s in range(begins[u], begins[u + 1]):
            add_scaled(total, gradient_BD[texts[s]], weights[places[s]])


class _BagSum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        table_VD: torch.Tensor,
        ids: torch.Tensor,
        offsets: torch.Tensor,
        weights: torch.Tensor,
    ) -> torch.Tensor:
        arrays = (ids.numpy(), np.append(offsets.numpy(), len(ids)), weights.numpy())
        ctx.arrays, ctx.shape = arrays, tuple(table_VD.shape)
        out_BD = torch.empty(len(offsets), table_VD.shape[1], dtype=torch.float32)
        indices, indptr, values = arrays
        table = table_VD.detach().numpy()
        sum_rows(indptr, indices, values, table, normalise=False, out=out_BD.numpy())
        return out_BD

    @staticmethod
    def backward(ctx: Any, gradient_BD: torch.Tensor) -> Any:
        ids, offsets, weights = ctx.arrays
        rows, begins, texts, places = _by_row(ids, offsets, ctx.shape[0])
        out_UD = np.empty((len(rows), ctx.shape[1]), np.float32)
        vectors = np.ascontiguousarray(gradient_BD.numpy())
        run_ranges(
            split_by_weight(begins, 4 * current_threads()),
            lambda _part, start, stop: _row_gradients(
                start, stop, begins, texts, places, weights, vectors, out_UD
            ),
        )
        gradient = torch.sparse_coo_tensor(
            torch.from_numpy(rows)[None],
            torch.from_numpy(out_UD),
            ctx.shape,
            is_coalesced=True,
            check_invariants=False,
        )
        return gradient, None, None, None


def summed(
    table_VD: torch.Tensor, ids: torch.Tensor, offsets: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """Sums of weighted rows of a table on the CPU, with a sparse gradient for the table.

    Args:
        table_VD: float32.
        ids: int64, T.
        offsets: int64, B. Where each text's ids begin.
        weights: float32, T, constants.

    Returns:
        B x D float32.
    """
    out: torch.Tensor = _BagSum.apply(table_VD, ids, offsets, weights)
    return out
