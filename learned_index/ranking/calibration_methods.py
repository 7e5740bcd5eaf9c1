"""The three calibrations, each as arrays: fitted with scikit-learn, evaluated with NumPy.

Features are the columns (p, q, p·q, log(1 + frequency)). Evaluating from arrays keeps saved models
free of pickled estimators.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

import numpy as np

from learned_index.errors import InputError
from learned_index.persistence.contents import require_layout, require_range
from learned_index.ranking.combination import Combination

Arrays: TypeAlias = dict[str, np.ndarray[Any, Any]]
_EDGE = 1e-6


class Method(Protocol):
    """A way to fit P(relevant | features)."""

    def fit(self, features: Any, relevant: Any) -> Arrays:
        """Fit on n x 4 features and 0/1 outcomes."""
        ...

    def predict(self, arrays: Arrays, features: Any) -> Any:
        """Probabilities of n pairs."""
        ...

    def check(self, arrays: Arrays) -> None:
        """Raise InputError unless the arrays belong together."""
        ...


class TreeMethod:
    """A decision tree of at most 128 leaves with at least 50 pairs each.

    A leaf answers with its share of relevant pairs, smoothed towards the whole share.
    """

    def fit(self, features: Any, relevant: Any) -> Arrays:
        """See :class:`Method`."""
        from sklearn.tree import DecisionTreeClassifier

        tree = DecisionTreeClassifier(
            criterion="log_loss",
            max_leaf_nodes=128,
            # On small data a leaf may hold a twentieth of it.
            min_samples_leaf=min(50, max(1, len(relevant) // 20)),
            random_state=0,
        ).fit(features.astype(np.float32), relevant.astype(np.int64))
        nodes = tree.tree_
        prior = float(relevant.mean())
        share = nodes.value[:, 0, list(tree.classes_).index(1)] if 1 in tree.classes_ else 0.0
        count = nodes.n_node_samples.astype(np.float64)
        return {
            "feature": nodes.feature.astype(np.int64),
            "threshold": nodes.threshold.astype(np.float64),
            "left": nodes.children_left.astype(np.int64),
            "right": nodes.children_right.astype(np.int64),
            "value": np.asarray((share * count + prior) / (count + 1.0)),
        }

    def predict(self, arrays: Arrays, features: Any) -> Any:
        """See :class:`Method`."""
        features = features.astype(np.float32)  # as scikit-learn compares them
        node = np.zeros(len(features), np.int64)
        moving = np.flatnonzero(arrays["left"][node] >= 0)
        while moving.size:
            here = node[moving]
            value = features[moving, arrays["feature"][here]]
            low = value <= arrays["threshold"][here]
            node[moving] = np.where(low, arrays["left"][here], arrays["right"][here])
            moving = moving[arrays["left"][node[moving]] >= 0]
        return arrays["value"][node]

    def check(self, arrays: Arrays) -> None:
        """Children come after their parent, so that every path ends."""
        n = len(arrays["value"])
        whole: Any = (np.int64, (n,))
        real: Any = (np.float64, (n,))
        require_layout(
            arrays,
            {
                **dict.fromkeys(("feature", "left", "right"), whole),
                **dict.fromkeys(("threshold", "value"), real),
            },
        )
        inner = np.flatnonzero(arrays["left"] >= 0)
        require_range("the tree's features", arrays["feature"][inner], 0, 3)
        require_range("the tree's thresholds", arrays["threshold"][inner], -1e300, 1e300)
        require_range("the tree's probabilities", arrays["value"], 0.0, 1.0)
        children = [arrays[name][inner] for name in ("left", "right")]
        if n == 0 or any((child <= inner).any() or (child >= n).any() for child in children):
            raise InputError("its tree is broken")


class IsotonicMethod:
    """Isotonic regression on the default ranking score sqrt(p) · sigmoid(2 q)."""

    def fit(self, features: Any, relevant: Any) -> Arrays:
        """See :class:`Method`."""
        from sklearn.isotonic import IsotonicRegression

        fitted = IsotonicRegression(y_min=_EDGE, y_max=1 - _EDGE, out_of_bounds="clip").fit(
            self._score(features), relevant
        )
        return {
            "score": np.asarray(fitted.X_thresholds_, np.float64),
            "probability": np.asarray(fitted.y_thresholds_, np.float64),
        }

    def predict(self, arrays: Arrays, features: Any) -> Any:
        """See :class:`Method`."""
        return np.interp(self._score(features), arrays["score"], arrays["probability"])

    def check(self, arrays: Arrays) -> None:
        """Scores ascend."""
        score, probability = arrays["score"], arrays["probability"]
        n = len(score)
        require_layout(arrays, dict.fromkeys(("score", "probability"), (np.float64, (n,))))
        for name, values in (("scores", score), ("probabilities", probability)):
            require_range(f"the isotonic {name}", values, 0.0, 1.0)
        if n == 0 or (np.diff(score) < 0).any():
            raise InputError("its isotonic steps are broken")

    @staticmethod
    def _score(features: Any) -> Any:
        return Combination()(features[:, 0], features[:, 1]).astype(np.float64)


class LogisticMethod:
    """Logistic regression on log p, q, log sigmoid(2 q), log p · q and log frequency."""

    def fit(self, features: Any, relevant: Any) -> Arrays:
        """See :class:`Method`."""
        from sklearn.linear_model import LogisticRegression

        columns = self._columns(features)
        mean, scale = columns.mean(axis=0), columns.std(axis=0)
        scale[scale == 0] = 1.0
        fitted = LogisticRegression(C=1e3, max_iter=1000, solver="newton-cholesky").fit(
            (columns - mean) / scale, relevant
        )
        return {
            "mean": mean,
            "scale": scale,
            "weight": np.asarray(fitted.coef_[0], np.float64),
            "bias": np.asarray(fitted.intercept_, np.float64),
        }

    def predict(self, arrays: Arrays, features: Any) -> Any:
        """See :class:`Method`."""
        columns = (self._columns(features) - arrays["mean"]) / arrays["scale"]
        logit = (columns * arrays["weight"]).sum(axis=1) + arrays["bias"][0]
        return 1.0 / (1.0 + np.exp(-np.clip(logit, -50.0, 50.0)))

    def check(self, arrays: Arrays) -> None:
        """As many weights as columns."""
        expected = dict.fromkeys(("mean", "scale", "weight"), (np.float64, (5,)))
        require_layout(arrays, {**expected, "bias": (np.float64, (1,))})
        for name in ("mean", "weight", "bias"):
            require_range(f"the logistic {name}", arrays[name], -1e100, 1e100)
        require_range("the logistic scale", arrays["scale"], 1e-100, 1e100)

    @staticmethod
    def _columns(features: Any) -> Any:
        p, q, _, frequency = features.T
        log_p = np.log(np.maximum(p, 1e-12))
        return np.stack([log_p, q, -np.logaddexp(0.0, -2.0 * q), log_p * q, frequency], axis=1)


METHODS: dict[str, Method] = {
    "tree": TreeMethod(),
    "isotonic": IsotonicMethod(),
    "logistic": LogisticMethod(),
}
"""The methods by name."""
