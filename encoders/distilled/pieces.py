"""Words as the pieces of a pretrained tokeniser, each distinct word cut once.

Legend: U distinct words.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, chain
from typing import Any

import numpy as np

from learned_index.errors import InputError, ModelFormatError
from learned_index.system.extras import require
from learned_index.types import Int64Array

_MOST_KEPT = 200_000
"""Distinct words whose pieces are remembered, about 250 bytes each: a server sees new ones for
ever."""


class WordPieces:
    """Cuts words into pieces, and remembers how.

    Words are cut one by one, as they stand between spaces: a text costs a look-up for each of its
    words, which is some ten times faster than the tokeniser on whole texts. What lies between
    words (punctuation) is left out, and so are unknown and other special pieces.

    Args:
        description: The tokeniser as the text of a ``tokenizer.json``.

    Raises:
        ModelFormatError: The text describes no tokeniser.
    """

    def __init__(self, description: str) -> None:
        self.description = description
        self._backend = _open(description)
        self.n_pieces = int(self._backend.get_vocab_size(with_added_tokens=True))
        added = self._backend.get_added_tokens_decoder()
        self._special = {number for number, token in added.items() if token.special}
        self._known: dict[str, list[int]] = {}

    @classmethod
    def of(cls, tokenizer: Any) -> WordPieces:
        """Those of a Hugging Face tokeniser.

        Raises:
            InputError: It has no fast form.
        """
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise InputError(
                f"the tokeniser {type(tokenizer).__name__} has no fast form (tokenizer.json), "
                "which an encoder made of word pieces needs; use a model that has one"
            )
        return cls(backend.to_str())

    def __getstate__(self) -> str:
        return self.description

    def __setstate__(self, description: str) -> None:
        self.__init__(description)  # type: ignore[misc]

    def surroundings(self) -> tuple[list[int], list[int]]:
        """The special pieces that the tokeniser puts before and after a text."""
        backend = self._backend
        inner = backend.encode("a", add_special_tokens=False)
        whole = backend.post_process(inner).ids
        start = next(
            (i for i in range(len(whole)) if whole[i : i + len(inner.ids)] == inner.ids), 0
        )
        return whole[:start], whole[start + len(inner.ids) :]

    def lists(self, words: Sequence[str]) -> tuple[Int64Array, Int64Array]:
        """The pieces of U words: where each word's begin (int64, U + 1), and the pieces, int64."""
        known = self._known
        new = [word for word in words if word not in known]
        if new:
            if len(known) + len(new) > _MOST_KEPT:
                # Another dictionary: other threads may be reading this one.
                self._known = known = {}
                new = list(words)
            # With the space before it, a word is cut as it is inside a text.
            encoded = self._backend.encode_batch([f" {w}" for w in new], add_special_tokens=False)
            special = self._special
            for word, found in zip(new, encoded, strict=True):
                known[word] = [piece for piece in found.ids if piece not in special]
        rows = [known[word] for word in words]
        offsets = np.array([0, *accumulate(map(len, rows))], np.int64)
        return offsets, np.array(list(chain.from_iterable(rows)), np.int64)


def _open(description: str) -> Any:
    try:
        backend = require("tokenizers").Tokenizer.from_str(description)
    except Exception as error:  # the library raises bare exceptions
        raise ModelFormatError(
            f"the text is no tokenizer.json ({error}); save the encoder again"
        ) from error
    backend.no_truncation()
    backend.no_padding()
    return backend
