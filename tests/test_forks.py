"""Children forked after work on several threads compute as their parent does."""

from __future__ import annotations

import os
import pickle
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numba
import numpy as np
import pytest
import torch
from elias_cases import fitted, without_ranker
from elias_cases import queries as texts
from index_cases import QUICK, SMALL, planted

from learned_index import LearnedGraphIndex, SearchEngine
from learned_index.encoders.lexical.lsa import LSAEncoder
from learned_index.kernels.machine import forks

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
X, Y = planted()
SECONDS = 60


def in_child(work):
    """What a forked child returns; it is killed where it hangs."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, pickle.dumps(work()))
        finally:
            os._exit(0)
    os.close(writer)
    try:
        with os.fdopen(reader, "rb") as answer:
            assert select.select([answer], [], [], SECONDS)[0], "the child hangs"
            return pickle.loads(answer.read())
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def digest(arrays) -> list[bytes]:
    return [np.ascontiguousarray(array).tobytes() for array in arrays]


@pytest.fixture(scope="module")
def index():
    return LearnedGraphIndex(SMALL, training=QUICK).fit(X, Y)


@pytest.fixture(scope="module")
def model():
    return fitted()


@pytest.fixture(autouse=True)
def _two_threads():
    torch.set_num_threads(2)


def searches(kind, index, model):
    if kind == "index":
        return lambda: index.search(X[:100], 5)
    if kind == "engine":
        engine = index.to_engine()
        return lambda: engine.search(X[:100], 5)
    if kind == "without ranker":
        data = [f"{'bread oven' if i % 2 else 'rain wind'} {i}" for i in range(60)]
        labels = [[i % 2] for i in range(60)]
        alone = without_ranker(LSAEncoder(dim=4), training=QUICK).fit(data, labels)
        return lambda: alone.search(data, 2)
    whole = model if kind == "model" else model.to_engine()
    return lambda: whole.search(texts(), 5)


@pytest.mark.parametrize("kind", ["index", "engine", "model", "compiled", "without ranker"])
def test_a_forked_child_and_its_child_answer_as_the_parent(kind, index, model):
    search = searches(kind, index, model)
    torch.randn(2000, 500).exp_().sum()  # OpenMP's threads wait for work
    parent = digest(search())

    def work():
        answer = digest(search())
        threads = torch.get_num_threads()
        return answer, in_child(lambda: digest(search())), threads, digest(search())

    child, grandchild, threads, again = in_child(work)
    assert child == grandchild == again == parent
    assert threads == 2, "OpenMP works in the child: nothing is lowered"
    assert digest(search()) == parent, "the parent goes on"


def test_a_child_trains_as_its_parent(index):
    def train():
        fresh = LearnedGraphIndex(SMALL, training=QUICK).fit(X, Y)
        return digest(t.numpy() for _, t in sorted(fresh.state_dict().items()))

    parent = train()
    assert in_child(train) == parent


def test_a_fork_while_other_threads_search(index):
    engine = index.to_engine()
    right = [digest(engine.search(X, 5)), digest(index.search(X[:200], 5))]
    over = threading.Event()

    def keep_searching():
        while not over.is_set():
            engine.search(X, 5)
            index.search(X[:200], 5)

    others = [threading.Thread(target=keep_searching) for _ in range(3)]
    for other in others:
        other.start()
    try:
        for _ in range(10):
            answer = in_child(
                lambda: [digest(engine.search(X, 5)), digest(index.search(X[:200], 5))]
            )
            assert answer == right
    finally:
        over.set()
        for other in others:
            other.join()


def test_a_fork_waits_for_a_thread_that_compiles(index):
    index.search(X[:100], 5)
    began, done = threading.Event(), threading.Event()

    def compile_something():
        with forks.global_compiler_lock:
            began.set()
            time.sleep(0.3)
            done.set()

    other = threading.Thread(target=compile_something)
    other.start()
    began.wait()
    compiled = in_child(lambda: (done.is_set(), int(numba.njit(lambda x: x + 1)(1))))
    other.join()
    assert compiled == (True, 2)


def test_a_pool_that_is_being_made_locks_no_child(index):
    from learned_index.kernels.machine import parallel

    index.search(X[:100], 5)
    with parallel._pools_lock:
        in_child(lambda: digest(index.search(X[:100], 5)))


def test_without_openmp_that_pauses_a_child_uses_one_thread(index, monkeypatch):
    parent = digest(index.search(X[:100], 5))
    monkeypatch.setattr(forks, "pause_openmp", lambda: False)
    threads, answer = in_child(lambda: (torch.get_num_threads(), digest(index.search(X[:100], 5))))
    assert (threads, answer) == (1, parent)
    assert torch.get_num_threads() == 2


PROGRAM = """
import concurrent.futures, multiprocessing, os, sys
import numpy as np, torch
from learned_index import LearnedGraphIndex, SearchEngine
from torch.utils.data import DataLoader, Dataset

