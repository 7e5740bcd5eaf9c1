"""Types and protocols that every part of the package shares.

Shape legend, used in docstrings and as tensor suffixes (``x_BD``):

=====  ==============================================
B      batch (queries)
N      points (rows of a data set)
D      embedding dimension
C      clusters
W      beam width (clusters explored per query)
M      edges kept per cluster
K      shortlist size (labels scored per query)
L      labels
=====  ==============================================
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    NamedTuple,
    Protocol,
    Self,
    TypeAlias,
    runtime_checkable,
)

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

if TYPE_CHECKING:
    import torch  # the engine searches where torch is not installed

Float32Array: TypeAlias = npt.NDArray[np.float32]
Int64Array: TypeAlias = npt.NDArray[np.int64]
DenseMatrix: TypeAlias = "np.ndarray[Any, np.dtype[np.floating[Any]]] | torch.Tensor"
"""Two-dimensional float16, float32 or float64 array (also memory-mapped) or tensor, any order."""
Embeddings: TypeAlias = Float32Array | sp.csr_matrix
"""What an encoder returns: dense N x D float32, or a canonical CSR matrix of float32."""

PAD_ID = -1
"""Id that fills a row of a search result with fewer than k labels."""
PAD_SCORE = float("-inf")
"""Score that goes with :data:`PAD_ID`."""


class SearchResult(NamedTuple):
    """The best labels of each query, best first.

    Attributes:
        ids: int64, B x k. Label ids, rows padded at the end with -1.
        scores: float32, B x k. Non-increasing along a row, padded with -inf.
    """

    ids: Int64Array
    scores: Float32Array


@runtime_checkable
class Encoder(Protocol):
    """Turns texts into vectors. Implementations live in :mod:`learned_index.encoders`."""

    kind: ClassVar[str]
    """Name under which the class is registered as a ``learned_index.encoders`` entry point."""

    @property
    def dim(self) -> int:
        """Number of columns of what :meth:`encode` returns."""

    def fit(self, texts: Sequence[str]) -> Self:
        """Learn what the encoder needs from the texts (a no-op for pretrained ones)."""

    def encode(self, texts: Sequence[str]) -> Embeddings:
        """Encode texts, one row each; the result does not depend on the batch size."""

    def save_pretrained(self, directory: Path) -> None:
        """Write the encoder into an existing empty directory (safetensors and JSON only)."""

    @classmethod
    def from_pretrained(cls, directory: Path) -> Self:
        """Read what :meth:`save_pretrained` wrote."""


@runtime_checkable
class TokenisesOnce(Protocol):
    """A trainable encoder whose tokens of all texts are made once and cut into batches."""

    def tokenize_all(self, texts: Sequence[str]) -> Any:
        """Tokens of N texts: arrays, a CSR matrix, or a dict or tuple of these."""

    def collate(self, tokens: Any, rows: Int64Array) -> Any:
        """What ``forward`` takes for some of the texts, on the encoder's device."""

    def encode_tokens(self, tokens: Any, *, out: Float32Array | None = None) -> Float32Array:
        """Vectors of all the texts as ``encode`` gives them, N x D float32, into ``out``."""


@runtime_checkable
class Searcher(Protocol):
    """Anything that finds the best k labels for query vectors."""

    def search(self, queries: DenseMatrix, k: int, **query_arguments: Any) -> SearchResult:
        """Return the best k labels for each row of ``queries`` (B x D)."""
