"""A cache of vectors on disk, by what was encoded with what."""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

import numpy as np

from learned_index.encoders.base import EncoderBase, check_texts
from learned_index.encoders.chunked_file import (
    DEFAULT_CHUNK_SIZE,
    Progress,
    encode_chunks,
    open_vectors,
    tell,
    texts_digest,
)
from learned_index.encoders.concatenated import ConcatenatedEncoder, join_rows
from learned_index.encoders.precomputed import PrecomputedEncoder
from learned_index.encoding import dense_vectors
from learned_index.persistence import directory_bytes
from learned_index.system.cache import cache_directory
from learned_index.types import Embeddings, Encoder, Float32Array

logger = logging.getLogger(__name__)

_OURS = re.compile(r"[0-9a-f]{64}\.npy|\.+[0-9a-f]{64}\..+")
"""Vectors, and the hidden files of their writers."""


class EmbeddingCache:
    """Vectors in ``.npy`` files named by SHA-256 of encoder and texts.

    The encoder counts by its content, so another fit or other weights give another file. A file
    is complete or absent; an interrupted run goes on where it stopped.

    Args:
        directory: Where the files are; made when the first one is written.
    """

    def __init__(self, directory: Path | str) -> None:
        self.directory = Path(directory).expanduser()

    def key(self, encoder: EncoderBase, texts: Sequence[str]) -> str:
        """SHA-256 of the encoder's fingerprint and the texts."""
        content = f"{encoder.fingerprint()}\n{texts_digest(check_texts(texts))}"
        return hashlib.sha256(content.encode()).hexdigest()

    def path(self, key: str) -> Path:
        """Return the file of a key."""
        return self.directory / "vectors" / f"{key}.npy"

    def get(self, key: str, *, shape: tuple[int, int]) -> Float32Array | None:
        """Return cached vectors memory-mapped read-only; None where there are none.

        A file that is damaged or has another shape is removed.

        Args:
            key: From :meth:`key`.
            shape: (N, D) expected.
        """
        path = self.path(key)
        if not path.is_file():
            return None
        try:
            vectors = open_vectors(path)
        except (ValueError, OSError, EOFError):
            vectors = None
        if vectors is None or vectors.shape != shape or vectors.dtype != np.float32:
            logger.warning("%s is damaged and is made again", path)
            path.unlink(missing_ok=True)
            return None
        return vectors

    def encode(
        self,
        encoder: EncoderBase,
        texts: Sequence[str],
        *,
        chunk_size: int = DEFAULT_CHUNK_SIZE,
        progress: Progress | None = None,
    ) -> Float32Array:
        """Return the vectors of texts from the cache, encoding what is not there.

        Args:
            encoder: A fitted encoder that makes dense vectors.
            texts: N texts.
            chunk_size: Rows that are encoded and written at a time.
            progress: Called as ``progress(done, total)`` after each chunk.

        Returns:
            N x D float32, memory-mapped read-only.
        """
        checked = check_texts(texts)
        key = self.key(encoder, checked)
        found = self.get(key, shape=(len(checked), encoder.dim))
        if found is not None:
            tell(progress, len(checked), len(checked))
            return found
        return encoder.encode_to_file(
            checked, self.path(key), chunk_size=chunk_size, progress=progress
        )

    def size_bytes(self) -> int:
        """Bytes of all files."""
        return directory_bytes(self.directory)

    def clear(self) -> None:
        """Remove all vectors, also those of unfinished runs; other files stay."""
        folder = self.directory / "vectors"
        for path in folder.glob("*"):
            if not _OURS.fullmatch(path.name):
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        with suppress(OSError):  # it holds something else
            folder.rmdir()


def cached_encode(
    encoder: Encoder,
    texts: Sequence[str],
    *,
    split: str | None = None,
    cache_dir: Path | str | None = None,
    cache: Literal["on", "off"] = "on",
    chunk_size: int = DEFAULT_CHUNK_SIZE,
    progress: Progress | None = None,
) -> Embeddings:
    """Encode texts in chunks, keeping what was expensive in the cache.

    Transformers are cached. Tf-idf, LSA and bags of words are encoded anew, as that is hardly
    slower than reading a file; of joined encoders the expensive parts are cached by themselves,
    so ``lsa+minilm`` finds the vectors of ``minilm``. Precomputed vectors are returned as the
    file that they are.

    Args:
        encoder: A fitted encoder; one that is not from this package is used without a cache.
        texts: N texts.
        split: Name of the split whose texts, all of them, these are; precomputed vectors need
            it, others ignore it.
        cache_dir: Directory of the cache, or ``off``; None:
            :func:`~learned_index.system.cache.cache_directory`.
        cache: ``"off"`` keeps nothing.
        chunk_size: Rows that are encoded at a time.
        progress: Called as ``progress(done, total)`` as rows are done.

    Returns:
        N x D float32: an array, or memory-mapped read-only; CSR from a sparse encoder.

    Raises:
        InputError: Vectors that are not finite, or rows that do not match the texts.
    """
    checked = check_texts(texts)
    if not isinstance(encoder, EncoderBase) or encoder.sparse:
        vectors = encoder.encode(checked)
        tell(progress, len(checked), len(checked))
        return vectors
    directory = cache_directory(cache_dir)
    store = EmbeddingCache(directory) if cache == "on" and directory is not None else None
    if split is not None:
        encoder.bind(checked, split)
    return _encode(encoder, checked, store, chunk_size, progress)


def _encode(
    encoder: EncoderBase,
    texts: list[str],
    store: EmbeddingCache | None,
    chunk_size: int,
    progress: Progress | None,
) -> Float32Array:
    if isinstance(encoder, PrecomputedEncoder):
        vectors = encoder.encode(texts)
        tell(progress, len(texts), len(texts))
        return vectors
    is_joined = isinstance(encoder, ConcatenatedEncoder)  # its parts are kept, each by itself
    if store is not None and encoder.cost == "expensive" and not is_joined:
        return store.encode(encoder, texts, chunk_size=chunk_size, progress=progress)
    out = np.empty((len(texts), encoder.dim), dtype=np.float32)
    if isinstance(encoder, ConcatenatedEncoder):
        # One bar for the whole: the last part that takes time moves it.
        costly = [n for n, part in enumerate(encoder.encoders) if part.cost == "expensive"]
        watched = costly[-1] if costly else len(encoder.encoders) - 1
        parts = [
            _encode(part, texts, store, chunk_size, progress if n == watched else None)
            for n, part in enumerate(encoder.encoders)
        ]
        for start in range(0, len(texts), chunk_size):
            rows = slice(start, start + chunk_size)
            out[rows] = join_rows([part[rows] for part in parts], encoder.weights)
        return out
    for row, block in encode_chunks(
        lambda batch: dense_vectors(encoder, batch),
        texts,
        dim=encoder.dim,
        chunk_size=chunk_size,
        progress=progress,
    ):
        out[row : row + len(block)] = block
    return out
