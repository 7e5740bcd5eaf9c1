"""Train an index on your own embeddings, and on your own texts.

Run: python examples/own_embeddings.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from learned_index import ELIAS, LearnedGraphIndex, TrainingConfig
from learned_index.encoders.lexical.lsa import LSAEncoder


def with_vectors(directory: Path) -> None:
    """The index alone: vectors and label ids in, label ids out."""
    rng = np.random.default_rng(0)
    n_labels, dim = 2_000, 64
    # Here goes what your encoder makes; a memory-mapped .npy file is read in pieces.
    centres = rng.normal(size=(n_labels, dim)).astype(np.float32)
    labels = [[i % n_labels, (7 * i) % n_labels] for i in range(12_000)]
    vectors = np.stack([centres[ids].mean(axis=0) for ids in labels])
    vectors += rng.normal(scale=0.3, size=vectors.shape).astype(np.float32)

    index = LearnedGraphIndex(training=TrainingConfig(seed=1)).fit(vectors[:-5], labels[:-5])
    found = index.search(vectors[-5:], k=3)
    for ids, scores, truth in zip(found.ids, found.scores, labels[-5:], strict=True):
        print("true", truth, " found", ids.tolist(), " scores", np.round(scores, 3).tolist())

    index.save_pretrained(directory / "index")
    again = LearnedGraphIndex.from_pretrained(directory / "index")
    assert (again.search(vectors[-5:], k=3).ids == found.ids).all()


def with_texts(directory: Path) -> None:
    """Encoder, index and label names as one model: texts in, names out."""
    recipes = {
        "bread": ["knead the dough and let the yeast rise", "bake the loaf until brown"],
        "soup": ["simmer the broth with onions", "stir the hot broth and add salt"],
        "salad": ["wash the lettuce and slice tomatoes", "toss the leaves with oil and vinegar"],
    }
    texts = [text for known in recipes.values() for text in known] * 20
    labels = [name for name, known in recipes.items() for _ in known] * 20
    model = ELIAS(LSAEncoder(dim=8), ranker="none").fit(texts, labels)
    model.save_pretrained(directory / "recipes")
    questions = ["how long does dough rise", "slice a tomato"]
    answers = ELIAS.from_pretrained(directory / "recipes").predict(questions, k=1)
    for question, ((name, score),) in zip(questions, answers, strict=True):
        print(f"{question!r} -> {name} ({score:.2f})")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        with_vectors(Path(folder))
        with_texts(Path(folder))
