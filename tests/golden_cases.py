"""Tiny models of fixed data and seeds, and what they are asked: shared by the golden tests.

Everything that calls the package stands in this module, so that a change of its methods' names is
followed here once. The stored files change only when answers are meant to change.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from learned_index import EngineConfig, IndexConfig, LearnedGraphIndex, SearchEngine, TrainingConfig
from learned_index.data import LabelVocabulary
from learned_index.elias.config import EliasConfig
from learned_index.elias.model import ELIAS
from learned_index.encoders import LSAEncoder
from learned_index.ranking.config import RankerConfig

FOLDER = Path(__file__).resolve().parent / "golden"
K = 5
GAP = 1e-4
"""Neighbouring scores of a stored answer differ by more, also the last one from the next."""

N_LABELS, DIM = 96, 16
TOPICS = {
    "algebra": "matrix vector inverse rank",
    "signal": "filter noise smooth wave",
    "sorting": "sort list search binary",
    "weather": "rain wind storm snow",
    "cooking": "bread oven flour yeast",
    "music": "chord melody rhythm piano",
}
VARIANTS = ("basics", "advanced", "history", "größe")


class VectorData(NamedTuple):
    """Points, their labels, queries: N x D, CSR N x L, Q x D."""

    points: np.ndarray
    labels: sp.csr_matrix
    queries: np.ndarray


class TextData(NamedTuple):
    """Texts, the label ids of each, queries, and the labels' names."""

    texts: list[str]
    labels: list[list[int]]
    queries: list[str]
    names: list[str]


# -- data ----------------------------------------------------------------------------------------


def draw_vectors() -> dict[str, np.ndarray]:
    """Each point is near the sum of its two labels' vectors; the last query is zero.

    float16, which is exact: what is stored is what is trained on.
    """
    rng = np.random.default_rng(11)
    centres = rng.normal(size=(N_LABELS, DIM))
    pairs = rng.integers(0, N_LABELS, (1200, 2))
    points = centres[pairs].sum(1) + 0.1 * rng.normal(size=(len(pairs), DIM))
    asked = rng.integers(0, N_LABELS, (80, 2))
    mixed = rng.uniform(0.5, 1.0, (len(asked), 1))
    queries = centres[asked[:, 0]] + mixed * centres[asked[:, 1]]
    queries += 0.2 * rng.normal(size=queries.shape)
    queries = np.concatenate([queries, np.zeros((1, DIM))])
    return {
        "points": points.astype(np.float16),
        "pairs": pairs.astype(np.int16),
        "queries": queries.astype(np.float16),
    }


def read_vectors(folder: Path = FOLDER) -> VectorData:
    with np.load(folder / "vectors.npz") as file:
        points, pairs, queries = file["points"], file["pairs"], file["queries"]
    rows = np.repeat(np.arange(len(pairs)), 2)
    ones = np.ones(pairs.size, np.float32)
    labels = sp.csr_matrix((ones, (rows, pairs.ravel())), shape=(len(pairs), N_LABELS))
    labels.data[:] = 1.0
    return VectorData(points.astype(np.float32), labels, queries.astype(np.float32))


def draw_texts() -> TextData:
    """Three words of a topic and a variant's name; labels are the topic and topic/variant.

    Topics and variants are of very different frequency, so that the leading singular values are
    far from each other. The last queries are empty and unknown to the model.
    """
    rng = np.random.default_rng(5)
    topics = list(TOPICS)
    often = np.array([0.3, 0.23, 0.17, 0.13, 0.1, 0.07])
    forms = np.array([0.4, 0.3, 0.18, 0.12])

    def draw(n: int, n_words: int) -> tuple[list[str], list[list[int]]]:
        texts, labels = [], []
        for _ in range(n):
            topic = int(rng.choice(len(topics), p=often))
            variant = int(rng.choice(len(VARIANTS), p=forms))
            words = rng.choice(TOPICS[topics[topic]].split(), size=n_words, replace=False)
            texts.append(f"{' '.join(words)} {VARIANTS[variant]}")
            first = topic * (1 + len(VARIANTS))
            labels.append([first, first + 1 + variant])
        return texts, labels

    texts, labels = draw(1000, 3)
    queries = draw(90, 3)[0]
    for words in draw(60, 2)[0]:  # two topics in one query
        queries.append(f"{words} {rng.choice(TOPICS[topics[int(rng.integers(6))]].split())}")
    names = [
        f"{topic}/{variant}" if variant else topic
        for topic in topics
        for variant in ("", *VARIANTS)
    ]
    return TextData(texts, labels, [*queries, "", "unknown wörds ☃"], names)


def write_texts(data: TextData, folder: Path) -> None:
    content = {**data._asdict(), "labels": [" ".join(map(str, ids)) for ids in data.labels]}
    text = json.dumps(content, ensure_ascii=False, indent=0)
    (folder / "texts.json").write_text(text + "\n", encoding="utf-8", newline="\n")


def read_texts(folder: Path = FOLDER) -> TextData:
    content = json.loads((folder / "texts.json").read_text(encoding="utf-8"))
    content["labels"] = [list(map(int, line.split())) for line in content["labels"]]
    return TextData(**content)


# -- models --------------------------------------------------------------------------------------

