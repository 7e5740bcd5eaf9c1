"""The models of the final ranker: fitted, asked, and asked out of fold."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np

from learned_index.kernels.machine.parallel import run_queries
from learned_index.ranking.boosting import SIEVE, Arrays, fit_trees, tree_masks
from learned_index.ranking.combination import Combination
from learned_index.ranking.evidence import EVIDENCE, N_LINEAR, N_RISING
from learned_index.ranking.final_scoring import score_rows, tree_sums
from learned_index.ranking.folds import folds_of, for_each_fold
from learned_index.ranking.log_linear import fit_log_linear, fit_logistic
from learned_index.types import Float32Array, Int64Array

LINEAR_SHARE = 0.4
"""Of the log-linear model in the log-odds of a mixed one. Trees are the better of the two from some
hundred points on, the log-linear model below; their mean has the P@1 of the better one or more at
all numbers (docs/method.md), so nothing has to be chosen from differences as small as chance."""
N_BOOSTED = 60
"""Labels of a shortlist, best first by the sieve, that the trees order."""
_DRAWN_SHARE = 0.3
NO_TREES: Arrays = {
    "roots": np.empty(0, np.int32),
    **{name: np.empty(0, np.int32) for name in ("feature", "left", "right")},
    **{name: np.empty(0, np.float64) for name in ("threshold", "value")},
    "bias": np.zeros(1),
}


class FinalModel(NamedTuple):
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


class EvidencePoints(NamedTuple):
    """What a final ranker learns from: points whose labels are known.

    Attributes:
        ids_BK: int64, the listed labels; -1 at pads.
        evidence_BKF: float32, what is known of them.
        relevant_BK: bool, the label is one of the point's.
    """

    ids_BK: Int64Array
    evidence_BKF: Float32Array
    relevant_BK: Any


def fit_final_model(method: str, learned: EvidencePoints, rows: Any, seed: int) -> FinalModel:
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
    return FinalModel.of(weights, logistic, *(trees or (NO_TREES, NO_TREES)), share)


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
    sifted = sieve_sums(sieve, evidence_BKF, inside)
    order = np.argsort(-sifted, axis=1, kind="stable")[:, :N_BOOSTED]
    rows = np.take_along_axis(evidence_BKF, order[:, :, None], 1)
    kept = np.take_along_axis(inside, order, 1)
    target = np.take_along_axis(relevant, order, 1)[kept]
    if not target.any() or target.all():
        return None
    return sieve, fit_trees(rows[kept], target, n_rising=N_RISING)


def sieve_sums(sieve: Arrays, evidence: Any, inside: Any) -> Any:
    """Sums of the sieve, float64 in the shape of ``inside``; minus infinity at pads."""
    sums = np.empty(int(inside.sum()), np.float64)
    tree_sums(evidence[inside], *tree_masks(sieve), sums)
    sifted = np.full(inside.shape, -np.inf)
    sifted[inside] = sums
    return sifted


def scores_out_of_fold(
    method: str, learned: EvidencePoints, asked: EvidencePoints, seed: int
) -> Float32Array:
    """Scores of the points that are asked, by models of what is learned of other points."""
    inside = asked.ids_BK >= 0
    everyone = np.arange(len(inside))
    folds = folds_of(everyone, everyone, seed)
    scores = np.zeros(inside.shape, np.float32)

    def one(fold: int) -> None:
        held = folds == fold
        model = fit_final_model(method, learned, ~held, seed)
        scores[held] = scores_of(model, asked.evidence_BKF[held], inside[held])

    for_each_fold(one)
    return scores


def fixed_scores(evidence_BKF: Any, inside: Any) -> Any:
    """The fixed formula, on what the index found."""
    log_p, log_s, found = (
        evidence_BKF[:, :, EVIDENCE.index(name)] for name in ("log_p", "log_sigmoid_q", "found")
    )
    fixed = Combination()
    score = np.exp(fixed.index_weight * log_p + fixed.ranker_weight * log_s)
    return np.where(inside & (found > 0), score, 0).astype(np.float32)


def precision_of(score: Any, inside: Any, relevant: Any) -> Any:
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
    precision = {name: precision_of(score, inside, relevant) for name, score in scores.items()}
    best = max(precision.values(), key=lambda values: float(values.mean()))
    for name, values in precision.items():
        behind = best - values  # of the same points: most of the spread cancels
        if behind.mean() <= behind.std() / np.sqrt(len(behind)):
            return name
    raise AssertionError("the best is not behind itself")


def scores_of(model: FinalModel, evidence_BKF: Any, inside: Any) -> Float32Array:
    """Ranking scores of a model, float32 B x K; 0 where ``inside`` is false."""
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
