"""What all launches have in common."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
import triton

from learned_index.errors import InputError


def launch(
    kernel: Any, n_programs: int, device: torch.device, *arguments: Any, **meta: Any
) -> None:
    """Start a kernel on a one-dimensional grid, on the device of its tensors.

    Args:
        kernel: A ``triton.jit`` function.
        n_programs: Size of the grid; 0 starts nothing.
        device: Where the tensors are.
        arguments: The kernel's tensors (C order) and numbers.
        meta: Its compile-time constants, ``num_warps`` and the like.

    Raises:
        InputError: The tensors are not on CUDA.
    """
    if n_programs == 0:
        return
    if device.type != "cuda" and isinstance(kernel, triton.JITFunction):
        raise InputError(
            f"Triton kernels run on CUDA, the tensors are on {device}; use "
            'implementation="auto", or Triton\'s interpreter (TRITON_INTERPRET=1)'
        )
    # Triton launches on the current device, which need not be that of the tensors.
    where = torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()
    with where:
        kernel[(n_programs,)](*arguments, **meta)


def require_contiguous(*tensors: torch.Tensor) -> None:
    """Check tensors that a kernel changes in place.

    Raises:
        InputError: One is not in C order; a copy would be changed in its place.
    """
    for tensor in tensors:
        if not tensor.is_contiguous():
            raise InputError(
                f"a tensor of shape {tuple(tensor.shape)} with strides {tensor.stride()} cannot "
                "be updated in place, expected C order; make it with .contiguous()"
            )


def block_of(n: int, largest: int) -> int:
    """Power of two that covers ``n``, between 16 and ``largest``."""
    return int(min(largest, max(16, triton.next_power_of_2(n))))


def warps_of(block: int, most: int) -> int:
    """Warps for a kernel that changes a block in place.

    No more than the block has entries for: in a larger program other warps hold copies of the
    entries, and could read them after they were changed.
    """
    return max(1, min(most, block // 32))


def blocks(n: int, block: int) -> int:
    """How many blocks cover ``n``."""
    return -(-n // block)
