"""The state of an index's training on disk: what belongs to it, and how it is gone on with."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch

from learned_index.errors import InputError
from learned_index.index.build.partition import n_clusters_for
from learned_index.index.network import IndexNetwork
from learned_index.index.points import TrainingPoints
from learned_index.index.saving import describe_hierarchy, restore_index
from learned_index.persistence.digest import data_digest, digest
from learned_index.training.checkpoint import (
    CheckpointFiles,
    CheckpointOptions,
    TrainingState,
    digest_tensors,
)
from learned_index.training.loop import Stage
from learned_index.training.processes import Processes


class IndexCheckpoint:
    """Saves and restores index, encoder and generator of one training.

    Args:
        options: Where the state lies.
        index: What is trained.
        points: What it is trained on; a state belongs to these points and configurations.
        truth: The validation points' labels, which decide where early stopping is asked for.
        generator: Draws the dropout masks.
        processes: Those that train together; the first one writes.
    """

    def __init__(
        self,
        options: CheckpointOptions,
        index: IndexNetwork,
        points: TrainingPoints,
        *,
        truth: sp.csr_matrix | None,
        generator: torch.Generator,
        processes: Processes,
    ) -> None:
        self.options = options
        self._index, self._points, self._processes = index, points, processes
        self._generator = generator
        self._files = CheckpointFiles(options, self._fingerprint(truth))
        self._files.check_writable()
        self._start_weights = ""

    @property
    def is_due(self) -> bool:
        """Whether the last state is old enough for another one."""
        return self._files.is_due

    def _fingerprint(self, truth: sp.csr_matrix | None) -> dict[str, str]:
        points, training = self._points, self._index.training_config
        labels, features = points.labels_NL, points.features_NV
        out = {
            "the configuration of the index": digest(self._index.config.to_dict()),
            "the training configuration": digest(training.to_dict()),
            "the points": points.inputs.digest(),
            "the labels": data_digest(
                np.asarray(labels.shape), labels.indptr.astype(np.int64), labels.indices
            ),
        }
        if features is not None:
            csr = features.tocsr()
            out["the clustering features"] = data_digest(csr.indptr, csr.indices, csr.data)
        if truth is not None and training.early_stopping_metric is not None:
            csr = sp.csr_matrix(truth)
            out["the validation labels"] = data_digest(csr.indptr, csr.indices)
        return out

    def save(self, stage: Stage, *, must: bool) -> None:
        """Write the state of all that is trained; the first process does.

        Args:
            stage: The stage that runs.
            must: Also where writing takes much of the time since the last state.
        """
        if not self._processes.is_first:
            return
        tensors = {f"index.{name}": t for name, t in self._index.state_dict().items()}
        encoder = self._points.inputs.encoder
        if encoder is not None:
            tensors |= {f"encoder.{name}": t for name, t in encoder.state_dict().items()}
        tensors |= {f"stage.{name}": t for name, t in stage.state().items()}
        tensors["generator"] = self._generator.get_state()
        n_bytes = sum(tensor.nbytes for tensor in tensors.values())
        if not must and not self._files.is_worthwhile(n_bytes):
            return
        facts = {
            "stage": stage.plan.name,
            "edge_scale": self._index.graph.scale,
            "hierarchy": describe_hierarchy(self._index),
            "start_weights": self._start_weights,
        }
        self._files.write(tensors, facts)

    def read(self) -> TrainingState | None:
        """The state to go on from; None: there is none.

        Raises:
            InputError: It began with other weights of the encoder.
            ModelFormatError: It is damaged.
        """
        encoder = self._points.inputs.encoder
        weights = "" if encoder is None else digest_tensors(encoder.state_dict())
        self._start_weights = weights
        state = self._files.read() if self.options.resume or self._processes.is_first else None
        self._processes.broadcast_(torch.zeros(1))  # nobody replaces the state while others read
        if state is None:
            return None
        with state.reading():
            self._start_weights = str(state.facts["start_weights"])
        if weights not in (self._start_weights, digest_tensors(state.below("encoder."))):
            raise InputError(
                f"{state.directory} belongs to a training that began with other weights of the "
                "encoder; load or fit the encoder again as it was at the start"
            )
        return state

    @torch.no_grad()
    def restore(self, state: TrainingState) -> None:
        """Make index, encoder and generator what they were.

        Raises:
            ModelFormatError: The state is damaged.
        """
        index, encoder = self._index, self._points.inputs.encoder
        with state.reading():
            n_labels = self._points.labels_NL.shape[1]
            restore_index(
                index,
                state.below("index."),
                dim=self._points.inputs.dim,
                n_labels=n_labels,
                n_clusters=n_clusters_for(index.config, n_labels),
                edge_scale=float(state.facts["edge_scale"]),
                hierarchy=state.facts.get("hierarchy"),
            )
            if encoder is not None:
                encoder.load_state_dict(state.below("encoder."))
            self._generator.set_state(state.tensors["generator"])
        index.to(self._points.inputs.device)
        index.parameters_changed()
