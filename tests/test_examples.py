"""The examples run as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_training_in_a_plain_loop_learns_and_stage_two_helps():
    run = subprocess.run(
        [sys.executable, str(EXAMPLES / "train_in_your_loop.py")],
        check=True,
        capture_output=True,
        text=True,
    )
    recalls = [float(value) for value in re.findall(r"recall@10 ([\d.]+) %", run.stdout)]
    assert len(recalls) == 8
    assert recalls[3] > 60
    assert recalls[-1] > recalls[3] + 10
