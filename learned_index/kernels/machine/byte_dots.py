"""Dot products of rows of uint8 with rows of int8, one row of each or some at a time.

On processors with AVX512-VNNI :func:`dot_u8_s8` is one instruction for 64 products. Elsewhere
:func:`dot_u8_s8_plain` does the same with what LLVM makes of a plain loop; both are exact integer
arithmetic, so the answers are the same bit for bit (compared in
``tests/kernels/test_machine.py``).
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.extending import intrinsic

from learned_index.kernels.machine.intrinsics import as_int8, as_uint8

LANE_BYTES = 64
"""Rows of int8 are padded to a multiple of this many bytes: one vector register, one cache line."""


def _multiply_add_rows(
    builder: Any, rows: list[Any], queries: list[Any], length: Any
) -> list[list[Any]]:
    """Emit the loop over 64 bytes a time; 16 partial sums for each query and row."""
    i64, lanes = ir.IntType(64), ir.VectorType(ir.IntType(32), 16)
    multiply_add = builder.module.declare_intrinsic(
        "llvm.x86.avx512.vpdpbusd.512", (), ir.FunctionType(lanes, [lanes] * 3)
    )

    def load(base: Any, offset: Any) -> Any:
        value = builder.load(builder.inttoptr(builder.add(base, offset), lanes.as_pointer()))
        value.align = 1
        return value

    entry, loop = builder.block, builder.append_basic_block("loop")
    done = builder.append_basic_block("done")
    builder.branch(loop)
    builder.position_at_end(loop)
    i = builder.phi(i64)
    i.add_incoming(ir.Constant(i64, 0), entry)
    totals = [[builder.phi(lanes) for _ in rows] for _ in queries]
    codes = [load(query, i) for query in queries]
    values = [load(row, i) for row in rows]
    sums = [
        [
            builder.call(multiply_add, [total, value, code])
            for total, value in zip(of_rows, values, strict=True)
        ]
        for of_rows, code in zip(totals, codes, strict=True)
    ]
    following = builder.add(i, ir.Constant(i64, LANE_BYTES))
    i.add_incoming(following, loop)
    for of_rows, after_rows in zip(totals, sums, strict=True):
        for total, after in zip(of_rows, after_rows, strict=True):
            total.add_incoming(ir.Constant(lanes, [0] * 16), entry)
            total.add_incoming(after, loop)
    builder.cbranch(builder.icmp_signed("<", following, length), loop, done)
    builder.position_at_end(done)
    return sums


def _add_lanes_of_four(builder: Any, sums: list[Any]) -> list[Any]:
    """Emit the sums of the 16 lanes of four vectors; they share their instructions."""
    i32 = ir.IntType(32)

    def shuffled(first: Any, second: Any, places: list[int]) -> Any:
        mask = ir.Constant(ir.VectorType(i32, len(places)), places)
        return builder.shuffle_vector(first, second, mask)

    def folded(first: Any, second: Any, step: int) -> Any:
        # In each 128 bits: sums of pairs `step` apart, of the first and the second in turn.
        low, high = [], []
        for block in range(0, 16, 4):
            if step == 1:
                low += [block, 16 + block, block + 2, 16 + block + 2]
                high += [block + 1, 16 + block + 1, block + 3, 16 + block + 3]
            else:
                low += [block, block + 1, 16 + block, 16 + block + 1]
                high += [block + 2, block + 3, 16 + block + 2, 16 + block + 3]
        return builder.add(shuffled(first, second, low), shuffled(first, second, high))

    first_pair, second_pair = folded(sums[0], sums[1], 1), folded(sums[2], sums[3], 1)
    total = folded(first_pair, second_pair, 2)  # each 128 bits: one partial sum of each vector
    while total.type.count > 4:
        half = total.type.count // 2
        total = builder.add(
            shuffled(total, total, list(range(half))),
            shuffled(total, total, list(range(half, 2 * half))),
        )
    return [builder.extract_element(total, ir.Constant(i32, place)) for place in range(4)]


@intrinsic
def _dot_vnni(_: Any, unsigned: Any, signed: Any, n: Any) -> Any:
    """``sum unsigned[i] * signed[i]`` of n bytes at two addresses, n a positive multiple of 64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        row, query, length = arguments
        ((total,),) = _multiply_add_rows(builder, [row], [query], length)
        i32 = ir.IntType(32)
        reduce = builder.module.declare_intrinsic(
            "llvm.vector.reduce.add.v16i32", (), ir.FunctionType(i32, [total.type])
        )
        return builder.call(reduce, [total])

    return types.int32(types.uintp, types.uintp, types.intp), generate


