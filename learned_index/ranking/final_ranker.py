"""The final order of a shortlist by all evidence: a log-linear model, boosted trees, or both."""

from __future__ import annotations

from copy import copy
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self, get_args

import numpy as np

from learned_index.errors import InputError, NotFittedError
from learned_index.inputs.numbers import real_number, whole_number
from learned_index.kernels.machine.parallel import run_queries
from learned_index.persistence import Manifest, Saved, save_arrays
from learned_index.persistence.contents import require_layout, require_range
from learned_index.persistence.mapped import mapped_arrays
from learned_index.ranking.boosting import (
    SIEVE,
    Arrays,
    check_trees,
    fit_trees,
    path_parts,
    tree_masks,
)
from learned_index.ranking.combination import Combination
from learned_index.ranking.evidence import (
    EVIDENCE,
    N_BEFORE_NAMES,
    N_BEFORE_SPELLING,
    N_LINEAR,
    N_RISING,
    NameTerms,
    check_names,
)
from learned_index.ranking.final_scoring import LOG_FREQUENCY, score_rows, tree_sums
from learned_index.ranking.folds import N_FOLDS, folds_of, for_each_fold
from learned_index.ranking.log_linear import fit_log_linear, fit_logistic
from learned_index.ranking.name_search import AlikeLists, NameLists, alike_lists, name_lists
from learned_index.types import Float32Array, Int64Array

FinalRankerMethod = Literal["auto", "mixed", "linear", "trees"]
LINEAR_SHARE = 0.4
"""Of the log-linear model in the log-odds of a mixed one. Trees are the better of the two from some
hundred points on, the log-linear model below; their mean has the P@1 of the better one or more at
all numbers (docs/method.md), so nothing has to be chosen from differences as small as chance."""
N_BOOSTED = 60
"""Labels of a shortlist, best first by the sieve, that the trees order."""
MOST_NAMED = 1000
"""Labels that names may add to a shortlist."""
_DRAWN_SHARE = 0.3
_ARRAYS = "final_ranker.safetensors"
_NO_TREES: Arrays = {
    "roots": np.empty(0, np.int32),
    **{name: np.empty(0, np.int32) for name in ("feature", "left", "right")},
    **{name: np.empty(0, np.float64) for name in ("threshold", "value")},
    "bias": np.zeros(1),
}


class _Model(NamedTuple):
    """One fitted model.

    Attributes:
        weights: float64, of the first columns of the evidence.
        logistic: float64 (slope, bias): the linear score as a probability.
        sieve: Small trees for all labels, see :func:`~learned_index.ranking.boosting.fit_trees`.
        trees: Those of the best ones. Both are empty in a log-linear model.
        linear_share: What the log-linear model has of the log-odds where there are trees.
        arguments: Sieve and trees as the kernel takes them.
    """

    weights: Any
    logistic: Any
    sieve: Arrays
    trees: Arrays
    linear_share: float
    arguments: tuple[Any, ...]

    @classmethod
    def of(
        cls, weights: Any, logistic: Any, sieve: Arrays, trees: Arrays, linear_share: float
    ) -> Self:
        """Prepare the trees for the kernel."""
        arguments = (*tree_masks(sieve), *tree_masks(trees))
        return cls(weights, logistic, sieve, trees, linear_share, arguments)

    @property
    def has_trees(self) -> bool:
        """Whether trees order the best labels."""
        return len(self.trees["roots"]) > 0


