"""Linear classifiers of many labels by dual coordinate descent, and their margins (Numba).

For one label with points i, targets y_i = ±1 and features x_i = [sparse_i, dense_i, 1]::

    min_w  1/2 |w - w0|^2 + sum_i C_i max(0, 1 - y_i w.x_i)^2,   w0 = 0 as a rule

(L2-regularised squared hinge, the problem of LIBLINEAR's solver 1, with a regularised bias). The
dual has one variable per point, a_i >= 0, and w = w0 + sum_i a_i y_i x_i; coordinates are visited
in a random order and those that stay at 0 are set aside (Hsieh et al., "A Dual Coordinate Descent
Method for Large-scale Linear SVM", ICML 2008, algorithms 1 and 3).

Legend: n points of a label, V sparse features, D dense ones.
"""

from __future__ import annotations

import numba
import numpy as np

from learned_index.kernels.machine.dense import add_scaled, dot
from learned_index.kernels.machine.flags import FAST


@numba.njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy", forceinline=True)
def _margin(w_V, w_D, bias, indices, values, x_D):
    total = bias
    for t in range(indices.shape[0]):
        total += w_V[np.uintp(indices[t])] * values[t]
    return total + dot(w_D, x_D)


@numba.njit(nogil=True, cache=True)
def _next_random(state):
    """Xorshift64 (Marsaglia 2003); of state 0 it would make zeros for ever."""
    state ^= state << np.uint64(13)
    state ^= state >> np.uint64(7)
    state ^= state << np.uint64(17)
    return state


@numba.njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def _solve(
    points, positive, indptr, indices, values, dense_ND, norms_N, costs, max_iterations,
    tolerance, slack, state, w_V, w_D, bias, alpha, order,
):  # fmt: skip
    """Solve one label's problem into (w_V, w_D); returns the bias.

    ``costs`` is (C of negatives, C of positives). ``w_V``, ``w_D`` and ``bias`` are at the start
    what ``alpha`` makes of the points. Coordinates that violate optimality by less than ``slack``
    are set aside, too, which 0 turns off.
    """
    n = points.shape[0]
    for s in range(n):
        order[s] = s
    active = n
    set_aside = np.float32(np.inf)
    for _ in range(max_iterations):
        highest, lowest = np.float32(-np.inf), np.float32(np.inf)
        whole = active == n
        for s in range(active):
            state = _next_random(state)
            other = s + np.int64(state % np.uint64(active - s))
            order[s], order[other] = order[other], order[s]
        s = 0
        while s < active:
            j = order[s]
            i = points[j]
            y = np.float32(1.0) if positive[j] else np.float32(-1.0)
            diagonal = np.float32(0.5) / costs[1 if positive[j] else 0]
            a, b = indptr[i], indptr[i + 1]
            margin = _margin(w_V, w_D, bias, indices[a:b], values[a:b], dense_ND[i])
            gradient = y * margin - np.float32(1.0) + alpha[j] * diagonal
            projected = gradient
            if alpha[j] == np.float32(0.0):
                if gradient > set_aside:
                    active -= 1
                    order[s], order[active] = order[active], order[s]
                    continue
                if gradient > np.float32(0.0):
                    projected = np.float32(0.0)
            highest = max(highest, projected)
            lowest = min(lowest, projected)
            if abs(projected) < slack:
                active -= 1
                order[s], order[active] = order[active], order[s]
                continue
            if projected != np.float32(0.0):
                new = max(alpha[j] - gradient / (norms_N[i] + diagonal), np.float32(0.0))
                factor = (new - alpha[j]) * y
                alpha[j] = new
                for t in range(a, b):
                    w_V[indices[t]] += factor * values[t]
                add_scaled(w_D, dense_ND[i], factor)
                bias += factor
            s += 1
        if highest - lowest <= tolerance:
            if active == n or (whole and slack > np.float32(0.0)):
                break
            # The kept coordinates are done: look once more at those that were set aside.
            active = n
            set_aside = np.float32(np.inf)
            continue
        set_aside = highest if highest > np.float32(0.0) else np.float32(np.inf)
    return bias