class Rows(Dataset):
    def __init__(self, model, queries): self.model, self.queries = model, queries
    def __len__(self): return len(self.queries)
    def __getitem__(self, row): return self.model.search(self.queries[row : row + 40], 5).ids

if __name__ == "__main__":
    torch.set_num_threads(2)
    queries = np.load(sys.argv[1] + "/queries.npy")
    engine = SearchEngine.from_pretrained(sys.argv[1] + "/engine")
    index = LearnedGraphIndex.from_pretrained(sys.argv[1] + "/index")
    for model in (engine, index):
        right = model.search(queries, 5).ids
        for method in sys.argv[2].split(","):
            context = multiprocessing.get_context(method)
            with concurrent.futures.ProcessPoolExecutor(2, context) as pool:
                for answer in pool.map(model.search, [queries] * 4, [5] * 4):
                    np.testing.assert_array_equal(answer.ids, right)
            np.testing.assert_array_equal(model.search(queries, 5).ids, right)  # sent, still here
            loader = DataLoader(
                Rows(model, queries), batch_size=None, num_workers=2,
                sampler=[0, 40], multiprocessing_context=method,
            )
            for first, ids in zip([0, 40], loader, strict=True):
                np.testing.assert_array_equal(ids, right[first : first + 40])
    child = os.fork()
    if child == 0:
        engine.search(queries, 5)
        sys.exit(7)  # normally, through all that is registered for the end of a process
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    print("right")
"""


@pytest.mark.parametrize(
    "methods", ["fork", pytest.param("spawn,forkserver", marks=pytest.mark.slow)]
)
def test_pools_and_data_loaders_of_a_program_search(index, tmp_path: Path, methods):
    index.save_pretrained(tmp_path / "index")
    index.to_engine().save_pretrained(tmp_path / "engine")
    np.save(tmp_path / "queries.npy", X[:80])
    (tmp_path / "program.py").write_text(PROGRAM)
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    with subprocess.Popen(
        [sys.executable, tmp_path / "program.py", tmp_path, methods],
        env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    ) as program:  # fmt: skip
        try:
            out, errors = program.communicate(timeout=250)
        except subprocess.TimeoutExpired:
            pytest.fail("the program hangs")
        finally:
            if program.poll() is None:
                os.killpg(program.pid, signal.SIGKILL)
    assert out == "right\n", errors


def test_an_engine_that_is_opened_prepares_for_forks(index, tmp_path):
    index.to_engine().save_pretrained(tmp_path / "engine")
    code = (
        "import sys; from learned_index import SearchEngine; "
        "from learned_index.kernels.machine import forks; assert not forks._registered; "
        "SearchEngine.from_pretrained(sys.argv[1]); assert forks._registered"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "engine"], check=True)
    assert isinstance(SearchEngine.from_pretrained(tmp_path / "engine"), SearchEngine)
