"""The part of a network's encoder that lets labelled texts say how much of a text it reads."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import scipy.sparse as sp
from torch import nn

from learned_index.encoders.base import check_texts
from learned_index.encoders.transformer.lengths import (
    CANDIDATES,
    RECIPE,
    LengthChoice,
    chosen_length,
)
from learned_index.encoders.transformer.precision import Int8Capable
from learned_index.errors import InputError, NotFittedError
from learned_index.persistence.digest import data_digest
from learned_index.persistence.kept import KeptResults
from learned_index.system.cache import cache_directory
from learned_index.types import Float32Array, Int64Array

logger = logging.getLogger(__name__)

FOLDER = "lengths"
"""Of the cache directory: what was chosen for which encoder and texts."""


class ChoosesLength(Int8Capable, nn.Module):
    """The part of a network's encoder that chooses ``max_length`` where it was to be ``"auto"``.

    Attributes:
        length_choice: What :meth:`choose_length` found; None before, and where a length was given.
    """

    name: str
    length_choice: LengthChoice | None = None
    _max_length: int
    _most_tokens: int | None = None
    """The most that may be chosen; None: the length was given."""

    @abstractmethod
    def _limited(self, max_length: int | None) -> int:
        """Return the number of tokens to cut at, and tell the model."""

    @abstractmethod
    def tokenize_all(self, texts: Sequence[str]) -> Any:
        """Tokens of N texts."""

    @abstractmethod
    def encode(self, texts: Sequence[str]) -> Float32Array:
        """Vectors of N texts."""

    @abstractmethod
    def _content_digest(self) -> str:
        """Of weights and vocabulary."""

    def _limited_or_chosen(self, max_length: Any) -> int:
        """Take ``max_length`` as it is; ``"auto"`` is the most that may be chosen, until it is."""
        if isinstance(max_length, str):
            if max_length != "auto":
                raise InputError(
                    f"max_length is {max_length!r:.60}, expected a number of tokens or 'auto'"
                )
            self._most_tokens = self._limited(min(CANDIDATES[-1], self._limited(None)))
            return self._most_tokens
        return self._limited(max_length)

    def _require_length(self) -> None:
        """Raise where ``max_length`` is still to be chosen."""
        if self._most_tokens is not None and self.length_choice is None:
            raise NotFittedError(
                f"how many tokens of a text {self.name}:auto reads is measured on labelled texts "
                "when a model is trained (li train, li train-index, ELIAS.fit), and there were "
                f"none; give the number instead, such as {self.name}:{CANDIDATES[-1]}"
            )

    def choose_length(self, texts: Sequence[str], labels_NL: sp.csr_matrix) -> None:
        """Choose ``max_length`` by labelled texts, where it was to be ``"auto"``; else do nothing.

        At most a tenth of the work of encoding all texts is spent. What was chosen for the same
        weights and texts before is found in the cache directory. Vectors that were made on the way
        serve the next time that their texts are encoded, if they are int8 ones, which do not
        depend on the batch.

        Args:
            texts: N training texts.
            labels_NL: CSR N x L.

        Raises:
            InputError: The network's library cuts the texts, by characters or otherwise.
        """
        most = self._most_tokens
        if most is None:
            return
        checked = check_texts(texts)
        kept, key = self._kept_choices(checked, labels_NL, most)
        found = kept.find(self.name, key)
        if found is not None:
            self.length_choice = LengthChoice.from_dict(found)
        else:
            self.length_choice = self._measured(checked, labels_NL, most)
            kept.keep(self.name, key, self.length_choice.to_dict())
        self._max_length = self._limited(self.length_choice.tokens)
        logger.info(
            "%s reads %d tokens: %s", self.name, self._max_length, self.length_choice.reason
        )

    def _kept_choices(
        self, texts: list[str], labels_NL: sp.csr_matrix, most: int
    ) -> tuple[KeptResults, str]:
        directory = cache_directory()
        key = data_digest(
            [RECIPE, self._content_digest(), self.precision, str(most)], texts, labels_NL
        )
        return KeptResults(None if directory is None else directory / FOLDER), key

    def _measured(self, texts: list[str], labels_NL: sp.csr_matrix, most: int) -> LengthChoice:
        self.length_choice = LengthChoice(most, "while it is measured")
        self._max_length = self._limited(most)  # an earlier choice counts no more
        reuses = self.precision == "int8" and not self.training
        made: dict[int, dict[bytes, Float32Array]] = {}

        def count(some: Sequence[str]) -> Int64Array:
            tokens = self.tokenize_all(some)
            if isinstance(tokens, list):
                raise InputError(
                    f"the library of {self.name} makes tokens of its texts by itself, so their "
                    "number cannot be chosen; give max_length"
                )
            counts: Int64Array = tokens.counts
            return counts

        def encode(some: Sequence[str], tokens: int) -> Float32Array:
            self._max_length = self._limited(tokens)
            if not reuses:
                return self.encode(some)
            with self._int8_network().remembering(made.setdefault(tokens, {})):
                return self.encode(some)

        try:
            choice = chosen_length(count, encode, texts, labels_NL, most=most, reuses=reuses)
        except BaseException:
            self.length_choice = None
            raise
        if choice.tokens in made:
            self._int8_network().reuse(made[choice.tokens])
        return choice
