"""What equal bytes rest on: alignment of what is multiplied, and nothing of a process's past."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import pkgutil
import subprocess
import sys
import textwrap
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
from learned_index.kernels.edges import cpu as edges
from learned_index.kernels.losses import cpu as losses
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


def test_loops_whose_sums_llvm_orders_write_into_no_other_array():
    """Else they are compiled twice, and which is run depends on where the arrays lie."""
    reordered = [k for k in kernels() if "reassoc" in (k.targetoptions.get("fastmath") or ())]
    assert len(reordered) > 10
    wrong = []
    for kernel in reordered:
        tree = ast.parse(textwrap.dedent(inspect.getsource(kernel.py_func)))
        for loop in (node for node in ast.walk(tree) if isinstance(node, ast.For)):
            nodes = [node for statement in loop.body for node in ast.walk(statement)]
            if any(isinstance(node, ast.For) for node in nodes):
                continue  # the innermost ones are vectorised
            sums = any(
                isinstance(n, ast.AugAssign) and isinstance(n.target, ast.Name) for n in nodes
            )
            arrays = [node for node in nodes if isinstance(node, ast.Subscript)]
            written = {ast.unparse(a.value) for a in arrays if isinstance(a.ctx, ast.Store)}
            read = {ast.unparse(a.value) for a in arrays if isinstance(a.ctx, ast.Load)}
            if sums and written and len(written | read) > 1:
                wrong.append(f"{kernel.py_func.__name__}: {ast.unparse(loop)}")
    assert wrong == []


@pytest.mark.parametrize("gap", [0, 1, 16, 40])
def test_arrays_that_lie_close_together_have_the_sums_of_others(gap):
    n = 30
    rng = np.random.default_rng(gap)

    def placed(apart: int, *arrays: np.ndarray) -> list[np.ndarray]:
        """Copies in one piece of memory, so many float32 from one another."""
        room, found, at = np.zeros(len(arrays) * (n + apart), np.float32), [], 0
        for array in arrays:
            found.append(room[at : at + n].view(array.dtype).reshape(1, n))
            found[-1][:] = array
            at += n + apart
        return found

    def results(apart: int) -> list[bytes]:
        logits, ids, strengths, weights = placed(apart, z, np.arange(n, dtype=np.int32), y, y)
        edges._forward_rows(0, 1, logits, ids, np.float32(3), strengths, weights)
        scores, grad, out = placed(apart, y, z, y)
        edges._backward_rows(0, 1, scores, grad, np.float32(3), out)
        logit, path, by_z, by_path = placed(apart, z, y, y, y)
        loss, one, many = np.zeros((1, 2)), np.ones(1, np.int64), np.array([n])
        losses._loss_rows(0, 1, logit, path, one, many, np.float32(1), loss, by_z, by_path)
        return [a.tobytes() for a in (strengths, weights, out, loss, by_z, by_path)]

    z, y = rng.normal(size=n).astype(np.float32), rng.random(n).astype(np.float32)
    assert results(gap) == results(1000)


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
