"""Machine instructions that Numba has no name for: addresses, prefetch, half floats, bits.

The search kernels read arrays through their addresses: a call then takes a handful of numbers
instead of twenty array objects, whose unboxing alone costs as much as the routing of a query.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic


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


@numba.njit(nogil=True, cache=True)
def keep_until_here(array):
    """Keep a kernel's own array whose address is in use.

    Numba frees an array behind the last line that names it. An address is no name: what is read
    from it after that is memory that others may have, or that the system has taken back.
    """
    return array.shape[0]


@numba.njit(nogil=True, cache=True, inline="always")
def prefetch_row(address, n_bytes):
    """Ask for all cache lines of a row at an address."""
    for line in range(0, n_bytes, 64):
        prefetch(np.uintp(address + np.uintp(line)))


@intrinsic
def half_to_float(_: Any, bits: Any) -> Any:
    """float32 of the float16 whose bits are given as uint16."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fpext(builder.bitcast(arguments[0], ir.HalfType()), ir.FloatType())

    return types.float32(types.uint16), generate


def _reread(source: Any, target: Any) -> Any:
    """An intrinsic that reads the bits of a number as those of another type."""

    @intrinsic
    def convert(_: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.bitcast(arguments[0], context.get_value_type(signature.return_type))

        return target(source), generate

    return convert


float_of_bits = _reread(types.int32, types.float32)
bits_of_float = _reread(types.float32, types.int32)


@intrinsic
def trailing_zeros(_: Any, value: Any) -> Any:
    """How many bits of a uint64 that is not 0 stand below its lowest 1."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), generate
