"""Parameters of the index and of its training: one place, read by the API and the CLI alike."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Self

from learned_index.config import Config, parameter, seed_parameter
from learned_index.errors import InputError

_STEPS = {"index": (180, 250), "encoder": (40, 60)}
"""Steps that stages 1 and 2 have at least, unless epochs are given."""
_EPOCHS = {"index": (2, 4), "encoder": (1, 3)}
"""Their fewest epochs likewise."""
_MOST_EPOCHS = {"index": (10, 10), "encoder": (20, 40)}
"""Their most: few points are learned by heart before they have made many steps."""


@dataclass(frozen=True, kw_only=True)
class IndexConfig(Config):
    """Shape and constants of a :class:`~learned_index.LearnedGraphIndex`."""

    n_clusters: int | None = parameter(None, "clusters C; default: L / 40, at most 16384 if flat")
    edges_per_cluster: int | None = parameter(None, "edges M kept per cluster; default: 10 L/C")
    hierarchy: Literal["auto", "flat", "deep"] = parameter(
        "auto",
        "flat: a query is scored against all clusters; deep: against regions, whose edges lead to "
        "the clusters worth scoring; auto: deep from 4096 clusters",
    )
    n_regions: int | None = parameter(None, "regions S of a deep index; default: 2 sqrt(C)")
    edges_per_region: int | None = parameter(
        None, "edges M0 from a region to clusters; default: 6 C/S"
    )
    region_scale: float = parameter(
        1.0,
        "alpha of the regions; above 1 several may have score 1, and their clusters tie",
        low=1.0,
    )
    region_beam_width: int | None = parameter(
        None, "regions W0 explored per query at the configured beam width; default: 10"
    )
    candidate_clusters: int | None = parameter(
        None,
        "clusters K0 scored per query at the configured beam width; default: 16 beams, of many "
        "clusters 0.3 sqrt(C) beams",
    )
    beam_width: int = parameter(20, "clusters W explored per query (the paper's b)")
    shortlist_size: int = parameter(2000, "labels K scored per query")
    router_scale: float = parameter(
        30.0, "alpha: cluster score = min(1, alpha softmax) (paper: about 10)", low=1.0
    )
    edge_scale: float | None = parameter(
        None, "beta: edge weight = min(1, beta softmax); default: L/C", low=1.0
    )
    path_exponent: float = parameter(
        0.5, "labels are ranked by (path score)^this * sigmoid(w.x + b) (paper: 1)", low=0.0
    )
    projection: Literal["none", "residual"] = parameter(
        "residual", "learned linear map of the input vectors: x + P x, or none"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hierarchy == "flat" and self.n_regions is not None:
            raise InputError(
                f"n_regions is {self.n_regions}, but hierarchy is 'flat'; leave one of them away"
            )


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(Config):
    """How :meth:`~learned_index.LearnedGraphIndex.fit` trains."""

    seed: int = seed_parameter("seed of clustering, initialisation, shuffling and dropout")
    batch_size: int = parameter(256, "points per step")
    stage1_epochs: int | None = parameter(
        None,
        "epochs with the fixed partition; default: 2, more where that is under 280 steps (1 and "
        "40 with a trainable encoder)",
        low=0,
    )
    stage2_epochs: int | None = parameter(
        None,
        "epochs with the learned graph (0: none); default: 4, more where that is under 560 steps "
        "(3 and 60 with a trainable encoder)",
        low=0,
    )
    learning_rate: float = parameter(2e-2, "peak rate of label classifiers and router", low=0.0)
    projection_learning_rate: float = parameter(1e-3, "peak rate of the input projection", low=0.0)
    edge_learning_rate: float = parameter(2e-2, "peak rate of the edge logits", low=0.0)
    stage2_learning_rate_factor: float = parameter(1.0, "factor on all rates in stage 2", low=0.0)
    weight_decay: float = parameter(0.0, "decoupled decay of all weights but biases", low=0.0)
    warmup_fraction: float = parameter(
        0.1, "part of a stage's steps with a rising rate", low=0.0, high=1.0
    )
    dropout: float = parameter(0.2, "input dropout while training", low=0.0, below=1.0)
    shortlist_loss_weight: float = parameter(
        3.0, "lambda, weight of the shortlist loss (paper: 0.05)", low=0.0
    )
    region_loss_weight: float = parameter(
        1.0, "mu, weight of the regions' loss in a deep index", low=0.0
    )
    cluster_softmax: Literal["auto", "all", "candidates"] = parameter(
        "auto",
        "clusters that a deep index scores in training: all, or those that the regions reach; "
        "auto: all up to 32768",
    )
    training_shortlist_size: int | None = parameter(
        None, "labels K in training; default: shortlist_size"
    )
    edge_init: Literal["counts", "uniform"] = parameter(
        "counts", "start of the edge logits: log of the co-visit counts, or uniform as in the paper"
    )
    fixed_edges: int | None = parameter(
        None,
        "in place of learned edges: from each label to so many clusters that its points visit "
        "most, of equal weight (Overlap-XMC); 0: the partition of stage 1 stays in stage 2",
        low=0,
    )
    assignment_rounds: int = parameter(
        1, "equal parts of stage 2, each of which makes the graph anew from what was learned before"
    )
    router_init_scale: float = parameter(10.0, "length of the initial cluster vectors", low=0.0)
    label_init_scale: float = parameter(10.0, "length of the initial label vectors", low=0.0)
    label_init_bias: float | None = parameter(
        None, "initial bias of the label classifiers; default: log of (labels per point / L)"
    )
    averaging_fraction: float = parameter(
        0.5, "last part of stage 2 whose weights are averaged (SWA); 0 is off", low=0.0, high=1.0
    )
    label_update_every: int = parameter(
        1, "k: the label classifiers take one step every k steps, on gradients of all k"
    )
    gradient_clip: float = parameter(
        0.0, "largest global norm of the gradients but the label classifiers'; 0 is off", low=0.0
    )
    early_stopping_metric: str | None = parameter(
        None, "validation metric, such as P@1, that picks the best epoch of each stage"
    )
    patience: int = parameter(
        3, "epochs without a better early_stopping_metric after which a stage ends"
    )
    warm_epochs: int | None = parameter(
        None,
        "with a trainable encoder: epochs before the labels are clustered again on its vectors "
        "(0: cluster once); default: half of stage 1",
        low=0,
    )
    encoder_learning_rate: float | None = parameter(
        None,
        "peak rate of a trainable encoder; default: 1e-4, 2e-3 for tables of word vectors",
        low=0.0,
    )
    encoder_weight_decay: float = parameter(
        0.01, "decoupled decay of a trainable encoder's weights but norm gains and biases", low=0.0
    )
    precision: Literal["auto", "float32", "bfloat16"] = parameter(
        "auto", "of a trainable encoder: bfloat16 runs it under autocast; auto: on GPUs only"
    )
    device: str = parameter(
        "cpu",
        "where an index on frozen vectors is trained: cpu, cuda, cuda:1, auto; a trainable "
        "encoder and its index are trained where the encoder is",
    )

    def resolve_epochs(
        self, n_points: int, *, trained: Literal["index", "encoder"] = "index"
    ) -> Self:
        """The configuration with numbers for the epochs that were left to the program.

        Args:
            n_points: Training points that have labels.
            trained: ``"encoder"``: index and encoder together, which overfits sooner, so that
                small data sets get fewer epochs.
        """
        (wanted1, wanted2), (least1, least2) = _STEPS[trained], _EPOCHS[trained]
        most1, most2 = _MOST_EPOCHS[trained]
        steps = max(1, -(-n_points // self.batch_size))
        stage1, stage2, warm = self.stage1_epochs, self.stage2_epochs, self.warm_epochs
        if stage1 is None:
            stage1 = int(min(most1, max(least1, -(-wanted1 // steps))))
        if stage2 is None:
            stage2 = int(min(most2, max(least2, -(-wanted2 // steps))))
        if warm is None:
            warm = -(-stage1 // 2)
        return replace(self, stage1_epochs=stage1, stage2_epochs=stage2, warm_epochs=warm)

    def __post_init__(self) -> None:
        super().__post_init__()
        metric = self.early_stopping_metric
        if metric is None:
            return
        # Imported where it is needed: li train --help makes this class and needs no scipy.
        from learned_index.metrics import metric_names

        if metric not in metric_names():
            raise InputError(
                f"early_stopping_metric is {metric!r}, expected one of {', '.join(metric_names())}"
            )
