"""What a run cost and what it ran on, for ``*.report.json`` files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from learned_index.persistence import atomic_file, write_json
from learned_index.system.environment import cpu_model, instruction_sets


def report_path(model: Path) -> Path:
    """Return the report's path: beside the model, because the model must not depend on timing."""
    return model.with_name(model.name + ".report.json")


def write_report(model: Path, values: dict[str, Any]) -> Path:
    """Write the report of a training run beside ``model``; it appears when it is whole.

    It tells the processor and its instructions, on which the model's bytes depend.
    """
    path = report_path(model)
    machine = {"cpu": cpu_model(), "instructions": instruction_sets()}
    with atomic_file(path) as temporary:
        write_json(temporary, values | machine)
    return path
