"""The learned index and its forerunners, trained here: only the edges of stage 2 differ.

All are a :class:`~learned_index.LearnedGraphIndex` with the same course of training: balanced
clusters of the labels, router and label classifiers trained on the labels that the beam reaches
(dynamic negatives), two stages with the same epochs, rates and averaging. What lies between
clusters and labels in stage 2 is

- ``trained-graph``: learned edges (ELIAS, NeurIPS 2022);
- ``trained-tree``: the partition of stage 1, one cluster a label (Parabel, WWW 2018; LightXML,
  AAAI 2021);
- ``overlap``: some clusters for each label with equal weights, assigned by what its points visit
  (Liu et al., Label Disentanglement in Partition-based XMC, NeurIPS 2021).
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from learned_index.baselines.classifiers import training_vectors
from learned_index.baselines.points import training_labels
from learned_index.baselines.registry import register
from learned_index.baselines.searchers import LearnedSearch
from learned_index.comparison.method import Inputs
from learned_index.config import Config, parameter
from learned_index.index.config import IndexConfig, TrainingConfig
from learned_index.types import SearchResult

if TYPE_CHECKING:
    from learned_index.training.events import TrainingEvent


def _as_in(config: type[Config], name: str) -> Any:
    """The parameter of a configuration: default, help and limits."""
    (found,) = (each for each in fields(config) if each.name == name)  # type: ignore[arg-type]
    limits = found.metadata["limits"]
    return parameter(found.default, found.metadata["help"], **limits)


class _TrainedIndex(LearnedSearch):
    """An index trained on the training points; the knob is ``beam_width``.

    Its fields are parameters of :class:`IndexConfig` and :class:`TrainingConfig`; those that are
    not here keep their defaults.
    """

    inputs: ClassVar[Inputs] = "training"
    arguments: ClassVar[dict[str, type]] = {"beam_width": int}

    n_clusters: int | None = _as_in(IndexConfig, "n_clusters")
    edges_per_cluster: int | None = _as_in(IndexConfig, "edges_per_cluster")
    beam_width: int = _as_in(IndexConfig, "beam_width")
    shortlist_size: int = _as_in(IndexConfig, "shortlist_size")
    path_exponent: float = _as_in(IndexConfig, "path_exponent")
    projection: Literal["none", "residual"] = _as_in(IndexConfig, "projection")
    stage1_epochs: int | None = _as_in(TrainingConfig, "stage1_epochs")
    stage2_epochs: int | None = _as_in(TrainingConfig, "stage2_epochs")
    batch_size: int = _as_in(TrainingConfig, "batch_size")
    learning_rate: float = _as_in(TrainingConfig, "learning_rate")
    projection_learning_rate: float = _as_in(TrainingConfig, "projection_learning_rate")
    weight_decay: float = _as_in(TrainingConfig, "weight_decay")
    warmup_fraction: float = _as_in(TrainingConfig, "warmup_fraction")
    dropout: float = _as_in(TrainingConfig, "dropout")
    shortlist_loss_weight: float = _as_in(TrainingConfig, "shortlist_loss_weight")
    averaging_fraction: float = _as_in(TrainingConfig, "averaging_fraction")
    label_init_scale: float = _as_in(TrainingConfig, "label_init_scale")
    label_init_bias: float | None = _as_in(TrainingConfig, "label_init_bias")
    seed: int = _as_in(TrainingConfig, "seed")

    def configs(self) -> tuple[IndexConfig, TrainingConfig]:
        """Return the configurations of the index and of its training."""
        return self._part_of(IndexConfig), self._part_of(TrainingConfig, **self.edges())

    def edges(self) -> dict[str, Any]:
        """Return the parameters of :class:`TrainingConfig` that say which edges stage 2 has."""
        return {}

    def _part_of(self, config: Any, **more: Any) -> Any:
        names = {each.name for each in fields(config)} & {each.name for each in fields(self)}
        return config(**{name: getattr(self, name) for name in names}, **more)

    def build(self, *data: Any) -> None:
        """Train on embeddings N x D (memory-mapped ones stay on disk) and their labels, CSR N x L.

        Raises:
            InputError: Shapes do not fit, a vector holds NaN or infinity, no labels.
        """
        from learned_index.index.learned_graph_index import LearnedGraphIndex

        vectors_ND = training_vectors(data[0])
        labels_NL = training_labels(data[1], n_points=len(vectors_ND))
        config, training = self.configs()
        index = LearnedGraphIndex(config, training=training)
        self._index = index.fit(vectors_ND, labels_NL, progress=self._tell)

    fit = build

    def _tell(self, event: TrainingEvent) -> None:
        if self.progress is not None:
            text = f"{event.stage}, epoch {event.epoch} of {event.n_epochs}"
            self.progress(event.step, event.n_steps, text)

    def search(self, queries: Any, k: int, **query_arguments: Any) -> SearchResult:
        """Search the index."""
        # The checks of all methods are the index's own, but for the names of the knobs.
        self.check_arguments(query_arguments)
        return super().search(queries, k, **query_arguments)


@register("trained-graph", summary="the learned index, trained here")
class TrainedGraph(_TrainedIndex):
    """Learned edges from clusters to labels."""


@register("trained-tree", summary="a fixed balanced partition, trained here")
class TrainedTree(_TrainedIndex):
    """One cluster for each label, from the first step to the last."""

    def edges(self) -> dict[str, Any]:
        """Return those of a partition that stays."""
        return {"fixed_edges": 0}


@register("overlap", summary="labels in several clusters, equal weights (Overlap-XMC)")
class OverlappingClusters(_TrainedIndex):
    """Each label in the ``clusters_per_label`` clusters that its points visit most.

    Assignment and training alternate: stage 1 trains on the partition, then each of ``rounds``
    parts of stage 2 assigns the labels by the beams of all training points and trains on.
    """

    clusters_per_label: int = parameter(2, "lambda, clusters of each label")
    rounds: int = parameter(1, "assignments in stage 2")

    def edges(self) -> dict[str, Any]:
        """Return those of overlapping clusters."""
        return {"fixed_edges": self.clusters_per_label, "assignment_rounds": self.rounds}
