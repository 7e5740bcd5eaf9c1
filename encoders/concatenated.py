"""Several encoders side by side, the paper's ψ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import numpy as np

from learned_index.encoders.base import EncoderBase, load_encoder, normalise_rows, read_encoder_file
from learned_index.encoding import dense_vectors, exported, for_search, search_class, sparse_vectors
from learned_index.errors import InputError
from learned_index.persistence.digest import digest
from learned_index.types import Float32Array


def join_rows(parts: Sequence[Float32Array], weights: Sequence[float]) -> Float32Array:
    """ψ = normalise([w₁·normalise(x₁), w₂·normalise(x₂), …]), row by row.

    Args:
        parts: Arrays of B rows, float32.
        weights: One factor for each.

    Returns:
        B x ΣD float32, rows of length 1, or zero where every part is zero.
    """
    scaled = [
        normalise_rows(part) * np.float32(weight)
        for part, weight in zip(parts, weights, strict=True)
    ]
    return normalise_rows(np.concatenate(scaled, axis=1))


class ConcatenatedEncoder(EncoderBase):
    """Texts to the joined vectors of several encoders; each part and the whole have length 1.

    A text for which one part is zero (unknown words in LSA) is described by the others.

    Args:
        encoders: Two or more encoders that make dense vectors.
        weights: Factor of each part's normalised vector; None: all 1. The inner product of two
            joined vectors is the mean of the parts' cosines, weighted by the squared factors.

    Raises:
        InputError: Fewer than two parts, a sparse one, or unusable weights.
    """

    kind: ClassVar[str] = "concatenated"

    def __init__(
        self, encoders: Sequence[EncoderBase], *, weights: Sequence[float] | None = None
    ) -> None:
        self.encoders = list(encoders)
        self.weights = [float(w) for w in (weights if weights is not None else [1] * len(encoders))]
        if len(self.encoders) < 2:
            raise InputError(f"got {len(self.encoders)} encoder to join, expected 2 or more")
        if len(self.weights) != len(self.encoders):
            raise InputError(
                f"got {len(self.weights)} weights for {len(self.encoders)} encoders; expected one "
                "for each"
            )
        if not all(np.isfinite(weight) and weight > 0 for weight in self.weights):
            raise InputError(f"weights are {self.weights}, expected positive numbers")
        for part in self.encoders:
            if getattr(part, "sparse", False):
                raise sparse_vectors(part)

    @property
    def cost(self) -> str:  # type: ignore[override]
        """``"expensive"`` if a part is."""
        costly = any(getattr(part, "cost", "cheap") == "expensive" for part in self.encoders)
        return "expensive" if costly else "cheap"

    @property
    def dim(self) -> int:
        """Sum of the parts' dimensions."""
        return sum(part.dim for part in self.encoders)

    @property
    def needs_fit(self) -> bool:  # type: ignore[override]
        """Whether a part learns from the training texts."""
        return any(getattr(part, "needs_fit", True) for part in self.encoders)

    def fit(self, texts: Sequence[str]) -> Self:
        """Fit every part on the training texts."""
        for part in self.encoders:
            part.fit(texts)
        return self

    def bind(self, texts: Sequence[str], split: str) -> Self:
        """Pass the texts of a split on to the parts."""
        for part in self.encoders:
            if isinstance(part, EncoderBase):  # the protocol of others has no bind
                part.bind(texts, split)
        return self

    def encode(self, texts: Sequence[str]) -> Float32Array:
        """Return B x ΣD float32, rows of length 1 (zero where every part is zero)."""
        return join_rows([dense_vectors(part, texts) for part in self.encoders], self.weights)

    def rounding_key(self) -> str:
        """Those of the parts."""
        # A foreign part has none: str() is the empty text.
        return "+".join(getattr(part, "rounding_key", str)() for part in self.encoders)

    def fingerprint(self) -> str:
        """SHA-256 of the parts' fingerprints and the weights."""
        parts = digest([part.fingerprint() for part in self.encoders])
        return digest([self.kind, self.weights, parts])

    def _config(self) -> dict[str, Any]:
        return {"parts": len(self.encoders), "weights": self.weights}

    def _save_into(self, directory: Path) -> None:
        for number, part in enumerate(self.encoders):
            (directory / f"part_{number}").mkdir()
            part.save_pretrained(directory / f"part_{number}")

    @classmethod
    def _load_from(cls, directory: Path, config: dict[str, Any]) -> Self:
        parts = [cls._load_part(directory / f"part_{n}") for n in range(int(config["parts"]))]
        return cls(parts, weights=config["weights"])

    @classmethod
    def _load_part(cls, directory: Path) -> Any:
        return load_encoder(directory)

    def exported(self, texts: Sequence[str] = ()) -> ConcatenatedEncoder:
        """This encoder with its networks exported; see :func:`~learned_index.encoding.exported`."""
        return ConcatenatedEncoder(
            [cast("EncoderBase", exported(part, texts)) for part in self.encoders],
            weights=self.weights,
        )

    def for_search(self) -> ConcatenatedSearchEncoder:
        """This encoder as compiled models hold it, with the parts as they hold these."""
        parts: list[Any] = [for_search(part) for part in self.encoders]
        return ConcatenatedSearchEncoder(parts, weights=self.weights)


class ConcatenatedSearchEncoder(ConcatenatedEncoder):
    """What a compiled model keeps of a :class:`ConcatenatedEncoder`."""

    @classmethod
    def _load_part(cls, directory: Path) -> Any:
        kind, _ = read_encoder_file(directory)
        return search_class(kind).from_pretrained(directory)
