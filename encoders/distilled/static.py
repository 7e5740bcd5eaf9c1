"""A static encoder: the vectors of a text's pieces, weighted by how rare they are, summed.

Legend: B texts, U distinct words, P pieces, D dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp

from learned_index.encoders.base import check_texts
from learned_index.encoders.distilled.pieces import WordPieces
from learned_index.encoders.distilled.static_search import StaticSearchEncoder, static_settings
from learned_index.encoders.distilled.table import check_teacher, encode_pieces, piece_table
from learned_index.encoders.lexical.bags import BagEncoder, Gradient
from learned_index.encoders.lexical.words import WordLists, word_lists
from learned_index.encoders.registry import parse_encoder
from learned_index.errors import InputError
from learned_index.system.timing import seconds_of
from learned_index.types import Float32Array

_TIMED_PIECES = 1024
AnyTeacher = Any
"""A description such as ``"minilm:128"``, or an encoder around a network."""


class StaticEncoder(BagEncoder, StaticSearchEncoder):
    """Texts to the summed vectors of their word pieces, distilled from a sentence encoder.

    The row of a piece is the teacher's vector for it alone (see
    :func:`~learned_index.encoders.distilled.table.piece_table`), a piece of share f among those of
    the training texts weighs a / (a + f) (smooth inverse frequency, Arora et al. 2017), a text's
    weights are scaled to length 1, and the mean of the training texts is taken off. Thousands of
    texts a second; no network runs after ``fit``, and the saved encoder does not need the teacher.

    It is a table like that of :class:`~learned_index.encoders.BagOfWordsEncoder`, and can be
    trained with the index likewise. The empty text is the zero vector. A row's bits do not depend
    on the batch.

    Args:
        teacher: What it is made from: ``"minilm"``, ``"minilm:128"``, another description of a
            sentence-transformers or transformers model, or such an encoder.
        max_words: So many words of a text are cut into pieces: about what the teacher reads.
        smoothing: The a of the weights.
        gradient: See :class:`~learned_index.encoders.lexical.bags.BagEncoder`.
        seed: Of what is drawn at random (nothing here).
    """

    kind: ClassVar[str] = "static"

    def __init__(
        self,
        teacher: AnyTeacher = "minilm:128",
        *,
        max_words: int = 90,
        smoothing: float = 1e-3,
        gradient: Gradient = "sparse",
        seed: int = 0,
    ) -> None:
        super().__init__(gradient=gradient, normalise="l2")
        self._is_named = isinstance(teacher, str)
        # In a list: as an attribute it would be a part of this module, and trained with it.
        self._teacher: list[Any] = [] if self._is_named else [teacher]
        for given in self._teacher:
            check_teacher(given)
        name = teacher if self._is_named else getattr(teacher, "name", "")
        self._settings = static_settings(
            name, max_words=max_words, smoothing=smoothing, gradient=gradient, seed=seed
        )
        self._pieces: WordPieces | None = None
        self._weight_P: Float32Array | None = None

    @property
    def dim(self) -> int:
        """Vector length D, the teacher's."""
        if self.bag is None:
            return int(self._open_teacher().dim)
        return int(self.bag.weight.shape[1])

    def fit(self, texts: Sequence[str]) -> Self:
        """Make the table and weigh the pieces by N training texts.

        Raises:
            InputError: No texts, none with a word, or a teacher that is no network.
            MissingExtraError: The teacher is not installed.
        """
        checked = check_texts(texts)
        words = word_lists(checked)
        if not len(words.ids):
            raise InputError(
                f"{len(checked)} texts hold no word to fit the encoder on; give texts with words"
            )
        teacher = self._open_teacher()
        pieces = self._pieces = WordPieces.of(teacher.tokenizer)
        word_count_U = np.bincount(words.ids, minlength=len(words.distinct))
        offsets, found = pieces.lists(words.distinct)
        count_P = np.bincount(
            found, np.repeat(word_count_U, np.diff(offsets)), minlength=pieces.n_pieces
        )
        share_P = count_P / max(1.0, count_P.sum())
        smoothing = self._settings["smoothing"]
        self._weight_P = (smoothing / (smoothing + share_P)).astype(np.float32)
        self._learn(teacher, piece_table(teacher, pieces), checked, words)
        if self._is_named:
            self._teacher.clear()  # it is not needed any more, and large
        return self

    def expected_seconds(self, texts: Sequence[str], *, n_texts: int) -> tuple[float, float]:
        """Measure on a few texts how long it takes to fit on ``n_texts`` like them.

        Returns:
            Seconds of the fit, and seconds to encode one text afterwards.
        """
        checked, teacher = check_texts(texts), self._open_teacher()
        pieces = WordPieces.of(teacher.tokenizer)
        words = seconds_of(lambda: WordLists.of(checked)) / max(1, len(checked))
        table = seconds_of(lambda: encode_pieces(teacher, pieces, range(_TIMED_PIECES)))
        fit = 2 * words * n_texts + table * pieces.n_pieces / _TIMED_PIECES
        return fit + self._teaching_seconds(teacher, checked, n_texts), words

    def _teaching_seconds(self, teacher: Any, texts: list[str], n_texts: int) -> float:
        """What a subclass's teacher takes besides: nothing here."""
        return 0.0

    def _learn(
        self, teacher: Any, table_PD: Float32Array, texts: list[str], words: WordLists
    ) -> None:
        """Make the table of the bag from that of the pieces."""
        bags_NV = self._bags_of(words, *self._blocks(words)).matrix()
        mean_D = mean_of(bags_NV[:, 1:], table_PD)
        self._make_table(np.concatenate([-mean_D[None], table_PD]))

    def _open_teacher(self) -> Any:
        if not self._teacher:
            teacher = parse_encoder(self._settings["teacher"], precision="auto")
            check_teacher(teacher)
            self._teacher.append(teacher)
        return self._teacher[0]

    # -- search ---------------------------------------------------------------------------------

    def for_search(self) -> StaticSearchEncoder:
        """This encoder as compiled models hold it: it encodes alike, and needs no torch."""
        return self._for_search(StaticSearchEncoder, ("_pieces", "_weight_P"))


def mean_of(weights_BV: sp.csr_matrix, table_VD: Float32Array) -> Float32Array:
    """Mean of the weighted sums of a table's rows, D float32."""
    mean_V = np.bincount(
        weights_BV.indices, weights=weights_BV.data, minlength=weights_BV.shape[1]
    ) / max(1, weights_BV.shape[0])
    mean_D: Float32Array = (mean_V @ table_VD.astype(np.float64)).astype(np.float32)
    return mean_D
