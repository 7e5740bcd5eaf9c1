"""A student of a sentence encoder, in closed form: pieces and words regressed onto its vectors.

With rows X (tf-idf of words) and S (weighted sums of a static table, scaled to mean length 1) of n
teaching texts, the teacher's vectors T and their mean m, ridge regression in its dual form gives::

    K = X Xᵀ + S Sᵀ,   (K + r I) A = T - m,   W = Xᵀ A,   B = Sᵀ A,   x = W tf-idf + B s + m

(kernel ridge regression, Saunders et al. 1998). Both inputs are weighted sums of rows, so the
student is one table again.

Legend: N training texts, n teaching texts, V words, P pieces, D dimension.
"""

from __future__ import annotations

import logging
import time
from typing import Any, ClassVar

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from learned_index.encoders.base import normalise_rows
from learned_index.encoders.distilled.static import AnyTeacher, StaticEncoder, mean_of
from learned_index.encoders.distilled.student_search import StudentSearchEncoder
from learned_index.encoders.distilled.table import mean_length
from learned_index.encoders.lexical.bags import Gradient
from learned_index.encoders.lexical.feature_rows import idf_of_counts
from learned_index.encoders.lexical.words import WordLists
from learned_index.errors import InputError
from learned_index.kernels.bags import Spelling, WordTable
from learned_index.system.timing import seconds_of
from learned_index.types import Float32Array, Int64Array

logger = logging.getLogger(__name__)

TEACHING_TEXTS = 4000
RIDGES = (0.1, 0.3, 1.0, 3.0)
_CHECKED_SHARE = 0.1
_PROBE = 64
_LEAST_TEXTS, _MOST_TEXTS = 500, 16_000
_STEP = 500


class StudentEncoder(StaticEncoder, StudentSearchEncoder):
    """A sentence encoder's fast student: :class:`StaticEncoder` and words, taught by the teacher.

    The teacher encodes some of the training texts; the vectors of all pieces and words that come
    closest to its own (ridge regression, the strength chosen by the cosine on a tenth of the
    teaching texts that are kept back) become the table.

    Args:
        teacher: See :class:`StaticEncoder`. Its ``max_length`` is what it reads of a text.
        teaching_texts: So many training texts, drawn at random, are encoded by the teacher. None:
            4,000, or what ``teaching_seconds`` allow.
        teaching_seconds: Time that the teacher may take; its speed is measured on 64 texts first,
            so the number of texts, and the model with it, depend on the machine.
        min_df: Words in fewer training texts have no row; their pieces have.
        max_features: At most so many words, the most frequent ones.
        max_words: Words of a text that are cut into pieces; all its words count as words.
        smoothing: See :class:`StaticEncoder`.
        gradient: See there.
        seed: Of the choice of teaching texts.

    Attributes:
        report_: ``teaching_texts``, ``ridge``, ``cosine`` (mean, on texts kept back), ``seconds``.
    """

    kind: ClassVar[str] = "student"

    def __init__(
        self,
        teacher: AnyTeacher = "minilm:128",
        *,
        teaching_texts: int | None = None,
        teaching_seconds: float | None = None,
        min_df: int = 2,
        max_features: int = 200_000,
        max_words: int = 90,
        smoothing: float = 1e-3,
        gradient: Gradient = "sparse",
        seed: int = 0,
    ) -> None:
        super().__init__(
            teacher, max_words=max_words, smoothing=smoothing, gradient=gradient, seed=seed
        )
        if teaching_texts is not None and teaching_seconds is not None:
            raise InputError("got teaching_texts and teaching_seconds; give one of them")
        self._take(teaching_texts, teaching_seconds, min_df, max_features)
        self.report_: dict[str, Any] = {}

    def _learn(
        self, teacher: Any, table_PD: Float32Array, texts: list[str], words: WordLists
    ) -> None:
        start = time.perf_counter()
        self._choose_words(words)
        bags_NR = self._bags_of(words, *self._blocks(words)).matrix()
        split = 1 + len(table_PD)
        s_NP, x_NV = bags_NR[:, 1:split], bags_NR[:, split:]
        chosen, taught_nD = self._taught(teacher, texts)
        teaching = time.perf_counter() - start
        centre_D = mean_of(s_NP, table_PD)
        s_nD = np.asarray(s_NP[chosen] @ table_PD, np.float32) - centre_D
        scale = np.float32(1.0 / mean_length(s_nD))
        x_nV = x_NV[chosen]
        s_nD *= scale
        ridge, cosine = _best_ridge(x_nV, s_nD, taught_nD)
        mean_D = taught_nD.mean(axis=0)
        dual_nD = _dual(_kernel(x_nV, s_nD).astype(np.float64), taught_nD - mean_D, ridge)
        word_VD = np.asarray(x_nV.T @ dual_nD, np.float32)
        map_DD = scale * (s_nD.T @ dual_nD)
        constant_D = mean_D - centre_D @ map_DD
        rows = [constant_D[None], table_PD @ map_DD, word_VD]
        self._make_table(np.concatenate(rows).astype(np.float32))
        self.report_ = {
            "teaching_texts": len(chosen),
            "ridge": ridge,
            "cosine": cosine,
            "seconds": {"teaching": teaching, "all": time.perf_counter() - start},
        }
        logger.info(
            "the student saw %d texts; cosine to its teacher on texts kept back: %.3f",
            len(chosen),
            cosine,
        )

    def _teaching_seconds(self, teacher: Any, texts: list[str], n_texts: int) -> float:
        if self._settings["teaching_seconds"] is not None:
            return float(self._settings["teaching_seconds"])
        probe = texts[:_PROBE]
        number = min(n_texts, self._settings["teaching_texts"] or TEACHING_TEXTS)
        return _seconds_a_text(teacher, probe) * number

    def _choose_words(self, words: WordLists) -> None:
        """The words that have a row: frequent enough, the most frequent ones."""
        texts_U = words.in_texts()
        known = np.flatnonzero(texts_U >= self._settings["min_df"])
        if len(known) > self._settings["max_features"]:
            order = np.argsort(-texts_U[known], kind="stable")[: self._settings["max_features"]]
            known = np.sort(known[order])
        chosen = [words.distinct[u] for u in known]
        self._word_table = WordTable.spelled(Spelling.of(chosen))
        self._cut = self._learned(self._pieces).lists(chosen)
        self._idf_V = idf_of_counts(texts_U[known], n_points=len(words.offsets) - 1)

    def _taught(self, teacher: Any, texts: list[str]) -> tuple[Int64Array, Float32Array]:
        """The texts that the teacher encodes, and its vectors of length 1."""
        order = np.random.default_rng(self._settings["seed"]).permutation(len(texts))
        number = self._settings["teaching_texts"] or TEACHING_TEXTS
        seconds = self._settings["teaching_seconds"]
        if seconds is not None:
            probe = [texts[i] for i in order[:_PROBE]]
            number = int(seconds / _seconds_a_text(teacher, probe)) // _STEP * _STEP
            number = min(_MOST_TEXTS, max(_LEAST_TEXTS, number))
        chosen = np.sort(order[:number])
        vectors = np.asarray(teacher.encode([texts[i] for i in chosen]), np.float32)
        return chosen, normalise_rows(vectors)

    # -- search ---------------------------------------------------------------------------------

    def for_search(self) -> StudentSearchEncoder:
        """This encoder as compiled models hold it: it encodes alike, and needs no torch."""
        learned = ("_pieces", "_weight_P", "_word_table", "_idf_V", "_cut")
        return self._for_search(StudentSearchEncoder, learned)


