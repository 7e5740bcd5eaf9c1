"""What all encoders share: checked input, streaming, saved layout, fingerprint."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeVar, cast

import numpy as np

from learned_index.encoders.chunked_file import DEFAULT_CHUNK_SIZE, Progress, write_vectors
from learned_index.encoding import encoder_class, sparse_vectors
from learned_index.errors import InputError, ModelFormatError, NotFittedError
from learned_index.persistence import (
    MANIFEST_NAME,
    Manifest,
    existing_directory,
    read_json,
    save_arrays,
    write_json,
)
from learned_index.persistence.contents import load_finite_arrays
from learned_index.persistence.digest import bytes_digest, digest
from learned_index.persistence.saved import Saved
from learned_index.types import Embeddings, Float32Array

ENCODER_FILE = "encoder.json"
ARRAYS_FILE = "arrays.safetensors"
Choice = TypeVar("Choice")
Learned = TypeVar("Learned")


def check_texts(texts: Sequence[str] | Iterable[str]) -> list[str]:
    """Return the texts as a list of strings that every tokeniser accepts.

    Half surrogate pairs, which are no Unicode text and make tokenisers and file writers fail,
    become U+FFFD. Everything else stays as it is.

    Args:
        texts: Any iterable of strings (list, NumPy array, pandas column).

    Raises:
        InputError: One string instead of a list of them, or an item that is no string.
    """
    if isinstance(texts, str | bytes):
        raise InputError("got one string, expected a list of texts; write [text]")
    checked: list[str] = []
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(
                f"text {row} is a {type(text).__name__} ({text!r:.40}), expected a string; "
                "replace missing texts by the empty string"
            )
        if not text.isascii():  # nearly all texts are, and that is known without a look
            try:
                text.encode()
            except UnicodeEncodeError:
                text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        checked.append(str(text))
    return checked


def check_choice(name: str, value: Choice, choices: tuple[str, ...]) -> Choice:
    """Return a value that is one of the choices.

    Raises:
        InputError: Names the choices.
    """
    if value not in choices:
        raise InputError(f"{name} is {value!r}, expected one of {', '.join(choices)}")
    return value


def normalise_rows(x_BD: Float32Array) -> Float32Array:
    """Scale each row to Euclidean length 1, zero rows stay zero.

    The norm is summed in float64 row by row, so a row's bits do not depend on the other rows.

    Args:
        x_BD: B x D float32.

    Returns:
        A new B x D float32 array.
    """
    wide = x_BD.astype(np.float64)
    norm_B = np.sqrt(np.square(wide).sum(axis=1, keepdims=True))
    return (wide / np.where(norm_B > 0, norm_B, 1.0)).astype(np.float32)


def digest_arrays(arrays: Mapping[str, np.ndarray[Any, Any]]) -> str:
    """SHA-256 of named arrays: names, types, shapes and bytes."""

    def chunks() -> Iterator[Any]:
        for name in sorted(arrays):
            # Name and shape too: else arrays whose bytes run on alike would count as the same.
            array = np.ascontiguousarray(arrays[name])
            yield json.dumps([name, array.dtype.str, list(array.shape)]).encode()
            yield array.reshape(-1).view(np.uint8).data

    return bytes_digest(chunks())


class EncoderBase(Saved, ABC):
    """Base of the encoders in this package; implements :class:`learned_index.types.Encoder`.

    A subclass says how it encodes and what it is made of: its constructor's arguments
    (:meth:`_config`) and the arrays that it learned (:meth:`_arrays`, :meth:`_restore`). Saving
    with checksums, streaming and the fingerprint follow from that. One that keeps other files
    replaces :meth:`_save_into` and :meth:`_load_from`. Before :meth:`fit`, what only a fitted
    encoder has raises :class:`NotFittedError`.
    """

    saved_as: ClassVar[str] = "encoder"
    is_exact: ClassVar[bool] = True
    cost: ClassVar[Literal["cheap", "expensive"]] = "cheap"
    """Expensive encoders are worth a file in the cache."""
    sparse: ClassVar[bool] = False
    """Whether :meth:`encode` returns CSR matrices."""
    needs_fit: ClassVar[bool] = True
    """Whether :meth:`fit` learns from the training texts; pretrained encoders learn nothing."""

    @property
    @abstractmethod
    def dim(self) -> int:
        """Number of columns of what :meth:`encode` returns."""

    def fit(self, texts: Sequence[str]) -> Self:
        """Learn what the encoder needs from N training texts; returns the encoder itself."""
        check_texts(texts)
        return self

    @abstractmethod
    def encode(self, texts: Sequence[str]) -> Embeddings:
        """Encode texts, one row each.

        Args:
            texts: B texts; an empty list gives 0 x D.

        Returns:
            B x D float32, finite. An array, or a canonical CSR matrix where :attr:`sparse`.
        """

    def encode_to_file(
        self,
        texts: Sequence[str],
        path: Path | str,
        *,
        chunk_size: int = DEFAULT_CHUNK_SIZE,
        progress: Progress | None = None,
    ) -> Float32Array:
        """Encode texts into a ``.npy`` file without holding all vectors in memory.

        The file appears when it is whole. After an interruption (Ctrl-C, a full disk) the same
        call goes on behind the last finished chunk and gives the same bytes as one whole run.
        Arguments, result and errors as in :func:`.chunked_file.write_vectors`; an encoder of
        sparse vectors is refused too (InputError).
        """
        checked = check_texts(texts)
        if self.sparse:
            raise sparse_vectors(self)
        # Bytes are continued only by a run that would have begun with the same ones.
        key = digest([self.fingerprint(), self.rounding_key()])
        return write_vectors(
            self, checked, Path(path), run_key=key, chunk_size=chunk_size, progress=progress
        )

    def bind(self, texts: Sequence[str], split: str) -> Self:
        """Tell the encoder which texts are those of a split; only precomputed vectors need it.

        Args:
            texts: All texts of the split, in the order of the data set.
            split: ``"train"``, ``"dev"``, ``"test"`` or a name of your own.
        """
        return self

    def fingerprint(self) -> str:
        """SHA-256 that is equal for encoders that give the same vectors (up to rounding).

        It covers the configuration and everything learned, and not where the encoder was
        loaded from.
        """
        return digest([self.kind, self._config(), self._content_digest()])

    def rounding_key(self) -> str:
        """Settings that change the last bits of a vector only, such as a network's batch size."""
        return ""

    def _write(self, folder: Path) -> dict[str, Any]:
        self._save_into(folder)
        write_json(folder / ENCODER_FILE, {"kind": self.kind, "config": self._config()})
        return {"encoder": self.kind}

    @classmethod
    def _read(cls, manifest: Manifest) -> Self:
        directory = manifest.directory
        kind, config = read_encoder_file(directory)
        if kind != cls.kind:
            raise ModelFormatError(
                f"{directory} holds an encoder of kind {kind!r}, expected {cls.kind!r}; "
                "learned_index.encoders.load_encoder finds the right class"
            )
        if manifest.config.get("encoder") != kind:
            raise ModelFormatError(
                f"{directory}: {MANIFEST_NAME} and {ENCODER_FILE} name different kinds of "
                "encoders; save the encoder again"
            )
        return cls._load_from(directory, config)

    @abstractmethod
    def _config(self) -> dict[str, Any]:
        """Arguments of the constructor, JSON-able."""

    def _arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """Return what the encoder has learned, by the names under which it is saved."""
        return {}

    def _restore(self, directory: Path, arrays: dict[str, np.ndarray[Any, Any]]) -> None:
        """Take back what :meth:`_arrays` gave, from a directory with the other files.

        Raises:
            ModelFormatError: The parts do not fit together.
        """

    def _content_digest(self) -> str:
        """SHA-256 of what was learned or loaded."""
        return digest_arrays(self._arrays())

    def _save_into(self, directory: Path) -> None:
        """Write the files beside ``encoder.json``."""
        save_arrays(directory / ARRAYS_FILE, self._arrays())

    @classmethod
    def _load_from(cls, directory: Path, config: dict[str, Any]) -> Self:
        """Build the encoder from ``config`` and the files in ``directory``, already checked."""
        encoder = cls(**config)
        encoder._restore(directory, load_finite_arrays(directory / ARRAYS_FILE))
        return encoder

    def _learned(self, value: Learned | None, call: str = "fit(train_texts)") -> Learned:
        """Return a value that only a fitted encoder has.

        Raises:
            NotFittedError: It is None; names the call that is missing.
        """
        if value is None:
            raise NotFittedError(f"the encoder {self.kind!r} is not fitted; call {call} first")
        return value


