"""Two gloo processes train what one process trains, up to rounding."""

from __future__ import annotations

import pytest
import torch
from children import forked_ranks
from training_worker import TRAININGS, early, main, train

from learned_index.persistence import load_arrays
from learned_index.training.processes import Processes, join_processes, own_device

# The processes add up the same gradients in another order. A float32 sum differs in its last
# bits (1e-7 of its size), and Adam divides a gradient by its own size, so a gradient near zero
# makes a visible step of it. One step at these rates is 0.02 and there are some thirty: 1e-4 is far
# below a step, and above what rounding gave here (3e-6 and less).
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def alone():
    """What one process trains."""
    return {name: train(name) for name in TRAININGS} | {"early": early()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, alone):  # after it: the children find all kernels loaded
    folder = tmp_path_factory.mktemp("processes")
    with forked_ranks(lambda: main(folder)) as children:
        for child in children:
            _, errors = child.communicate(timeout=240)
            assert child.returncode == 0, errors
    return folder


def read(folder, name, rank):
    arrays = load_arrays(folder / f"{name}-{rank}.safetensors")
    return {key: torch.from_numpy(array) for key, array in arrays.items()}


@pytest.mark.parametrize("name", [*TRAININGS, "early"])
def test_two_processes_equal_one_up_to_rounding(folder, alone, name):
    one, two = alone[name], read(folder, name, 0)
    assert one.keys() == two.keys()
    worst = {
        key: float((tensor - two[key].reshape(tensor.shape)).abs().max())
        for key, tensor in one.items()
    }
    assert max(worst.values()) < TOLERANCE, worst


@pytest.mark.parametrize("name", [*TRAININGS, "early", "resumed"])
def test_both_processes_end_with_the_same_bits(folder, name):
    first, second = read(folder, name, 0), read(folder, name, 1)
    assert all(torch.equal(tensor, second[key]) for key, tensor in first.items())


def test_a_stop_that_one_process_is_asked_for_is_resumed_bit_equal(folder):
    unbroken, resumed = read(folder, "late", 0), read(folder, "resumed", 0)
    assert all(torch.equal(tensor, resumed[key]) for key, tensor in unbroken.items())


def test_only_process_0_reports_and_saves(folder):
    assert "stage 2" in (folder / "events-0").read_text()
    assert (folder / "events-1").read_text() == ""
    assert len(list((folder / "state").iterdir())) == 1


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("n", [0, 1, 5, 28])
def test_parts_cover_each_row_once(n, count):
    rows = list(range(n))
    parts = [rows[Processes(rank, count, "gloo").part(n)] for rank in range(count)]
    assert [row for part in parts for row in part] == rows
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_one_process_is_left_alone(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    alone = join_processes(torch.device("cpu"))
    assert alone == Processes()
    tensor = torch.ones(3)
    assert alone.sum_(tensor) is tensor
    assert not torch.distributed.is_initialized()
    assert own_device(torch.device("cpu")) == torch.device("cpu")
