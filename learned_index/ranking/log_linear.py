"""A log-linear model of shortlists: the listwise likelihood of the relevant labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from learned_index.errors import InputError

_PENALTY = 1e-3
"""Of the squared weights of columns with deviation 1."""
_STEEPEST = 1e3


def fit_log_linear(
    columns_BKF: Any, inside_BK: Any, relevant_BK: Any, *, n_rising: int
) -> npt.NDArray[np.float64]:
    """Find the weights under which the relevant labels of points rank highest.

    Maximises the mean over points of the mean log-probability of the relevant labels in a softmax
    over the shortlist (ListNet's top-one likelihood, Cao et al. 2007), less a small square
    penalty: convex, so the answer does not depend on a start.

    Args:
        columns_BKF: Evidence of each pair.
        inside_BK: bool, the pair is no pad.
        relevant_BK: bool, the label is one of the point's.
        n_rising: The first columns whose weights are not negative.

    Returns:
        float64 F, weights of the columns as they are.

    Raises:
        InputError: No relevant label in any shortlist.
    """
    from scipy.optimize import minimize
    from scipy.special import log_softmax

    relevant = np.asarray(relevant_BK, bool) & inside_BK
    used = relevant.any(axis=1)
    if not used.any():
        raise InputError("no shortlist holds a relevant label; use more held-out points")
    inside, relevant = np.asarray(inside_BK)[used], relevant[used]
    columns = np.asarray(columns_BKF, np.float64)[used]
    scale = columns[inside].std(axis=0)
    scale[scale < 1e-9] = np.inf  # a constant column tells nothing: weight 0
    columns = columns / scale
    target = relevant / relevant.sum(axis=1, keepdims=True)
    n_columns = columns.shape[2]

    def loss(weights: Any) -> tuple[float, Any]:
        log_share = log_softmax(np.where(inside, columns @ weights, -1e6), axis=1)
        value = -float((target * log_share).sum()) / len(target)
        residual = (np.exp(log_share) - target) / len(target)
        slope = np.tensordot(residual, columns, 2)
        return value + _PENALTY * float(weights @ weights), slope + 2 * _PENALTY * weights

    bounds = [(0.0, _STEEPEST)] * n_rising + [(-_STEEPEST, _STEEPEST)] * (n_columns - n_rising)
    start = np.where(np.arange(n_columns) < 2, 0.5, 0.0)
    found = minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B")
    weights: npt.NDArray[np.float64] = np.asarray(found.x, np.float64) / scale
    return weights


def fit_logistic(score_n: Any, relevant_n: Any) -> tuple[float, float]:
    """Slope (above 0) and bias of P(relevant) = sigmoid(slope score + bias) (Platt 1999)."""
    from sklearn.linear_model import LogisticRegression

    score = np.asarray(score_n, np.float64)[:, None]
    mean, scale = float(score.mean()), max(float(score.std()), 1e-9)
    fitted = LogisticRegression(C=1e3, max_iter=1000, solver="newton-cholesky").fit(
        (score - mean) / scale, relevant_n
    )
    slope = max(float(fitted.coef_[0, 0]), 1e-3) / scale
    return slope, float(fitted.intercept_[0]) - slope * mean