def read_encoder_file(directory: Path) -> tuple[str, dict[str, Any]]:
    """Return the kind and the configuration that ``encoder.json`` names.

    Raises:
        ModelFormatError: The directory holds no encoder.
    """
    directory = existing_directory(directory, "encoder")
    if not (directory / ENCODER_FILE).is_file() and not (directory / MANIFEST_NAME).is_file():
        raise ModelFormatError(f"{directory} holds no {ENCODER_FILE}; save_pretrained() writes one")
    raw = read_json(directory / ENCODER_FILE)
    if not isinstance(raw, dict) or set(raw) != {"kind", "config"}:
        raise ModelFormatError(
            f"{directory / ENCODER_FILE} does not have the keys kind and config; "
            "it was edited or written by something else, save the encoder again"
        )
    kind, config = raw["kind"], raw["config"]
    if not isinstance(kind, str) or not isinstance(config, dict):
        raise ModelFormatError(f"{directory / ENCODER_FILE}: kind or config has a wrong type")
    return kind, config


def load_encoder(directory: Path | str) -> EncoderBase:
    """Load an encoder of any kind.

    Raises:
        ModelFormatError: No encoder is saved there, or it is damaged.
        MissingExtraError: No installed package brings its kind, or a package that it needs is
            missing.
    """
    kind, _ = read_encoder_file(Path(directory))
    return cast("type[EncoderBase]", encoder_class(kind)).from_pretrained(Path(directory))
