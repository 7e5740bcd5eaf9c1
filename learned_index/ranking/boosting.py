"""Gradient boosted trees as plain arrays: fitted with scikit-learn, evaluated by a kernel.

P(relevant | features) = sigmoid(b + sum over trees of the value of the leaf reached) (Friedman,
"Greedy function approximation: a gradient boosting machine", Annals of Statistics 2001). Saved
arrays are no pickled estimator.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np

from learned_index.errors import InputError
from learned_index.persistence.contents import require_layout, require_range
from learned_index.ranking.final_scoring import ALL_LEAVES, AT_ONCE, MOST_LEAVES
from learned_index.system.threads import limit_threads

Arrays: TypeAlias = dict[str, np.ndarray[Any, Any]]


class TreeShape(NamedTuple):
    """How many trees of how many leaves, and the rate at which they are added."""

    n_trees: int
    n_leaves: int
    learning_rate: float


TREES = TreeShape(100, 15, 0.08)
SIEVE = TreeShape(40, 7, 0.1)
"""Small enough for all labels of a shortlist. Ordered by it (l4s-en, held-out points, five folds)
the labels beyond the first 60 hold 1.4 points more of R@100 than in the log-linear order."""


def fit_trees(
    features_nF: Any,
    relevant_n: Any,
    *,
    n_rising: int,
    shape: TreeShape = TREES,
    drawn_share: float = 1.0,
) -> Arrays:
    """Fit trees whose probability never falls as one of the first ``n_rising`` features rises.

    Args:
        features_nF: float32, one row a pair.
        relevant_n: bool.
        n_rising: Features with a monotone effect.
        shape: Number and size of the trees.
        drawn_share: Share of the pairs that are not relevant which are among the rows: the
            log-odds of all pairs are those of the rows and its logarithm.

    Returns:
        ``roots`` (int32, where each tree begins), ``feature``, ``left``, ``right`` (int32, -1 at
        leaves), ``threshold`` and ``value`` (float64) of all nodes, ``bias`` (float64, 1). The
        value of an inner node is the mean over the rows that passed it.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    n_features = features_nF.shape[1]
    trees = HistGradientBoostingClassifier(
        max_iter=shape.n_trees,
        learning_rate=shape.learning_rate,
        max_leaf_nodes=shape.n_leaves,
        l2_regularization=1.0,
        early_stopping=False,
        monotonic_cst=[1] * n_rising + [0] * (n_features - n_rising),
        random_state=0,
    )
    # Its threads wait for one another at every node: a hundred times slower on a busy machine.
    with limit_threads(1):
        arrays = exported(trees.fit(features_nF, np.asarray(relevant_n, np.int64)))
    arrays["bias"] += np.log(drawn_share)
    return arrays


def exported(fitted: Any) -> Arrays:
    """The arrays of a fitted ``HistGradientBoostingClassifier`` of two classes."""
    trees = [predictor.nodes for (predictor,) in fitted._predictors]
    roots = np.cumsum([0, *(len(nodes) for nodes in trees)])[:-1]
    nodes = np.concatenate(trees)
    first = np.repeat(roots, [len(tree) for tree in trees])
    leaf = nodes["is_leaf"].astype(bool)
    left, right = (
        np.where(leaf, -1, nodes[side] + first).astype(np.int32) for side in ("left", "right")
    )
    value, count = np.where(leaf, nodes["value"], 0.0).astype(np.float64), nodes["count"]
    for node in np.flatnonzero(~leaf)[::-1]:  # children come after their parent
        pair = [left[node], right[node]]
        value[node] = np.average(value[pair], weights=count[pair])
    return {
        "roots": roots.astype(np.int32),
        "feature": np.where(leaf, 0, nodes["feature_idx"]).astype(np.int32),
        "threshold": np.where(leaf, 0.0, nodes["num_threshold"]).astype(np.float64),
        "left": left,
        "right": right,
        "value": value,
        "bias": np.asarray(fitted._baseline_prediction, np.float64).reshape(1),
    }


def path_parts(arrays: Arrays, features_F: Any) -> tuple[float, Any]:
    """Split a row's sum over the trees by feature.

    At each node of a path the mean of the rows changes to that of the child, which is the part of
    the feature that the node asks for (Saabas 2014). So parts depend on the order of a tree's
    questions; they always add up.

    Returns:
        The constant, and float64 F: their sum is the row's sum over the trees.
    """
    value = arrays["value"]
    parts_F = np.zeros(len(features_F), np.float64)
    for root in arrays["roots"]:
        node = int(root)
        while arrays["left"][node] >= 0:
            feature = arrays["feature"][node]
            side = "left" if features_F[feature] <= arrays["threshold"][node] else "right"
            child = int(arrays[side][node])
            parts_F[feature] += value[child] - value[node]
            node = child
    return float(arrays["bias"][0] + value[arrays["roots"]].sum()), parts_F