VECTOR_TRAINING = {"batch_size": 100, "stage1_epochs": 4, "stage2_epochs": 6, "label_init_scale": 5}
TEXT_TRAINING = {
    "batch_size": 100,
    "stage1_epochs": 2,
    "stage2_epochs": 3,
    "label_init_scale": 5,
    "learning_rate": 5e-3,
    "edge_learning_rate": 5e-3,
    "projection_learning_rate": 2e-4,
}


def train_flat(data: VectorData) -> LearnedGraphIndex:
    config = IndexConfig(n_clusters=12, beam_width=4, edges_per_cluster=40, hierarchy="flat")
    index = LearnedGraphIndex(config, training=TrainingConfig(seed=1, **VECTOR_TRAINING))
    return index.fit(data.points, data.labels)


def train_deep(data: VectorData) -> LearnedGraphIndex:
    config = IndexConfig(
        n_clusters=16,
        beam_width=4,
        edges_per_cluster=40,
        hierarchy="deep",
        n_regions=4,
        edges_per_region=8,
        region_beam_width=2,
        candidate_clusters=10,
    )
    index = LearnedGraphIndex(config, training=TrainingConfig(seed=2, **VECTOR_TRAINING))
    return index.fit(data.points, data.labels)


def train_model(
    data: TextData,
    *,
    n_models: int = 1,
    calibration: str = "logistic",
    final_ranker: str = "fixed",
) -> ELIAS:
    model = ELIAS(
        LSAEncoder(dim=9, n_iter=30),
        IndexConfig(n_clusters=6, beam_width=3, edges_per_cluster=20),
        training=TrainingConfig(seed=3, **TEXT_TRAINING),
        ranker=RankerConfig(tolerance=1e-6, max_iterations=2000),
        config=EliasConfig.from_dict(
            {
                "validation_fraction": 0.15,
                "rerank_size": 12,
                "n_models": n_models,
                "calibration": calibration,
                "final_ranker": final_ranker,
            }
        ),
    )
    return model.fit(data.texts, data.labels, vocabulary=LabelVocabulary(data.names))


def train(name: str, vectors: VectorData, texts: TextData) -> LearnedGraphIndex | ELIAS:
    """One of ``TRAINED``."""
    if name == "model":
        return train_model(texts)
    return {"flat": train_flat, "deep": train_deep}[name](vectors)


def train_all(vectors: VectorData, texts: TextData) -> dict[str, Any]:
    """Every stored model by name; the engines are made from the trained ones."""
    flat, deep, model = train_flat(vectors), train_deep(vectors), train_model(texts)
    return {
        "flat": flat,
        "deep": deep,
        "model": model,
        "ensemble": train_model(texts, n_models=2, calibration="isotonic", final_ranker="trees"),
        "flat-int8": flat.to_engine(EngineConfig(precision="int8")),
        "flat-float16": flat.to_engine(EngineConfig(precision="float16")),
        "deep-float32": deep.to_engine(EngineConfig(precision="float32")),
        "model-int8": model.to_engine(EngineConfig(precision="int8")),
        "flat-segment": with_segment(flat.to_engine(EngineConfig(precision="int8")), vectors),
    }


def with_segment(engine: SearchEngine, data: VectorData) -> SearchEngine:
    """The engine with eight labels more, whose examples have an old label each."""
    old = (data.labels[:, 10 * number].toarray().ravel() > 0 for number in range(8))
    return engine.add_labels(
        [data.points[has][:3] for has in old], known=(data.points, data.labels)
    )


TRAINED = ("flat", "deep", "model")
"""What the tests train anew. Codes of an engine's vectors may round the other way."""


def save(model: Any, folder: Path) -> None:
    if isinstance(model, ELIAS):
        model.save_pretrained(folder)
    else:
        model.save_pretrained(folder)


def load(name: str, folder: Path) -> Any:
    if name.startswith(("model", "ensemble")):
        return ELIAS.from_pretrained(folder)
    if name in ("flat", "deep"):
        return LearnedGraphIndex.from_pretrained(folder)
    return SearchEngine.from_pretrained(folder)


# -- questions -----------------------------------------------------------------------------------

QUESTIONS: dict[str, tuple[str, ...]] = {
    "flat": ("search",),
    "deep": ("search",),
    "flat-int8": ("search",),
    "flat-float16": ("search",),
    "deep-float32": ("search",),
    "flat-segment": ("search",),
    "model": ("ranking", "probability", "index"),
    "model-int8": ("ranking", "probability", "index"),
    "ensemble": ("ranking", "probability", "index"),
}
"""What each model is asked; but for ``search`` these are the scores of a full model."""


def answer(
    model: Any, question: str, queries: np.ndarray | list[str], *, k: int = K
) -> tuple[np.ndarray, np.ndarray]:
    """Ids and scores, Q x k each."""
    if question == "search":
        return tuple(model.search(queries, k))
    return tuple(model.search(queries, k, score=question))


def named_answers(model: ELIAS, queries: list[str]) -> dict[str, list[list[tuple[str, float]]]]:
    """Names and scores of ``predict`` and ``predict_proba``."""
    return {"predict": model.predict(queries, K), "predict_proba": model.predict_proba(queries, K)}
