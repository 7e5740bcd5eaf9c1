"""From which probability on a label is answered: the threshold with the best F1, by frequency.

F1 = 2 h / (a + t), with h right answers of a answers and t true pairs of a point and a label. Each
band of labels (head, torso, tail) has the threshold that is best for its own labels: one for all is
that of the frequent ones, and would leave most of the rare ones out (Yang, SIGIR 2001: "scut" by
groups in the place of single labels, of which most have no held-out point).

Legend: n pairs of a point and a label, L labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np

from learned_index.errors import InputError
from learned_index.inputs.numbers import real_number, whole_number
from learned_index.ranking.bands import FREQUENCY_BANDS, frequency_band
from learned_index.types import Float32Array, Int64Array

ENOUGH_PAIRS = 30
"""True pairs of a band from which its own threshold is chosen; with fewer it has that of all."""


class ChosenThreshold(NamedTuple):
    """A threshold, and how good it was on the points that it was chosen on.

    Attributes:
        threshold: Least probability of an answer.
        f1: F1 of the answers, micro, in percent.
        n_true: True pairs.
    """

    threshold: float
    f1: float
    n_true: int


class BandThresholds:
    """A threshold of probability for the labels of each band.

    Args:
        bands: For each of :data:`~learned_index.ranking.bands.FREQUENCY_BANDS`, by name.

    Attributes:
        bands: The same.

    Raises:
        InputError: A band is missing or unknown, or a number is out of range.
    """

    def __init__(self, bands: Mapping[str, ChosenThreshold]) -> None:
        names = [name for name, _ in FREQUENCY_BANDS]
        if sorted(bands) != sorted(names):
            raise InputError(f"thresholds of {', '.join(bands)}, expected {', '.join(names)}")
        self.bands = {name: bands[name] for name in names}
        for name, (threshold, f1, n_true) in self.bands.items():
            real_number(threshold, f"the threshold of {name}", low=0.0, high=1.0)
            real_number(f1, f"the F1 of {name}", low=0.0, high=100.0)
            whole_number(n_true, f"the true pairs of {name}", low=0)

    @classmethod
    def fit(
        cls,
        p_n: Any,
        relevant_n: Any,
        labels_n: Int64Array,
        n_true_L: Int64Array,
        label_counts_L: Int64Array,
    ) -> Self:
        """Choose the thresholds on points that the probabilities were not learned from.

        Args:
            p_n: Probabilities of the pairs that a search finds.
            relevant_n: Whether the label is one of the point's.
            labels_n: The label of each pair.
            n_true_L: True pairs of each label, found or not.
            label_counts_L: Training points of each label.
        """
        p, relevant = np.asarray(p_n, np.float64), np.asarray(relevant_n, bool)
        band_L = frequency_band(label_counts_L)
        of_all = best_threshold(p, relevant, int(np.sum(n_true_L)))
        found = {}
        for band, (name, _) in enumerate(FREQUENCY_BANDS):
            inside = band_L[labels_n] == band
            n_true = int(np.sum(np.asarray(n_true_L)[band_L == band]))
            if n_true < ENOUGH_PAIRS:
                kept = inside & (p >= of_all.threshold)
                f1 = _f1(int(relevant[kept].sum()), int(kept.sum()), n_true)
                found[name] = ChosenThreshold(of_all.threshold, f1, n_true)
            else:
                found[name] = best_threshold(p[inside], relevant[inside], n_true)
        return cls(found)

    def of_labels(self, label_counts_L: Int64Array) -> Float32Array:
        """The threshold of each label, float32 L."""
        each = np.array([chosen.threshold for chosen in self.bands.values()], np.float32)
        return np.asarray(each[frequency_band(label_counts_L)])

    def to_dict(self) -> dict[str, dict[str, float | int]]:
        """Plain values, by band."""
        return {name: chosen._asdict() for name, chosen in self.bands.items()}

    @classmethod
    def from_dict(cls, values: Any) -> Self:
        """Read what :meth:`to_dict` gave.

        Raises:
            InputError: Something else.
        """
        try:
            return cls({str(name): ChosenThreshold(**each) for name, each in values.items()})
        except (AttributeError, TypeError):
            raise InputError("the thresholds are not those of three bands") from None


def best_threshold(p_n: Any, relevant_n: Any, n_true: int) -> ChosenThreshold:
    """The threshold with the best F1; of equally good ones that with the fewest answers.

    It lies half way to the next lower probability, so that rounding moves no pair across it.

    Args:
        p_n: Probabilities.
        relevant_n: Outcomes, bool.
        n_true: True pairs, also those that are not among the n.
    """
    p, relevant = np.asarray(p_n, np.float64), np.asarray(relevant_n, bool)
    order = np.argsort(-p, kind="stable")
    sorted_p = np.append(p[order], 0.0)
    hits = np.cumsum(relevant[order])
    # Pairs of one probability are answered together.
    (ends,) = np.nonzero(sorted_p[:-1] > sorted_p[1:])
    if not len(ends) or not hits[-1]:
        return ChosenThreshold(1.0, 0.0, n_true)
    f1 = 2.0 * hits[ends] / (ends + 1.0 + n_true)
    best = int(np.argmax(f1))
    threshold = (sorted_p[ends[best]] + sorted_p[ends[best] + 1]) / 2.0
    return ChosenThreshold(float(threshold), 100.0 * float(f1[best]), n_true)


def _f1(hits: int, answers: int, n_true: int) -> float:
    return 200.0 * hits / max(1, answers + n_true)