def check_trees(arrays: Arrays, n_features: int) -> None:
    """Children come after their parent and before the end, so that every path ends.

    Raises:
        InputError: The arrays do not belong together.
    """
    n, n_trees = len(arrays["value"]), len(arrays["roots"])
    whole, real = (np.int32, (n,)), (np.float64, (n,))
    require_layout(
        arrays,
        {
            "roots": (np.int32, (n_trees,)),
            **dict.fromkeys(("feature", "left", "right"), whole),
            **dict.fromkeys(("threshold", "value"), real),
            "bias": (np.float64, (1,)),
        },
    )
    require_range("the roots", arrays["roots"], 0, n - 1)
    require_range("the trees' features", arrays["feature"], 0, n_features - 1)
    for name in ("threshold", "value", "bias"):
        require_range(f"the trees' {name}", arrays[name], -1e300, 1e300)
    inner = np.flatnonzero(arrays["left"] >= 0)
    # The smaller child too: a node has two, or is a leaf.
    children = [arrays[name][inner] for name in ("left", "right")]
    if any((child <= inner).any() or (child >= n).any() for child in children):
        raise InputError("the boosted trees are broken: a child does not follow its parent")
    leaves = np.ones(n, np.int64)
    for node in inner[::-1]:  # children come after their parent
        pair = leaves[arrays["left"][node]] + leaves[arrays["right"][node]]
        leaves[node] = min(pair, MOST_LEAVES + 1)
    if n_trees and leaves[arrays["roots"]].max() > MOST_LEAVES:
        raise InputError(
            f"a boosted tree has more than {MOST_LEAVES} leaves, expected {TREES.n_leaves} or "
            "fewer; train the model again"
        )


class Masks(NamedTuple):
    """Trees as the kernel asks them: all questions of a tree at once, none after another.

    The leaves of a tree are numbered from left to right, and each is a bit. A question that is
    answered "above the threshold" strikes out the leaves on its left; the lowest bit that is left
    in the end is the leaf that the row reaches (QuickScorer, Lucchese et al., SIGIR 2015). No
    question waits for another's answer, so the processor asks a question of many rows at once.

    Attributes:
        offsets: int32, trees + 1. Where each tree's questions begin; their number is a multiple of
            :data:`AT_ONCE`.
        feature: int32, one a question.
        threshold: float32, the largest that is not above the tree's own: float32 values compare
            alike. Infinity where a question only fills up the number.
        kept: uint32, the leaves that are left where the feature is above the threshold.
        leaves: int32, trees. Where the values of each tree's leaves begin.
        value: float64.
        bias: float64, 1.
    """

    offsets: Any
    feature: Any
    threshold: Any
    kept: Any
    leaves: Any
    value: Any
    bias: Any


def tree_masks(arrays: Arrays) -> Masks:
    """Lay trees out for the kernel; see :func:`fit_trees` for the arrays."""
    exact = arrays["threshold"]
    with np.errstate(over="ignore"):
        threshold = exact.astype(np.float32)
    below = np.nextafter(threshold, np.float32(-np.inf))
    threshold = np.where(threshold.astype(np.float64) > exact, below, threshold)
    offsets, leaves = [0], []
    questions: list[tuple[int, Any, int]] = []
    values: list[float] = []
    for root in arrays["roots"].tolist():
        leaves.append(len(values))
        found, reached = _questions(arrays["left"], arrays["right"], root)
        questions += [(arrays["feature"][node], threshold[node], kept) for node, kept in found]
        questions += [(0, np.inf, ALL_LEAVES)] * (-len(found) % AT_ONCE)
        values += arrays["value"][reached].tolist()
        offsets.append(len(questions))
    feature, thresholds, kept = zip(*questions, strict=True) if questions else ((), (), ())
    return Masks(
        np.array(offsets, np.int32),
        np.array(feature, np.int32),
        np.array(thresholds, np.float32),
        np.array(kept, np.uint32),
        np.array(leaves, np.int32),
        np.array(values, np.float64),
        arrays["bias"],
    )


def _questions(left: Any, right: Any, root: int) -> tuple[list[tuple[int, int]], list[int]]:
    """The inner nodes of a tree with the leaves that each keeps, and the leaves from the left."""
    found: list[tuple[int, int]] = []
    leaves: list[int] = []

    def walk(node: int) -> int:
        """Number the leaves below a node; returns their bits."""
        if left[node] < 0:
            leaves.append(node)
            return 1 << (len(leaves) - 1)
        bits = walk(int(left[node]))
        found.append((node, ALL_LEAVES & ~bits))
        return bits | walk(int(right[node]))

    walk(root)
    return found, leaves
