"""benchmarks/hostile: what a campaign counts, and a sample of each campaign."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.hostile.campaign import generator, judged, run_campaign
from learned_index.errors import DataFormatError

EXPECTED = {
    "good": "right",
    "bad": "clear error",
    "unclear": "traceback",
    "lie": "wrong",
    "bug": "traceback",
    "crash": "crash",
    "slow": "limits",
    "large": "limits",
}


def make_own_trial():
    def trial(rng, group, folder):
        def read():
            if group in ("bad", "unclear"):
                raise DataFormatError("the file is bad" if group == "bad" else "no")
            if group == "bug":
                raise RecursionError("too deep")
            if group == "crash":
                os.kill(os.getpid(), signal.SIGSEGV)
            if group == "slow":
                time.sleep(30)
            return bytearray(2**40) if group == "large" else group

        return judged(
            read,
            lambda value: None if value == "good" else "a lie",
            lambda error: "file" in str(error),
        )

    return trial


def reader_faults(n, seed, jobs):
    # Not above: the workers of the other test, which die often, would import torch each time.
    from benchmarks.hostile.readers import GROUPS, make_trial

    tally = run_campaign(make_trial, groups=GROUPS, n=n, seed=seed, jobs=jobs)
    assert sum(tally.counts.values()) == n
    for group in GROUPS:  # neither all refused nor all harmless
        assert tally.counts[group, "right"] > 0 and tally.counts[group, "clear error"] > 0
    return tally.faults


def test_damaged_data_folders():
    assert reader_faults(300, seed=7, jobs=1) == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_damaged_data_folders():
    assert reader_faults(50_000, seed=8, jobs=2) == []


def test_every_outcome_is_counted_and_dead_workers_are_replaced():
    tally = run_campaign(make_own_trial, groups=tuple(EXPECTED), n=16, jobs=2, seconds=0.5)
    assert tally.counts == dict.fromkeys(EXPECTED.items(), 2)
    assert sorted(fault.number for fault in tally.faults) == [*range(2, 8), *range(10, 16)]
    assert max(map(len, tally.table().splitlines())) <= 80


def test_a_number_gives_the_same_input_again():
    draws = {(s, n): generator(s, n).random() for s in (0, 1) for n in (0, 1)}
    assert len(set(draws.values())) == 4
    assert generator(1, 0).random() == draws[1, 0]
