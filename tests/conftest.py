"""Small data sets and models built in code, shared by the tests."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

# Tests are many and small: threads would fight over the cores. Set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch

from learned_index.data import Dataset, LabelVocabulary, labels_from_lists, write_dataset

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
