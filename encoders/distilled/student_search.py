"""The student as far as it only encodes: without torch, and without its teacher.

Legend: U distinct words, V words with a row, P pieces.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from learned_index.encoders.distilled.static_search import StaticSearchEncoder
from learned_index.encoders.lexical.tfidf import VOCABULARY_FILE
from learned_index.encoders.lexical.words import WordLists
from learned_index.errors import ModelFormatError
from learned_index.inputs.numbers import real_number, whole_number
from learned_index.kernels.bags import Block, Spelling, WordTable, known_only, merge_runs
from learned_index.persistence import read_json, write_json
from learned_index.persistence.contents import require_layout, require_offsets, require_range
from learned_index.persistence.digest import digest
from learned_index.types import Float32Array, Int64Array

_NO_PIECES = np.zeros(1, np.int64), np.zeros(0, np.int64)


class StudentSearchEncoder(StaticSearchEncoder):
    """What a compiled model keeps of a :class:`~learned_index.encoders.StudentEncoder`.

    Args:
        **settings: As of that.
    """

    kind: ClassVar[str] = "student"

    def __init__(
        self,
        *,
        teaching_texts: int | None,
        teaching_seconds: float | None,
        min_df: int,
        max_features: int,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self._take(teaching_texts, teaching_seconds, min_df, max_features)

    def _take(
        self,
        teaching_texts: int | None,
        teaching_seconds: float | None,
        min_df: int,
        max_features: int,
    ) -> None:
        """Check and keep the arguments of the constructor that a static encoder has not."""
        self._settings |= {
            "teaching_texts": None
            if teaching_texts is None
            else whole_number(teaching_texts, "teaching_texts", low=10),
            "teaching_seconds": None
            if teaching_seconds is None
            else real_number(teaching_seconds, "teaching_seconds", low=0.1),
            "min_df": whole_number(min_df, "min_df"),
            "max_features": whole_number(max_features, "max_features"),
        }
        self._word_table: WordTable | None = None
        self._idf_V: Float32Array | None = None
        # The pieces of the words, so that a text's known words need not be cut again.
        self._cut: tuple[Int64Array, Int64Array] | None = None

    def _blocks(self, words: WordLists) -> tuple[Block, Block]:
        number_U = self._learned(self._word_table).numbers(words.spelling)
        known_offsets, known_words = known_only(number_U)
        known = Block(known_offsets, known_words, self._learned(self._idf_V))
        cut, found = self._learned(self._cut), _NO_PIECES
        if len(known.terms) < len(number_U):
            new = words.spelling.some(np.flatnonzero(number_U < 0))
            found = self._learned(self._pieces).lists(new)
        offsets, terms = merge_runs(number_U, *cut, *found)
        return Block(offsets, terms, self._learned(self._weight_P)), known

    # -- saving ---------------------------------------------------------------------------------

    def _n_rows(self) -> int:
        return super()._n_rows() + len(self._learned(self._idf_V))

    def _arrays(self) -> dict[str, Any]:
        offsets, pieces = self._learned(self._cut)
        cut = {"word_offsets": offsets, "word_pieces": pieces.astype(np.int32)}
        return super()._arrays() | cut | {"idf": self._learned(self._idf_V)}

    def _restore(self, directory: Path, arrays: dict[str, Any]) -> None:
        listed = read_json(directory / VOCABULARY_FILE)
        self._idf_V = arrays["idf"]
        if not isinstance(listed, list) or np.shape(self._idf_V) != (len(listed),):
            raise ModelFormatError(
                f"{directory}: vocabulary and idf do not fit together; save the encoder again"
            )
        words = list(map(str, listed))
        if len(set(words)) != len(words):
            raise ModelFormatError(f"{directory}: a word stands twice; save the encoder again")
        self._word_table = WordTable.spelled(Spelling.of(words))
        super()._restore(directory, arrays)
        n_words, n_pieces = len(listed), self._learned(self._pieces).n_pieces
        offsets, pieces = arrays["word_offsets"], arrays["word_pieces"]
        require_layout(
            arrays,
            {"word_offsets": (np.int64, (n_words + 1,)), "word_pieces": (np.int32, (len(pieces),))},
        )
        require_offsets("word_offsets", offsets, len(pieces))
        require_range("word_pieces", pieces, 0, n_pieces - 1)
        self._cut = offsets, pieces.astype(np.int64)

    def _content_digest(self) -> str:
        return digest([self._learned(self._word_table).words(), super()._content_digest()])

    def _save_into(self, directory: Path) -> None:
        write_json(directory / VOCABULARY_FILE, self._learned(self._word_table).words())
        super()._save_into(directory)
