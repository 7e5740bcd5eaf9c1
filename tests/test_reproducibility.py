"""What equal bytes rest on: alignment of what is multiplied, and nothing of a process's past."""

from __future__ import annotations

import importlib
import os
import pkgutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from index_cases import QUICK, SMALL, D, planted
from numba.core.dispatcher import Dispatcher
from torch.utils._python_dispatch import TorchDispatchMode

import learned_index.kernels
from learned_index import LearnedGraphIndex
from learned_index.encoders.lexical.bow import BagOfWordsEncoder
from learned_index.index.fit import fit_end_to_end
from learned_index.kernels.machine.byte_dots import PORTABLE

X, Y = planted()
PRODUCTS = {"mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "dot"}


class Operands(TorchDispatchMode):
    """Collects products of float matrices whose operands do not begin at a cache line."""

    def __init__(self):
        super().__init__()
        self.seen, self.bad = set(), []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        if name in PRODUCTS:
            self.seen.add(name)
            for tensor in (a for a in args if isinstance(a, torch.Tensor) and a.numel()):
                if tensor.data_ptr() % 64:
                    self.bad.append((name, tuple(tensor.shape), tensor.data_ptr() % 64))
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("kind", ["flat", "deep", "encoder"])
def test_what_training_multiplies_begins_at_a_cache_line(kind):
    # Some BLAS add in another order where an operand lies otherwise. Odd holes in the heap first.
    held = [np.empty(int(n), np.uint8) for n in np.random.default_rng(0).integers(1, 9000, 3000)]
    del held[::2]
    config = replace(SMALL, hierarchy="deep", n_regions=4) if kind == "deep" else SMALL
    index = LearnedGraphIndex(config, training=QUICK)
    with Operands() as operands:
        if kind == "encoder":
            texts = [" ".join(f"w{label}" for label in row.indices) for row in Y]
            fit_end_to_end(index, BagOfWordsEncoder(D).fit(texts), texts, Y)
        else:
            index.fit(X, Y)
    assert "mm" in operands.seen
    assert operands.bad == []


def kernels() -> list[Dispatcher]:
    package = learned_index.kernels
    names = [m.name for m in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    on_gpu = (".cuda", ".launch")  # they import Triton
    modules = [importlib.import_module(name) for name in names if not name.endswith(on_gpu)]
    found = {id(v): v for m in modules for v in vars(m).values() if isinstance(v, Dispatcher)}
    return list(found.values())


def test_kernels_whose_sums_llvm_orders_have_no_copies():
    """Each compiled caller holds a copy of what it calls, optimised once more and so, where floats
    may be reordered, with other sums; which copy runs depended on what was loaded first."""
    calls = {
        kernel: [
            callee
            for name in kernel.py_func.__code__.co_names
            if isinstance(callee := kernel.py_func.__globals__.get(name), Dispatcher)
        ]
        for kernel in kernels()
    }
    reordered = {k for k in calls if k.targetoptions.get("fastmath")}
    reordered |= {k for k in calls if k.py_func.__module__.endswith(".gathered")}  # by its flags
    while more := {k for k in calls if reordered & set(calls[k])} - reordered:
        reordered |= more
    called = {callee for callees in calls.values() for callee in callees}
    assert len(reordered & called) > 20
    names = {
        f"{k.py_func.__module__}.{k.py_func.__name__}"
        for k in reordered & called
        if not k.targetoptions.get("forceinline")
    }
    assert names == set(), "they need forceinline=True"


PROGRAM = """
import hashlib, sys
import numpy as np, torch
sys.path.insert(0, sys.argv[1])
from index_cases import QUICK, SMALL, planted
from learned_index import LearnedGraphIndex
from learned_index.encoders.lexical.lsa import LSAEncoder
torch.set_num_threads(1)
X, Y = planted()
texts = [" ".join(f"w{label} u{label % 7}" for label in row.indices) for row in Y]
seen = set()
for run in range(int(sys.argv[2])):
    rng = np.random.default_rng([run, int(sys.argv[3])])
    held = [np.full(int(n), run, np.uint8) for n in rng.integers(1, 60_000, 3000)]
    del held[::2]
    encoder = LSAEncoder(dim=20, word_ngrams=1).fit(texts)
    encoded = encoder.encode(texts)
    shift = run % 16  # at any address that float32 may have
    vectors = np.empty(encoded.size + shift, np.float32)[shift:].reshape(encoded.shape)
    vectors[:] = encoded
    index = LearnedGraphIndex(SMALL, training=QUICK).fit(vectors, Y)
    engine = index.to_engine()
    arrays = [*(t.numpy() for _, t in sorted(index.state_dict().items()))]
    arrays += [encoder.components_, vectors, *engine.arrays.named().values()]
    seen.add(hashlib.sha256(b"".join(a.tobytes() for a in arrays)).hexdigest())
print(*seen)
"""


def digests(runs: int, number: int, **environment: str) -> set[str]:
    """Digests of models made in a fresh process."""
    tests = str(Path(__file__).parent)
    command = [sys.executable, "-c", PROGRAM, tests, str(runs), str(number)]
    variables = os.environ | {"PYTHONHASHSEED": str(number), "OMP_NUM_THREADS": "1"} | environment
    done = subprocess.run(command, env=variables, check=True, stdout=subprocess.PIPE, text=True)
    return set(done.stdout.split())


def test_fresh_processes_and_odd_memory_give_equal_bytes(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["-c", str(Path(__file__).parent), "2", "2"])
    exec(PROGRAM, {})  # here: a process that has done much already
    here = set(capsys.readouterr().out.split())
    assert here and len(here | digests(2, 1, MALLOC_PERTURB_="60")) == 1


@pytest.mark.slow
@pytest.mark.parametrize("path", ["native", "portable"])
def test_kernels_just_compiled_and_kernels_from_the_cache_give_equal_bytes(path, tmp_path):
    environment = {"NUMBA_CACHE_DIR": str(tmp_path)} | (PORTABLE if path == "portable" else {})
    cold, warm = (digests(1, number, **environment) for number in (1, 2))
    assert cold == warm


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_fifty_runs_beside_other_load_give_equal_bytes():
    busy = [
        subprocess.Popen([sys.executable, "-c", "while True: sum(range(10**6))"])
        for _ in range(2 * (os.cpu_count() or 1))
    ]
    try:
        # Kernels of processors without AVX-512 wherever a variable chooses them, and the others.
        avx2 = PORTABLE | {
            "OPENBLAS_CORETYPE": "Haswell", "MKL_ENABLE_INSTRUCTIONS": "AVX2",
            "ATEN_CPU_CAPABILITY": "avx2", "DNNL_MAX_CPU_ISA": "AVX2",
        }  # fmt: skip
        for path in ({}, avx2):
            assert len(set().union(*(digests(10, number, **path) for number in range(5)))) == 1
    finally:
        for process in busy:
            process.kill()
        for process in busy:
            process.wait()
