"""How good probabilities are: log-loss, calibration error, reliability bins."""

from __future__ import annotations

from typing import Any

import numpy as np

_EDGE = 1e-7


def log_loss(probability: Any, relevant: Any) -> float:
    """Mean negative log-likelihood of 0/1 outcomes, in nats; probabilities are kept off 0 and 1.

    Args:
        probability: n numbers in 0 to 1.
        relevant: n outcomes.
    """
    p = np.clip(np.asarray(probability, np.float64), _EDGE, 1 - _EDGE)
    y = np.asarray(relevant, np.float64)
    return float(-(y * np.log(p) + (1 - y) * np.log1p(-p)).mean())


def reliability_bins(
    probability: Any, relevant: Any, *, n_bins: int = 15
) -> list[dict[str, float | int]]:
    """Predicted against observed shares in bins of equal width.

    Returns:
        For each bin that is not empty: ``low``, ``high``, ``count``, ``predicted`` (mean
        probability) and ``observed`` (share of relevant pairs).
    """
    p, y = np.asarray(probability, np.float64), np.asarray(relevant, np.float64)
    place = np.clip((p * n_bins).astype(np.int64), 0, n_bins - 1)
    counts = np.bincount(place, minlength=n_bins)
    predicted = np.bincount(place, weights=p, minlength=n_bins)
    observed = np.bincount(place, weights=y, minlength=n_bins)
    return [
        {
            "low": b / n_bins,
            "high": (b + 1) / n_bins,
            "count": int(counts[b]),
            "predicted": float(predicted[b] / counts[b]),
            "observed": float(observed[b] / counts[b]),
        }
        for b in range(n_bins)
        if counts[b]
    ]


def calibration_error(probability: Any, relevant: Any, *, n_bins: int = 15) -> float:
    """Expected calibration error in percent (Naeini et al. 2015): bins weighted by their counts."""
    bins = reliability_bins(probability, relevant, n_bins=n_bins)
    total = sum(b["count"] for b in bins)
    gap = sum(b["count"] * abs(b["predicted"] - b["observed"]) for b in bins)
    return 100.0 * gap / max(1, total)


def brier_score(probability: Any, relevant: Any) -> float:
    """Mean squared difference of probabilities and 0/1 outcomes, in 0 to 1 (Brier 1950).

    Args:
        probability: n numbers in 0 to 1, n at least 1.
        relevant: n outcomes.
    """
    p, y = np.asarray(probability, np.float64), np.asarray(relevant, np.float64)
    return float(((p - y) ** 2).mean())
