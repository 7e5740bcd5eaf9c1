"""What a measurement ran on: processor, packages, date."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from learned_index.system.threads import available_cpus

PACKAGES = (
    *("learned-index", "torch", "numpy", "scipy", "numba", "scikit-learn", "faiss-cpu"),
    *("transformers", "sentence-transformers"),
)
"""What the results of this package may depend on, whatever is measured."""
_VECTOR_INSTRUCTIONS = ("avx2", "fma", "avx512f", "avx512vnni")


def versions(more: Iterable[str] = ()) -> dict[str, str]:
    """Return the versions of Python, of :data:`PACKAGES` and of ``more``, where installed."""
    found = {"python": platform.python_version()}
    for name in (*PACKAGES, *more):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def describe_environment() -> dict[str, Any]:
    """Return date (UTC), platform, CPU model, usable CPUs, load and package versions."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "platform": platform.platform(),
        "cpu": cpu_model(),
        "instructions": instruction_sets(),
        "cpus": available_cpus(),
        "load_average": load_average(),
        "versions": versions(),
    }


def cpu_model() -> str:
    """Return the processor's name as the operating system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def instruction_sets() -> dict[str, Any]:
    """Return for which instructions each library computes in this process; bits depend on it.

    Returns:
        ``kernels``: the processor that Numba compiles for, and which of the vector instructions
        it may use; ``torch``: the branch of torch's own loops (MKL, which multiplies its matrices,
        chooses by the processor's maker and does not tell); ``blas``: kernels of each BLAS loaded.
    """
    import torch
    from numba.core.registry import cpu_target
    from threadpoolctl import threadpool_info

    # Numba keeps compiled kernels apart by the same three: triple, processor, features.
    _, name, features = cpu_target.target_context.codegen().magic_tuple()
    has = [word for word in _VECTOR_INSTRUCTIONS if f"+{word}" in features.split(",")]
    return {
        "kernels": " ".join([name, *has]),
        "torch": torch.backends.cpu.get_cpu_capability(),
        "mkl": bool(torch.backends.mkl.is_available()),  # type: ignore[no-untyped-call]
        "blas": sorted(
            f"{blas['prefix']} {blas['version']} {blas.get('architecture', '')}".strip()
            for blas in threadpool_info()
            if blas["user_api"] == "blas"
        ),
    }


def load_average() -> float | None:
    """Return the processes that ran or waited for a CPU in the last minute; None if unknown.

    More than a few tenths before the measurement begins mean that others disturb the timings.
    """
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None
