"""The course of a training: cluster, warm up, cluster again, stage 1, graph, stage 2."""

from __future__ import annotations

import numpy as np
import torch

from learned_index.errors import TrainingInterrupted
from learned_index.index.build.partition import (
    learnable_graph,
    n_clusters_for,
    partition_labels,
    remember_tree,
)
from learned_index.index.build.regions import measure_coverage
from learned_index.index.checkpoint import IndexCheckpoint
from learned_index.index.graph import ClusterLabelGraph
from learned_index.index.hierarchy import hierarchy_shape
from learned_index.index.loss import index_losses, scores_all_clusters
from learned_index.index.network import IndexNetwork
from learned_index.index.points import HeldOutMetrics, TrainingPoints
from learned_index.inputs.positives import padded_positives
from learned_index.kernels.update import RowAdamW
from learned_index.metrics import metric_names
from learned_index.training.batches import dropout_mask
from learned_index.training.checkpoint import CheckpointOptions, TrainingState, claimed
from learned_index.training.events import Progress, TrainingEvent
from learned_index.training.loop import Stage, StagePlan, StageTraining
from learned_index.training.optimisers import (
    Group,
    LabelClassifiers,
    Optimisers,
    encoder_groups,
    group_of,
)
from learned_index.training.processes import Processes
from learned_index.training.selection import BestEpoch
from learned_index.types import Int64Array

# Parts of the seeds: with other numbers a training would shuffle in another way.
_NUMBERS = {"warm-up": 0, "stage 1": 1, "stage 2": 2}


def _of_stage_2(name: str) -> bool:
    """Whether a stage is stage 2 or a later round of it."""
    return name.startswith("stage 2")


def _seed_part(name: str) -> int:
    """The number of a stage; rounds of stage 2 go on from its 2."""
    stage, _, number = name.partition(", round ")
    return _NUMBERS[stage] + (int(number) - 1 if number else 0)


