"""Inner products of the engine: a query as codes, and the logits of rows of codes or floats.

Plain loops over arrays and addresses that vectorise or at least pipeline; products of codes are
exact integers. :mod:`.search` puts them together with :mod:`.steps`.
"""

from __future__ import annotations

import numba
import numpy as np

from learned_index.inputs.numbers import LARGEST
from learned_index.kernels.machine.byte_dots import dot4_u8_s8, dot4x2_u8_s8, dot_u8_s8
from learned_index.kernels.machine.exponential import fast_exp
from learned_index.kernels.machine.flags import FAST
from learned_index.kernels.machine.intrinsics import (
    as_float32,
    as_int32,
    as_uint16,
    float_of_bits,
    half_to_float,
    prefetch_row,
)

AHEAD = 12
"""Whole vectors are asked for so many labels before they are read."""
FINER = 254
"""Steps of the second codes of a query in one of the first: the rest is at most half a step."""
_LEAST_ENTRY = np.float32(1e-36)
"""Vectors without a larger entry are 0."""
LARGEST_SCALE = np.float32(LARGEST / 127.0)
"""Of a query as codes; beyond it scores may overflow."""


@numba.njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy", forceinline=True)
def quantise(x, n, out):
    """Write ``round(x / scale)`` as int8 and return the scale; zeros beyond n are left alone."""
    largest = np.float32(0.0)
    for d in range(n):
        largest = max(largest, abs(x[d]))
    if not largest > _LEAST_ENTRY:  # its reciprocal would be infinite
        for d in range(n):
            out[d] = 0
        return np.float32(0.0)
    factor = np.float32(127.0) / largest
    for d in range(n):
        out[d] = np.int8(np.floor(x[d] * factor + np.float32(0.5)))
    return largest / np.float32(127.0)


@numba.njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy", forceinline=True)
def quantise_rest(x, n, codes, scale, out):
    """Write what the codes of :func:`quantise` leave of x, in steps of ``scale / FINER``, as int8.

    ``x = scale (codes + out / FINER)`` to a 508th of ``scale``, a 65,000th of the largest entry.
    """
    factor = np.float32(FINER) / scale if scale > 0 else np.float32(0.0)
    for d in range(n):
        rest = x[d] - scale * np.float32(codes[d])
        out[d] = np.int8(np.floor(rest * factor + np.float32(0.5)))


@numba.njit(nogil=True, cache=True, error_model="numpy")
def code_sum(codes, n):
    total = np.int32(0)
    for d in range(n):
        total += np.int32(codes[d])
    return total


# Four rows share the loads of a query's codes, and the sums of their lanes (`byte_dots`): that is
# why all loops below go in fours, and end one by one.


@numba.njit(nogil=True, cache=True, inline="always")
def _write_four(out, at, products, correction, scale, scales):
    """Four logits from exact products: ``scale`` of the query's codes, ``scales`` of the rows'."""
    out[at] = np.float32(products[0] - correction) * (scale * scales[0])
    out[at + 1] = np.float32(products[1] - correction) * (scale * scales[1])
    out[at + 2] = np.float32(products[2] - correction) * (scale * scales[2])
    out[at + 3] = np.float32(products[3] - correction) * (scale * scales[3])


@numba.njit(nogil=True, cache=True)
def row_logits(vectors, scales, n, padded_dim, codes, scale, correction, out):
    """``x . row`` of n rows of codes at an address."""
    query = np.uintp(codes.ctypes.data)
    step = np.uintp(padded_dim)
    row = np.uintp(vectors)
    c = 0
    while c + 4 <= n:
        row1, row2 = np.uintp(row + step), np.uintp(row + np.uintp(2) * step)
        row3 = np.uintp(row2 + step)
        products = dot4_u8_s8(row, row1, row2, row3, query, padded_dim)
        of_rows = (scales[c], scales[c + 1], scales[c + 2], scales[c + 3])
        _write_four(out, c, products, correction, scale, of_rows)
        row = np.uintp(row3 + step)
        c += 4
    while c < n:
        product = dot_u8_s8(row, query, padded_dim) - correction
        out[c] = np.float32(product) * (scale * scales[c])
        row = np.uintp(row + step)
        c += 1