@numba.njit(nogil=True, cache=True)
def _twice_as_long(array):
    # Not by a slice: what that says when shapes differ takes seconds to compile.
    longer = np.empty(2 * len(array), array.dtype)
    for i in range(len(array)):
        longer[i] = array[i]
    return longer


@numba.njit(nogil=True, cache=True, error_model="numpy")
def train_labels(
    start, stop, label_indptr, label_points, label_positive, indptr, indices, values, dense_ND,
    norms_N, costs, max_iterations, tolerance, seed, threshold, n_features,
    prior_indptr, prior_features, prior_values, alphas, weight_LD, bias_L, counts_L,
):  # fmt: skip
    """Train labels start..stop; returns their kept sparse weights (features, values), in order.

    What ``1/2 |w - w0|^2`` is the regulariser of in the place of ``1/2 |w|^2``, w0, is the prior's
    sparse weights and what ``weight_LD`` and ``bias_L`` hold at the start: 0 as a rule.
    ``alphas`` holds the dual variables of all labels' points, those to start with and then those
    found. ``weight_LD``, ``bias_L`` and ``counts_L`` (kept sparse weights of each label) are
    written.
    """
    longest = 0
    for label in range(start, stop):
        longest = max(longest, label_indptr[label + 1] - label_indptr[label])
    order = np.empty(longest, np.int64)
    w_V = np.zeros(n_features, np.float32)
    out_features = np.empty(1024, np.int32)
    out_values = np.empty(1024, np.float32)
    used = 0
    for label in range(start, stop):
        first, last = label_indptr[label], label_indptr[label + 1]
        points = label_points[first:last]
        if points.shape[0] == 0:
            # Nothing speaks for the label: the margin of a clear no.
            bias_L[label] = np.float32(-1.0)
            counts_L[label] = 0
            continue
        # Of seed and label alone, so that the threads' shares of the labels change nothing.
        state = np.uint64(seed + 1) * np.uint64(0x9E3779B97F4A7C15) ^ np.uint64(
            (label + 1) * 0x2545F491
        )
        if state == np.uint64(0):
            state = np.uint64(1)
        alpha, positive = alphas[first:last], label_positive[first:last]
        bias = bias_L[label]
        prior = prior_features[prior_indptr[label] : prior_indptr[label + 1]]
        for t in range(prior.shape[0]):
            w_V[prior[t]] = prior_values[prior_indptr[label] + t]
        for j in range(points.shape[0]):
            if alpha[j] > np.float32(0.0):
                i = points[j]
                factor = alpha[j] if positive[j] else -alpha[j]
                for t in range(indptr[i], indptr[i + 1]):
                    w_V[indices[t]] += factor * values[t]
                add_scaled(weight_LD[label], dense_ND[i], factor)
                bias += factor
        bias_L[label] = _solve(
            points, positive, indptr, indices, values, dense_ND, norms_N, costs, max_iterations,
            tolerance, np.float32(0.0), state, w_V, weight_LD[label], bias, alpha, order,
        )  # fmt: skip
        # w_V is as long as the vocabulary: only what this label has touched is read and cleared.
        before = used
        for s in range(-1, points.shape[0]):  # the prior, and then the points
            touched = prior if s < 0 else indices[indptr[points[s]] : indptr[points[s] + 1]]
            for t in range(touched.shape[0]):
                weight = w_V[touched[t]]
                if weight == np.float32(0.0):
                    continue
                w_V[touched[t]] = np.float32(0.0)
                if abs(weight) < threshold:
                    continue
                if used == out_features.shape[0]:
                    out_features = _twice_as_long(out_features)
                    out_values = _twice_as_long(out_values)
                out_features[used], out_values[used] = touched[t], weight
                used += 1
        ascending = np.argsort(out_features[before:used])
        sorted_features = out_features[before:used][ascending]
        sorted_values = out_values[before:used][ascending]
        for t in range(used - before):
            out_features[before + t] = sorted_features[t]
            out_values[before + t] = sorted_values[t]
        counts_L[label] = used - before
    return out_features[:used].copy(), out_values[:used].copy()


