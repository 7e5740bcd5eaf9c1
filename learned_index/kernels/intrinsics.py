"""Machine instructions that Numba has no name for: addresses, prefetch, half floats, u8 x s8 dots.

The search kernels read arrays through their addresses: a call then takes a handful of numbers
instead of twenty array objects, whose unboxing alone costs as much as the routing of a query.

On processors with AVX512-VNNI :func:`dot_u8_s8` is one instruction for 64 products. Elsewhere
:func:`dot_u8_s8_plain` does the same with what LLVM makes of a plain loop; both are exact integer
arithmetic, so the answers are the same bit for bit.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.extending import intrinsic

LANE_BYTES = 64
"""Rows of int8 are padded to a multiple of this many bytes: one vector register, one cache line."""


def _pointer_to(element: Any) -> Any:
    """An intrinsic that turns an address (uintp) into a typed pointer, for ``numba.carray``."""

    @intrinsic
    def convert(_: Any, address: Any) -> Any:
        signature = types.CPointer(element)(types.uintp)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

        return signature, generate

    return convert


as_uint8 = _pointer_to(types.uint8)
as_int8 = _pointer_to(types.int8)
as_uint16 = _pointer_to(types.uint16)
as_int32 = _pointer_to(types.int32)
as_int64 = _pointer_to(types.int64)
as_uint64 = _pointer_to(types.uint64)
as_float32 = _pointer_to(types.float32)


@intrinsic
def prefetch(_: Any, address: Any) -> Any:
    """Ask for the cache line at an address; does nothing else, also for a bad address."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        i32, pointer = ir.IntType(32), ir.IntType(8).as_pointer()
        function = builder.module.declare_intrinsic(
            "llvm.prefetch.p0", (), ir.FunctionType(ir.VoidType(), [pointer, i32, i32, i32])
        )
        flags = [ir.Constant(i32, value) for value in (0, 3, 1)]  # read, keep, data
        builder.call(function, [builder.inttoptr(arguments[0], pointer), *flags])
        return context.get_dummy_value()

    return types.void(types.uintp), generate


@intrinsic
def half_to_float(_: Any, bits: Any) -> Any:
    """float32 of the float16 whose bits are given as uint16."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fpext(builder.bitcast(arguments[0], ir.HalfType()), ir.FloatType())

    return types.float32(types.uint16), generate


@intrinsic
def float_of_bits(_: Any, bits: Any) -> Any:
    """float32 whose bits are given as int32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate


@intrinsic
def _dot_vnni(_: Any, unsigned: Any, signed: Any, n: Any) -> Any:
    """``sum unsigned[i] * signed[i]`` of n bytes at two addresses, n a positive multiple of 64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        first, second, length = arguments
        i32, i64 = ir.IntType(32), ir.IntType(64)
        lanes = ir.VectorType(i32, 16)
        multiply_add = builder.module.declare_intrinsic(
            "llvm.x86.avx512.vpdpbusd.512", (), ir.FunctionType(lanes, [lanes] * 3)
        )
        reduce = builder.module.declare_intrinsic(
            "llvm.vector.reduce.add.v16i32", (), ir.FunctionType(i32, [lanes])
        )
        entry, loop = builder.block, builder.append_basic_block("loop")
        done = builder.append_basic_block("done")
        builder.branch(loop)
        builder.position_at_end(loop)
        i, total = builder.phi(i64), builder.phi(lanes)
        i.add_incoming(ir.Constant(i64, 0), entry)
        total.add_incoming(ir.Constant(lanes, [0] * 16), entry)
        operands = []
        for base in (first, second):
            pointer = builder.inttoptr(builder.add(base, i), lanes.as_pointer())
            operand = builder.load(pointer)
            operand.align = 1
            operands.append(operand)
        after = builder.call(multiply_add, [total, *operands])
        following = builder.add(i, ir.Constant(i64, LANE_BYTES))
        i.add_incoming(following, loop)
        total.add_incoming(after, loop)
        builder.cbranch(builder.icmp_signed("<", following, length), loop, done)
        builder.position_at_end(done)
        return builder.call(reduce, [after])

    return types.int32(types.uintp, types.uintp, types.intp), generate


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
def _dot_u8_s8_vnni(unsigned, signed, n):
    return _dot_vnni(unsigned, signed, n)


def has_vnni() -> bool:
    """Tell whether Numba compiles for a processor with AVX512-VNNI."""
    if numba.config.CPU_NAME or numba.config.CPU_FEATURES:  # the user's NUMBA_CPU_NAME
        return "+avx512vnni" in (numba.config.CPU_FEATURES or "")
    return bool(binding.get_host_cpu_features().get("avx512vnni", False))


dot_u8_s8 = _dot_u8_s8_vnni if has_vnni() else dot_u8_s8_plain
"""``sum u[i] * s[i]`` of n uint8 and n int8 at two addresses; n a positive multiple of 64."""


@numba.njit(nogil=True, cache=True, fastmath={"contract", "nsz"}, error_model="numpy")
def fast_exp(x):
    """``exp(x)`` of a float32 below 88, to about 2e-7; below -87 the value there. Vectorises."""
    x = max(x, np.float32(-87.0))
    n = np.floor(x * np.float32(1.4426950408889634) + np.float32(0.5))
    # ln 2 in two parts, the first with so few bits that n times it is exact.
    f = (x - n * np.float32(0.693359375)) + n * np.float32(2.12194440e-4)
    p = np.float32(1.0 / 720.0)
    p = p * f + np.float32(1.0 / 120.0)
    p = p * f + np.float32(1.0 / 24.0)
    p = p * f + np.float32(1.0 / 6.0)
    p = p * f + np.float32(0.5)
    p = p * f + np.float32(1.0)
    p = p * f + np.float32(1.0)
    return p * float_of_bits((np.int32(n) + np.int32(127)) << np.int32(23))
