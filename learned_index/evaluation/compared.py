"""A saved model and a data folder as the comparison wants them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from learned_index.comparison.data import ComparisonData
from learned_index.comparison.features import WORDS, PointFeatures, as_features
from learned_index.comparison.method import WITH_TRAINING_VECTORS, MethodSpec, ModelQueries
from learned_index.data.dataset import Dataset, SplitName
from learned_index.data.folder import DataFolder
from learned_index.data.propensities import DEFAULT_CONSTANTS
from learned_index.elias.model import ELIAS
from learned_index.elias.points import take
from learned_index.elias.saving import index_directory
from learned_index.errors import InputError
from learned_index.evaluation.search import require_points
from learned_index.evaluation.truth import filtered_of, training_counts, truth_of
from learned_index.index.config import IndexConfig, TrainingConfig
from learned_index.index.learned_graph_index import LearnedGraphIndex
from learned_index.inputs.points import n_rows
from learned_index.metrics import propensities_from_counts
from learned_index.persistence import MANIFEST_NAME
from learned_index.types import Encoder

SAMPLE = 256
"""Points that are encoded to learn what encoding costs."""


@dataclass(frozen=True)
class SavedModel:
    """Loads a saved model, in any process: its (first) index alone, or all of it.

    The files were verified when the model was loaded to make the data.

    Attributes:
        directory: The model's directory.
    """

    directory: Path

    def __call__(self) -> LearnedGraphIndex:
        """Load the index, without the encoder."""
        return LearnedGraphIndex.from_pretrained(index_directory(self.directory), verify=False)

    def whole(self) -> ELIAS:
        """Load the model."""
        return ELIAS.from_pretrained(self.directory, verify=False)

    def digest(self) -> str:
        """Return the manifests, which hold the checksums of the files."""
        folders = (self.directory, index_directory(self.directory))
        return "".join((path / MANIFEST_NAME).read_text(encoding="utf-8") for path in folders)


def comparison_data(
    model: ELIAS,
    folder: DataFolder,
    split: SplitName,
    specs: Sequence[MethodSpec],
    *,
    encode: Callable[[Encoder, Dataset], Any],
    word_features: Callable[..., tuple[Any, Any]],
    max_queries: int | None = None,
    propensity: tuple[float, float] = DEFAULT_CONSTANTS,
) -> ComparisonData:
    """Encode what the methods need and number all labels as the model does, unknown ones behind.

    Args:
        model: The trained model.
        folder: The data.
        split: Part of the data that asks the queries.
        specs: The methods.
        encode: Makes the vectors of a split.
        word_features: Makes the sparse features of training and test points, for whole systems;
            called with the points of both and ``ngrams=``, ``min_df=``.
        max_queries: Queries at most, drawn at random with a fixed seed; None: all.
        propensity: The constants A and B of the propensities.

    Raises:
        InputError: The split has no points, or shares no label with the model.
    """
    test = folder.read(split)
    require_points(test)
    rows = np.arange(test.n_points)
    if max_queries is not None and max_queries < test.n_points:
        rows = np.sort(np.random.default_rng(0).permutation(test.n_points)[:max_queries])
    kinds = {spec.inputs for spec in specs}
    vectors = tuple(
        np.asarray(encode(encoder, test)[rows], dtype=np.float32)
        # The index that all others are compared with is the first member's.
        for encoder in (model.encoders if "model" in kinds else model.encoders[:1])
    )
    truth, pairs = truth_of(model, test), filtered_of(model, test)
    trained_on: dict[str, Any] = {}
    if kinds & {"points", *WITH_TRAINING_VECTORS}:
        train = folder.read("train")
        trained_on["labels_NL"] = truth_of(model, train)
        wanted = {spec.point_features for spec in specs if spec.inputs == "points"}
        dense = any(each is not None and each.kind != "words" for each in wanted)
        if dense or kinds & set(WITH_TRAINING_VECTORS):
            trained_on["embeddings_ND"] = encode(model.encoder, train)
        trained_on |= _point_features(
            wanted, train, test, rows, (trained_on.get("embeddings_ND"), vectors[0]), word_features
        )
    counts = training_counts(model, truth.shape[1])
    return ComparisonData(
        queries_ND=vectors[0],
        truth_NL=truth[rows],
        propensities=propensities_from_counts(
            counts, n_points=max(model.n_points, 1), a=propensity[0], b=propensity[1]
        ),
        filtered_NL=None if pairs is None else pairs[rows],
        **trained_on,
        model_queries=_model_queries(model, test, rows, vectors) if "model" in kinds else None,
    )


def _point_features(
    wanted: set[PointFeatures | None],
    train: Dataset,
    test: Dataset,
    rows: Any,
    vectors: tuple[Any, Any],
    word_features: Callable[..., tuple[Any, Any]],
) -> dict[str, Any]:
    """Return the features that whole systems learn from, as arguments of the comparison's data."""
    words: dict[tuple[int, int], tuple[Any, Any]] = {}
    made: dict[PointFeatures, tuple[Any, Any]] = {}
    for each in wanted:
        if each is None:
            continue
        pair: tuple[Any, Any] = (None, None)
        if each.kind != "vectors":
            if each[1:] not in words:
                found = word_features(
                    train.points, test.points, ngrams=each.ngrams, min_df=each.min_df
                )
                words[each[1:]] = found[0], found[1][rows]
            pair = words[each[1:]]
        made[each] = tuple(map(as_features, (each, each), pair, vectors))
    features, queries = made.pop(WORDS, (None, None))
    return {"features_NF": features, "query_features_NF": queries, "more_features": made}