def _seconds_a_text(teacher: Any, probe: list[str]) -> float:
    """How long the teacher takes for one of these texts."""
    return max(1e-6, seconds_of(lambda: teacher.encode(probe))) / max(1, len(probe))


def _kernel(x_nV: sp.csr_matrix, s_nD: Float32Array) -> Float32Array:
    """X Xᵀ + S Sᵀ, float32 n x n."""
    kernel_nn: Float32Array = (x_nV @ x_nV.T).toarray() + s_nD @ s_nD.T
    return kernel_nn


def _dual(kernel_nn: Any, target_nD: Float32Array, ridge: float) -> Float32Array:
    """A of (K + r I) A = T, float32 n x D, solved in the precision of K."""
    system = kernel_nn.copy()
    system[np.diag_indices(len(system))] += ridge
    factor = scipy.linalg.cho_factor(system, overwrite_a=True, check_finite=False)
    solved: Float32Array = scipy.linalg.cho_solve(factor, target_nD).astype(np.float32)
    return solved


def _best_ridge(
    x_nV: sp.csr_matrix, s_nD: Float32Array, taught_nD: Float32Array
) -> tuple[float, float]:
    """The strength with the highest mean cosine to the teacher on a tenth kept back, and that."""
    kernel_nn = _kernel(x_nV, s_nD)
    n_checked = max(1, int(_CHECKED_SHARE * len(taught_nD)))
    # The teaching texts are in no order that means anything: every tenth of them.
    is_checked = np.zeros(len(taught_nD), bool)
    is_checked[np.linspace(0, len(taught_nD) - 1, n_checked).astype(int)] = True
    mean_D = taught_nD[~is_checked].mean(axis=0)
    own, across = kernel_nn[~is_checked][:, ~is_checked], kernel_nn[is_checked][:, ~is_checked]
    cosines = {}
    for ridge in RIDGES:
        dual_nD = _dual(own, taught_nD[~is_checked] - mean_D, ridge)
        guess = normalise_rows((across @ dual_nD + mean_D).astype(np.float32))
        cosines[ridge] = float((guess * taught_nD[is_checked]).sum(axis=1).mean())
    best = max(cosines, key=lambda ridge: cosines[ridge])
    return best, cosines[best]
