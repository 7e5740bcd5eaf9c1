"""Selection in Triton: positions of the K largest values of each row, one program a row.

The same as :func:`.cpu.select_largest`; compared with a sort in ``tests/triton_cases.py``. A radix
select.

``torch.topk`` was the alternative. It selects by radix too, but sorts what it found, cannot leave
room for the positives that stand first in a row, and needs K real entries in every row. Here a row
is read five times (four histograms of 8 bits, then the writing), from the L2 cache after the first
time; the order of the result is that of the positions, also among equal values, so it is the same
in every run. Wider digits would save a reading, but Triton's histogram costs a warp some
instructions per bin.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from learned_index.kernels.machine.launch import launch


@triton.jit
def _digit_of_rank(values, N, prefix, rank, SHIFT: tl.constexpr, HIGH: tl.constexpr,
                   BINS: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """Digit of the ``rank``-th largest among the values that share the bits above ``HIGH``.

    Returns (digit, how many of them have a larger digit, how many there are).
    """
    histogram = tl.zeros([BINS], tl.int32)
    for start in range(0, N, BLOCK):
        column = start + tl.arange(0, BLOCK)
        value = tl.load(values + column, mask=column < N, other=-1.0)
        bits = value.to(tl.int32, bitcast=True)
        counts = (value >= 0.0) & ((bits >> HIGH) == (prefix >> HIGH))
        digit = tl.where(counts, (bits >> SHIFT) & (BINS - 1), 0)
        histogram += tl.histogram(digit, BINS, mask=counts)
    total = tl.sum(histogram, 0)
    rank = tl.minimum(rank, total)
    at_least = tl.cumsum(histogram, 0, reverse=True)  # values whose digit is this one or larger
    digit = tl.sum((at_least >= rank).to(tl.int32), 0) - 1
    above = tl.sum(tl.where(tl.arange(0, BINS) > digit, histogram, 0), 0)
    return digit, above, total


@triton.jit
def select_kernel(values, n_taken, out, N, K, BLOCK: tl.constexpr):
    """Append to each row of ``out`` the positions of its largest values, up to K entries."""
    row = tl.program_id(0).to(tl.int64)
    values += row * N
    out += row * K
    written = tl.load(n_taken + row).to(tl.int32)
    rank = K - written
    digit, above, total = _digit_of_rank(values, N, 0, rank, 23, 31, 256, BLOCK)
    rank = tl.minimum(rank, total)
    if rank > 0:
        prefix = digit << 23
        ties = rank - above
        digit, above, total = _digit_of_rank(values, N, prefix, ties, 15, 23, 256, BLOCK)
        prefix |= digit << 15
        ties -= above
        digit, above, total = _digit_of_rank(values, N, prefix, ties, 7, 15, 256, BLOCK)
        prefix |= digit << 7
        ties -= above
        digit, above, total = _digit_of_rank(values, N, prefix, ties, 0, 7, 128, BLOCK)
        prefix |= digit
        ties -= above
        # Everything above the threshold is kept, and of the values equal to it the first ones.
        for start in range(0, N, BLOCK):
            column = start + tl.arange(0, BLOCK)
            value = tl.load(values + column, mask=column < N, other=-1.0)
            bits = value.to(tl.int32, bitcast=True)
            equal = ((value >= 0.0) & (bits == prefix)).to(tl.int32)
            larger = ((value >= 0.0) & (bits > prefix)).to(tl.int32)
            keep = larger | (equal & (tl.cumsum(equal, 0) <= ties).to(tl.int32))
            tl.store(out + written + tl.cumsum(keep, 0) - 1, column, mask=keep != 0)
            ties -= tl.sum(keep & equal, 0)
            written += tl.sum(keep, 0)


def select_largest(values_BN: torch.Tensor, n_taken_B: torch.Tensor, out_BK: torch.Tensor) -> None:
    """Write the positions of each row's largest values behind those that are there already.

    Args:
        values_BN: float32; values below zero do not count.
        n_taken_B: int64, how many leading entries of each row of ``out_BK`` are taken.
        out_BK: int32, filled in place; entries for which there is no value stay as they are.
    """
    B, N = values_BN.shape
    launch(
        select_kernel, B, values_BN.device,
        values_BN, n_taken_B, out_BK, N, out_BK.shape[1], BLOCK=2048, num_warps=8,
    )  # fmt: skip
