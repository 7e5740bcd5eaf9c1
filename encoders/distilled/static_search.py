"""The static encoder as far as it only encodes: without torch, and without its teacher.

Legend: B texts, U distinct words, P pieces, V rows of the table, D dimension.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from learned_index.encoders.base import digest_arrays
from learned_index.encoders.distilled.pieces import WordPieces
from learned_index.encoders.lexical.summed import SummedEncoder
from learned_index.encoders.lexical.words import WordLists, word_lists
from learned_index.errors import ModelFormatError
from learned_index.inputs.matrices import SparseRows
from learned_index.inputs.numbers import MOST_SEED, real_number, whole_number
from learned_index.kernels.bags import Block, bag_rows
from learned_index.persistence.digest import bytes_digest
from learned_index.types import Float32Array

TOKENIZER_FILE = "tokenizer.json"
_NO_TERMS, _NO_WEIGHTS = np.zeros(0, np.int64), np.zeros(0, np.float32)


def static_settings(
    teacher: Any, *, max_words: int, smoothing: float, gradient: str, seed: int
) -> dict[str, Any]:
    """The arguments of a static encoder, checked, as they are saved."""
    return {
        "teacher": str(teacher),
        "max_words": whole_number(max_words, "max_words"),
        "smoothing": real_number(smoothing, "smoothing", low=1e-9),
        "gradient": gradient,
        "seed": whole_number(seed, "seed", low=0, high=MOST_SEED),
    }


class StaticSearchEncoder(SummedEncoder):
    """What a compiled model keeps of a :class:`~learned_index.encoders.StaticEncoder`.

    Args:
        **settings: As of that.
    """

    kind: ClassVar[str] = "static"

    def __init__(self, **settings: Any) -> None:
        super().__init__(normalise="l2")
        self._settings = static_settings(**settings)
        self._pieces: WordPieces | None = None
        self._weight_P: Float32Array | None = None

    # -- texts as weights of rows: a constant, the pieces, and what a subclass adds ----------------

    def _rows(self, texts: list[str]) -> SparseRows:
        words = word_lists(texts)
        return self._bags_of(words, *self._blocks(words))

    def _bags_of(self, words: WordLists, pieces: Block, more: Block) -> SparseRows:
        most = self._settings["max_words"]
        return bag_rows(words.ids, words.offsets, pieces, more, most_words=most)

    def _blocks(self, words: WordLists) -> tuple[Block, Block]:
        """How the distinct words become pieces, and what else they become: nothing here."""
        weight_P = self._learned(self._weight_P)
        pieces = Block(*self._learned(self._pieces).lists(words.distinct), weight_P)
        nothing = Block(np.zeros(len(words.distinct) + 1, np.int64), _NO_TERMS, _NO_WEIGHTS)
        return pieces, nothing

    # -- saving ---------------------------------------------------------------------------------

    def _arrays(self) -> dict[str, Float32Array]:
        return {"table": self._table_array(), "piece_weight": self._learned(self._weight_P)}

    def _n_rows(self) -> int:
        return 1 + self._learned(self._pieces).n_pieces

    def _restore(self, directory: Path, arrays: dict[str, Any]) -> None:
        description = (directory / TOKENIZER_FILE).read_text(encoding="utf-8")
        self._pieces = WordPieces(description)
        self._weight_P, table_VD = arrays["piece_weight"], arrays["table"]
        fits = (
            self._weight_P is not None
            and self._weight_P.shape == (self._pieces.n_pieces,)
            and table_VD.ndim == 2
            and len(table_VD) == self._n_rows()
        )
        if not fits:
            raise ModelFormatError(
                f"{directory}: tokeniser, weights and table do not fit together; save the encoder "
                "again"
            )
        self._make_table(table_VD)

    def _content_digest(self) -> str:
        description = self._learned(self._pieces).description
        return bytes_digest([description.encode()]) + digest_arrays(self._arrays())

    def fingerprint(self) -> str:
        """SHA-256 of table, weights and settings, not of the teacher's name."""
        settings = {name: value for name, value in self._settings.items() if name != "teacher"}
        return bytes_digest([repr([self.kind, settings]).encode(), self._content_digest().encode()])

    def _save_into(self, directory: Path) -> None:
        description = self._learned(self._pieces).description
        (directory / TOKENIZER_FILE).write_text(description, encoding="utf-8")
        super()._save_into(directory)
