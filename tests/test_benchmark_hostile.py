"""benchmarks/hostile: what a campaign counts, and a sample of each campaign."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.hostile.campaign import judged, run_campaign
from benchmarks.hostile.readers import GROUPS
from benchmarks.hostile.readers import make_trial as make_reader_trial
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


def reader_faults(n, seed, jobs):
    tally = run_campaign(make_reader_trial, groups=GROUPS, n=n, seed=seed, jobs=jobs)
    assert sum(tally.counts.values()) == n
    for group in GROUPS:  # neither all refused nor all harmless
        assert tally.counts[group, "right"] > 0 and tally.counts[group, "clear error"] > 0
    return tally.faults


def test_damaged_data_folders():
    assert reader_faults(480, seed=7, jobs=1) == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_damaged_data_folders():
    assert reader_faults(50_000, seed=8, jobs=2) == []


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
