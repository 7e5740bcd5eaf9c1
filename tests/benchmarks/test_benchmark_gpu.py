"""The GPU benchmark, on the CPU and small."""

import json
import math
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import gpu
from on_device.data import SMALL, Shape, make_index
from on_device.measure import Rates, timed
from on_device.operations import Operation, run_operation

CPU = torch.device("cpu")


def test_it_measures_every_section_and_writes_a_table(tmp_path, capsys):
    assert gpu.main(["--out", str(tmp_path), "--device", "cpu", "--small", "--repeats", "1"]) == 0
    report = json.loads((tmp_path / "gpu.json").read_text())
    assert report["device"].endswith("thread(s)")
    for section in gpu.SECTIONS:
        rows = report[section]
        assert {row["implementation"] for row in rows} == {"numba", "torch"}
        for row in rows:
            assert all(v > 0 for v in row.values() if isinstance(v, float))
    table = (tmp_path / "gpu.md").read_text()
    assert table in capsys.readouterr().out
    for operation in {row["operation"] for row in report["operations"]}:
        assert f"| {operation} | torch |" in table or "fused" in operation
    hours = report["training"][0]
    steps = 60 * math.ceil(SMALL.n_points / SMALL.batch)
    assert hours["hours"] == pytest.approx(steps * hours["ms_per_step"] / 3.6e6)


def test_arguments_that_do_not_fit_are_refused(tmp_path, capsys, monkeypatch):
    out = ["--out", str(tmp_path)]
    assert gpu.main([*out, "--device", "cpu", "--sections", "search,nothing"]) == 2
    assert "'nothing'" in capsys.readouterr().err
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main(out) == 2
    assert "no CUDA device" in capsys.readouterr().err


def test_a_floor_is_the_larger_of_bytes_and_operations():
    rates = Rates(bytes_per_s=1e9, flops_per_s=1e10, tf32_flops_per_s=None, bf16_flops_per_s=1.0)

    def floor(n_bytes, flops):
        operation = Operation("x", n_bytes, flops, lambda name: (lambda: None, None))
        return {row["floor_ms"] for row in run_operation(operation, CPU, rates, repeats=1)}

    assert floor(2e6, 0) == {2.0}
    assert floor(2e6, 5e7) == {5.0}


def test_only_runs_that_count_are_timed_and_each_is_prepared():
    calls = []
    timed(lambda: calls.append("run"), CPU, repeats=3, prepare=lambda: calls.append("prepare"))
    assert calls == ["prepare", "run"] * 5


@pytest.mark.parametrize("shape", [SMALL, Shape(n_labels=130, n_clusters=7, dim=4)])
def test_the_index_has_its_shape_and_reaches_every_label(shape):
    labels = make_index(shape, seed=0, device=CPU).graph.edge_labels_CM
    assert labels[labels >= 0].unique().tolist() == list(range(shape.n_labels))
    for row in labels.tolist():
        found = [label for label in row if label >= 0]
        assert len(found) == len(set(found))
