"""The final order of a shortlist by all evidence: a log-linear model, boosted trees, or both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self, get_args

import numpy as np

from learned_index.errors import InputError, NotFittedError
from learned_index.inputs.numbers import real_number, whole_number
from learned_index.persistence import Manifest, Saved, save_arrays
from learned_index.persistence.contents import require_layout, require_range
from learned_index.persistence.mapped import mapped_arrays
from learned_index.ranking.boosting import check_trees, path_parts
from learned_index.ranking.evidence import (
    EVIDENCE,
    N_BEFORE_NAMES,
    N_BEFORE_SPELLING,
    N_LINEAR,
    NameTerms,
    check_names,
)
from learned_index.ranking.final_models import (
    N_BOOSTED,
    NO_TREES,
    EvidencePoints,
    FinalModel,
    cross_fitted,
    fit_final_model,
    fixed_scores,
    precision_of,
    scores_of,
    sieve_sums,
)
from learned_index.ranking.final_scoring import LOG_FREQUENCY
from learned_index.ranking.folds import N_FOLDS
from learned_index.ranking.name_search import AlikeLists, NameLists, alike_lists, name_lists
from learned_index.ranking.spelling import Spelling
from learned_index.types import Float32Array, Int64Array

FinalRankerMethod = Literal["auto", "mixed", "linear", "trees"]
MOST_NAMED = 1000
"""Labels that names may add to a shortlist."""
_ARRAYS = "final_ranker.safetensors"


class ScoreParts(NamedTuple):
    """What a final ranker's score of one label consists of.

    ``score = scale * sigmoid(constant + sum(parts))``.

    Attributes:
        constant: Log-odds where nothing is known.
        parts_F: float64, in the order of :data:`~learned_index.ranking.EVIDENCE`.
        scale: 1, or the least score of those that the trees order, where the label stands behind.
    """

    constant: float
    parts_F: Any
    scale: float


class FinalRanker(Saved):
    """Orders shortlisted labels by the evidence of :data:`~learned_index.ranking.EVIDENCE`.

    ``linear``: the log-linear model of :func:`fit_log_linear`. ``trees``: gradient boosted trees,
    a few small ones for all labels (the sieve), and more for its best :data:`N_BOOSTED`; the
    others follow. ``mixed``: the same, but those of the best that have training points have the
    weighted mean of the log-odds of trees and log-linear model.

    Args:
        method: ``"mixed"``, ``"linear"``, ``"trees"``, or ``"auto"``: mixed, or the fixed formula
            :class:`~learned_index.ranking.combination.Combination` where it orders held-out
            points at least as well: by P@1 + P@5 in four folds.
        names: Terms of the labels' names, which the evidence is made of and which are saved here.
        n_named: Labels that names add to a shortlist at most; 0: names are not searched, and their
            scores are 0.
        alike: Terms that are spelled like words of the names, see
            :meth:`~learned_index.ranking.spelling.Spelling.names`, saved here too. The labels that
            names add are then those of the most alike. None: spelling is not compared.
        seed: Seed of the folds.

    Attributes:
        method_: ``"fixed"``, ``"linear"``, ``"trees"`` or ``"mixed"``; ``"linear"`` where the
            points were too few or too much alike for trees.
        report_: ``method``, ``precision`` (P@1 + P@5 out of fold, by method), ``n_points``,
            ``weights`` of the log-linear model by name of the evidence, and of a model's final
            ranker ``n_known``: training points that the model knew when it was learned.
    """

    kind: ClassVar[str] = "final-ranker"

    def __init__(
        self,
        method: FinalRankerMethod = "auto",
        *,
        names: NameTerms,
        n_named: int = 0,
        alike: NameTerms | None = None,
        seed: int = 0,
    ) -> None:
        if method not in get_args(FinalRankerMethod):
            raise InputError(f"method is {method!r}, expected auto, mixed, linear or trees")
        self.method = method
        self.names = names
        self.n_named = n_named
        self.alike = alike
        self.seed = seed
        self._lists: NameLists | None = None
        self._alike_lists: AlikeLists | None = None
        self._spelling: Spelling | None = None
        self.method_: str | None = None
        self.report_: dict[str, Any] = {}
        self._model: FinalModel | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        model = self._fitted()
        names = (*self.names, *(self.alike or ()))
        arrays = (*names, *model.sieve.values(), *model.trees.values())
        return sum(array.nbytes for array in arrays)

    def _fitted(self) -> FinalModel:
        if self._model is None:
            raise NotFittedError(
                "the final ranker is not fitted; call fit(...) or from_pretrained(...) first"
            )
        return self._model

    def name_lists(self, n_terms: int) -> NameLists | None:
        """The names by term, made once; None where they are not searched.

        Args:
            n_terms: V, sparse features.
        """
        if self.n_named and self._lists is None:
            self._lists = name_lists(self.names.indptr, self.names.terms, n_terms)
        return self._lists

    def alike_lists(self, n_terms: int) -> AlikeLists | None:
        """What is spelled like the names by term, made once; None where it is not compared."""
        if self.alike is not None and self._alike_lists is None:
            self._alike_lists = alike_lists(self.alike, n_terms)
        return self._alike_lists

    def spelling(self, n_terms: int, terms: Callable[[], Sequence[str]]) -> Spelling:
        """The terms as they are spelled, made once: rankers with other names have it, too.

        Args:
            n_terms: V, sparse features.
            terms: Lists them, where that is still to be done.
        """
        if self._spelling is None or self._spelling.n_terms != n_terms:
            self._spelling = Spelling(terms())
        return self._spelling

    def fit(
        self,
        evidence_BKF: Float32Array,
        ids_BK: Int64Array,
        relevant_BK: Any,
        *,
        learned: EvidencePoints | None = None,
    ) -> Float32Array:
        """Learn from points that neither the index, the ranker nor the records have seen.

        Args:
            evidence_BKF: See :func:`~learned_index.ranking.evidence.evidence`.
            ids_BK: int64 label ids, -1 at pads.
            relevant_BK: bool, the label is one of the point's.
            learned: What is said of the same points by a model in which some labels pretend to have
                no training points: it is learned from this, and asked of the other. None: learned
                from what is asked.

        Returns:
            The scores of :meth:`score`, float32 B x K, each by a model that has not seen its
            point.

        Raises:
            InputError: Fewer than 10 points, or only one kind of outcome.
        """
        inside, relevant = ids_BK >= 0, np.asarray(relevant_BK, bool)
        n_points = len(ids_BK)
        if n_points < 2 * N_FOLDS or not relevant.any() or relevant[inside].all():
            raise InputError(
                f"got {n_points} held-out points with {int(relevant.sum())} relevant shortlisted "
                f"labels; the final ranker needs {2 * N_FOLDS} points and both kinds of outcome"
            )
        scores = {"fixed": fixed_scores(evidence_BKF, inside)} if self.method == "auto" else {}
        wanted = "mixed" if self.method == "auto" else self.method
        asked = EvidencePoints(ids_BK, evidence_BKF, relevant)
        learned = asked if learned is None else learned
        scores[wanted], fitted = cross_fitted(wanted, learned, asked, self.seed)
        precision = {
            name: float(precision_of(score, inside, relevant).mean())
            for name, score in scores.items()
        }
        # Of two that are as good the simpler: max keeps the first.
        chosen = max(precision, key=precision.__getitem__)
        if chosen == "fixed":
            fitted = fit_final_model("linear", learned, np.arange(n_points), self.seed)
        self._model = fitted
        self.method_ = chosen if chosen == "fixed" or self._model.has_trees else "linear"
        self.report_ = {
            "method": self.method_,
            "precision": precision,
            "n_points": n_points,
            "weights": dict(zip(EVIDENCE, self._model.weights.tolist(), strict=False)),
        }
        return np.asarray(scores[chosen], np.float32)

    def score(self, evidence_BKF: Float32Array, ids_BK: Int64Array) -> Float32Array:
        """Ranking scores, float32 B x K in 0 to 1; 0 at pads."""
        return scores_of(self._fitted(), evidence_BKF, np.asarray(ids_BK) >= 0)

    def with_names(self, names: NameTerms, alike: NameTerms | None) -> Self:
        """The same ranker with other names of the labels.

        Args:
            names: Of as many labels, in terms of the same features.
            alike: Likewise, what is spelled like them; None where this ranker has none.
        """
        twin = copy(self)
        twin.names, twin._lists = names, None
        twin.alike, twin._alike_lists = alike, None
        return twin

    def explain(self, evidence_KF: Float32Array, ids_K: Int64Array, column: int) -> ScoreParts:
        """Split the score of one label of a shortlist by evidence.

        Args:
            evidence_KF: The evidence of one point, see :meth:`fit`.
            ids_K: int64 label ids, -1 at pads.
            column: Which of them; no pad.
        """
        model = self._fitted()
        row_F = evidence_KF[column].astype(np.float64)
        slope, bias = (float(value) for value in model.logistic)
        linear_F = np.zeros(len(row_F))
        linear_F[:N_LINEAR] = slope * model.weights * row_F[:N_LINEAR]
        if not model.has_trees:
            return ScoreParts(bias, linear_F, 1.0)
        inside = ids_K >= 0
        sifted_K = sieve_sums(model.sieve, evidence_KF, inside)
        order = np.argsort(-sifted_K, kind="stable")[: min(N_BOOSTED, int(inside.sum()))]
        if column in order:
            constant, parts_F = path_parts(model.trees, row_F)
            a = model.linear_share if row_F[LOG_FREQUENCY] > 0 else 0.0
            return ScoreParts((1 - a) * constant + a * bias, (1 - a) * parts_F + a * linear_F, 1.0)
        least = float(self.score(evidence_KF[None], ids_K[None])[0, order].min())
        return ScoreParts(*path_parts(model.sieve, row_F), least)

    def _require_complete(self) -> None:
        self._fitted()

    def _write(self, folder: Path) -> dict[str, Any]:
        model = self._fitted()
        arrays = {f"name_{field}": array for field, array in self.names._asdict().items()}
        if self.alike is not None:
            arrays |= {f"alike_{field}": array for field, array in self.alike._asdict().items()}
        arrays |= {"weights": model.weights, "logistic": model.logistic}
        arrays |= {f"sieve_{name}": array for name, array in model.sieve.items()}
        save_arrays(folder / _ARRAYS, arrays | model.trees)
        config: dict[str, Any] = {
            "method": self.method,
            "seed": self.seed,
            "evidence": list(EVIDENCE),
        }
        config |= {"n_named": self.n_named, "linear_share": model.linear_share}
        return {**config, "chosen": self.method_, "report": self.report_}

    @classmethod
    def _read(cls, manifest: Manifest) -> Self:
        with mapped_arrays(manifest.file(_ARRAYS)) as arrays:
            return cls._made_of(arrays, manifest.config)

    @classmethod
    def _made_of(cls, arrays: dict[str, Any], config: dict[str, Any]) -> Self:
        known = (len(EVIDENCE), N_BEFORE_SPELLING, N_BEFORE_NAMES)
        if config["evidence"] not in [list(EVIDENCE[:n]) for n in known]:
            raise InputError("its evidence is not what this version gathers; train the model again")
        names = NameTerms(*(arrays[f"name_{field}"] for field in NameTerms._fields))
        check_names(names, len(names.indptr) - 1, 1 << 31)
        seed = whole_number(config["seed"], "seed", low=0)
        n_named = whole_number(config.get("n_named", 0), "n_named", low=0, high=MOST_NAMED)
        alike = None
        if "alike_indptr" in arrays:
            alike = NameTerms(*(arrays[f"alike_{field}"] for field in NameTerms._fields))
            check_names(alike, len(names.indptr) - 1, 1 << 31)
        ranker = cls(config["method"], names=names, n_named=n_named, alike=alike, seed=seed)
        if config["chosen"] not in ("linear", "trees", "mixed"):
            raise InputError(
                f"its method is {config['chosen']!r:.60}, expected linear, trees or mixed"
            )
        # Models saved before there were mixed ones say nothing.
        share = real_number(config.get("linear_share", 0.0), "linear_share", low=0.0, high=1.0)
        ranker.method_ = config["chosen"]
        ranker.report_ = dict(config["report"])
        trees = {name: arrays[name] for name in NO_TREES}
        sieve = {name: arrays[f"sieve_{name}"] for name in NO_TREES}
        for each in (sieve, trees):
            check_trees(each, len(config["evidence"]))
            if (len(each["roots"]) > 0) != (ranker.method_ != "linear"):
                raise InputError("its trees do not belong to its method")
        require_layout(
            arrays, {"weights": (np.float64, (N_LINEAR,)), "logistic": (np.float64, (2,))}
        )
        for name in ("weights", "logistic"):
            require_range(name, arrays[name], -1e100, 1e100)
        ranker._model = FinalModel.of(arrays["weights"], arrays["logistic"], sieve, trees, share)
        return ranker
