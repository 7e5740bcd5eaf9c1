"""Probabilities from scores: a decision tree, isotonic regression or logistic regression.

The tree on (p, q, p·q, label frequency) is that of ELIAS++ (Gupta et al. 2022, section 3.5). The
alternatives are kept honest by cross-validation over points: the method with the smallest log-loss
on points it has not seen is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np

from learned_index.errors import InputError, NotFittedError
from learned_index.inputs.numbers import MOST_SEED, whole_number
from learned_index.persistence import Manifest, Saved, load_arrays, save_arrays
from learned_index.ranking.calibration_methods import METHODS, Arrays
from learned_index.ranking.folds import N_FOLDS, folds_of, for_each_fold
from learned_index.ranking.reliability import calibration_error, log_loss, reliability_bins
from learned_index.ranking.thresholds import BandThresholds
from learned_index.types import Float32Array, Int64Array

CalibrationMethod = Literal["auto", "tree", "isotonic", "logistic"]
_ARRAYS = "calibration.safetensors"


class Calibrator(Saved):
    """Turns (p, q) of shortlisted labels into calibrated probabilities.

    Args:
        method: ``"tree"``, ``"isotonic"``, ``"logistic"``, or ``"auto"``: the one with the
            smallest cross-validated log-loss.
        seed: Seed of the folds.

    Attributes:
        method_: The method in use.
        report_: ``log_loss`` (cross-validated, by method), ``log_loss_before``,
            ``calibration_error`` (cross-validated) and ``calibration_error_before`` of the raw
            p, ``n_points``, ``n_pairs``, ``bins`` (see
            :func:`~learned_index.ranking.reliability.reliability_bins`).
        thresholds_: From which probability on labels are answered best, by how often they were
            trained; None of a calibrator that an earlier version saved.
    """

    kind: ClassVar[str] = "calibrator"

    def __init__(self, method: CalibrationMethod = "auto", *, seed: int = 0) -> None:
        if not isinstance(method, str) or method not in ("auto", *METHODS):
            raise InputError(f"method is {method!r}, expected auto, {', '.join(METHODS)}")
        self.method = method
        self.seed = whole_number(seed, "seed", low=0, high=MOST_SEED)
        self.method_: str | None = None
        self.report_: dict[str, Any] = {}
        self.thresholds_: BandThresholds | None = None
        self._arrays: Arrays = {}

    def fit(
        self,
        p_BK: Float32Array,
        q_BK: Float32Array,
        ids_BK: Int64Array,
        relevant_BK: Any,
        label_counts_L: Int64Array,
        *,
        n_true_L: Int64Array | None = None,
    ) -> Self:
        """Learn from points that neither the index nor the ranker was trained on.

        Args:
            p_BK: Probabilities from the index.
            q_BK: Margins from the ranker (zeros without one).
            ids_BK: int64 label ids, -1 at pads.
            relevant_BK: bool, the label is one of the point's.
            label_counts_L: int64, training points of each label.
            n_true_L: int64, points of these that have each label, on the shortlist or not; None:
                no label is missing there. The thresholds depend on it.

        Raises:
            InputError: Fewer than 10 points with a shortlist, or only one kind of outcome.
        """
        features, inside = _features(p_BK, q_BK, ids_BK, label_counts_L)
        relevant = np.asarray(relevant_BK, dtype=bool)[inside].astype(np.float64)
        rows = np.nonzero(inside)[0]
        points = np.unique(rows)
        if len(points) < 2 * N_FOLDS or relevant.min(initial=1.0) == relevant.max(initial=0.0):
            raise InputError(
                f"got {len(points)} held-out points with {int(relevant.sum())} relevant of "
                f"{len(relevant)} shortlisted labels; calibration needs {2 * N_FOLDS} points and "
                "both kinds of outcome: hold out more points"
            )
        folds = folds_of(rows, points, self.seed)
        tried = list(METHODS) if self.method == "auto" else [self.method]
        predictions = _out_of_fold(tried, features, relevant, folds)
        losses = {name: log_loss(predictions[name], relevant) for name in tried}
        self.method_ = min(losses, key=lambda name: losses[name])
        self._arrays = METHODS[self.method_].fit(features, relevant)
        raw, chosen = features[:, 0], predictions[self.method_]
        labels_n = np.asarray(ids_BK)[inside]
        if n_true_L is None:
            n_true_L = np.bincount(labels_n[relevant > 0], minlength=len(label_counts_L))
        # On points that the probabilities were not learned from: else they would look too good.
        self.thresholds_ = BandThresholds.fit(chosen, relevant, labels_n, n_true_L, label_counts_L)
        self.report_ = {
            "method": self.method_,
            "log_loss": losses,
            "log_loss_before": log_loss(raw, relevant),
            "calibration_error": calibration_error(chosen, relevant),
            "calibration_error_before": calibration_error(raw, relevant),
            "n_points": len(points),
            "n_pairs": len(relevant),
            "bins": reliability_bins(chosen, relevant),
        }
        return self

    def probability(
        self,
        p_BK: Float32Array,
        q_BK: Float32Array,
        ids_BK: Int64Array,
        label_counts_L: Int64Array,
    ) -> Float32Array:
        """Calibrated probabilities, float32 B x K in 0 to 1; 0 at pads. Arguments as in fit."""
        if self.method_ is None:
            raise NotFittedError(
                "the calibrator is not fitted; call fit(...) or from_pretrained(...) first"
            )
        features, inside = _features(p_BK, q_BK, ids_BK, label_counts_L)
        out = np.zeros(inside.shape, np.float32)
        out[inside] = METHODS[self.method_].predict(self._arrays, features)
        return out

    def _require_complete(self) -> None:
        if self.method_ is None:
            raise NotFittedError("the calibrator is not fitted, so there is nothing to save")

    def _write(self, folder: Path) -> dict[str, Any]:
        save_arrays(folder / _ARRAYS, self._arrays)
        config = {"method": self.method, "seed": self.seed, "report": self.report_}
        told = None if self.thresholds_ is None else self.thresholds_.to_dict()
        return {**config, "chosen": self.method_, "thresholds": told}

    @classmethod
    def _read(cls, manifest: Manifest) -> Self:
        arrays, config = load_arrays(manifest.file(_ARRAYS)), manifest.config
        calibrator = cls(config["method"], seed=whole_number(config["seed"], "seed", low=0))
        calibrator.method_ = str(config["chosen"])
        calibrator.report_ = dict(config["report"])
        told = config.get("thresholds")  # calibrators of earlier versions have none
        calibrator.thresholds_ = None if told is None else BandThresholds.from_dict(told)
        calibrator._arrays = arrays
        METHODS[calibrator.method_].check(arrays)
        return calibrator


def _features(p: Any, q: Any, ids: Any, counts_L: Any) -> tuple[Any, Any]:
    """Columns (p, q, p·q, log(1 + frequency)) of the entries that are no pads."""
    ids = np.asarray(ids)
    inside = ids >= 0
    if not np.shape(p) == np.shape(q) == inside.shape:
        raise InputError(
            f"p, q and ids have shapes {np.shape(p)}, {np.shape(q)} and {inside.shape}; expected "
            "the same"
        )
    if ids.dtype.kind not in "iu" or ids.max(initial=-1) >= len(counts_L):
        raise InputError(
            f"ids are {ids.dtype} up to {ids.max(initial=-1)}, expected label ids of 0 to "
            f"{len(counts_L) - 1}, as many as there are counts"
        )
    p_in = np.asarray(p, np.float64)[inside]
    q_in = np.asarray(q, np.float64)[inside]
    if not (np.isfinite(p_in).all() and np.isfinite(q_in).all()):
        raise InputError("p or q of a label hold NaN or infinity; expected finite numbers")
    frequency = np.log1p(np.asarray(counts_L, np.float64)[ids[inside]])
    return np.stack([p_in, q_in, p_in * q_in, frequency], axis=1), inside


def _out_of_fold(
    methods: Sequence[str], features: Any, relevant: Any, folds: Any
) -> dict[str, Any]:
    predicted = {name: np.empty(len(relevant)) for name in methods}

    def one(fold: int) -> None:
        held = folds == fold
        for name, values in predicted.items():
            arrays = METHODS[name].fit(features[~held], relevant[~held])
            values[held] = METHODS[name].predict(arrays, features[held])

    for_each_fold(one)
    return predicted
