"""Vectors kept on disk by what was encoded with what."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from learned_index.encoders.base import EncoderBase, check_texts
from learned_index.encoders.chunked_file import (
    DEFAULT_CHUNK_SIZE,
    Progress,
    encode_chunks,
    tell,
    texts_digest,
    whole_vectors,
)
from learned_index.encoders.concatenated import ConcatenatedEncoder, join_rows
from learned_index.encoders.precomputed import PrecomputedEncoder
from learned_index.persistence.digest import bytes_digest
from learned_index.system.cache import cache_directory
from learned_index.types import Embeddings, Encoder, Float32Array

logger = logging.getLogger(__name__)


def cached_encode(
    encoder: Encoder,
    texts: Sequence[str],
    *,
    split: str | None = None,
    cache: Path | str | None = None,
    chunk_size: int = DEFAULT_CHUNK_SIZE,
    progress: Progress | None = None,
) -> Embeddings:
    """Encode texts in chunks, keeping what was expensive in the cache.

    Transformers are cached, each text list in a ``.npy`` file named by the SHA-256 of the encoder's
    content and the texts, so another fit or other weights give another file. A file is complete or
    absent; an interrupted run goes on where it stopped.

    Tf-idf, LSA and bags of words are encoded anew, as that is hardly slower than reading a file; of
    joined encoders the expensive parts are cached by themselves, so ``lsa+minilm`` finds the
    vectors of ``minilm``. Precomputed vectors are returned as the file that they are.

    Args:
        encoder: A fitted encoder; one that is not from this package is used without a cache.
        texts: N texts.
        split: Name of the split whose texts, all of them, these are; precomputed vectors need
            it, others ignore it.
        cache: Directory of the cache, or ``off``; None:
            :func:`~learned_index.system.cache.cache_directory`.
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
    if split is not None:
        encoder.bind(checked, split)
    return _encode(encoder, checked, cache_directory(cache), chunk_size, progress)


def _encode(
    encoder: EncoderBase,
    texts: list[str],
    directory: Path | None,
    chunk_size: int,
    progress: Progress | None,
) -> Float32Array:
    if isinstance(encoder, PrecomputedEncoder):
        vectors = encoder.encode(texts)
        tell(progress, len(texts), len(texts))
        return vectors
    if isinstance(encoder, ConcatenatedEncoder):  # its parts are kept, each by itself
        # One bar for the whole: the last part that takes time moves it.
        costly = [n for n, part in enumerate(encoder.encoders) if part.cost == "expensive"]
        watched = costly[-1] if costly else len(encoder.encoders) - 1
        parts = [
            _encode(part, texts, directory, chunk_size, progress if n == watched else None)
            for n, part in enumerate(encoder.encoders)
        ]
        out = np.empty((len(texts), encoder.dim), dtype=np.float32)
        for start in range(0, len(texts), chunk_size):
            rows = slice(start, start + chunk_size)
            out[rows] = join_rows([part[rows] for part in parts], encoder.weights)
        return out
    if directory is not None and encoder.cost == "expensive":
        content = f"{encoder.fingerprint()}\n{texts_digest(texts)}"
        path = directory / "vectors" / f"{bytes_digest([content.encode()])}.npy"
        kept = whole_vectors(path, (len(texts), encoder.dim))
        if kept is not None:
            tell(progress, len(texts), len(texts))
            return kept
        if path.is_file():
            logger.warning("%s is damaged and is made again", path)
        return encoder.encode_to_file(texts, path, chunk_size=chunk_size, progress=progress)
    out = np.empty((len(texts), encoder.dim), dtype=np.float32)
    for row, block in encode_chunks(encoder, texts, chunk_size=chunk_size, progress=progress):
        out[row : row + len(block)] = block
    return out
