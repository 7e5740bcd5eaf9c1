"""Texts as tokens: without padding, kept flat, and padded to a batch when it is needed.

Legend: B texts of a batch, T tokens of its longest text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from learned_index.types import Int64Array

Features = dict[str, Tensor]
"""Tokenised texts: ``input_ids`` and ``attention_mask`` (int64, B x T), maybe more."""


def token_lists(tokenizer: Any, texts: list[str], max_length: int) -> list[dict[str, list[int]]]:
    """Tokenise texts without padding, special tokens included.

    A text that gives no token at all (the empty text with a tokeniser that adds none) becomes
    one padding token, so that every text has something to attend to.

    Args:
        tokenizer: A Hugging Face tokeniser.
        texts: B texts.
        max_length: Longer texts are cut to so many tokens.
    """
    if not texts:
        return []
    encoded = tokenizer(
        texts, truncation=True, max_length=max_length, padding=False, return_attention_mask=False
    )
    rows = []
    for row in range(len(texts)):
        tokens = {name: list(values[row]) for name, values in encoded.items()}
        if not tokens["input_ids"]:  # attention over nothing would give NaN
            tokens = {name: [0] for name in tokens} | {"input_ids": [pad_id(tokenizer)]}
        rows.append(tokens)
    return rows


def forget_last_call(tokenizer: Any) -> None:
    """Clear the cutting and padding that a tokeniser remembers from its last call.

    They would be written into ``tokenizer.json``, so that a model saved after encoding differed
    from one saved before. Every call sets them anew.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        backend.no_truncation()
        backend.no_padding()


def pad_id(tokenizer: Any) -> int:
    """Return the token id that fills rows: padding, else end of text, else 0."""
    for value in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if value is not None:
            return int(value)
    return 0


def pad_batch(rows: Sequence[dict[str, Any]], tokenizer: Any) -> Features:
    """Make tensors B x T of tokenised texts, filled on the right.

    Args:
        rows: From :func:`token_lists` or :class:`Tokens`.
        tokenizer: The tokeniser they come from.

    Returns:
        ``input_ids``, ``attention_mask`` (1 on tokens) and what else the tokeniser made, int64.
    """
    width = max((len(row["input_ids"]) for row in rows), default=1)
    names = list(rows[0]) if rows else ["input_ids"]
    fill = {
        "input_ids": pad_id(tokenizer),
        "token_type_ids": int(getattr(tokenizer, "pad_token_type_id", 0) or 0),
    }
    arrays = {name: np.full((len(rows), width), fill.get(name, 0), np.int64) for name in names}
    mask_BT = np.zeros((len(rows), width), np.int64)
    for number, row in enumerate(rows):
        length = len(row["input_ids"])
        mask_BT[number, :length] = 1
        for name in names:
            arrays[name][number, :length] = row[name]
    features = {name: torch.from_numpy(array) for name, array in arrays.items()}
    return features | {"attention_mask": torch.from_numpy(mask_BT)}


class Tokens(NamedTuple):
    """Tokenised texts, one after the other in flat arrays.

    Attributes:
        values: ``input_ids`` and what else the tokeniser made, int32, T.
        offsets: int64, N + 1. Where each text's tokens begin.
    """

    values: dict[str, np.ndarray[Any, np.dtype[np.int32]]]
    offsets: Int64Array

    @classmethod
    def from_rows(cls, rows: Iterable[dict[str, list[int]]]) -> Tokens:
        """Join the results of :func:`token_lists`."""
        names: list[str] = []
        parts: dict[str, list[np.ndarray[Any, np.dtype[np.int32]]]] = {}
        lengths = [0]
        for row in rows:
            names = names or list(row)
            for name in names:
                # Half the memory of int64, which is for batches alone; no vocabulary needs more.
                parts.setdefault(name, []).append(np.asarray(row[name], np.int32))
            lengths.append(len(row["input_ids"]))
        return cls(
            {name: np.concatenate(parts[name]) for name in names},
            np.cumsum(lengths, dtype=np.int64),
        )

    @property
    def counts(self) -> Int64Array:
        """Number of tokens of each text, int64, N."""
        return np.diff(self.offsets)

    def row(self, number: int) -> dict[str, Any]:
        """The tokens of one text."""
        span = slice(self.offsets[number], self.offsets[number + 1])
        return {name: array[span] for name, array in self.values.items()}
