"""How many tokens of a text an encoder has to read: measured on pairs of texts that share a label.

A sample of P pairs of training texts with a common label is encoded at two lengths. The rank of a
text's partner among all texts of the sample without a common label, by cosine, tells how well
vectors of a length find what belongs together; the mean of its logarithm is compared pair by pair,
so that what makes a pair hard cancels (a paired comparison). It needs neither a training nor many
points of a label, and a change that costs half a point of precision is seen with a thousand pairs.

Legend: N points, L labels, P pairs, S = 2 P texts of the sample, D dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from learned_index.encoders.base import normalise_rows
from learned_index.types import Float32Array, Int64Array

Float64Array = npt.NDArray[np.float64]

CANDIDATES = (32, 48, 64, 96, 128)
"""Numbers of tokens to choose from; the last is the most that is read."""
MOST_CUT = 0.05
"""Where fewer of the texts are longer, they are cut without a measurement."""
LEAST_SAVED = 0.15
"""Of the tokens: where shorter texts save less, nothing is measured."""
BUDGET = 0.1
"""Of the work of encoding all texts at the largest candidate: vectors that serve nothing after."""
LEAST_PAIRS, MOST_PAIRS = 150, 1000
MARGIN = 0.03
"""Mean loss of the logarithm of a rank that is taken for none, with its standard error on top."""
RECIPE = "1"
"""Of how a length is chosen; a change makes kept choices others."""
_COUNTED = 1000
"""Texts whose tokens are counted."""
_TRIES = 20
"""Draws for each pair that is wanted; many fail where few labels have two points."""
_SEED = 0


@dataclass(frozen=True)
class LengthChoice:
    """What was chosen, and why.

    Attributes:
        tokens: Texts are cut there.
        reason: In words.
        pairs: Pairs of texts that were measured; 0: none were needed, or there were too few.
        losses: By number of tokens, of what was measured: how much larger the logarithm of a rank
            is than at the longest, in the mean, and the standard error of that.
        wasted: Tokens read for vectors that are not used again, as a part of those of all texts at
            the most tokens.
    """

    tokens: int
    reason: str
    pairs: int = 0
    losses: dict[int, tuple[float, float]] = field(default_factory=dict)
    wasted: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self) | {"losses": {str(T): list(loss) for T, loss in self.losses.items()}}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """What :meth:`to_dict` gave."""
        losses = {int(T): (mean, error) for T, (mean, error) in values["losses"].items()}
        return cls(**values | {"losses": losses})


def chosen_length(
    count: Callable[[Sequence[str]], Int64Array],
    encode: Callable[[Sequence[str], int], Float32Array],
    texts: Sequence[str],
    labels_NL: sp.csr_matrix,
    *,
    most: int = CANDIDATES[-1],
    reuses: bool = True,
) -> LengthChoice:
    """Choose the shortest candidate that loses nothing that counts.

    Args:
        count: Number of tokens of texts.
        encode: Vectors of texts cut to so many tokens, S x D.
        texts: N texts.
        labels_NL: CSR N x L.
        most: The most tokens that may be chosen.
        reuses: Whether vectors of the chosen length are used again.
    """
    if not len(texts):
        return LengthChoice(most, "there are no texts")
    some = np.random.default_rng(_SEED).permutation(len(texts))[:_COUNTED]
    counts = np.minimum(count([texts[row] for row in some]), most)
    candidates = [cut for cut in CANDIDATES if cut < most] + [most]
    longest = next(n for n, cut in enumerate(candidates) if np.mean(counts > cut) <= MOST_CUT)
    top = candidates[longest]
    why = f"{100 * np.mean(counts > top):.0f} % of the texts are longer"
    if top == most:
        why = "it is the most that is read"
    work = [float(np.minimum(counts, cut).mean()) for cut in candidates]
    if work[0] >= (1 - LEAST_SAVED) * work[longest]:
        return LengthChoice(top, f"{why}, and fewer would save little")

    affordable = int(BUDGET * len(texts) * work[-1] / (2 * _dearest(work, longest, reuses)))
    pairs_P2 = label_pairs(labels_NL, min(affordable, MOST_PAIRS), seed=_SEED)
    if len(pairs_P2) < LEAST_PAIRS:
        return LengthChoice(
            top,
            f"{why}; to measure whether fewer would do takes {LEAST_PAIRS} pairs of texts with a "
            f"common label, and {len(pairs_P2)} are there that cost a tenth of the encoding",
        )
    comparison = _Comparison(encode, texts, labels_NL, pairs_P2, top)
    stop, measured = _bisect(longest, lambda n: comparison.is_as_good(candidates[n]))
    chosen = candidates[stop]
    return LengthChoice(
        chosen,
        comparison.reason(chosen) if chosen != top else f"{why}, and fewer find less",
        len(pairs_P2),
        comparison.losses,
        2 * len(pairs_P2) * _waste(work, measured, stop, reuses) / (len(texts) * work[-1]),
    )


def _waste(work: Sequence[float], measured: Sequence[int], chosen: int, reuses: bool) -> float:
    """Tokens that are read for nothing of each text of the sample."""
    return sum(work[n] for n in measured if not (reuses and n == chosen))


def _dearest(work: Sequence[float], longest: int, reuses: bool) -> float:
    """The most that this can be, whatever is chosen."""
    courses = [_bisect(longest, stop.__le__) for stop in range(longest + 1)]
    return max(_waste(work, measured, stop, reuses) for stop, measured in courses)


def _bisect(longest: int, is_good: Callable[[int], bool]) -> tuple[int, list[int]]:
    """The first good candidate, the longest being good; and all that were looked at, it first."""
    low, high, measured = 0, longest, [longest]
    while low < high:
        middle = (low + high) // 2
        measured.append(middle)
        low, high = (low, middle) if is_good(middle) else (middle + 1, high)
    return high, measured


def label_pairs(labels_NL: sp.csr_matrix, n_pairs: int, *, seed: int) -> Int64Array:
    """Draw pairs of points with a common label; no point comes twice.

    A pair begins with a (point, label) pair drawn evenly, so labels weigh as they do in recall.

    Args:
        labels_NL: CSR N x L.
        n_pairs: At most so many.
        seed: Of the draw.

    Returns:
        int64 P x 2.
    """
    rng = np.random.default_rng(seed)
    by_label = labels_NL.tocsc()
    shared = np.flatnonzero(np.diff(by_label.indptr)[labels_NL.indices] > 1)
    owner = np.repeat(np.arange(labels_NL.shape[0]), np.diff(labels_NL.indptr))
    is_free_N = np.ones(labels_NL.shape[0], bool)
    pairs: list[tuple[int, int]] = []
    for entry in rng.permutation(shared)[: _TRIES * n_pairs]:
        if len(pairs) == n_pairs:
            break
        first, label = owner[entry], labels_NL.indices[entry]
        others = by_label.indices[by_label.indptr[label] : by_label.indptr[label + 1]]
        others = others[is_free_N[others] & (others != first)]
        if is_free_N[first] and len(others):
            second = rng.choice(others)
            is_free_N[[first, second]] = False
            pairs.append((int(first), int(second)))
    return np.array(pairs, np.int64).reshape(-1, 2)


def log_ranks(x_SD: Float32Array, labels_SL: sp.csr_matrix) -> Float64Array:
    """Logarithm of the rank at which each text finds its partner by cosine, P: mean of both.

    Texts with a label of the text's own are no competitors.

    Args:
        x_SD: Vectors of the sample, partners side by side.
        labels_SL: Their labels.
    """
    unit_SD = normalise_rows(x_SD)
    cosine_SS = unit_SD @ unit_SD.T
    own_S = np.arange(len(x_SD))
    partner_S = cosine_SS[own_S, own_S ^ 1]
    shares_SS = (labels_SL @ labels_SL.T).tocoo()
    cosine_SS[shares_SS.row, shares_SS.col] = -np.inf
    better_S = np.count_nonzero(cosine_SS > partner_S[:, None], axis=1)
    log_rank_P: Float64Array = np.log1p(better_S).reshape(-1, 2).mean(axis=1)
    return log_rank_P


class _Comparison:
    """The sample, and how well vectors of the longest cut find what belongs together in it."""

    def __init__(
        self,
        encode: Callable[[Sequence[str], int], Float32Array],
        texts: Sequence[str],
        labels_NL: sp.csr_matrix,
        pairs_P2: Int64Array,
        longest: int,
    ) -> None:
        rows = pairs_P2.ravel()
        self._encode, self._texts = encode, [texts[row] for row in rows.tolist()]
        self._labels_SL, self._longest = labels_NL[rows], longest
        self._reference_P = self._log_ranks(longest)
        self.losses: dict[int, tuple[float, float]] = {}

    def _log_ranks(self, tokens: int) -> Float64Array:
        return log_ranks(self._encode(self._texts, tokens), self._labels_SL)

    def is_as_good(self, tokens: int) -> bool:
        """Whether texts cut there lose less than what counts."""
        loss_P = self._log_ranks(tokens) - self._reference_P
        error = float(loss_P.std() / np.sqrt(len(loss_P)))
        self.losses[tokens] = (float(loss_P.mean()), error)
        return self.losses[tokens][0] + error <= MARGIN

    def reason(self, tokens: int) -> str:
        """Why this number of tokens is enough, in words."""
        loss, error = self.losses[tokens]
        return (
            f"{len(self._reference_P)} pairs of texts with a common label find each other at ranks "
            f"larger by {100 * loss:.1f} % (± {100 * error:.1f} %) than with {self._longest}"
        )
