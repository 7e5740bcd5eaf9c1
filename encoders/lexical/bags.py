"""Encoders that sum weighted rows of one table, made for CPU and trained end to end.

Legend: B texts, T terms of all B texts together, V rows of the table, D dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn

from learned_index.encoders.base import check_choice, check_texts
from learned_index.encoders.lexical.summed import Normalise, SummedEncoder
from learned_index.inputs.matrices import SparseFeatures, SparseRows
from learned_index.kernels.bags import sum_bags
from learned_index.kernels.bags.gradient import summed
from learned_index.types import Float32Array, Int64Array

EPSILON = 1e-12
CHUNK_ROWS = 8192
Gradient = Literal["dense", "sparse"]


class Bags(NamedTuple):
    """Tokenised texts, what :meth:`BagEncoder.forward` takes.

    Attributes:
        ids: int64, T. Rows of the embedding table, text after text.
        offsets: int64, B. Where each text's ids begin.
        weights: float32, T. Weight of each id.
    """

    ids: Tensor
    offsets: Tensor
    weights: Tensor

    def to(self, device: torch.device | str) -> Bags:
        """Return the bags on a device."""
        return Bags(*(part.to(device) for part in self))


class BagEncoder(nn.Module, SummedEncoder):
    """Base of encoders that give x = Σ_t weight_t · E_t, then length 1; E is trained.

    A subclass says which rows of E a text weighs (:meth:`_rows`) and makes E in ``fit``
    (:meth:`_make_table`). A text without any term is the zero vector. A row's bits do not depend
    on the batch.

    Args:
        gradient: Type of the table's gradient, ``"sparse"`` touches only the rows in the batch.
        normalise: ``"l2"`` or ``"none"``.

    Inputs of ``forward``: texts, or :class:`Bags` from :meth:`tokenize`. Output: B x D float32.
    """

    def __init__(self, *, gradient: Gradient, normalise: Normalise) -> None:
        super().__init__()
        self._gradient = check_choice("gradient", gradient, ("dense", "sparse"))
        self._normalise = check_choice("normalise", normalise, ("l2", "none"))
        self.bag: nn.EmbeddingBag | None = None

    def _table(self) -> nn.EmbeddingBag:
        return self._learned(self.bag)

    def _make_table(self, table_VD: Float32Array) -> None:
        n_rows, dim = table_VD.shape
        self.bag = nn.EmbeddingBag(n_rows, dim, mode="sum", sparse=self._gradient == "sparse")
        with torch.no_grad():
            self.bag.weight.copy_(torch.from_numpy(table_VD))

    def _table_array(self) -> Float32Array:
        array: Float32Array = self._table().weight.detach().cpu().numpy()
        return array

    def tokenize(self, texts: Sequence[str]) -> Bags:
        """Return ids (T), offsets (B) and weights (T) of B texts, on the table's device.

        Tokenise once before training; slices of the result are cheap to make again.
        """
        return self._bags(self.tokenize_all(texts))

    def _bags(self, matrix: sp.csr_matrix) -> Bags:
        return Bags(
            torch.from_numpy(matrix.indices.astype(np.int64)),
            torch.from_numpy(matrix.indptr[:-1].astype(np.int64)),
            torch.from_numpy(np.ascontiguousarray(matrix.data, dtype=np.float32)),
        ).to(self._table().weight.device)

    def tokenize_all(self, texts: Sequence[str]) -> sp.csr_matrix:
        """Weights of the terms of N texts, N x V CSR: for :meth:`collate`, made once."""
        self._table()
        return self._rows(check_texts(texts)).matrix()

    def collate(self, tokens: sp.csr_matrix, rows: Int64Array) -> Bags:
        """What :meth:`forward` takes for some rows of what :meth:`tokenize_all` gave."""
        return self._bags(tokens[rows])

    def encode_tokens(
        self, tokens: SparseFeatures, *, out: Float32Array | None = None
    ) -> Float32Array:
        """Encode what :meth:`tokenize_all` gave, without gradients: N x D float32, into ``out``."""
        table = self._table().weight
        vectors = out
        if vectors is None:
            vectors = np.empty((tokens.shape[0], table.shape[1]), np.float32)
        if table.device.type == "cpu":
            sum_bags(tokens, table.detach().numpy(), normalise=self._normalise == "l2", out=vectors)
            return vectors
        tokens = tokens.matrix() if isinstance(tokens, SparseRows) else tokens
        with torch.no_grad():
            for start in range(0, len(vectors), CHUNK_ROWS):
                bags = self._bags(tokens[start : start + CHUNK_ROWS])
                vectors[start : start + CHUNK_ROWS] = self.forward(bags).cpu().numpy()
        return vectors

    def forward(self, texts: Sequence[str] | Bags | tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Encode with gradients.

        Args:
            texts: B texts, or their ids (T), offsets (B) and weights (T).

        Returns:
            B x D float32. Gradients flow into the table and into the weights.
        """
        table = self._table()
        tokenised = isinstance(texts, tuple) and len(texts) == 3 and torch.is_tensor(texts[0])
        bags: Any = texts if tokenised else self.tokenize(texts)  # type: ignore[arg-type]
        ids, offsets, weights = bags
        if len(offsets) == 0:
            return table.weight.new_zeros(0, self.dim)
        x_BD: Tensor
        if self._gradient == "sparse" and ids.device.type == "cpu" and not weights.requires_grad:
            x_BD = summed(table.weight, ids, offsets, weights)
        else:
            x_BD = table(ids, offsets, per_sample_weights=weights)
        if self._normalise == "l2":
            x_BD = nn.functional.normalize(x_BD, dim=1, eps=EPSILON)
        return x_BD

    def encode(self, texts: Sequence[str]) -> Float32Array:
        """Return B x D float32, without gradients."""
        return self.encode_tokens(self._rows(check_texts(texts)))