@intrinsic
def _dot4_vnni(_: Any, row0: Any, row1: Any, row2: Any, row3: Any, signed: Any, n: Any) -> Any:
    """The same for four rows and one query."""
    results = types.UniTuple(types.int32, 4)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        *rows, query, length = arguments
        (sums,) = _multiply_add_rows(builder, rows, [query], length)
        parts = _add_lanes_of_four(builder, sums)
        return context.make_tuple(builder, signature.return_type, parts)

    return results(*[types.uintp] * 5, types.intp), generate


@intrinsic
def _dot4x2_vnni(
    _: Any, row0: Any, row1: Any, row2: Any, row3: Any, first: Any, second: Any, n: Any
) -> Any:
    """The same for four rows and two queries, four sums of the first query first."""
    results = types.UniTuple(types.int32, 8)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        *rows, first, second, length = arguments
        sums = _multiply_add_rows(builder, rows, [first, second], length)
        parts = [part for of_rows in sums for part in _add_lanes_of_four(builder, of_rows)]
        return context.make_tuple(builder, signature.return_type, parts)

    return results(*[types.uintp] * 6, types.intp), generate


@numba.njit(nogil=True, cache=True, error_model="numpy")
def dot_u8_s8_plain(unsigned, signed, n):
    """The same as :func:`dot_u8_s8` in portable code."""
    a = numba.carray(as_uint8(unsigned), (n,))
    b = numba.carray(as_int8(signed), (n,))
    total = np.int32(0)
    for i in range(n):
        total += np.int32(a[i]) * np.int32(b[i])
    return total


@numba.njit(nogil=True, cache=True)
def dot4_u8_s8_plain(row0, row1, row2, row3, signed, n):
    """The same as :func:`dot4_u8_s8` in portable code."""
    return (
        dot_u8_s8_plain(row0, signed, n),
        dot_u8_s8_plain(row1, signed, n),
        dot_u8_s8_plain(row2, signed, n),
        dot_u8_s8_plain(row3, signed, n),
    )


@numba.njit(nogil=True, cache=True)
def dot4x2_u8_s8_plain(row0, row1, row2, row3, first, second, n):
    """The same as :func:`dot4x2_u8_s8` in portable code."""
    sums = dot4_u8_s8_plain(row0, row1, row2, row3, first, n)
    return sums + dot4_u8_s8_plain(row0, row1, row2, row3, second, n)


@numba.njit(nogil=True, cache=True)
def _dot_u8_s8_vnni(unsigned, signed, n):
    return _dot_vnni(unsigned, signed, n)


@numba.njit(nogil=True, cache=True)
def _dot4_u8_s8_vnni(row0, row1, row2, row3, signed, n):
    return _dot4_vnni(row0, row1, row2, row3, signed, n)


@numba.njit(nogil=True, cache=True)
def _dot4x2_u8_s8_vnni(row0, row1, row2, row3, first, second, n):
    return _dot4x2_vnni(row0, row1, row2, row3, first, second, n)


PORTABLE = {"NUMBA_CPU_NAME": "x86-64-v3", "NUMBA_CPU_FEATURES": "+avx2"}
"""Environment in which a process compiles all kernels for processors with AVX2 and no AVX-512.

Numba reads it when it is imported and keeps compiled code apart by it, in its cache too."""


def has_vnni() -> bool:
    """Tell whether Numba compiles for a processor with AVX512-VNNI."""
    if numba.config.CPU_NAME or numba.config.CPU_FEATURES:  # the user's NUMBA_CPU_NAME
        return "+avx512vnni" in (numba.config.CPU_FEATURES or "")
    return bool(binding.get_host_cpu_features().get("avx512vnni", False))


dot_u8_s8 = _dot_u8_s8_vnni if has_vnni() else dot_u8_s8_plain
"""``sum u[i] * s[i]`` of n uint8 and n int8 at two addresses; n a positive multiple of 64."""

dot4_u8_s8 = _dot4_u8_s8_vnni if has_vnni() else dot4_u8_s8_plain
"""Four such sums, of four rows of uint8 and one of int8."""

dot4x2_u8_s8 = _dot4x2_u8_s8_vnni if has_vnni() else dot4x2_u8_s8_plain
"""Eight such sums, of four rows of uint8 and two of int8: of the first with all rows, then of the
second."""
