"""Where training takes its vectors from: an array, or an encoder that is trained along."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
import scipy.sparse as sp
import torch
from torch import nn

from learned_index.errors import InputError
from learned_index.persistence.digest import data_digest
from learned_index.types import Int64Array, TokenisesOnce

_BYTES_IN_MEMORY = 2**31


class TrainingInputs(Protocol):
    """The points of a training, as vectors.

    Attributes:
        n_points: N.
        dim: D.
        device: Where batches come to lie.
        encoder: The module that is trained along, or None.
    """

    n_points: int
    dim: int
    device: torch.device
    encoder: nn.Module | None

    def batch(self, rows: Int64Array, *, seed: Sequence[int]) -> torch.Tensor:
        """Vectors of some points, float32 B x D, with gradients if there is an encoder.

        Args:
            rows: int64, ascending.
            seed: Of the encoder's own dropout, another one each step.
        """
        ...

    def vectors(self) -> Any:
        """Vectors of all points as they are now, N x D without gradients; may lie on disk."""
        ...

    def digest(self) -> str:
        """SHA-256 of the points."""
        ...


class FrozenVectors:
    """Vectors that stay as they are.

    Args:
        vectors: N x D float array, may be memory-mapped.
        device: Where batches come to lie.
    """

    encoder: nn.Module | None = None

    def __init__(self, vectors: Any, *, device: torch.device | str = "cpu") -> None:
        self._vectors = vectors
        self.n_points, self.dim = (int(n) for n in vectors.shape)
        self.device = torch.device(device)

    def batch(self, rows: Int64Array, *, seed: Sequence[int]) -> torch.Tensor:
        """See :meth:`TrainingInputs.batch`."""
        # A copy into torch's own memory, which begins at a cache line: the last bit of a product
        # may depend on where its operands lie, and numpy's lie anywhere.
        x_BD = np.ascontiguousarray(self._vectors[rows], dtype=np.float32)
        return torch.tensor(x_BD, device=self.device)

    def vectors(self) -> Any:
        """See :meth:`TrainingInputs.vectors`."""
        return self._vectors

    def digest(self) -> str:
        """SHA-256 of shape, type and all values."""
        return data_digest(self._vectors)


class EncoderInputs:
    """Texts, and the encoder that is trained on them. Texts are tokenised once.

    Args:
        encoder: A fitted encoder that is an ``nn.Module`` with ``tokenize`` and ``forward``. One
            that follows :class:`~learned_index.types.TokenisesOnce` tokenises here, others batch
            by batch.
        texts: N texts.
        precision: ``"bfloat16"`` runs the encoder under autocast while it is trained; ``"auto"``
            does so on a GPU.
    """

    encoder: nn.Module | None

    def __init__(
        self,
        encoder: Any,
        texts: Sequence[str],
        *,
        precision: Literal["auto", "float32", "bfloat16"] = "auto",
    ) -> None:
        self.encoder = self._module = encoder
        self.device = next(p.device for p in encoder.parameters())
        self.n_points, self.dim = len(texts), int(encoder.dim)
        self._once = isinstance(encoder, TokenisesOnce)
        self._tokens: Any = encoder.tokenize_all(texts) if self._once else list(texts)
        wanted = "bfloat16" if precision == "auto" and self.device.type == "cuda" else precision
        self._autocast = wanted == "bfloat16"

    def batch(self, rows: Int64Array, *, seed: Sequence[int]) -> torch.Tensor:
        """See :meth:`TrainingInputs.batch`."""
        if self._once:
            features = self._module.collate(self._tokens, rows)
        else:
            features = self._module.tokenize([self._tokens[row] for row in rows])
        devices = [self.device] if self.device.type == "cuda" else []
        autocast = torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self._autocast)
        # A seed for each step, so that a resumed training drops what an unbroken one drops, and
        # the caller's random numbers stay as they are.
        with torch.random.fork_rng(devices=devices), autocast:
            state = np.random.SeedSequence([int(part) for part in seed]).generate_state(1)
            torch.manual_seed(int(state[0]))
            x_BD: torch.Tensor = self._module(features)
        return x_BD.float()

    def vectors(self) -> Any:
        """See :meth:`TrainingInputs.vectors`; beyond 2 GiB they lie in a temporary file."""
        if not self._once:
            return np.asarray(self._module.encode(self._tokens), dtype=np.float32)
        shape = (self.n_points, self.dim)
        if 4 * self.n_points * self.dim <= _BYTES_IN_MEMORY:
            out = np.empty(shape, np.float32)
        else:
            # The file has no name any more; it goes when the mapping does.
            with tempfile.TemporaryFile(prefix="learned-index-") as file:
                out = np.memmap(file, np.float32, mode="w+", shape=shape)
        self._module.encode_tokens(self._tokens, out=out)
        return out

    def digest(self) -> str:
        """SHA-256 of the tokens: of the texts as the encoder sees them."""
        return data_digest(*_parts(self._tokens))


def _parts(tokens: Any) -> list[np.ndarray[Any, Any]]:
    """The arrays that tokens are made of."""
    if isinstance(tokens, np.ndarray):
        return [tokens]
    if sp.issparse(tokens):
        return [tokens.indptr, tokens.indices, tokens.data]
    if isinstance(tokens, dict):
        return [array for name in sorted(tokens) for array in _parts(tokens[name])]
    if isinstance(tokens, tuple):
        return [array for part in tokens for array in _parts(part)]
    data = [text.encode("utf-8", "surrogatepass") for text in tokens]
    lengths = np.fromiter((len(text) for text in data), np.int64, len(data))
    return [lengths, np.frombuffer(b"".join(data), np.uint8)]


def check_trainable(encoder: Any) -> None:
    """Refuse an encoder that cannot be trained.

    Raises:
        InputError: It is no ``nn.Module`` with ``tokenize``, or it has nothing to train.
    """
    kind = getattr(encoder, "kind", type(encoder).__name__)
    if not isinstance(encoder, nn.Module) or not hasattr(encoder, "tokenize"):
        raise InputError(
            f"the encoder {kind!r} cannot be trained: expected a torch module with tokenize() and "
            "forward(), such as bow, a transformer or a sentence-transformer; for fixed vectors "
            "use LearnedGraphIndex.fit(encoder.encode(texts), labels)"
        )
    if not any(p.requires_grad for p in encoder.parameters()):
        raise InputError(
            f"the encoder {kind!r} has no parameter that requires a gradient; fit it first, "
            "unfreeze it, or use LearnedGraphIndex.fit on its vectors"
        )
