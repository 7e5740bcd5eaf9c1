"""Products with gathered rows of floats: dot products of many rows, weighted sums of many rows.

The two loops in which training spends most of its time. They are written in LLVM's own language,
16 floats at a time: Numba turns the same loops over arrays into code that first checks whether
these overlap and stores every partial sum, which costs as much again. LLVM cuts the 16 floats into
what the processor has; sums are made in the same order everywhere.

Arrays are given by their addresses; the caller keeps them alive.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from learned_index.kernels.machine.intrinsics import as_float32, as_int32, prefetch

_LANES = 16
_ROWS_AT_ONCE = 4
"""Rows whose dot products share the loads of the common factor."""
_STEP = 2
"""Vectors of 16 floats between two jumps of a dot product: so many sums run beside each other."""
_VECTORS_AT_ONCE = 6
"""Of a weighted sum: partial sums kept in registers. AVX2 has room for just so many."""
COLUMNS_AT_ONCE = _VECTORS_AT_ONCE * _LANES
"""Columns of one such sum. Loops over many sums take them in turns: less of the rows is then in use
at a time, and stays in the cache."""
_LINE_BYTES, _ONE = np.uintp(64), np.uintp(1)
_FLAGS = ("contract", "nsz", "reassoc")
_INT32, _INT64, _FLOAT = ir.IntType(32), ir.IntType(64), ir.FloatType()
_VECTOR = ir.VectorType(_FLOAT, _LANES)


def _at(builder: Any, address: Any, offset: Any) -> Any:
    return builder.add(address, offset if isinstance(offset, ir.Value) else _number(offset))


def _number(value: int) -> Any:
    return ir.Constant(_INT64, value)


def _load(builder: Any, address: Any, kind: Any) -> Any:
    value = builder.load(builder.inttoptr(address, kind.as_pointer()))
    value.align = 4
    return value


def _store(builder: Any, value: Any, address: Any) -> None:
    builder.store(value, builder.inttoptr(address, value.type.as_pointer())).align = 4


def _row(builder: Any, base: Any, row_bytes: Any, rows: Any, j: Any) -> Any:
    """Address of row ``rows[j]``."""
    row = _load(builder, _at(builder, rows, builder.mul(j, _number(4))), _INT32)
    return _at(builder, base, builder.mul(builder.sext(row, _INT64), row_bytes))


def _multiply_add(builder: Any, a: Any, b: Any, total: Any) -> Any:
    return builder.fadd(total, builder.fmul(a, b, flags=_FLAGS), flags=_FLAGS)


def _sums_of_four(builder: Any, vectors: list[Any]) -> Any:
    """Vector of the sums of four vectors: fewer shuffles than four sums one by one."""

    def pick(a: Any, b: Any, places: list[int]) -> Any:
        kind = ir.VectorType(_INT32, len(places))
        return builder.shuffle_vector(a, b, ir.Constant(kind, places))

    def add_halves(a: Any, b: Any, low: list[int], high: list[int]) -> Any:
        return builder.fadd(pick(a, b, low), pick(a, b, high), flags=_FLAGS)

    for width in (_LANES // 2, _LANES // 4):
        low, high = list(range(width)), list(range(width, 2 * width))
        vectors = [add_halves(v, v, low, high) for v in vectors]
    a, b, c, d = vectors
    first = add_halves(a, b, [0, 4, 1, 5], [2, 6, 3, 7])  # a0+a2, b0+b2, a1+a3, b1+b3
    second = add_halves(c, d, [0, 4, 1, 5], [2, 6, 3, 7])
    return add_halves(first, second, [0, 1, 4, 5], [2, 3, 6, 7])


@intrinsic
def _dots_of_four(
    _: Any, x: Any, base: Any, row_bytes: Any, rows: Any, last: Any, n_bytes: Any, out: Any
) -> Any:
    """Write the dot products of x with rows 0 to 3, of which those after ``last`` repeat it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x, base, row_bytes, rows, last, n_bytes, out = arguments
        addresses = []
        for i in range(_ROWS_AT_ONCE):
            j = _number(i)
            j = builder.select(builder.icmp_signed("<", j, last), j, last)
            addresses.append(_row(builder, base, row_bytes, rows, j))
        entry, loop = builder.block, builder.append_basic_block("loop")
        done = builder.append_basic_block("done")
        builder.branch(loop)
        builder.position_at_end(loop)
        offset = builder.phi(_INT64)
        offset.add_incoming(_number(0), entry)
        totals = [[builder.phi(_VECTOR) for _ in range(_STEP)] for _ in addresses]
        after: list[list[Any]] = [[] for _ in addresses]
        for step in range(_STEP):
            place = _at(builder, offset, 4 * _LANES * step)
            common = _load(builder, _at(builder, x, place), _VECTOR)
            for i, address in enumerate(addresses):
                total = totals[i][step]
                total.add_incoming(ir.Constant(_VECTOR, [0.0] * _LANES), entry)
                row = _load(builder, _at(builder, address, place), _VECTOR)
                after[i].append(_multiply_add(builder, row, common, total))
                total.add_incoming(after[i][step], loop)
        following = _at(builder, offset, 4 * _LANES * _STEP)
        offset.add_incoming(following, loop)
        builder.cbranch(builder.icmp_signed("<", following, n_bytes), loop, done)
        builder.position_at_end(done)
        sums = [builder.fadd(*pair, flags=_FLAGS) for pair in after]
        _store(builder, _sums_of_four(builder, sums), out)
        return context.get_dummy_value()

    address, number = types.uintp, types.intp
    return types.void(address, address, address, address, number, number, address), generate