@numba.njit(nogil=True, cache=True)
def group_logits(vectors, scales, n, padded_dim, codes, query_scales, corrections, n_queries, out):
    """:func:`row_logits` of some queries at once: each four rows are read once for all of them.

    Args:
        vectors: Address of n rows of codes.
        scales: float32, of the rows.
        n: Rows.
        padded_dim: Bytes of a row.
        codes: int8, rows of codes of the queries, ``padded_dim`` each.
        query_scales: float32, of the queries.
        corrections: int32, 128 times the sums of their codes.
        n_queries: How many there are.
        out: float32, n for each query.
    """
    first, step = np.uintp(codes.ctypes.data), np.uintp(padded_dim)
    row = np.uintp(vectors)
    c = 0
    while c + 4 <= n:
        row1, row2 = np.uintp(row + step), np.uintp(row + np.uintp(2) * step)
        row3 = np.uintp(row2 + step)
        of_rows = (scales[c], scales[c + 1], scales[c + 2], scales[c + 3])
        for g in range(0, n_queries, 2):
            query = np.uintp(first + np.uintp(g) * step)
            other = np.uintp(query + step) if g + 1 < n_queries else query
            p0, p1, p2, p3, q0, q1, q2, q3 = dot4x2_u8_s8(
                row, row1, row2, row3, query, other, padded_dim
            )
            at, products = g * n + c, (p0, p1, p2, p3)
            _write_four(out, at, products, corrections[g], query_scales[g], of_rows)
            if g + 1 < n_queries:
                at, products = at + n, (q0, q1, q2, q3)
                _write_four(out, at, products, corrections[g + 1], query_scales[g + 1], of_rows)
        row = np.uintp(row3 + step)
        c += 4
    while c < n:
        for g in range(n_queries):
            product = dot_u8_s8(row, np.uintp(first + np.uintp(g) * step), padded_dim)
            out[g * n + c] = np.float32(product - corrections[g]) * (query_scales[g] * scales[c])
        row = np.uintp(row + step)
        c += 1


@numba.njit(nogil=True, cache=True)
def chosen_logits(vectors, scales, rows, chosen, n, padded_dim, codes, scale, correction, out):
    """The same for ``rows[chosen[:n]]``."""
    query = np.uintp(codes.ctypes.data)
    step = np.uintp(padded_dim)
    i = 0
    while i + 4 <= n:
        c0, c1 = rows[chosen[i]], rows[chosen[i + 1]]
        c2, c3 = rows[chosen[i + 2]], rows[chosen[i + 3]]
        products = dot4_u8_s8(
            np.uintp(vectors + np.uintp(c0) * step), np.uintp(vectors + np.uintp(c1) * step),
            np.uintp(vectors + np.uintp(c2) * step), np.uintp(vectors + np.uintp(c3) * step),
            query, padded_dim,
        )  # fmt: skip
        of_rows = (scales[c0], scales[c1], scales[c2], scales[c3])
        _write_four(out, i, products, correction, scale, of_rows)
        i += 4
    while i < n:
        c = rows[chosen[i]]
        row = np.uintp(vectors + np.uintp(c) * step)
        out[i] = np.float32(dot_u8_s8(row, query, padded_dim) - correction) * (scale * scales[c])
        i += 1


@numba.njit(nogil=True, cache=True)
def _sketch_tail(row, tail):
    """Scale of a label's sketch, scale of its whole vector, and its bias."""
    at = np.uintp(row + tail)
    scales = np.int32(numba.carray(as_int32(at), (1,))[0])
    bias = numba.carray(as_float32(np.uintp(at + np.uintp(4))), (1,))[0]
    whole = float_of_bits(np.int32(scales & np.int32(-65536)))
    return float_of_bits(np.int32(scales << np.int32(16))), whole, bias


@numba.njit(nogil=True, cache=True)
def sketch_bias(sketches, label, n_bytes):
    """The bias of a label, the last four bytes of its sketch."""
    at = np.uintp(sketches) + np.uintp(label) * np.uintp(n_bytes) + np.uintp(n_bytes - 4)
    return numba.carray(as_float32(np.uintp(at)), (1,))[0]