@numba.njit(nogil=True, cache=True, error_model="numpy")
def train_one_vs_all(
    start, stop, label_indptr, label_points, indptr, indices, values, dense_ND, norms_N, costs,
    max_iterations, tolerance, seed, threshold, sum_V, sum_D, negative, weight_LD, bias_L,
    counts_L,
):  # fmt: skip
    """Train labels start..stop, every other point a negative; see :func:`train_labels`.

    ``label_points[label_indptr[l] : label_indptr[l + 1]]`` are the points that have label l. Dense
    weights below the threshold become 0, too. ``sum_V`` and ``sum_D`` are the sums of all points.

    Nearly all negatives share no rare word with a positive, and the optimum gives them all nearly
    the same dual variable. So every negative starts at ``negative`` (an idea of Schultheis &
    Babbar, Machine Learning 2022: begin at the mean of the negatives), where most of them are
    within half the tolerance of optimal at once and are set aside.
    """
    n, n_features = norms_N.shape[0], sum_V.shape[0]
    slack = np.float32(0.5) * tolerance
    points = np.arange(n)
    positive = np.zeros(n, np.bool_)
    alpha, order = np.empty(n, np.float32), np.empty(n, np.int64)
    w_V = np.zeros(n_features, np.float32)
    out_features, out_values = np.empty(1024, np.int32), np.empty(1024, np.float32)
    used = 0
    for label in range(start, stop):
        mine = label_points[label_indptr[label] : label_indptr[label + 1]]
        counts_L[label] = 0
        if mine.shape[0] == 0:
            bias_L[label] = np.float32(-1.0)
            continue
        alpha[:] = negative
        w_V[:] = -negative * sum_V
        weight_LD[label] = -negative * sum_D
        for i in mine:
            positive[i] = True
            alpha[i] = np.float32(0.0)
            for t in range(indptr[i], indptr[i + 1]):
                w_V[indices[t]] += negative * values[t]
            add_scaled(weight_LD[label], dense_ND[i], negative)
        bias = -negative * np.float32(n - mine.shape[0])
        state = np.uint64(seed + 1) * np.uint64(0x9E3779B97F4A7C15) ^ np.uint64(
            (label + 1) * 0x2545F491
        )
        if state == np.uint64(0):
            state = np.uint64(1)
        bias_L[label] = _solve(
            points, positive, indptr, indices, values, dense_ND, norms_N, costs, max_iterations,
            tolerance, slack, state, w_V, weight_LD[label], bias, alpha, order,
        )  # fmt: skip
        for i in mine:
            positive[i] = False
        for d in range(weight_LD.shape[1]):
            if abs(weight_LD[label, d]) < threshold:
                weight_LD[label, d] = np.float32(0.0)
        kept = np.int64(0)
        for feature in range(n_features):
            if abs(w_V[feature]) >= threshold and w_V[feature] != np.float32(0.0):
                kept += 1
        if used + kept > out_features.shape[0]:
            size = 2 * out_features.shape[0] + kept
            grown_features, grown_values = np.empty(size, np.int32), np.empty(size, np.float32)
            for t in range(used):
                grown_features[t], grown_values[t] = out_features[t], out_values[t]
            out_features, out_values = grown_features, grown_values
        # Almost all points are negatives of every label, so the whole vocabulary was touched.
        for feature in range(n_features):
            weight = w_V[feature]
            w_V[feature] = np.float32(0.0)
            if abs(weight) >= threshold and weight != np.float32(0.0):
                out_features[used] = feature
                out_values[used] = weight
                used += 1
        counts_L[label] = kept
    return out_features[:used].copy(), out_values[:used].copy()
