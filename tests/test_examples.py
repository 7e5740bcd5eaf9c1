"""The examples run as they stand."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

from children import forked

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_training_in_a_plain_loop_learns_and_stage_two_helps():
    program = str(EXAMPLES / "train_in_your_loop.py")
    with forked(lambda: runpy.run_path(program, run_name="__main__")) as child:
        out, errors = child.communicate()
        assert child.returncode == 0, errors
    recalls = [float(value) for value in re.findall(r"recall@10 ([\d.]+) %", out)]
    assert len(recalls) == 8
    assert recalls[3] > 60
    assert recalls[-1] > recalls[3] + 10
