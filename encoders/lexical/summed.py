"""Encoders that sum weighted rows of one table, as far as they only encode: without torch.

Legend: B texts, V rows of the table, D dimension.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import numpy as np

from learned_index.encoders.base import ARRAYS_FILE, EncoderBase, check_choice, check_texts
from learned_index.errors import InputError
from learned_index.inputs.matrices import SparseRows
from learned_index.kernels.bags import sum_bags
from learned_index.persistence.contents import require_finite
from learned_index.persistence.mapped import mapped_arrays
from learned_index.types import Float32Array

Normalise = Literal["l2", "none"]
Searching = TypeVar("Searching", bound="SummedEncoder")


class SummedEncoder(EncoderBase):
    """Base of encoders that give x = Σ_t weight_t · E_t, then length 1; E is fixed.

    What compiled models hold: they encode as the encoder does that they were made of
    (:class:`~learned_index.encoders.lexical.bags.BagEncoder`, which trains E with torch), bit for
    bit, from the same files. A subclass says which rows of E a text weighs (:meth:`_rows`).

    Args:
        normalise: ``"l2"`` or ``"none"``.
    """

    _settings: dict[str, Any]
    _normalise: Normalise
    _table_VD: Float32Array | None

    def __init__(self, *, normalise: Normalise) -> None:
        self._normalise = check_choice("normalise", normalise, ("l2", "none"))
        self._table_VD = None

    @property
    def dim(self) -> int:
        """Vector length D."""
        return int(self._table_array().shape[1])

    def fit(self, texts: Sequence[str]) -> Self:
        """Refuse: this is the form for search.

        Raises:
            InputError: Always.
        """
        raise InputError(
            f"this encoder of kind {self.kind!r} is that of a compiled model, which only encodes; "
            "fit the encoder of the model that it was compiled from"
        )

    @abstractmethod
    def _rows(self, texts: list[str]) -> SparseRows:
        """Weights of the rows of the table, B x V."""

    @abstractmethod
    def _n_rows(self) -> int:
        """V, as vocabulary and tokeniser say."""

    def _make_table(self, table_VD: Float32Array) -> None:
        self._table_VD = table_VD

    def _table_array(self) -> Float32Array:
        return self._learned(self._table_VD)

    def encode(self, texts: Sequence[str]) -> Float32Array:
        """Return B x D float32."""
        rows, table_VD = self._rows(check_texts(texts)), self._table_array()
        vectors = np.empty((rows.shape[0], table_VD.shape[1]), np.float32)
        sum_bags(rows, table_VD, normalise=self._normalise == "l2", out=vectors)
        return vectors

    def _config(self) -> dict[str, Any]:
        return dict(self._settings)

    @classmethod
    def _load_from(cls, directory: Path, config: dict[str, Any]) -> Self:
        encoder = cls(**config)
        with mapped_arrays(directory / ARRAYS_FILE) as arrays:
            require_finite(arrays)
            encoder._restore(directory, arrays)
        return encoder

    def _for_search(self, search: type[Searching], learned: Sequence[str]) -> Searching:
        """An encoder for search with this one's table, settings and what else it has learned."""
        twin = search(**self._config())
        twin._make_table(self._table_array())
        for name in learned:
            setattr(twin, name, getattr(self, name))
        return twin