def _model_queries(
    model: ELIAS, test: Dataset, rows: Any, vectors: tuple[Any, ...]
) -> ModelQueries:
    points = take(test.points, rows)
    ranked = model.ranker_ is not None and model.features is not None
    return ModelQueries(points, vectors, model.features.encode(points) if ranked else None)  # type: ignore


def encoding_ms(model: ELIAS, points: Any) -> float | None:
    """Return the milliseconds a point for vectors and sparse features, in one batch of a sample.

    Args:
        model: The trained model.
        points: Texts, or rows of sparse features.

    Returns:
        None where the model cannot encode: it has stored vectors.
    """
    sample = take(points, np.arange(min(SAMPLE, n_rows(points))))
    try:
        model.encode(take(sample, np.arange(min(8, n_rows(sample)))))  # loads what it needs
        start = time.perf_counter()
        model.encode(sample)
        if model.ranker_ is not None and model.features is not None:
            model.features.encode(sample)
    except InputError:
        return None
    return 1e3 * (time.perf_counter() - start) / max(n_rows(sample), 1)


def as_trained(spec: MethodSpec, model: ELIAS) -> MethodSpec:
    """Give what is trained for the comparison the budget of the index (:func:`with_budget`).

    One-vs-all keeps rates, dropout and start of its own, which suit it.
    """
    index = model.trained_members()[0]
    return trained_like(spec, index.config, index.training_config)


def trained_like(spec: MethodSpec, config: IndexConfig, training: TrainingConfig) -> MethodSpec:
    """As :func:`as_trained`, of the settings of an index."""
    budget = with_budget(spec, config, training)
    if spec.method != "ova":
        return budget
    shared = ("epochs", "batch_size", "warmup", "weight_decay", "projection", "seed")
    options = {name: budget.options[name] for name in shared}
    return spec.with_options(**{**options, **spec.options})


def with_budget(spec: MethodSpec, config: IndexConfig, training: TrainingConfig) -> MethodSpec:
    """Give a method that trains label classifiers what an index is trained with.

    Epochs, batches, rates, dropout, averaging, projection, the first classifiers and the size of a
    shortlist, as far as the method has them; an index gets its shape too. Options that the user
    wrote stay, and so does a method that trains no classifiers.

    Args:
        spec: The method.
        config: Of the index.
        training: Its training; the epochs are numbers.
    """
    names = {each.name for each in fields(spec.adapter)}
    if spec.inputs != "training" or not names & {"epochs", "stage1_epochs"}:
        return spec
    stage2 = training.stage2_epochs or 0
    epochs = max(1, (training.stage1_epochs or 0) + stage2)
    known = config.to_dict() | training.to_dict()
    known |= {
        "epochs": epochs,
        "warmup": training.warmup_fraction,
        "centroid_scale": training.label_init_scale,
        "initial_bias": training.label_init_bias,
        # The same number of steps: the index averages in stage 2.
        "averaging_fraction": training.averaging_fraction * stage2 / epochs,
    }
    if "stage1_epochs" in names:
        known["averaging_fraction"] = training.averaging_fraction
    options = {name: value for name, value in known.items() if name in names}
    return spec.with_options(**{**options, **spec.options})


def report_path(model: Path) -> Path:
    """Return the path of a training's report: beside the model, which must not depend on timing."""
    return model.with_name(model.name + ".report.json")


def trained_encoder(report: Path) -> str | None:
    """Return the description of the encoder in a training's report; None: it is not told."""
    try:
        told = json.loads(report.read_text(encoding="utf-8"))["encoder"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return told if isinstance(told, str) else None


def training_costs(report: Path) -> dict[str, Any]:
    """Return what the report beside a model tells: seconds by step, of all, and peak memory.

    Returns:
        ``learned`` and ``model``: seconds, None where the report does not tell; ``step_seconds``
        and ``peak_rss_mb``. All None or empty without a report.
    """
    try:
        told = json.loads(report.read_text(encoding="utf-8"))
        steps = {str(name): float(value) for name, value in told.get("step_seconds", {}).items()}
        learned = told.get("train_seconds")
        learned = None if learned is None else float(learned)
    # A file of that name may be anything: who compares does without it.
    except (OSError, ValueError, TypeError, AttributeError):
        told, steps, learned = {}, {}, None
    return {
        "learned": learned,
        "model": sum(steps.values()) if steps else None,
        "step_seconds": steps,
        "peak_rss_mb": told.get("peak_rss_mb"),
    }
