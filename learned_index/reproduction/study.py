"""What the tables and figures of one run share: models, data, and what was computed for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from learned_index.data.dataset import Dataset, SplitName
from learned_index.data.folder import DataFolder
from learned_index.elias.model import ELIAS
from learned_index.elias.presets import ModelConfigs
from learned_index.errors import InputError
from learned_index.evaluation.compared import SavedModel
from learned_index.evaluation.deciles import frequency_groups
from learned_index.evaluation.search import require_points
from learned_index.evaluation.significance import paired_bootstrap
from learned_index.evaluation.truth import filtered_of, training_counts, truth_of
from learned_index.index.learned_graph_index import LearnedGraphIndex
from learned_index.metrics import propensities_from_counts
from learned_index.persistence.digest import data_digest
from learned_index.reproduction.catalogue import Item, is_papers_data
from learned_index.reproduction.shared_training import AblationData
from learned_index.types import Encoder, Int64Array

RESAMPLES = 1000
"""Of a bootstrap interval."""
N_GROUPS = 10
"""Groups of labels by training frequency: deciles."""
EDGE_THRESHOLD = 0.25
"""An edge above this weight counts as: the label is in the cluster."""
Say = Callable[[str], None]


@dataclass(kw_only=True, eq=False)
class Study:
    """The models and data of one run; what several items need is computed once.

    Args:
        model_paths: Saved models: one, or several trainings of one configuration with other seeds.
        folder: The data that they were trained on.
        data: What the user calls the data.
        split: Points to measure on.
        out: Folder of the results.
        encode: Makes the vectors of a split with an encoder, through a cache.
        word_features: Makes tf-idf of training and test points, as
            :func:`~learned_index.evaluation.compared.comparison_data` takes it.
        ablation_data: Fits an encoder by its description and encodes training points and queries.
        encoder_spec: Description of the encoder that the models were trained with; None: unknown.
        baselines: The methods beside the model, as ``li compare --baselines``.
        python: Interpreters that measure methods, by their names.
        max_queries: Points measured on at most; None: all.
        threads: Threads for trainings and batches.
        isolate: Measure each method in a process of its own.
        say: Told what is done now.
        item: What is made now, which pictures name.
    """

    model_paths: list[Path]
    folder: DataFolder
    data: str
    split: SplitName
    out: Path
    encode: Callable[[Encoder, Dataset], Any]
    word_features: Callable[..., tuple[Any, Any]]
    ablation_data: Callable[[str, ModelConfigs, Dataset, Dataset], tuple[Encoder, AblationData]]
    encoder_spec: str | None
    baselines: tuple[str, ...]
    python: dict[str, str] = field(default_factory=dict)
    max_queries: int | None = None
    threads: int = 1
    isolate: bool = True
    say: Say = lambda _: None
    item: Item | None = None

    # -- models ---------------------------------------------------------------------------------

    @cached_property
    def models(self) -> list[ELIAS]:
        """The models, whole; compiled ones are refused."""
        found = [ELIAS.from_pretrained(path) for path in self.model_paths]
        for path, model in zip(self.model_paths, found, strict=True):
            model.trained_members()  # refuses engines
            if model.label_counts is None:
                raise InputError(
                    f"{path} does not know how often its labels were trained; train it again"
                )
            if model.vocabulary.keys != found[0].vocabulary.keys:
                raise InputError(
                    f"{path} and {self.model_paths[0]} have other labels; give models of one data "
                    "set"
                )
        return found

    @property
    def model(self) -> ELIAS:
        """The first model."""
        return self.models[0]

    @property
    def indexes(self) -> list[LearnedGraphIndex]:
        """The first index of each model."""
        return [model.trained_members()[0] for model in self.models]

    @property
    def n_seeds(self) -> int:
        """How often a method is trained: as often as the model was."""
        return len(self.model_paths)

    @property
    def configs(self) -> ModelConfigs:
        """The configuration that the models were trained with."""
        index = self.indexes[0]
        return ModelConfigs(
            index.config, index.training_config, self.model.ranker_config, self.model.config
        )

    # -- data -----------------------------------------------------------------------------------

    @cached_property
    def train(self) -> Dataset:
        """All training points."""
        return self.folder.read("train")

    @cached_property
    def test(self) -> Dataset:
        """The points to measure on."""
        if self.split not in self.folder.splits:
            raise InputError(
                f"{self.data} has no {self.split} split, only {', '.join(self.folder.splits)}; "
                "say which with --split"
            )
        dataset = self.folder.read(self.split)
        require_points(dataset)
        return dataset

    @cached_property
    def rows(self) -> Int64Array:
        """Rows of the split that are measured on, ascending."""
        n_points = self.test.n_points
        if self.max_queries is None or self.max_queries >= n_points:
            return np.arange(n_points)
        # As comparison_data draws them.
        return np.sort(np.random.default_rng(0).permutation(n_points)[: self.max_queries])

    @cached_property
    def truth(self) -> sp.csr_matrix:
        """Labels of these rows under the models' ids; labels they do not know come behind."""
        return truth_of(self.model, self.test)[self.rows]

    @cached_property
    def filtered(self) -> sp.csr_matrix | None:
        """Pairs of these rows that count neither as answers nor as truth."""
        found = filtered_of(self.model, self.test)
        return None if found is None else found[self.rows]

    @cached_property
    def counts(self) -> Int64Array:
        """Training points of each label of :attr:`truth`."""
        return training_counts(self.model, self.truth.shape[1])

    @cached_property
    def propensities(self) -> Any:
        """Of the labels of :attr:`truth`, with the constants of ``li evaluate``."""
        return propensities_from_counts(self.counts, n_points=max(self.model.n_points, 1))

    @cached_property
    def groups(self) -> Int64Array:
        """Group of each label of :attr:`truth`, 0 the most frequent; -1 of unknown labels."""
        known = frequency_groups(self.model.label_counts, n_groups=N_GROUPS)  # type: ignore[arg-type]
        unknown = np.full(self.truth.shape[1] - len(known), -1)
        return np.concatenate([known, unknown]).astype(np.int64)

    @cached_property
    def group_names(self) -> list[str]:
        """Number and training points of each group, in two lines."""
        counts = np.asarray(self.model.label_counts)
        names = []
        for group in range(int(self.groups.max()) + 1):
            inside = counts[self.groups[: len(counts)] == group]
            low, high = int(inside.min()), int(inside.max())
            names.append(f"{group + 1}\n{low}" if low == high else f"{group + 1}\n{low}-{high}")
        return names

    @cached_property
    def key(self) -> str:
        """Digest of data and models."""
        parts = [self.train.points, self.train.labels, self.test.points, self.test.labels]
        models = [SavedModel(path).digest() for path in self.model_paths]
        return data_digest(*parts, self.rows, models)

    # -- words ----------------------------------------------------------------------------------

    @property
    def about(self) -> str:
        """Lines about item, data and models, to stand below a picture."""
        encoder = self.encoder_spec or self.model.encoder.kind
        seeds = f", {self.n_seeds} trainings" if self.n_seeds > 1 else ""
        after = "" if self.item is None else f"After {self.item.in_paper} of ELIAS, "
        what = "trained here" if is_papers_data(self.data) else "not on the paper's data"
        return (
            f"{after}{what}: {Path(self.data).name}, "
            f"{self.model.n_points:,} training points, {self.model.n_labels:,} labels, "
            f"encoder {encoder}{seeds}."
        )

    @property
    def below(self) -> str:
        """The same with the points that are measured on."""
        part = "" if len(self.rows) == self.test.n_points else ", drawn at random"
        return f"{self.about} {len(self.rows):,} points of the {self.split} split{part}."

    def spread(self, over: str = "points") -> str:
        """What an interval is, in words."""
        trainings = f"{over} and trainings" if self.n_seeds > 1 else f"{over}; one training"
        return f"95 % bootstrap intervals over {trainings}"


def interval(values_SN: Any, *, weights: Any | None = None) -> tuple[float, float, float]:
    """Mean and 95 % bootstrap interval over points and trainings.

    Args:
        values_SN: Trainings x points.
        weights: N; the mean is a ratio of sums where they are not 1.

    Returns:
        Mean, lower end, upper end; NaN without a point.
    """
    values = np.atleast_2d(np.asarray(values_SN, dtype=np.float64))
    if not values.shape[1]:
        return float("nan"), float("nan"), float("nan")
    zeros = np.zeros(values.shape[1])
    found = paired_bootstrap(values, zeros, weights=weights, n_resamples=RESAMPLES)
    return found.difference, found.low, found.high
