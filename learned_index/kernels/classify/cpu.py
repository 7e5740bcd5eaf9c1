"""Label scores in Numba: the same as :mod:`.plain`; compared in ``tests/kernels/test_classify.py``.

No B x K x D tensor is made. The pairs (query, label) are sorted by label (a counting sort), each
``w_l`` is read once, and the batch's ``x`` stays in the cache. The backward pass walks the same
order; when an optimiser is attached it updates ``w_l`` on the spot, so that no gradient of W_L is
ever stored. The split into ranges does not depend on the number of threads: results are equal bit
for bit at any thread count.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch

from learned_index.errors import InputError
from learned_index.kernels.classify.gathered import COLUMNS_AT_ONCE, add_rows, ask_for, dot_rows
from learned_index.kernels.machine.arrays import as_arrays
from learned_index.kernels.machine.intrinsics import prefetch
from learned_index.kernels.machine.parallel import run_ranges, split_by_weight
from learned_index.kernels.update import RowAdamW, RowGradients
from learned_index.kernels.update.cpu import adamw_row

# Ranges of labels in the backward pass, each with its own B x D accumulator. More than this many
# threads find no work there; fewer share the ranges without changing the sums.
_BACKWARD_PARTS = 8

# Places of pairs are uint32, half of what int64 would cost to read; queries are divided out of them
# in float64, which is exact below this.
_MOST_PAIRS = 2**32 - 1

# Floats of W_L in a block of labels of the backward pass: read twice, the second time from L2.
_BLOCK_FLOATS = 1 << 16

# Rows of W_L between the one that is asked for and the one that is read: a row is used for so short
# a time that the processor's own guesses come too late.
_ROWS_AHEAD = 4

_ONE = np.uint64(1)

# Sums in any order, but no product joined to one: the bias sums gradients that are there.
_SUMS: Any = {"reassoc", "nsz"}


@numba.njit(nogil=True, cache=True)
def _invert(label_ids, n_labels, offsets, order):
    """Counting sort of the pairs by label; ``order[offsets[l]:offsets[l+1]]`` are those of l."""
    for i in range(np.uint64(label_ids.shape[0])):
        label = label_ids[i]
        if label >= 0:
            offsets[np.uint64(label) + _ONE] += 1
    for label in range(n_labels):
        offsets[label + 1] += offsets[label]
    for i in range(np.uint64(label_ids.shape[0])):
        label = label_ids[i]
        if label >= 0:
            place = offsets[np.uint64(label)]
            order[np.uint64(place)] = i
            offsets[np.uint64(label)] = place + 1
    for label in range(n_labels, 0, -1):
        offsets[label] = offsets[label - 1]
    offsets[0] = 0


@numba.njit(nogil=True, cache=True)
def _queries_of(order, first, n, factor, queries):
    """``queries[j] = order[j] // K``, factor 1 / K: exact for pairs below 2^32, and vectorises."""
    for j in range(np.uint64(first), np.uint64(first + n)):
        queries[j] = np.int32((np.float64(order[j]) + 0.5) * factor)


@numba.njit(nogil=True, cache=True)
def _score_labels(start, stop, offsets, order, K, x_BD, weight_LD, bias_L, queries, found, out):
    D = x_BD.shape[1]
    row_bytes = np.uintp(4 * D)
    x, w = np.uintp(x_BD.ctypes.data), np.uintp(weight_LD.ctypes.data)
    rows = np.uintp(queries.ctypes.data)
    for label in range(start, stop):
        first, n = offsets[label], offsets[label + 1] - offsets[label]
        _queries_of(order, first, n, 1.0 / K, queries)
        dot_rows(
            np.uintp(w + np.uintp(label) * row_bytes), x, row_bytes,
            np.uintp(rows + np.uintp(4 * first)), n, D, found,
            np.uintp(w + np.uintp(label + _ROWS_AHEAD) * row_bytes),
        )  # fmt: skip
        bias = bias_L[label]
        for j in range(np.uint64(n)):
            out[order[np.uint64(first) + j]] = found[j] + bias


@numba.njit(nogil=True, cache=True)
def _regroup(start, stop, offsets, order, queries, grad_z, work):
    """Collect the gradients of a block's pairs, by label and, sorted by counting, by query.

    ``work.ends[b]`` is then where the pairs of query b end.
    """
    counts, labels, by_query, by_label = work
    base, places = offsets[start], np.uintp(grad_z.ctypes.data)
    counts[:] = 0
    for j in range(np.uint64(base), np.uint64(offsets[stop])):
        counts[np.uint64(queries[j]) + _ONE] += 1
        prefetch(np.uintp(places + np.uintp(4) * np.uintp(order[j])))
    for b in range(counts.shape[0] - 1):
        counts[b + 1] += counts[b]
    for label in range(start, stop):
        for j in range(np.uint64(offsets[label]), np.uint64(offsets[label + 1])):
            query = np.uint64(queries[j])
            place = np.uint64(counts[query])
            counts[query] = place + _ONE
            g = grad_z[order[j]]
            labels[place] = label
            by_query[place] = g
            by_label[j - np.uint64(base)] = g


