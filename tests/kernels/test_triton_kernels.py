"""The Triton kernels: in the interpreter on any machine, compiled without a GPU, and on a GPU.

Each way needs a process of its own: Triton decides when it is imported whether it interprets.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from learned_index.errors import InputError
from learned_index.kernels.classify import score_labels
from learned_index.kernels.machine import dispatch
from learned_index.kernels.machine.dispatch import kernel_implementation
from learned_index.kernels.walk import explore

HERE = Path(__file__).resolve().parents[1]


def own_process(test):
    """A whole run of tests or compilations, on a busy machine."""
    return pytest.mark.timeout(1200)(pytest.mark.cpu_limit(120)(test))


needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None,
    reason="Triton is not installed (pip install triton; Linux only)",
)


def run(tmp_path, *command, interpreted=False):
    environment = {
        **os.environ,
        "TRITON_CACHE_DIR": str(tmp_path / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    environment.pop("TRITON_INTERPRET", None)
    if interpreted:
        environment["TRITON_INTERPRET"] = "1"
    return subprocess.run(
        [sys.executable, *command], cwd=HERE.parent, env=environment, capture_output=True,
        text=True,
    )  # fmt: skip


def run_cases(tmp_path, *, interpreted):
    done = run(
        tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(HERE / "triton_cases.py"),
        interpreted=interpreted,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout


@needs_triton
@own_process
def test_kernels_equal_plain_torch_in_the_interpreter(tmp_path):
    run_cases(tmp_path, interpreted=True)


@pytest.mark.gpu
@needs_triton
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is here")
@own_process
def test_kernels_equal_plain_torch_on_a_gpu(tmp_path):
    run_cases(tmp_path, interpreted=False)


@needs_triton
@pytest.mark.parametrize("architecture", [pytest.param(80, marks=pytest.mark.slow), 90])
@own_process
def test_every_kernel_compiles_without_spilling_registers(tmp_path, architecture):
    done = run(tmp_path, str(HERE / "triton_compile.py"), str(architecture))
    assert done.returncode == 0, done.stderr[-4000:]
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    assert len({r["kernel"] for r in reports}) >= 11
    for report in reports:
        assert report["machine_code"] > 0
        assert report["spilled"] == 0, report
        assert report["shared"] <= 48 * 1024, report


def scoring():
    x, w = torch.ones(1, 2), torch.ones(3, 2)
    return x, w, torch.zeros(3), torch.tensor([[0, 2]])


@needs_triton
def test_triton_asked_for_on_the_cpu_says_where_it_runs(tmp_path):
    with pytest.raises(InputError, match=r"run on CUDA, the tensors are on cpu"):
        score_labels(*scoring(), implementation="triton")


def test_the_context_decides_what_auto_means_and_ends():
    cpu = torch.device("cpu")
    assert dispatch.choose(cpu) == "numba"
    with kernel_implementation("torch"):
        assert dispatch.choose(cpu) == "torch"
        assert dispatch.choose(cpu, "numba") == "numba"
    assert dispatch.choose(cpu) == "numba"


def test_unknown_and_impossible_versions_are_refused():
    with pytest.raises(InputError, match="'cuda-kernels'"):
        score_labels(*scoring(), implementation="cuda-kernels")
    with pytest.raises(InputError, match="run on the CPU"):
        dispatch.choose(torch.device("cuda"), "numba")
    empty = torch.empty(0, 1, dtype=torch.long)
    with pytest.raises(InputError, match="there are 'auto'"):
        explore(empty, empty.float(), torch.zeros(1, 1, dtype=torch.int32), torch.zeros(1, 1),
                n_labels=1, shortlist_size=1, implementation="fast")  # fmt: skip


def test_a_gpu_without_triton_falls_back_and_says_so_once(monkeypatch, caplog):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    dispatch._has_triton.cache_clear()
    try:
        with caplog.at_level(logging.WARNING):
            assert dispatch.choose(torch.device("cuda")) == "torch"
            assert dispatch.choose(torch.device("cuda")) == "torch"
        assert [r.message.count("pip install triton") for r in caplog.records] == [1]
        with pytest.raises(InputError, match="pip install triton"):
            dispatch.choose(torch.device("cuda"), "triton")
    finally:
        dispatch._has_triton.cache_clear()
