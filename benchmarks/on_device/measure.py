"""Times on a device, and how fast it copies and multiplies."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Rates:
    """What the device reached in this run.

    Attributes:
        bytes_per_s: Copying a large tensor, bytes read and bytes written together.
        flops_per_s: Products of square float32 matrices in strict float32.
        tf32_flops_per_s: The same with TF32 allowed; None where there is none.
        bf16_flops_per_s: Products of bfloat16 matrices.
    """

    bytes_per_s: float
    flops_per_s: float
    tf32_flops_per_s: float | None
    bf16_flops_per_s: float


@dataclass(frozen=True)
class Timing:
    """Median and quickest run, and the memory that a run takes beyond its inputs (CUDA)."""

    median_ms: float
    fastest_ms: float
    peak_mb: float | None


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(
    call: Callable[[], Any],
    device: torch.device,
    *,
    repeats: int,
    prepare: Callable[[], Any] | None = None,
) -> Timing:
    """Run something several times.

    Args:
        call: What is measured.
        device: Where it runs.
        repeats: Runs that count; two more come first.
        prepare: Called before each run, not measured.
    """
    times = []
    peak = None
    for number in range(repeats + 2):
        if prepare is not None:
            prepare()
        synchronise(device)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            before = torch.cuda.memory_allocated(device)
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            start.record()
            call()
            end.record()
            torch.cuda.synchronize(device)
            milliseconds = start.elapsed_time(end)
            peak = (torch.cuda.max_memory_allocated(device) - before) / 2**20
        else:
            begin = time.perf_counter()
            call()
            milliseconds = (time.perf_counter() - begin) * 1e3
        if number >= 2:
            times.append(milliseconds)
    return Timing(statistics.median(times), min(times), peak)


def measure_rates(device: torch.device, *, copy_bytes: int, side: int, repeats: int) -> Rates:
    """Measure the floors' rates.

    Args:
        device: Which.
        copy_bytes: Size of the tensor copied; well beyond the caches.
        side: Rows and columns of the matrices.
        repeats: Runs; the fastest counts.
    """
    copy_ms = _copy_ms(device, copy_bytes, repeats)
    matrix = torch.randn(side, side, device=device)

    def rate(a: torch.Tensor) -> float:
        timing = timed(lambda: a @ a, device, repeats=repeats)
        return 2 * side**3 / (timing.fastest_ms / 1e3)

    before = torch.backends.cuda.matmul.allow_tf32
    try:
        torch.backends.cuda.matmul.allow_tf32 = False
        strict, tf32 = rate(matrix), None
        if device.type == "cuda":
            torch.backends.cuda.matmul.allow_tf32 = True
            tf32 = rate(matrix)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
    return Rates(2 * copy_bytes / (copy_ms / 1e3), strict, tf32, rate(matrix.to(torch.bfloat16)))


def _copy_ms(device: torch.device, n_bytes: int, repeats: int) -> float:
    source = torch.zeros(n_bytes // 4, device=device)
    target = torch.empty_like(source)
    return timed(lambda: target.copy_(source), device, repeats=repeats).fastest_ms


def device_name(device: torch.device) -> str:
    """What the device calls itself."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    from learned_index.system.environment import cpu_model

    return f"{cpu_model()}, {torch.get_num_threads()} thread(s)"