@numba.njit(nogil=True, cache=True, forceinline=True)
def _add_to_queries(weight_LD, work, grad_x_BD):
    """``grad_x_b += sum_l g_bl w_l`` over the labels of a block, some columns at a time."""
    ends, labels, by_query, _ = work
    B, D = grad_x_BD.shape
    row_bytes = np.uintp(4 * D)
    w, grad_x = np.uintp(weight_LD.ctypes.data), np.uintp(grad_x_BD.ctypes.data)
    rows, weights = np.uintp(labels.ctypes.data), np.uintp(by_query.ctypes.data)
    for d in range(0, D, COLUMNS_AT_ONCE):
        column, width = np.uintp(4 * d), min(COLUMNS_AT_ONCE, D - d)
        first = np.int64(0)
        for b in range(B):
            last = np.int64(ends[b])
            skip = np.uintp(4 * first)
            add_rows(
                np.uintp(w + column), row_bytes, np.uintp(rows + skip), np.uintp(weights + skip),
                last - first, width, np.uintp(grad_x + np.uintp(b) * row_bytes + column),
            )  # fmt: skip
            first = last


@numba.njit(nogil=True, cache=True, forceinline=True)
def _add_to_labels(start, stop, offsets, queries, x_BD, work, grad_w, following):
    """``grad_w_l += sum_b g_bl x_b`` over the pairs of a block's labels.

    ``grad_w`` is the address of the first label's row, ``following`` that of the first row of W_L
    of the next block: its rows are asked for bit by bit on the way.
    """
    _, _, _, by_label = work
    D = x_BD.shape[1]
    row_bytes = np.uintp(4 * D)
    base = offsets[start]
    x, rows = np.uintp(x_BD.ctypes.data), np.uintp(queries.ctypes.data)
    weights = np.uintp(by_label.ctypes.data)
    for d in range(0, D, COLUMNS_AT_ONCE):
        column, width = np.uintp(4 * d), min(COLUMNS_AT_ONCE, D - d)
        for label in range(start, stop):
            first = offsets[label]
            row = np.uintp(label - start) * row_bytes
            ask_for(np.uintp(following + row + column), np.uintp(4 * width))
            add_rows(
                np.uintp(x + column), row_bytes, np.uintp(rows + np.uintp(4 * first)),
                np.uintp(weights + np.uintp(4 * (first - base))), offsets[label + 1] - first,
                width, np.uintp(grad_w + row + column),
            )  # fmt: skip


@numba.njit(nogil=True, cache=True, fastmath=_SUMS, forceinline=True)
def _sum(values, first, last):
    total = np.float32(0.0)
    for j in range(first, last):
        total += values[j]
    return total


@numba.njit(nogil=True, cache=True)
def _backward_labels(
    start, stop, block, offsets, order, queries, grad_z, x_BD, weight_LD, grad_x_BD, work,
    grad_weight_LD, grad_bias_L,
):  # fmt: skip
    row_bytes = np.uintp(4 * x_BD.shape[1])
    for begin in range(start, stop, block):
        end = min(begin + block, stop)
        base = offsets[begin]
        _regroup(begin, end, offsets, order, queries, grad_z, work)
        _add_to_queries(weight_LD, work, grad_x_BD)
        rows = np.uintp(grad_weight_LD.ctypes.data) + np.uintp(begin) * row_bytes
        following = np.uintp(weight_LD.ctypes.data) + np.uintp(end) * row_bytes
        _add_to_labels(
            begin, end, offsets, queries, x_BD, work, np.uintp(rows), np.uintp(following)
        )
        for label in range(begin, end):
            first, last = offsets[label] - base, offsets[label + 1] - base
            grad_bias_L[label] += _sum(work[3], first, last)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _backward_update_labels(
    start, stop, block, offsets, order, queries, grad_z, x_BD, weight_LD, grad_x_BD, work,
    grad_w, bias_L, moment1_LD, moment2_LD, moment1_L, moment2_L,
    learning_rate, beta1, beta2, epsilon, decay, correction1, correction2,
):  # fmt: skip
    grad_b = np.empty(1, np.float32)
    row_bytes = np.uintp(4 * x_BD.shape[1])
    for begin in range(start, stop, block):
        end = min(begin + block, stop)
        base = offsets[begin]
        _regroup(begin, end, offsets, order, queries, grad_z, work)
        _add_to_queries(weight_LD, work, grad_x_BD)
        grad_w[:] = 0.0
        following = np.uintp(weight_LD.ctypes.data) + np.uintp(end) * row_bytes
        _add_to_labels(
            begin, end, offsets, queries, x_BD, work, np.uintp(grad_w.ctypes.data),
            np.uintp(following),
        )  # fmt: skip
        for label in range(begin, end):
            first, last = offsets[label] - base, offsets[label + 1] - base
            if first == last:
                continue
            grad_b[0] = _sum(work[3], first, last)
            adamw_row(
                weight_LD[label], grad_w[label - begin], moment1_LD[label], moment2_LD[label],
                learning_rate, beta1, beta2, epsilon, decay, correction1, correction2,
            )  # fmt: skip
            adamw_row(
                bias_L[label : label + 1], grad_b, moment1_L[label : label + 1],
                moment2_L[label : label + 1],
                learning_rate, beta1, beta2, epsilon, np.float32(0.0), correction1, correction2,
            )  # fmt: skip


