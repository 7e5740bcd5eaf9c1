"""Exponential and logarithm of float32 that vectorise, and the three softmaxes made with them."""

from __future__ import annotations

import numba
import numpy as np

from learned_index.kernels.machine.flags import FAST, ROUNDS_WELL
from learned_index.kernels.machine.intrinsics import bits_of_float, float_of_bits

_LN2_HIGH = np.float32(round(np.log(2.0) * 2**12) / 2**12)
"""ln 2 in two parts: the high one has so few bits that whole numbers times it are exact."""
_LN2_LOW = np.float32(np.log(2.0) - float(_LN2_HIGH))


@numba.njit(nogil=True, cache=True, fastmath=ROUNDS_WELL, error_model="numpy", forceinline=True)
def fast_exp(x):
    """``exp(x)`` of a float32 below 88, to about 2e-7; below -87 the value there. Vectorises."""
    x = max(x, np.float32(-87.0))
    n = np.floor(x * np.float32(1.4426950408889634) + np.float32(0.5))
    f = (x - n * _LN2_HIGH) - n * _LN2_LOW
    p = np.float32(1.0 / 720.0)
    p = p * f + np.float32(1.0 / 120.0)
    p = p * f + np.float32(1.0 / 24.0)
    p = p * f + np.float32(1.0 / 6.0)
    p = p * f + np.float32(0.5)
    p = p * f + np.float32(1.0)
    p = p * f + np.float32(1.0)
    return p * float_of_bits((np.int32(n) + np.int32(127)) << np.int32(23))


@numba.njit(nogil=True, cache=True, fastmath=ROUNDS_WELL, error_model="numpy", forceinline=True)
def fast_log(x):
    """``log(x)`` of a normal float32 above 0, to about 1e-7. Vectorises."""
    bits = bits_of_float(x)
    e = (bits - np.int32(0x3F3504F3)) >> np.int32(23)  # bits of sqrt(1/2): f is around 0
    f = float_of_bits(bits - (e << np.int32(23))) - np.float32(1.0)  # in [-0.293, 0.415)
    # (log(1 + f) - f + f^2 / 2) / f^3, interpolated at Chebyshev points of that interval.
    p = np.float32(-8.1015583252e-2)
    p = p * f + np.float32(1.2712307674e-1)
    p = p * f - np.float32(1.2972238990e-1)
    p = p * f + np.float32(1.4202173823e-1)
    p = p * f - np.float32(1.6642247596e-1)
    p = p * f + np.float32(2.0001468577e-1)
    p = p * f - np.float32(2.5000296546e-1)
    p = p * f + np.float32(3.3333328597e-1)
    square = f * f
    n = np.float32(e)
    small = p * f * square + n * _LN2_LOW - np.float32(0.5) * square
    return (f + small) + n * _LN2_HIGH


@numba.njit(nogil=True, cache=True)
def power(value, exponent):
    """``value ** exponent`` of a float32 >= 0; the two usual exponents cost no pow of floats."""
    if exponent == 0.5:
        return np.sqrt(value)
    if exponent == 1.0:
        return value
    return np.float32(value**exponent)


# Three formulas of one softmax, and not one, because models and answers depend on their last bits:
# - `softmax`: training's and the engine's; fast_exp, sums of float32 in any order. It vectorises.
# - `softmax_of_some`: the same where some entries do not count. A mask before `softmax` would not
#   do: fast_exp of -inf is e^-87 and not 0.
# - `softmax_in_order`: the index's own search; the C library's exp, and a float64 sum in ascending
#   order, which no vector width changes.


@numba.njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy", forceinline=True)
def softmax(scores, n, scale):
    """Turn the first n logits into ``scale softmax``, not cut off at 1: the cut would make ties."""
    largest = np.float32(-np.inf)
    for c in range(n):
        largest = max(largest, scores[c])
    total = np.float32(0.0)
    for c in range(n):
        scores[c] = fast_exp(scores[c] - largest)
        total += scores[c]
    factor = np.float32(scale) / total
    for c in range(n):
        scores[c] *= factor


@numba.njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy", forceinline=True)
def softmax_of_some(logits, ids, scale, out):
    """Write :func:`softmax` over the entries whose id is not -1; 0 at the others, or at all.

    Args:
        logits: float32.
        ids: int32, -1 at pads.
        scale: float32.
        out: float32, written.
    """
    largest = np.float32(-np.inf)
    for m in range(logits.shape[0]):
        largest = max(largest, logits[m] if ids[m] >= 0 else np.float32(-np.inf))
    if not largest > np.float32(-np.inf):
        out[:] = 0.0
        return
    for m in range(logits.shape[0]):
        out[m] = fast_exp(logits[m] - largest) if ids[m] >= 0 else np.float32(0.0)
    total = np.float32(0.0)  # by itself: see FAST
    for m in range(logits.shape[0]):
        total += out[m]
    factor = scale / total
    for m in range(logits.shape[0]):
        out[m] *= factor


@numba.njit(nogil=True, cache=True)
def softmax_in_order(scores, n, scale):
    """:func:`softmax` with the exponential of the C library and a sum in ascending order."""
    largest = np.float32(-np.inf)
    for i in range(n):
        largest = max(largest, scores[i])
    total = 0.0  # float64: its rounding does not show in a float32
    for i in range(n):
        scores[i] = np.exp(scores[i] - largest)
        total += scores[i]
    factor = np.float32(scale / total)
    for i in range(n):
        scores[i] *= factor
