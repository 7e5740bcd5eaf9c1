"""Compiled parts of a training step against plain versions, and the benchmark that times them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from learned_index.training.batches import dropout_mask

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import training_step
from on_cpu.floors import Rates, Work
from on_cpu.instance import synthetic_stage
from on_cpu.parts import PARTS, timed_step

SMALL = {"labels": 400, "dim": 40, "points": 300, "batch": 16}


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.75])
def test_dropout_drops_its_share_of_every_lane_and_keeps_the_mean(rate):
    mask = dropout_mask(501, 203, rate, torch.Generator().manual_seed(3))
    assert mask.shape == (501, 203) and mask.dtype == torch.float32
    assert set(mask.unique().tolist()) <= {0.0, float(np.float32(1 / (1 - rate)))}
    flat = mask.reshape(-1)
    for lane in range(4):  # of a 64-bit draw
        dropped = float((flat[lane::4] == 0).double().mean())
        assert abs(dropped - rate) <= 4 * (rate * (1 - rate) / len(flat[lane::4])) ** 0.5
    again = dropout_mask(501, 203, rate, torch.Generator().manual_seed(3))
    assert torch.equal(mask, again)


def test_a_step_cut_into_parts_leaves_the_same_weights():
    stages = [synthetic_stage(**SMALL, shortlist_size=60, beam_width=4) for _ in range(2)]
    for _ in range(2):
        rows = stages[0].draw()
        whole = stages[0].step(rows)
        cut, clock, seen = timed_step(stages[1], rows)
        assert whole == cut
    assert set(clock.spent_ms) == set(PARTS)
    assert all(spent > 0 for spent in clock.spent_ms.values())
    assert seen.n_queries == SMALL["batch"] and 0 < seen.n_rows <= seen.n_pairs
    first, second = (stage.index.state_dict() for stage in stages)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_benchmark_writes_every_part_beside_its_floor(tmp_path, capsys):
    sizes = [f"--{name}={value}" for name, value in SMALL.items()]
    out = tmp_path / "new" / "step.json"
    arguments = [*sizes, "--shortlist=60", "--repeats=2", "--small", f"--out={out}"]
    assert training_step.main(arguments) == 0
    result = json.loads(out.read_text())
    assert [row["part"] for row in result["parts"]][:-1] == list(PARTS)
    assert result["floor_ms"] == pytest.approx(sum(row["floor_ms"] for row in result["parts"]))
    assert result["shape"]["labels"] == 400 and result["clock"] == "CPU"
    table = capsys.readouterr().out
    assert all(f"| {part} |" in table for part in PARTS)
    assert "| **step** |" in table


def test_a_floor_is_the_larger_of_bytes_and_arithmetic():
    rates = Rates(
        bytes_per_s=1e9, products_per_s=1e10, multiply_adds_per_s=1e9,
        near_multiply_adds_per_s=1e9,
    )  # fmt: skip
    assert Work(2e6).floor_ms(rates) == pytest.approx(2.0)
    assert Work(2e6, products=5e7).floor_ms(rates) == pytest.approx(5.0)
    assert Work(2e6, products=5e7, operations=1e6).floor_ms(rates) == pytest.approx(6.0)