def _work_of_a_block(offsets: Any, start: int, stop: int, block: int, n_queries: int) -> Any:
    """Scratch of :func:`_regroup`: ends, labels, gradients by query, gradients by label."""
    edges = offsets[np.append(np.arange(start, stop, block), stop)]
    most = int(np.diff(edges).max())
    kinds = (np.int32, np.float32, np.float32)
    return (np.empty(n_queries + 1, np.int64), *(np.empty(most, kind) for kind in kinds))


def _check_layout(**tensors: torch.Tensor) -> None:
    """The kernels go by addresses: other types or strides would be read as nonsense."""
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float32 or not (name == "x_BD" or tensor.is_contiguous()):
            raise InputError(
                f"{name} is {tensor.dtype} with strides {tensor.stride()}, expected contiguous "
                "torch.float32; pass it as .float().contiguous(), or implementation='torch'"
            )


def forward(
    x_BD: torch.Tensor, weight_LD: torch.Tensor, bias_L: torch.Tensor, label_ids_BK: torch.Tensor
) -> tuple[torch.Tensor, Any]:
    """Logits, B x K, and what :func:`backward` wants: the pairs by label, and their ranges.

    Raises:
        InputError: Other types or strides than the kernels read, or too many pairs.
    """
    B, K = label_ids_BK.shape
    L = weight_LD.shape[0]
    _check_layout(x_BD=x_BD, weight_LD=weight_LD, bias_L=bias_L)
    if B * K > _MOST_PAIRS:
        raise InputError(
            f"{B} queries of {K} labels are {B * K} pairs, expected at most {_MOST_PAIRS}; "
            "make the batch smaller"
        )
    x, weight, bias = as_arrays(x_BD, weight_LD, bias_L)
    offsets = np.zeros(L + 1, np.int64)
    order, queries = np.empty(B * K, np.uint32), np.empty(B * K, np.int32)
    _invert(label_ids_BK.numpy().reshape(-1), L, offsets, order)
    most = int(np.diff(offsets).max()) if L else 0
    out = np.zeros(B * K, np.float32)
    ranges = split_by_weight(offsets, _BACKWARD_PARTS)

    def score(_: int, start: int, stop: int) -> None:
        found = torch.empty(most + 3).numpy()  # dot_rows writes four at a time
        _score_labels(start, stop, offsets, order, K, x, weight, bias, queries, found, out)

    run_ranges(ranges, score)
    return torch.from_numpy(out).view(B, K), (offsets, order, queries, ranges)


def backward(
    grad_z: torch.Tensor,
    saved: tuple[torch.Tensor, ...],
    pairs: Any,
    optimiser: RowAdamW | RowGradients | None,
    _needs: tuple[bool, ...],
) -> tuple[torch.Tensor | None, ...]:
    """Gradients of x, W_L and b; the latter two go to the optimiser where there is one."""
    offsets, order, queries, ranges = pairs
    x, weight, bias = as_arrays(*saved[:3])
    g = grad_z.contiguous().numpy().reshape(-1)
    B, D = x.shape
    block = max(1, _BLOCK_FLOATS // D)
    parts = torch.empty(len(ranges), B, D).numpy()  # aligned to cache lines
    grads_out: tuple[torch.Tensor | None, torch.Tensor | None] = (None, None)
    if not isinstance(optimiser, RowAdamW):
        if optimiser is None:
            grad_weight, grad_bias = np.zeros_like(weight), np.zeros_like(bias)
            grads_out = (torch.from_numpy(grad_weight), torch.from_numpy(grad_bias))
        else:
            grad_weight, grad_bias = optimiser.weight_LD.numpy(), optimiser.bias_L.numpy()
            optimiser.touched_L.numpy()[np.diff(offsets) > 0] = True

        def go_back(work: Any, *arrays: Any) -> None:
            _backward_labels(*arrays, work, grad_weight, grad_bias)

    else:
        state = [*as_arrays(*optimiser.moments), *map(np.float32, optimiser.next_constants())]

        def go_back(work: Any, *arrays: Any) -> None:
            grad_w = torch.empty(block, D).numpy()  # aligned to cache lines
            _backward_update_labels(*arrays, work, grad_w, bias, *state)

    def run(part: int, start: int, stop: int) -> None:
        parts[part] = 0.0
        work = _work_of_a_block(offsets, start, stop, block, B)
        go_back(work, start, stop, block, offsets, order, queries, g, x, weight, parts[part])

    run_ranges(ranges, run)
    grad_x = torch.empty(B, D)
    parts.sum(axis=0, out=grad_x.numpy())
    return grad_x, *grads_out