class Judged(NamedTuple):
    """What a final ranker learns from: points whose labels are known.

    Attributes:
        ids_BK: int64, the listed labels; -1 at pads.
        evidence_BKF: float32, what is known of them.
        relevant_BK: bool, the label is one of the point's.
    """

    ids_BK: Int64Array
    evidence_BKF: Float32Array
    relevant_BK: Any


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
            :func:`~learned_index.ranking.spelling.spelled_names`, saved here too. The labels that
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
        self.method_: str | None = None
        self.report_: dict[str, Any] = {}
        self._model: _Model | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        model = self._fitted()
        names = (*self.names, *(self.alike or ()))
        arrays = (*names, *model.sieve.values(), *model.trees.values())
        return sum(array.nbytes for array in arrays)

    def _fitted(self) -> _Model:
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

    def fit(
        self,
        evidence_BKF: Float32Array,
        ids_BK: Int64Array,
        relevant_BK: Any,
        *,
        learned: Judged | None = None,
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
        scores = {"fixed": _fixed(evidence_BKF, inside)} if self.method == "auto" else {}
        wanted = "mixed" if self.method == "auto" else self.method
        asked = Judged(ids_BK, evidence_BKF, relevant)
        learned = asked if learned is None else learned
        scores[wanted], fitted = _cross_fitted(wanted, learned, asked, self.seed)
        precision = {
            name: float(_precision(score, inside, relevant).mean())
            for name, score in scores.items()
        }
        # Of two that are as good the simpler: max keeps the first.
        chosen = max(precision, key=precision.__getitem__)
        if chosen == "fixed":
            fitted = _fit("linear", learned, np.arange(n_points), self.seed)
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
        return _scores(self._fitted(), evidence_BKF, np.asarray(ids_BK) >= 0)

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
        sifted_K = _sifted(model.sieve, evidence_KF, inside)
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
        trees = {name: arrays[name] for name in _NO_TREES}
        sieve = {name: arrays[f"sieve_{name}"] for name in _NO_TREES}
        for each in (sieve, trees):
            check_trees(each, len(config["evidence"]))
            if (len(each["roots"]) > 0) != (ranker.method_ != "linear"):
                raise InputError("its trees do not belong to its method")
        require_layout(
            arrays, {"weights": (np.float64, (N_LINEAR,)), "logistic": (np.float64, (2,))}
        )
        for name in ("weights", "logistic"):
            require_range(name, arrays[name], -1e100, 1e100)
        ranker._model = _Model.of(arrays["weights"], arrays["logistic"], sieve, trees, share)
        return ranker


def _fit(method: str, learned: Judged, rows: Any, seed: int) -> _Model:
    """A model of what is learned of some of the points."""
    evidence_BKF, relevant = learned.evidence_BKF[rows], learned.relevant_BK[rows]
    inside = learned.ids_BK[rows] >= 0
    columns = evidence_BKF[:, :, :N_LINEAR]
    weights = fit_log_linear(columns, inside, relevant, n_rising=N_RISING)
    linear = columns.astype(np.float64) @ weights
    logistic = np.array(fit_logistic(linear[inside], relevant[inside]))
    trees = None
    if method != "linear":
        trees = _fit_boosted(evidence_BKF, inside, relevant, seed)
    share = LINEAR_SHARE if method == "mixed" else 0.0
    return _Model.of(weights, logistic, *(trees or (_NO_TREES, _NO_TREES)), share)


def _fit_boosted(
    evidence_BKF: Any, inside: Any, relevant: Any, seed: int
) -> tuple[Arrays, Arrays] | None:
    """The sieve and the trees; None where the sieve's best labels have one kind of outcome."""
    # Of what is not relevant a few stand for all: most of a shortlist is.
    drawn = np.random.default_rng(seed).random(inside.shape) < _DRAWN_SHARE
    sieved = inside & (relevant | drawn)
    sieve = fit_trees(
        evidence_BKF[sieved],
        relevant[sieved],
        n_rising=N_RISING,
        shape=SIEVE,
        drawn_share=_DRAWN_SHARE,
    )
    sifted = _sifted(sieve, evidence_BKF, inside)
    order = np.argsort(-sifted, axis=1, kind="stable")[:, :N_BOOSTED]
    rows = np.take_along_axis(evidence_BKF, order[:, :, None], 1)
    kept = np.take_along_axis(inside, order, 1)
    target = np.take_along_axis(relevant, order, 1)[kept]
    if not target.any() or target.all():
        return None
    return sieve, fit_trees(rows[kept], target, n_rising=N_RISING)


def _sifted(sieve: Arrays, evidence: Any, inside: Any) -> Any:
    """Sums of the sieve, float64 in the shape of ``inside``; minus infinity at pads."""
    sums = np.empty(int(inside.sum()), np.float64)
    tree_sums(evidence[inside], *tree_masks(sieve), sums)
    sifted = np.full(inside.shape, -np.inf)
    sifted[inside] = sums
    return sifted


def _cross_fitted(
    method: str, learned: Judged, asked: Judged, seed: int
) -> tuple[Float32Array, _Model]:
    """Scores of the points that are asked, by models of other points, and the model of all."""
    inside = asked.ids_BK >= 0
    everyone = np.arange(len(inside))
    folds = folds_of(everyone, everyone, seed)
    scores = np.zeros(inside.shape, np.float32)
    of_all: list[_Model] = []

    def one(fold: int) -> None:
        if fold == N_FOLDS:
            of_all.append(_fit(method, learned, everyone, seed))
            return
        held = folds == fold
        model = _fit(method, learned, ~held, seed)
        scores[held] = _scores(model, asked.evidence_BKF[held], inside[held])

    for_each_fold(one, n_folds=N_FOLDS + 1)
    return scores, of_all[0]


def _fixed(evidence_BKF: Any, inside: Any) -> Any:
    """The fixed formula, on what the index found."""
    log_p, log_s, found = (
        evidence_BKF[:, :, EVIDENCE.index(name)] for name in ("log_p", "log_sigmoid_q", "found")
    )
    fixed = Combination()
    score = np.exp(fixed.index_weight * log_p + fixed.ranker_weight * log_s)
    return np.where(inside & (found > 0), score, 0).astype(np.float32)


def _precision(score: Any, inside: Any, relevant: Any) -> Any:
    """P@1 + P@5 of each point, in percent."""
    best = np.argsort(-np.where(inside, score, -np.inf), axis=1, kind="stable")[:, :5]
    hits = np.take_along_axis(relevant, best, 1)
    return 100.0 * (hits[:, 0] + hits.sum(axis=1) / 5)


def simplest_of_the_best(scores: dict[str, Any], inside: Any, relevant: Any) -> str:
    """The first method that is at most one standard error worse than the best (Breiman 1984).

    Args:
        scores: B x K of each method, in the order of their complexity.
        inside: bool, B x K: no pad.
        relevant: bool, B x K: the label is one of the point's.
    """
    precision = {name: _precision(score, inside, relevant) for name, score in scores.items()}
    best = max(precision.values(), key=lambda values: float(values.mean()))
    for name, values in precision.items():
        behind = best - values  # of the same points: most of the spread cancels
        if behind.mean() <= behind.std() / np.sqrt(len(behind)):
            return name
    raise AssertionError("the best is not behind itself")


def _scores(model: _Model, evidence_BKF: Any, inside: Any) -> Float32Array:
    out = np.zeros(inside.shape, np.float32)
    run_queries(
        len(out),
        lambda start, stop: score_rows(
            start,
            stop,
            evidence_BKF,
            inside,
            model.weights,
            model.logistic,
            N_BOOSTED,
            model.linear_share,
            *model.arguments,
            out,
        ),
    )
    return out