def _weighted_sum(n_vectors: int) -> Any:
    """An intrinsic that adds weighted rows to ``16 n_vectors`` floats at ``out``; n >= 1."""

    @intrinsic
    def add(_: Any, base: Any, row_bytes: Any, rows: Any, weights: Any, n: Any, out: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            base, row_bytes, rows, weights, n, out = arguments
            places = [4 * _LANES * i for i in range(n_vectors)]
            before = [_load(builder, _at(builder, out, place), _VECTOR) for place in places]
            entry, loop = builder.block, builder.append_basic_block("loop")
            done = builder.append_basic_block("done")
            builder.branch(loop)
            builder.position_at_end(loop)
            j = builder.phi(_INT64)
            j.add_incoming(_number(0), entry)
            totals = [builder.phi(_VECTOR) for _ in places]
            address = _row(builder, base, row_bytes, rows, j)
            weight = _load(builder, _at(builder, weights, builder.mul(j, _number(4))), _FLOAT)
            undefined = ir.Constant(_VECTOR, ir.Undefined)
            weight = builder.insert_element(undefined, weight, ir.Constant(_INT32, 0))
            everywhere = ir.Constant(ir.VectorType(_INT32, _LANES), [0] * _LANES)
            weight = builder.shuffle_vector(weight, undefined, everywhere)
            after = []
            for total, start, place in zip(totals, before, places, strict=True):
                total.add_incoming(start, entry)
                row = _load(builder, _at(builder, address, place), _VECTOR)
                after.append(_multiply_add(builder, row, weight, total))
                total.add_incoming(after[-1], loop)
            following = _at(builder, j, 1)
            j.add_incoming(following, loop)
            builder.cbranch(builder.icmp_signed("<", following, n), loop, done)
            builder.position_at_end(done)
            for value, place in zip(after, places, strict=True):
                _store(builder, value, _at(builder, out, place))
            return context.get_dummy_value()

        address = types.uintp
        return types.void(address, address, address, address, types.intp, address), generate

    return add


_add_many = _weighted_sum(_VECTORS_AT_ONCE)
_add_one = _weighted_sum(1)


@numba.njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def ask_for(address, n_bytes):
    """Ask for the cache lines of so many bytes; returns the address behind them."""
    end = np.uintp(address + n_bytes)
    while address < end:
        prefetch(address)
        address = np.uintp(address + _LINE_BYTES)
    return address


@numba.njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def dot_rows(x, base, row_bytes, rows, n, dim, out, ahead):
    """Write ``x . rows[i]`` for i < n.

    What is needed later is asked for bit by bit on the way: all at once would keep the rows needed
    now waiting.

    Args:
        x: Address of ``dim`` float32.
        base: Address of the table of float32 rows.
        row_bytes: Bytes from a row to the next.
        rows: Address of n int32 row numbers.
        n: How many.
        dim: D.
        out: float32, written; at least n + 3 long.
        ahead: Address of the ``x`` of a later call; may lie beyond all arrays.
    """
    whole = dim - dim % (_STEP * _LANES)
    if not whole:
        out[:n] = 0.0
    else:
        to = np.uintp(out.ctypes.data)
        n_turns = np.uintp(max((n + _ROWS_AT_ONCE - 1) // _ROWS_AT_ONCE, 1))
        each = np.uintp((np.uintp(4 * dim) + n_turns - _ONE) // n_turns)
        for j in range(0, n, _ROWS_AT_ONCE):
            last = min(_ROWS_AT_ONCE, n - j) - 1
            skip = np.uintp(4 * j)
            _dots_of_four(
                x, base, row_bytes, np.uintp(rows + skip), last, 4 * whole, np.uintp(to + skip)
            )
            ahead = ask_for(ahead, each)
    if whole < dim:
        common = numba.carray(as_float32(x), (dim,))
        chosen = numba.carray(as_int32(rows), (n,))
        for j in range(n):
            address = np.uintp(base + np.uintp(chosen[j]) * row_bytes)
            row = numba.carray(as_float32(address), (dim,))
            total = np.float32(0.0)
            for d in range(whole, dim):
                total += common[d] * row[d]
            out[j] += total


@numba.njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def add_rows(base, row_bytes, rows, weights, n, dim, out):
    """``out += sum_i weights[i] * rows[i]``.

    Args:
        base: Address of the table of float32 rows.
        row_bytes: Bytes from a row to the next.
        rows: Address of n int32 row numbers.
        weights: Address of n float32.
        n: How many.
        dim: D.
        out: Address of D float32.
    """
    if n <= 0:
        return
    d = np.int64(0)
    while d + COLUMNS_AT_ONCE <= dim:
        o = np.uintp(4 * d)
        _add_many(np.uintp(base + o), row_bytes, rows, weights, n, np.uintp(out + o))
        d += COLUMNS_AT_ONCE
    while d + _LANES <= dim:
        o = np.uintp(4 * d)
        _add_one(np.uintp(base + o), row_bytes, rows, weights, n, np.uintp(out + o))
        d += _LANES
    if d < dim:
        chosen = numba.carray(as_int32(rows), (n,))
        factors = numba.carray(as_float32(weights), (n,))
        total = numba.carray(as_float32(out), (dim,))
        for j in range(n):
            address = np.uintp(base + np.uintp(chosen[j]) * row_bytes)
            row = numba.carray(as_float32(address), (dim,))
            for e in range(d, dim):
                total[e] += factors[j] * row[e]
