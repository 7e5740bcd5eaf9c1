"""benchmarks/hostile/kills.py: few kills, nothing lost, nothing left."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_nothing_is_lost_or_left(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.hostile.kills", "--n", "25", "--folder", tmp_path],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = {line[:24].strip(): line[24:].split() for line in done.stdout.splitlines()[1:-1]}
    assert len(rows) == 8 and rows["all"][:3] == ["25", "25", "0"]
    assert all(row[4] == "0" for row in rows.values())
    assert max(map(len, done.stdout.splitlines())) <= 80
