"""A function of one's own as an encoder."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from learned_index.encoders.base import EncoderBase, check_texts
from learned_index.encoders.chunked_file import check_block
from learned_index.errors import InputError, NotFittedError
from learned_index.inputs.numbers import whole_number
from learned_index.persistence.digest import digest
from learned_index.types import Float32Array

NOTE_FILE = "README.txt"


class CallableEncoder(EncoderBase):
    """Texts to the vectors that a function gives.

    Saved, it is the number of dimensions only: a function is code, and a saved model holds none.
    A loaded encoder is given its function again::

        model = ELIAS.from_pretrained("model")
        model.encoder.function = embed

    Args:
        function: Takes a list of B texts and returns a finite array B x D of floats, D the same
            every time. None: it will be set later.
        dim: D; None: what the first call gives.

    Raises:
        InputError: ``function`` cannot be called.

    Example:
        >>> encoder = CallableEncoder(lambda texts: [[len(text), 1.0] for text in texts])
        >>> encoder.encode(["red", "blue"]).tolist(), encoder.dim
        ([[3.0, 1.0], [4.0, 1.0]], 2)
    """

    kind: ClassVar[str] = "callable"
    needs_fit: ClassVar[bool] = False

    def __init__(
        self, function: Callable[[list[str]], Any] | None, *, dim: int | None = None
    ) -> None:
        if function is not None and not callable(function):
            raise InputError(f"got {function!r:.60}, expected a function of texts")
        self.function = function
        self._dim = None if dim is None else whole_number(dim, "dim")

    @property
    def function(self) -> Callable[[list[str]], Any] | None:
        """Texts to vectors; may be set."""
        return self._function

    @function.setter
    def function(self, function: Callable[[list[str]], Any] | None) -> None:
        # Nobody can tell whether two functions are the same, so each time counts as another one:
        # an interrupted file of vectors is never continued by a function that did not begin it.
        self._function, self._token = function, secrets.token_hex(16)

    @property
    def dim(self) -> int:
        """Number of columns of what the function returns.

        Raises:
            NotFittedError: Before the first call.
        """
        if self._dim is None:
            raise NotFittedError(
                "how many dimensions a function gives is known after its first call; call "
                "fit(train_texts) first, or give CallableEncoder(function, dim=...)"
            )
        return self._dim

    def fit(self, texts: Sequence[str]) -> Self:
        """Encode one text, to learn the number of dimensions."""
        checked = check_texts(texts)
        if self._dim is None:
            self.encode(checked[:1])
        return self

    def encode(self, texts: Sequence[str]) -> Float32Array:
        """Return what the function gives, B x D float32.

        Raises:
            InputError: It gives no finite B x D array of numbers.
            NotFittedError: The encoder was loaded, and has no function yet; or no text says what
                the dimension is.
        """
        checked = check_texts(texts)
        if not checked:
            return np.zeros((0, self.dim), np.float32)
        if self.function is None:
            raise NotFittedError(
                "the encoder is a function, which a saved model does not hold; set it again: "
                "model.encoder.function = f, where f takes a list of texts and returns an array "
                f"{len(checked)} x {self._dim}"
            )
        answer = self.function(checked)
        if hasattr(answer, "detach"):  # a tensor, on any device
            answer = answer.detach().cpu().numpy()
        try:
            vectors = np.asarray(answer)
        except ValueError:  # rows of different length
            vectors = np.asarray(None)
        if vectors.ndim != 2 or vectors.dtype.kind not in "fiu" or vectors.shape[1] < 1:
            raise InputError(
                f"the function returned {vectors.dtype} of shape {vectors.shape} for "
                f"{len(checked)} texts, expected numbers of shape (texts, dimensions)"
            )
        dim = self._dim or vectors.shape[1]
        block = check_block(vectors, (len(checked), dim))
        self._dim = dim
        return block

    def fingerprint(self) -> str:
        """A number of this object's own; copies of it share it."""
        return digest([self.kind, self._token])

    def _config(self) -> dict[str, Any]:
        return {"dim": self.dim}

    def _save_into(self, directory: Path) -> None:
        (directory / NOTE_FILE).write_text(
            "The encoder of this model is a function in Python, which is not stored here.\n"
            "After loading set it again: model.encoder.function = f, where f takes a list of\n"
            f"texts and returns an array (texts, {self.dim}).\n",
            encoding="utf-8",
        )

    @classmethod
    def _load_from(cls, directory: Path, config: dict[str, Any]) -> Self:
        return cls(None, dim=config["dim"])