@numba.njit(nogil=True, cache=True)
def sketch_logits(sketches, labels, n, n_bytes, codes, scale, correction, z):
    """``z = w.x + b`` of n labels from their sketches.

    The last 8 bytes of a sketch are the scale of its codes and that of the whole vector, both as
    bfloat16 (the first two bytes of a float32), and the bias as float32.
    """
    query = np.uintp(codes.ctypes.data)
    base, step, tail = np.uintp(sketches), np.uintp(n_bytes), np.uintp(n_bytes - 8)
    i = 0
    while i + 4 <= n:
        row0 = np.uintp(base + np.uintp(labels[i]) * step)
        row1 = np.uintp(base + np.uintp(labels[i + 1]) * step)
        row2 = np.uintp(base + np.uintp(labels[i + 2]) * step)
        row3 = np.uintp(base + np.uintp(labels[i + 3]) * step)
        p0, p1, p2, p3 = dot4_u8_s8(row0, row1, row2, row3, query, n_bytes)
        scale0, _, bias0 = _sketch_tail(row0, tail)
        scale1, _, bias1 = _sketch_tail(row1, tail)
        scale2, _, bias2 = _sketch_tail(row2, tail)
        scale3, _, bias3 = _sketch_tail(row3, tail)
        z[i] = np.float32(p0 - correction) * (scale * scale0) + bias0
        z[i + 1] = np.float32(p1 - correction) * (scale * scale1) + bias1
        z[i + 2] = np.float32(p2 - correction) * (scale * scale2) + bias2
        z[i + 3] = np.float32(p3 - correction) * (scale * scale3) + bias3
        i += 4
    while i < n:
        row = np.uintp(base + np.uintp(labels[i]) * step)
        row_scale, _, bias = _sketch_tail(row, tail)
        product = dot_u8_s8(row, query, n_bytes) - correction
        z[i] = np.float32(product) * (scale * row_scale) + bias
        i += 1


@numba.njit(nogil=True, cache=True)
def whole_logits(
    vectors, row_bytes, sketches, n_bytes, labels, n, codes, rest_codes, scale, correction,
    rest_correction, z,
):  # fmt: skip
    """``z = w.x + b`` of n labels from rows of codes and a query of two codes an entry.

    The query is exact to a 65,000th of its largest entry (:func:`quantise_rest`); products and
    sums are exact integers. The rows are asked for some labels ahead.
    """
    first, second = np.uintp(codes.ctypes.data), np.uintp(rest_codes.ctypes.data)
    base, step = np.uintp(vectors), np.uintp(row_bytes)
    sketch_base, sketch_step = np.uintp(sketches), np.uintp(n_bytes)
    tail = np.uintp(n_bytes - 8)
    finer = np.float32(1.0 / FINER)
    for i in range(min(n, AHEAD)):
        prefetch_row(np.uintp(base + np.uintp(labels[i]) * step), row_bytes)
    i = 0
    while i + 4 <= n:
        for j in range(i + AHEAD, min(i + AHEAD + 4, n)):
            prefetch_row(np.uintp(base + np.uintp(labels[j]) * step), row_bytes)
        h0, h1, h2, h3, l0, l1, l2, l3 = dot4x2_u8_s8(
            np.uintp(base + np.uintp(labels[i]) * step),
            np.uintp(base + np.uintp(labels[i + 1]) * step),
            np.uintp(base + np.uintp(labels[i + 2]) * step),
            np.uintp(base + np.uintp(labels[i + 3]) * step),
            first, second, row_bytes,
        )  # fmt: skip
        z[i] = np.float32(h0 - correction) + np.float32(l0 - rest_correction) * finer
        z[i + 1] = np.float32(h1 - correction) + np.float32(l1 - rest_correction) * finer
        z[i + 2] = np.float32(h2 - correction) + np.float32(l2 - rest_correction) * finer
        z[i + 3] = np.float32(h3 - correction) + np.float32(l3 - rest_correction) * finer
        i += 4
    while i < n:
        row = np.uintp(base + np.uintp(labels[i]) * step)
        z[i] = np.float32(dot_u8_s8(row, first, row_bytes) - correction) + finer * np.float32(
            dot_u8_s8(row, second, row_bytes) - rest_correction
        )
        i += 1
    for i in range(n):
        _, row_scale, bias = _sketch_tail(sketch_base + np.uintp(labels[i]) * sketch_step, tail)
        z[i] = z[i] * (scale * row_scale) + bias


@numba.njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy", forceinline=True)
def label_scores(paths, z, n, values):
    for i in range(n):
        values[i] = paths[i] / (np.float32(1.0) + fast_exp(min(-z[i], np.float32(87.0))))


@numba.njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy", forceinline=True)
def dot_float16(address, x, n):
    row = numba.carray(as_uint16(address), (n,))
    total = np.float32(0.0)
    for d in range(n):
        total += half_to_float(row[d]) * x[d]
    return total


@numba.njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy", forceinline=True)
def dot_float32(address, x, n):
    row = numba.carray(as_float32(address), (n,))
    total = np.float32(0.0)
    for d in range(n):
        total += row[d] * x[d]
    return total


@numba.njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy", forceinline=True)
def is_finite(x, n):
    total = np.float32(0.0)
    for d in range(n):
        total += x[d] * np.float32(0.0)
    return total == np.float32(0.0)
