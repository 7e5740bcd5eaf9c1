"""What the rows of an ablation share: data, one trained index, measurements kept on disk."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import scipy.sparse as sp

from learned_index.data.holdout import without_labels
from learned_index.elias.config import EliasConfig
from learned_index.elias.model import ELIAS
from learned_index.elias.points import (
    Points,
    is_trained,
    take,
)
from learned_index.elias.presets import ModelConfigs
from learned_index.encoding import dense_vectors, encoder_class
from learned_index.errors import InputError, ModelFormatError
from learned_index.index.fit import fit_end_to_end
from learned_index.index.learned_graph_index import LearnedGraphIndex
from learned_index.inputs.labels import points_per_label
from learned_index.inputs.points import blank_rows
from learned_index.metrics import evaluate, propensities_from_counts
from learned_index.persistence import atomic_directory, remove_directory
from learned_index.persistence.digest import data_digest, digest
from learned_index.reproduction.measurements import Measurement, MeasurementStore
from learned_index.training.events import Progress, TrainingEvent
from learned_index.types import PAD_ID, Encoder, Int64Array, SearchResult

Step = Literal["stage1", "stage2", "ranker", "calibration", "ensemble"]
STEPS: tuple[Step, ...] = get_args(Step)
"""Rows of the build-up table, in this order."""
WIDTH = 100
"""Labels that are asked for: the largest cut-off of the metrics."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AblationData:
    """What an ablation trains and measures on.

    Attributes:
        points: N training points, texts or feature rows.
        labels_NL: Canonical CSR.
        vectors_ND: Their vectors from the encoder, also memory-mapped.
        queries: Points to measure on.
        query_vectors: Theirs.
        truth: CSR, labels of the queries; columns behind L are labels not trained.
        features_NV: Sparse features of the training points for the clustering, or None.
    """

    points: Points
    labels_NL: sp.csr_matrix
    vectors_ND: Any
    queries: Points
    query_vectors: Any
    truth: sp.csr_matrix
    features_NV: sp.csr_matrix | None = None

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all of it."""
        return data_digest(
            self.points,
            self.labels_NL,
            np.asarray(self.vectors_ND),
            self.queries,
            np.asarray(self.query_vectors),
            self.truth,
            self.features_NV,
        )


class Trained(NamedTuple):
    """An index, its encoder, and the vectors that the encoder makes."""

    index: LearnedGraphIndex
    encoder: Encoder
    vectors: Any
    query_vectors: Any
    seconds: float


@dataclass(kw_only=True)
class SharedTraining:
    """Trains and measures the index of one configuration, once.

    Args:
        data: Points and labels.
        encoder: Fitted; made ``data``'s vectors. It is copied where it is trained.
        configs: The configuration.
        directory: Where measurements and indexes are kept; None keeps nothing.
        progress: Told what is trained, and the training's events.
    """

    data: AblationData
    encoder: Encoder
    configs: ModelConfigs
    directory: Path | None = None
    progress: Callable[[str, TrainingEvent | None], None] | None = None
    store: MeasurementStore = field(init=False)

    def __post_init__(self) -> None:
        folder = None if self.directory is None else self.directory / "measurements"
        self.store = MeasurementStore(folder)
        self._base: Trained | None = None

    # -- what all rows share --------------------------------------------------------------------

    @cached_property
    def trains_encoder(self) -> bool:
        """Whether the encoder is trained with the index."""
        return is_trained(self.encoder, self.configs.model.train_encoder)

    @cached_property
    def kept_labels(self) -> sp.csr_matrix:
        """Labels without those of the points that the calibration holds out, CSR N x L.

        All rows train on the same points, also those that need no calibration.
        """
        held = self._elias(self.configs.model).held_out_rows(self.data.labels_NL)
        return without_labels(self.data.labels_NL, held)

    @cached_property
    def label_counts(self) -> Int64Array:
        """Training points of each label, int64 L."""
        return points_per_label(self.kept_labels)

    @cached_property
    def _propensities(self) -> Any:
        counts = np.zeros(self.data.truth.shape[1], np.int64)
        counts[: len(self.label_counts)] = self.label_counts
        n_points = int(np.count_nonzero(np.diff(self.kept_labels.indptr)))
        return propensities_from_counts(counts, n_points=max(1, n_points))

    def measure(self, result: SearchResult) -> dict[str, float]:
        """Metrics of answers to the queries; a blank text has no answer."""
        ids = np.array(result.ids)
        ids[blank_rows(self.data.queries)] = PAD_ID
        return evaluate(ids, self.data.truth, propensities=self._propensities)

    def describe(self, **what: Any) -> dict[str, Any]:
        """What a measurement depends on: data, encoder, configurations, and ``what``."""
        configs = self.configs
        return {
            "data": self.data.digest,
            "encoder": self.encoder.kind,
            "trains_encoder": self.trains_encoder,
            "index": configs.index.to_dict(),
            "training": configs.training.to_dict(),
            "held_out": [configs.model.validation_fraction, configs.model.validation_limit],
            **what,
        }

    def _elias(self, config: EliasConfig, trained: Trained | None = None) -> ELIAS:
        configs = self.configs
        if trained is not None:
            return ELIAS(
                trained.encoder,
                trained.index,
                ranker=configs.ranker,
                config=replace(config, train_encoder="no", n_models=1),
            )
        encoder = copy.deepcopy(self.encoder) if self.trains_encoder else self.encoder
        return ELIAS(
            encoder,
            configs.index,
            training=configs.training,
            ranker=configs.ranker,
            config=replace(config, train_encoder="yes" if self.trains_encoder else "no"),
        )

    def _told(self, what: str) -> Progress | None:
        if self.progress is None:
            return None
        told = self.progress
        told(what, None)
        return lambda event: told(what, event)

    # -- training an index ----------------------------------------------------------------------

    def train(self, *, keep: bool = False) -> Trained:
        """Train the index of the configuration, or load it from the directory.

        Both stages are measured: the first when it ends, within the same training.

        Args:
            keep: Hold it in memory for the next call.
        """
        if self._base is not None:
            return self._base
        folder = self._folder()
        trained = None
        if folder is not None and folder.is_dir():
            trained = self._load(folder)
        if trained is None:
            trained = self._fit()
            if folder is not None:
                self._save(trained, folder)
        if keep:
            self._base = trained
        return trained

    def _folder(self) -> Path | None:
        if self.directory is None:
            return None
        return self.directory / "models" / digest(self.describe())[:32]

    def _fit(self) -> Trained:
        data, configs = self.data, self.configs
        told = self._told("training")
        index = LearnedGraphIndex(configs.index, training=configs.training)
        encoder = copy.deepcopy(self.encoder) if self.trains_encoder else self.encoder
        start = time.perf_counter()
        paused = 0.0

        def watch(event: TrainingEvent) -> None:
            nonlocal paused
            if told is not None:
                told(event)
            if event.stage == "graph" and event.step == 0:
                began = time.perf_counter()
                self._put("stage1", index, self._query_vectors(encoder), began - start - paused)
                paused += time.perf_counter() - began

        arguments: dict[str, Any] = {
            "clustering_features": data.features_NV, "progress": watch,
        }  # fmt: skip
        held = self._elias(configs.model).held_out_rows(data.labels_NL)
        wants = configs.training.early_stopping_metric is not None and len(held) > 0
        truth = data.labels_NL[held] if wants else None
        if self.trains_encoder:
            if wants:
                arguments["validation"] = (take(data.points, held), truth)
            fit_end_to_end(index, encoder, data.points, self.kept_labels, **arguments)
        else:
            if wants:
                arguments["validation"] = (np.asarray(data.vectors_ND[held]), truth)
            index.fit(data.vectors_ND, self.kept_labels, **arguments)
        seconds = time.perf_counter() - start - paused
        trained = self._with_vectors(index, encoder, seconds)
        last: Step = "stage2" if index.is_graph_learned else "stage1"
        self._put(last, index, trained.query_vectors, seconds)
        return trained

    def _query_vectors(self, encoder: Encoder) -> Any:
        if not self.trains_encoder:
            return self.data.query_vectors
        return dense_vectors(encoder, self.data.queries)

    def _with_vectors(self, index: LearnedGraphIndex, encoder: Encoder, seconds: float) -> Trained:
        data = self.data
        if not self.trains_encoder:
            return Trained(index, encoder, data.vectors_ND, data.query_vectors, seconds)
        vectors = dense_vectors(encoder, data.points)
        return Trained(index, encoder, vectors, self._query_vectors(encoder), seconds)

    def _put(self, step: Step, index: LearnedGraphIndex, queries: Any, seconds: float) -> None:
        metrics = self.measure(index.search(queries, WIDTH))
        details = {"n_clusters": index.n_clusters, "edges": _width(index)}
        measurement = Measurement(metrics=metrics, seconds=seconds, details=details)
        self.store.put(self.describe(step=step), measurement)

    def _save(self, trained: Trained, folder: Path) -> None:
        with atomic_directory(folder, overwrite=True, foreign=_foreign) as temporary:
            trained.index.save_pretrained(temporary / "index")
            if self.trains_encoder:
                (temporary / "encoder").mkdir()
                trained.encoder.save_pretrained(temporary / "encoder")

    def _load(self, folder: Path) -> Trained | None:
        """The saved index with its measurement; None where either is missing or damaged."""
        done = self._stored("stage2") or self._stored("stage1")
        if done is None:
            return None
        try:
            index = LearnedGraphIndex.from_pretrained(folder / "index")
            encoder = self.encoder
            if self.trains_encoder:
                encoder = encoder_class(encoder.kind).from_pretrained(folder / "encoder")
        except ModelFormatError:
            return None
        return self._with_vectors(index, encoder, done.seconds)

    def _stored(self, step: Step) -> Measurement | None:
        return self.store.get(self.describe(step=step))

    def stage(self, step: Step, *, keep: bool = True) -> Measurement:
        """The measurement of ``"stage1"`` or ``"stage2"``.

        Args:
            step: Which.
            keep: Hold the index in memory if it is trained now.

        Raises:
            InputError: The configuration has no epochs of this stage.
        """
        found = self._stored(step)
        if found is None:
            # An index may be there whose measurement was lost: trained again, it tells both.
            self._base = None
            folder = self._folder()
            if folder is not None:
                remove_directory(folder)
            self.train(keep=keep)
            found = self._stored(step)
        if found is None:
            training = self.configs.training
            raise InputError(
                f"there is no {step} with stage1_epochs {training.stage1_epochs} and "
                f"stage2_epochs {training.stage2_epochs}"
            )
        return found


def _foreign(folder: Path) -> str:
    """Say what is no part of a trained index that :class:`SharedTraining` has kept."""
    names = sorted({path.name for path in folder.iterdir()} - {"index", "encoder"})
    return f"it holds {names[0]}, which is no part of an ablation" if names else ""


def _width(index: LearnedGraphIndex) -> int:
    return int(index.graph.edge_labels_CM.shape[1])