class IndexTraining(StageTraining):
    """One training of an index, and of its encoder if the inputs have one.

    It prepares each stage and has :class:`~learned_index.training.loop.Stage` run it, which calls
    :meth:`loss` for every batch, :meth:`validate` after every epoch and :meth:`pause` after every
    step.

    Args:
        index: Trained in place; its epochs are numbers already.
        points: What it is trained on.
        held_out: How it is measured meanwhile, or None.
        progress: Called by process 0 only.
        checkpoint: Where to save.
        processes: Those that train together.
    """

    def __init__(
        self,
        index: IndexNetwork,
        points: TrainingPoints,
        *,
        held_out: HeldOutMetrics | None,
        progress: Progress | None,
        checkpoint: CheckpointOptions | None,
        processes: Processes,
    ) -> None:
        self._index, self._held_out, self._processes = index, held_out, processes
        self._inputs, self._labels_NL, self._features = points
        self._progress = progress if processes.is_first else None
        training = index.training_config
        self._generator = torch.Generator().manual_seed(training.seed)
        self._rows: Int64Array = np.flatnonzero(np.diff(self._labels_NL.indptr)).astype(np.int64)
        self._row_optimiser = self._new_row_optimiser()
        self._stop_pending = False
        self._checkpoint: IndexCheckpoint | None = None
        if checkpoint is not None:
            self._checkpoint = IndexCheckpoint(
                checkpoint,
                index,
                points,
                truth=None if held_out is None else held_out.truth,
                generator=self._generator,
                processes=processes,
            )

    def run(self) -> None:
        """Train to the end, or from where the checkpoint says to the end.

        Raises:
            BusyError: Another training uses the checkpoint directory.
        """
        with claimed(None if self._checkpoint is None else self._checkpoint.options):
            self._run()

    def _run(self) -> None:
        stages = self._stages()
        names = [name for name, _ in stages]
        state = None if self._checkpoint is None else self._checkpoint.read()
        begin = 0
        if state is not None:
            with state.reading():
                begin = names.index(state.facts["stage"])
        for name, epochs in stages[begin:]:
            if epochs or name == "stage 1":
                if self._checkpoint is None or state is None:
                    self.prepare(name)
                else:
                    self._checkpoint.restore(state)
                if epochs:
                    self._run_stage(name, epochs, state)
                state = None
            if name == "stage 1":
                remember_tree(self._index)
        self._measure_coverage()
        self._index.eval()
        self._index.parameters_changed()

    def _stages(self) -> list[tuple[str, int]]:
        """Names and epochs; of stage 2 so many rounds as are asked for and as there are epochs."""
        training = self._index.training_config
        epochs = training.stage2_epochs or 0
        rounds = max(1, min(training.assignment_rounds, epochs))
        stages = [("stage 1", training.stage1_epochs or 0)]
        if self._inputs.encoder is not None:
            stages.insert(0, ("warm-up", training.warm_epochs or 0))
        for number in range(1, rounds + 1):
            name = "stage 2" if number == 1 else f"stage 2, round {number}"
            stages.append((name, epochs * number // rounds - epochs * (number - 1) // rounds))
        return stages

    def _measure_coverage(self) -> None:
        """Tell a deep index what its candidates hold of the softmax that it was trained with."""
        index = self._index
        if index.hierarchy is None or not scores_all_clusters(index):
            return
        if self._processes.is_first:
            measure_coverage(index, self._inputs.vectors())
        self._processes.broadcast_(index.hierarchy.coverage)

    # -- before a stage -------------------------------------------------------------------------

    def prepare(self, stage: str) -> None:
        """Cluster the labels, or before stage 2 make the graph; all processes get the same."""
        index, what = self._index, "graph" if _of_stage_2(stage) else "clustering"
        self._tell(what, 0)
        vectors = self._inputs.vectors() if self._processes.is_first else None
        if _of_stage_2(stage):
            if vectors is not None:
                learnable_graph(index, vectors, self._labels_NL)
        else:
            # Label classifiers start anew with the clusters: kept ones overfit sooner.
            self._row_optimiser = self._new_row_optimiser()
            if vectors is not None:
                partition_labels(
                    index,
                    vectors,
                    self._labels_NL,
                    self._features,
                    cluster_on="features" if stage == "warm-up" else "both",
                )
        self._share()
        self._tell(what, 1)

    def _new_row_optimiser(self) -> RowAdamW:
        training = self._index.training_config
        return RowAdamW(
            self._labels_NL.shape[1],
            self._inputs.dim,
            learning_rate=training.learning_rate,
            weight_decay=training.weight_decay,
            device=self._inputs.device,
        )

    def _share(self) -> None:
        """Give all processes the index of process 0, on the device of the training."""
        index, processes = self._index, self._processes
        if processes.count > 1:
            n_labels = self._labels_NL.shape[1]
            n_clusters = n_clusters_for(index.config, n_labels)
            if not processes.is_first:
                index.allocate(
                    dim=self._inputs.dim,
                    n_labels=n_labels,
                    n_clusters=n_clusters,
                    hierarchy=hierarchy_shape(index.config, n_clusters),
                )
            index.graph = self._shared_graph(index.graph)
            if index.hierarchy is not None:
                index.hierarchy.graph = self._shared_graph(index.hierarchy.graph)
            for _, tensor in sorted(index.state_dict().items()):
                processes.broadcast_(tensor)
        index.to(self._inputs.device)
        index.parameters_changed()

    def _shared_graph(self, graph: ClusterLabelGraph) -> ClusterLabelGraph:
        """Process 0: its graph; the others: an empty one of that shape."""
        shape = torch.tensor(
            [graph.edge_labels_CM.shape[1], graph.edge_logits_CM is not None, graph.scale],
            dtype=torch.float64,
        )
        self._processes.broadcast_(shape)
        if self._processes.is_first:
            return graph
        size = (graph.edge_labels_CM.shape[0], int(shape[0]))
        return ClusterLabelGraph(
            torch.zeros(size, dtype=torch.int32),
            graph.n_labels,
            edge_logits_CM=torch.zeros(size) if shape[1] else None,
            scale=float(shape[2]),
        )

    def _tell(self, stage: str, step: int) -> None:
        if self._progress is not None:
            self._progress(TrainingEvent(stage, step, 1, step, 1))

    # -- a stage --------------------------------------------------------------------------------

    def _run_stage(self, name: str, epochs: int, state: TrainingState | None) -> None:
        index, encoder = self._index, self._inputs.encoder
        training = index.training_config
        optimisers = self.optimisers(name)
        averaged: list[torch.Tensor] = [p for p in index.parameters() if p.requires_grad]
        if encoder is not None:
            averaged += [p for p in encoder.parameters() if p.requires_grad]
        best = None
        if training.early_stopping_metric is not None:
            best = BestEpoch(training.early_stopping_metric, training.patience, averaged)
        stage = Stage(
            StagePlan(
                name=name,
                epochs=epochs,
                batch_size=training.batch_size,
                warmup_fraction=training.warmup_fraction,
                averaging_fraction=training.averaging_fraction if _of_stage_2(name) else 0.0,
                seed=(training.seed, _seed_part(name)),
            ),
            self,
            rows=self._rows,
            optimisers=optimisers,
            averaged=averaged,
            best=best,
            progress=self._progress,
        )
        if self._checkpoint is not None:
            if state is not None:
                stage.load(state.below("stage."))
            else:
                self._checkpoint.save(stage, must=False)
        stage.run()

    def optimisers(self, name: str) -> Optimisers:
        """Those of a stage; its parameters must be there (:meth:`prepare`)."""
        index, training = self._index, self._index.training_config
        factor = training.stage2_learning_rate_factor if _of_stage_2(name) else 1.0
        routers, graphs = [index.router.weight_CD], [index.graph]
        if index.hierarchy is not None:
            routers.append(index.hierarchy.router.weight_CD)
            graphs.append(index.hierarchy.graph)
        projections = [] if index.projection is None else [index.projection.weight]
        logits = [graph.edge_logits_CM for graph in graphs if graph.edge_logits_CM is not None]
        groups = [
            group_of(routers, training.learning_rate, training.weight_decay),
            group_of(projections, training.projection_learning_rate, training.weight_decay),
            group_of(logits, training.edge_learning_rate, 0.0),
        ]
        groups = [group for group in groups if group["params"]]
        tables: list[Group] = []
        if self._inputs.encoder is not None:
            dense, tables = encoder_groups(
                self._inputs.encoder,
                learning_rate=training.encoder_learning_rate,
                weight_decay=training.encoder_weight_decay,
            )
            groups += dense
        for group in [*groups, *tables]:
            group["lr"] *= factor
        return Optimisers(
            groups,
            tables=tables,
            labels=LabelClassifiers(
                index.label_weight_LD,
                index.label_bias_L,
                self._row_optimiser,
                peak=training.learning_rate * factor,
                every=training.label_update_every,
            ),
            processes=self._processes,
            clip=training.gradient_clip,
        )

    def loss(self, stage: Stage, rows: Int64Array) -> torch.Tensor | None:
        """This process's part of the mean loss of a batch; None if it has no rows of it."""
        training, processes = self._index.training_config, self._processes
        part = processes.part(len(rows))
        own = rows[part]
        mask_BD = None
        if training.dropout:
            # Drawn for the whole batch on the CPU: the same for any number of processes and any
            # device.
            mask_BD = dropout_mask(len(rows), self._inputs.dim, training.dropout, self._generator)[
                part
            ]
        if not len(own):
            return None
        x_BD = self._inputs.batch(own, seed=(*stage.plan.seed, stage.done, processes.rank))
        if mask_BD is not None:
            x_BD = x_BD * mask_BD.to(x_BD.device)
        loss = index_losses(
            self._index,
            x_BD,
            padded_positives(self._labels_NL, own),
            row_optimiser=stage.optimisers.row_optimiser,
        ).loss
        return loss if processes.count == 1 else loss * (len(own) / len(rows))

    def validate(self) -> dict[str, float]:
        """Metrics of the index as it is now, the same in all processes; none without points."""
        if self._held_out is None:
            return {}
        if self._processes.count == 1:
            return self._held_out.measure()
        names = metric_names()
        values = torch.zeros(len(names), dtype=torch.float64)
        if self._processes.is_first:
            metrics = self._held_out.measure()
            values = torch.tensor([metrics[name] for name in names], dtype=torch.float64)
        return dict(zip(names, self._processes.broadcast_(values).tolist(), strict=True))

    def stop_asked(self) -> bool:
        """Whether the checkpoint's owner wants the training to stop."""
        stop = None if self._checkpoint is None else self._checkpoint.options.stop
        return stop is not None and stop()

    def pause(self, stage: Stage, *, epoch_ended: bool, stop: bool) -> None:
        """Save where that is due; raise where a stop was asked for."""
        if self._checkpoint is None:
            return
        self._stop_pending |= stop
        if not stage.is_settled:
            return
        must = self._stop_pending or self._checkpoint.is_due
        if epoch_ended or must:
            self._checkpoint.save(stage, must=must)
        if self._stop_pending:
            self._processes.broadcast_(torch.zeros(1))  # until process 0 has saved
            raise TrainingInterrupted(
                f"training was stopped in {stage.plan.name} after {stage.done} steps; the state "
                f"is in {self._checkpoint.options.directory}, the same call goes on from there"
            )
