"""Small data sets and models built in code, shared by the tests."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# ruff: noqa: E402  (the environment must be set before torch and Numba are imported)
# Tests are many and small: threads would fight over the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A worker of pytest-xdist has it; commands that write to no terminal choose their own width.
os.environ.pop("COLUMNS", None)
WORKER = os.environ.get("PYTEST_XDIST_WORKER")
if WORKER:  # before Numba makes the cache of any kernel
    os.environ.setdefault("NUMBA_CACHE_DIR", str(ROOT / ".pytest_cache" / "numba"))
    from kernel_cache import share_numba_cache

    share_numba_cache()

import numpy as np
import pytest
import torch

from learned_index.data import Dataset, LabelVocabulary, labels_from_lists, write_dataset

N_THREADS = torch.get_num_threads()
LONGEST = (
    "test_triton_kernels.py",
    "test_cli_train_model.py",
    "test_learned_graph_index.py",
    "test_index_saving.py",
    "test_elias_saving.py",
    "test_benchmark_engine.py",
    "test_engine.py",
    "test_cli_train_index.py",
    "test_reproduction.py",
    "test_training_processes.py",
    "test_training_checkpoint.py",
    "test_readme.py",
    "test_examples.py",
    "test_compare_command.py",
)

TOPICS = {
    "algebra": "matrix vector inverse determinant eigenvalue linear solve rank",
    "signal": "filter noise frequency smooth wave sample spectrum phase",
    "sorting": "sort order list search binary insert merge quick",
    "weather": "rain wind cloud storm sun snow forecast temperature",
    "cooking": "bread oven salt flour knead bake yeast butter",
    "music": "note chord melody rhythm piano scale tempo string",
}
VARIANTS = ("basics", "advanced", "history", "größe")
"""Each topic has one label for itself and one for each variant."""


def tiny_vocabulary() -> LabelVocabulary:
    """30 labels: topics and topic/variant pairs, some without a text."""
    keys, texts = [], []
    for topic in TOPICS:
        keys.append(topic)
        texts.append(topic.capitalize())
        for variant in VARIANTS:
            keys.append(f"{topic}/{variant}")
            texts.append("" if variant == "history" else f"{topic.capitalize()}: {variant}")
    return LabelVocabulary(keys, texts)


def tiny_dataset(split: str, n_points: int, *, seed: int) -> Dataset:
    """Texts of five topic words and a variant's name; labels are the topic and the pair."""
    rng = np.random.default_rng(seed)
    topics = list(TOPICS)
    texts, labels = [], []
    for _ in range(n_points):
        topic = int(rng.integers(len(topics)))
        variant = int(rng.integers(len(VARIANTS)))
        words = rng.choice(TOPICS[topics[topic]].split(), size=5)
        texts.append(f"{' '.join(words)} {VARIANTS[variant]}")
        first = topic * (1 + len(VARIANTS))
        labels.append([first, first + 1 + variant])
    vocabulary = tiny_vocabulary()
    return Dataset(
        split=split,  # type: ignore[arg-type]
        labels=labels_from_lists(labels, len(vocabulary)),
        vocabulary=vocabulary,
        texts=texts,
    )


@pytest.fixture(scope="session")
def text_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with 300 training, 40 dev and 40 test texts over 30 labels."""
    folder = tmp_path_factory.mktemp("data") / "tiny"
    splits = [
        tiny_dataset("train", 300, seed=0),
        tiny_dataset("dev", 40, seed=1),
        tiny_dataset("test", 40, seed=2),
    ]
    write_dataset(folder, splits, format_name="text")
    return folder


@pytest.fixture(scope="session")
def text_model(text_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model of ``li train-index`` over the texts, its report beside it; seed 1."""
    from cli_cases import QUICK, ok

    out = tmp_path_factory.mktemp("cli") / "model"
    ok("train-index", "--data", text_folder, "--out", out, "--seed", 1, *QUICK)
    return out


@pytest.fixture(scope="session")
def calibrated_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model with ranker, final ranker, calibration and best thresholds."""
    from elias_cases import finally_ranked

    out = tmp_path_factory.mktemp("calibrated") / "model"
    finally_ranked("linear").save_pretrained(out)
    return out


@pytest.fixture(autouse=True)
def _commands_show_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for users: no traceback, whatever the developer's environment says."""
    monkeypatch.delenv("LI_TRACEBACK", raising=False)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Several processes begin with the modules that take longest, so that they end together."""
    if not WORKER:
        return
    rank = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(LONGEST)))


@pytest.fixture(autouse=True)
def _threads_are_those_of_the_start():
    """A command sets the number of threads of its process, which here is that of all tests."""
    use_threads_of_start()
    yield
    use_threads_of_start()


def use_threads_of_start() -> None:
    if torch.get_num_threads() != N_THREADS:
        from threadpoolctl import threadpool_limits

        torch.set_num_threads(N_THREADS)
        threadpool_limits(limits=N_THREADS)


@pytest.fixture
def with_threads():
    """Context manager that sets the thread count and puts the old one back."""

    @contextlib.contextmanager
    def context(n):
        before = torch.get_num_threads()
        torch.set_num_threads(n)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    return context
