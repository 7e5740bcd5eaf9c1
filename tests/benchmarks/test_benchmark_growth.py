"""benchmarks/growth.py: rows of every variant, exponents, and sizes that are not run again."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from learned_index.system.timing import single_latencies


@pytest.fixture(scope="module")
def growth():
    path = Path(__file__).parents[2] / "benchmarks" / "growth.py"
    spec = importlib.util.spec_from_file_location("growth_benchmark", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def few_latencies(search_one, queries, **_):
    return single_latencies(search_one, queries, warmup=1, at_least=5, at_most=5)


def test_sizes_are_measured_once_and_summed_up(growth, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(growth, "_QUERIES", 60)
    monkeypatch.setattr(growth, "single_latencies", few_latencies)
    common = ["growth.py", "--out", str(tmp_path), "--labels", "400,800", "--dim", "8"]
    for size in ("400", "800"):
        monkeypatch.setattr(sys, "argv", [*common, "--one", size])
        growth.main()
    # Everything is there, so no process may be started for a size.
    monkeypatch.setattr(growth.subprocess, "run", None)
    monkeypatch.setattr(sys, "argv", common)
    growth.main()
    summary = json.loads((tmp_path / "growth.json").read_text())
    for result, n_labels in zip(summary["sizes"], (400, 800), strict=True):
        assert result["n_labels"] == n_labels
        assert set(result["variants"]) == set(growth.VARIANTS)
        for name, row in result["variants"].items():
            assert 0 < row["r10"] <= row["r100"] <= 1
            assert (row["n_regions"] is not None) == name.startswith("deep")
            assert row["latency_ms_p50"] > 0
    flat = summary["sizes"][1]["variants"]["flat"]
    assert flat["n_clusters"] == 20
    assert flat["routing_bytes"] == 20 * (64 + 4)  # codes of 8 bits, padded, and a scale
    assert summary["exponents"]["flat"]["routing_bytes"] == pytest.approx(1.0)
    assert "| 800 | deep-fine | 80 |" in capsys.readouterr().out
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")


def test_exact_search_and_recall_are_those_of_plain_numpy(growth, monkeypatch):
    monkeypatch.setattr(growth, "_EXACT_BLOCK", 70)
    instance = growth.asymmetric_instance(250, 8, n_points=300, n_queries=20, seed=3)
    scores = instance.test_vectors_QD @ instance.label_weights_LD.T + instance.label_bias_L
    expected = np.argsort(-scores, axis=1)[:, :100]
    found = growth.exact_search(instance)
    assert all(set(a) == set(b) for a, b in zip(found, expected, strict=True))
    assert growth.overlap(expected[:, :50], found) == pytest.approx(0.5)
    truth = instance.test_labels_QL
    hits = [np.isin(truth[b].indices, expected[b]).sum() / truth[b].nnz for b in range(20)]
    assert growth.recall(found, truth) == pytest.approx(np.mean(hits))
