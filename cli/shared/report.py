"""What a run cost and what it ran on, for ``*.report.json`` files."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from learned_index.persistence import atomic_file, write_json

PACKAGES = (
    "learned-index", "torch", "numpy", "scipy", "numba", "scikit-learn", "faiss-cpu",
    "transformers", "sentence-transformers",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that influence results."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def peak_rss_mb() -> float | None:
    """Largest resident memory of this process so far, in MiB; None where it is unknown."""
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def report_path(model: Path) -> Path:
    """Return the report's path: beside the model, because the model must not depend on timing."""
    return model.with_name(model.name + ".report.json")


def write_report(model: Path, values: dict[str, Any]) -> Path:
    """Write the report of a training run beside ``model``; it appears when it is whole.

    It tells the processor and its instructions, on which the model's bytes depend.
    """
    from learned_index.system.environment import cpu_model, instruction_sets

    path = report_path(model)
    machine = {"cpu": cpu_model(), "instructions": instruction_sets()}
    with atomic_file(path) as temporary:
        write_json(temporary, values | machine)
    return path
