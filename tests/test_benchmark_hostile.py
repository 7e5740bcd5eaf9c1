"""benchmarks/hostile: what a campaign counts, and a sample of each campaign."""

import os
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.hostile.campaign import judged, run_campaign
from learned_index.errors import DataFormatError


def make_trial():
    def trial(rng, group, folder):
        kind = rng.choice(["good", "bad", "unclear", "lie", "bug", "crash", "slow", "large"])
        if group == "harmless":
            kind = "good"

        def read():
            if kind in ("bad", "unclear"):
                raise DataFormatError("the file is bad" if kind == "bad" else "no")
            if kind == "bug":
                raise RecursionError("too deep")
            if kind == "crash":
                os.kill(os.getpid(), signal.SIGSEGV)
            if kind == "slow":
                time.sleep(30)
            return bytearray(2**40) if kind == "large" else kind

        return judged(
            read,
            lambda value: None if value == "good" else "a lie",
            lambda error: "file" in str(error),
        )

    return trial


def test_every_outcome_is_counted_and_dead_workers_are_replaced():
    tally = run_campaign(make_trial, groups=("harmless", "any"), n=60, seed=1, jobs=2, seconds=0.3)
    assert sum(tally.counts.values()) == 60
    assert tally.counts["harmless", "right"] == 30
    seen = {outcome for group, outcome in tally.counts if group == "any"}
    assert seen == {"right", "clear error", "wrong", "traceback", "crash", "limits"}
    again = run_campaign(make_trial, groups=("harmless", "any"), n=60, seed=1, seconds=0.3)
    assert again.counts == tally.counts
    assert max(map(len, tally.table().splitlines())) <= 80
    assert {fault.number for fault in tally.faults} == {fault.number for fault in again.faults}
