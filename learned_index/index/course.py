"""The course of a training: cluster, warm up, cluster again, stage 1, graph, stage 2."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
import torch

from learned_index.errors import InputError, TrainingInterrupted
from learned_index.index.build.partition import (
    learnable_graph,
    n_clusters_for,
    partition_labels,
    remember_tree,
)
from learned_index.index.build.regions import measure_coverage
from learned_index.index.graph import ClusterLabelGraph
from learned_index.index.hierarchy import hierarchy_shape
from learned_index.index.loss import scores_all_clusters
from learned_index.index.saving import describe_hierarchy, restore_index
from learned_index.inputs.labels import padded_positives
from learned_index.kernels.update import RowAdamW
from learned_index.metrics import metric_names
from learned_index.persistence import reading_model
from learned_index.training.batches import dropout_mask
from learned_index.training.checkpoint import (
    CheckpointFiles,
    CheckpointOptions,
    TrainingState,
    claimed,
    digest_arrays,
    digest_of,
    digest_tensors,
)
from learned_index.training.events import Progress, TrainingEvent
from learned_index.training.loop import Stage, StagePlan
from learned_index.training.optimisers import (
    Group,
    LabelClassifiers,
    Optimisers,
    encoder_groups,
)
from learned_index.training.processes import Processes
from learned_index.training.selection import BestEpoch
from learned_index.training.sources import TrainingInputs
from learned_index.types import Int64Array

if TYPE_CHECKING:
    from learned_index.index.learned_graph_index import LearnedGraphIndex

_NUMBERS = {"warm-up": 0, "stage 1": 1, "stage 2": 2}


class GraphTraining:
    """One training of an index, and of its encoder if the inputs have one.

    Args:
        index: Trained in place; its epochs are numbers already.
        inputs: The points.
        labels_NL: CSR, canonical.
        features: CSR N x V for the clustering, or None.
        measure: Validation metrics of the index as it is, or None.
        truth: The validation points' labels; they decide where early stopping is asked for.
        progress: Called by process 0 only.
        checkpoint: Where to save.
        processes: Those that train together.
    """

    def __init__(
        self,
        index: LearnedGraphIndex,
        inputs: TrainingInputs,
        labels_NL: sp.csr_matrix,
        *,
        features: sp.csr_matrix | None,
        measure: Callable[[], dict[str, float]] | None,
        truth: sp.csr_matrix | None,
        progress: Progress | None,
        checkpoint: CheckpointOptions | None,
        processes: Processes,
    ) -> None:
        self._index, self._inputs, self._labels_NL = index, inputs, labels_NL
        self._features, self._measure = features, measure
        self._processes = processes
        self._progress = progress if processes.is_first else None
        training = index.training_config
        self._generator = torch.Generator().manual_seed(training.seed)
        self._rows: Int64Array = np.flatnonzero(np.diff(labels_NL.indptr)).astype(np.int64)
        self._row_optimiser = self._new_row_optimiser()
        self._stop_pending = False
        self._files: CheckpointFiles | None = None
        self._start_weights = ""
        if checkpoint is not None:
            self._files = CheckpointFiles(checkpoint, self._fingerprint(truth))
            self._files.check_writable()

    def run(self) -> None:
        """Train to the end, or from where the checkpoint says to the end.

        Raises:
            BusyError: Another training uses the checkpoint directory.
        """
        with claimed(None if self._files is None else self._files.options):
            self._run()

    def _run(self) -> None:
        training = self._index.training_config
        stages = [
            ("stage 1", training.stage1_epochs or 0),
            ("stage 2", training.stage2_epochs or 0),
        ]
        if self._inputs.encoder is not None:
            stages.insert(0, ("warm-up", training.warm_epochs or 0))
        names = [name for name, _ in stages]
        state = self._read()
        begin = 0
        if state is not None:
            with reading_model(state.directory, "state of this training", remedy="remove it"):
                begin = names.index(state.facts["stage"])
        for name, epochs in stages[begin:]:
            if epochs or name == "stage 1":
                if state is None:
                    self._prepare(name)
                else:
                    self._restore(state)
                if epochs:
                    self._run_stage(name, epochs, state)
                state = None
            if name == "stage 1":
                remember_tree(self._index)
        self._measure_coverage()
        self._index.eval()
        self._index._forget()

    def _measure_coverage(self) -> None:
        """Tell a deep index what its candidates hold of the softmax that it was trained with."""
        index = self._index
        if index.hierarchy is None or not scores_all_clusters(index):
            return
        if self._processes.is_first:
            measure_coverage(index, self._inputs.vectors())
        self._processes.broadcast_(index.hierarchy.coverage)

    # -- before a stage -------------------------------------------------------------------------

    def _prepare(self, stage: str) -> None:
        index, what = self._index, "graph" if stage == "stage 2" else "clustering"
        self._tell(what, 0)
        vectors = self._inputs.vectors() if self._processes.is_first else None
        if stage == "stage 2":
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
        index._forget()

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
        optimisers = self._optimisers(name)
        averaged: list[torch.Tensor] = [p for p in index.parameters() if p.requires_grad]
        if encoder is not None:
            averaged += [p for p in encoder.parameters() if p.requires_grad]
        best = None
        if training.early_stopping_metric is not None:
            best = BestEpoch(training.early_stopping_metric, training.patience, averaged)
        stop = self._files.options.stop if self._files is not None else None
        stage = Stage(
            StagePlan(
                name=name,
                epochs=epochs,
                batch_size=training.batch_size,
                warmup_fraction=training.warmup_fraction,
                averaging_fraction=training.averaging_fraction if name == "stage 2" else 0.0,
                seed=(training.seed, _NUMBERS[name]),
            ),
            rows=self._rows,
            loss=lambda rows, step: self._loss(rows, (_NUMBERS[name], step), optimisers),
            optimisers=optimisers,
            averaged=averaged,
            best=best,
            progress=self._progress,
            validate=self._validate if self._measure is not None else None,
            pause=self._pause if self._files is not None else None,
            stop_asked=stop,
        )
        if state is not None:
            stage.load(state.below("stage."))
        elif self._files is not None:
            self._save(stage)
        stage.run()

    def _optimisers(self, name: str) -> Optimisers:
        index, training = self._index, self._index.training_config
        factor = training.stage2_learning_rate_factor if name == "stage 2" else 1.0
        routers, graphs = [index.router.weight_CD], [index.graph]
        if index.hierarchy is not None:
            routers.append(index.hierarchy.router.weight_CD)
            graphs.append(index.hierarchy.graph)
        groups: list[Group] = [
            {
                "params": routers,
                "lr": training.learning_rate,
                "weight_decay": training.weight_decay,
            }
        ]
        if index.projection is not None:
            groups.append(
                {
                    "params": [index.projection.weight],
                    "lr": training.projection_learning_rate,
                    "weight_decay": training.weight_decay,
                }
            )
        logits = [graph.edge_logits_CM for graph in graphs if graph.edge_logits_CM is not None]
        if logits:
            groups.append(
                {
                    "params": logits,
                    "lr": training.edge_learning_rate,
                    "weight_decay": 0.0,
                }
            )
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

    def _loss(
        self, rows: Int64Array, position: tuple[int, int], optimisers: Optimisers
    ) -> torch.Tensor | None:
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
        x_BD = self._inputs.batch(own, seed=(training.seed, *position, processes.rank))
        if mask_BD is not None:
            x_BD = x_BD * mask_BD.to(x_BD.device)
        loss: torch.Tensor = self._index(
            x_BD,
            padded_positives(self._labels_NL, own),
            row_optimiser=optimisers.row_optimiser,
        ).loss
        return loss if processes.count == 1 else loss * (len(own) / len(rows))

    def _validate(self) -> dict[str, float]:
        """Metrics of the index as it is now, the same in all processes."""
        assert self._measure is not None
        if self._processes.count == 1:
            return self._measure()
        names = metric_names()
        values = torch.zeros(len(names), dtype=torch.float64)
        if self._processes.is_first:
            metrics = self._measure()
            values = torch.tensor([metrics[name] for name in names], dtype=torch.float64)
        return dict(zip(names, self._processes.broadcast_(values).tolist(), strict=True))

    # -- checkpoints ----------------------------------------------------------------------------

    def _fingerprint(self, truth: sp.csr_matrix | None) -> dict[str, str]:
        labels, features, training = self._labels_NL, self._features, self._index.training_config
        out = {
            "the configuration of the index": digest_of(self._index.config.to_dict()),
            "the training configuration": digest_of(training.to_dict()),
            "the points": self._inputs.digest(),
            "the labels": digest_arrays(
                np.asarray(labels.shape), labels.indptr.astype(np.int64), labels.indices
            ),
        }
        if features is not None:
            csr = features.tocsr()
            out["the clustering features"] = digest_arrays(csr.indptr, csr.indices, csr.data)
        if truth is not None and training.early_stopping_metric is not None:
            csr = sp.csr_matrix(truth)
            out["the validation labels"] = digest_arrays(csr.indptr, csr.indices)
        return out

    def _pause(self, stage: Stage, epoch_ended: bool, stop: bool) -> None:
        assert self._files is not None
        self._stop_pending |= stop
        if not stage.is_settled:
            return
        if epoch_ended or self._stop_pending or self._files.is_due:
            self._save(stage)
        if self._stop_pending:
            self._processes.broadcast_(torch.zeros(1))  # until process 0 has saved
            raise TrainingInterrupted(
                f"training was stopped in {stage.plan.name} after {stage.done} steps; the state "
                f"is in {self._files.options.directory}, the same call goes on from there"
            )

    def _save(self, stage: Stage) -> None:
        if not self._processes.is_first:
            return
        assert self._files is not None
        tensors = {f"index.{name}": t for name, t in self._index.state_dict().items()}
        encoder = self._inputs.encoder
        if encoder is not None:
            tensors |= {f"encoder.{name}": t for name, t in encoder.state_dict().items()}
        tensors |= {f"stage.{name}": t for name, t in stage.state().items()}
        tensors["generator"] = self._generator.get_state()
        facts = {
            "stage": stage.plan.name,
            "edge_scale": self._index.graph.scale,
            "hierarchy": describe_hierarchy(self._index),
            "start_weights": self._start_weights,
        }
        self._files.write(tensors, facts)

    def _read(self) -> TrainingState | None:
        if self._files is None:
            return None
        encoder = self._inputs.encoder
        weights = "" if encoder is None else digest_tensors(encoder.state_dict())
        self._start_weights = weights
        state = (
            self._files.read() if self._files.options.resume or self._processes.is_first else None
        )
        self._processes.broadcast_(torch.zeros(1))  # nobody replaces the state while others read
        if state is None:
            return None
        with reading_model(state.directory, "state of this training", remedy="remove it"):
            self._start_weights = str(state.facts["start_weights"])
        if weights not in (self._start_weights, digest_tensors(state.below("encoder."))):
            raise InputError(
                f"{state.directory} belongs to a training that began with other weights of the "
                "encoder; load or fit the encoder again as it was at the start"
            )
        return state

    @torch.no_grad()
    def _restore(self, state: TrainingState) -> None:
        index, encoder = self._index, self._inputs.encoder
        with reading_model(state.directory, "state of this training", remedy="remove it"):
            n_labels = self._labels_NL.shape[1]
            restore_index(
                index,
                state.below("index."),
                dim=self._inputs.dim,
                n_labels=n_labels,
                n_clusters=n_clusters_for(index.config, n_labels),
                edge_scale=float(state.facts["edge_scale"]),
                hierarchy=state.facts.get("hierarchy"),
            )
            if encoder is not None:
                encoder.load_state_dict(state.below("encoder."))
            self._generator.set_state(state.tensors["generator"])
        index.to(self._inputs.device)
        index._forget()
