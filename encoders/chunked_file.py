"""Vectors into a ``.npy`` file chunk by chunk: atomic, resumable, equal bytes either way."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from learned_index.encoding import dense_vectors
from learned_index.errors import InputError
from learned_index.inputs.numbers import whole_number
from learned_index.persistence import writing
from learned_index.persistence.digest import bytes_digest
from learned_index.persistence.names import real_path
from learned_index.persistence.partial import (
    flush,
    partial_folder,
    record_rows,
    recorded_rows,
    sweep_partial,
)
from learned_index.types import Encoder, Float32Array

DEFAULT_CHUNK_SIZE = 256
"""Rows per chunk: about ten seconds of a small transformer's work on two cores, so a progress
bar moves and little is lost at Ctrl-C; enough texts to find batches of equal length in."""
_ROWS_PER_CHECK = 65_536
"""Of a memory map, so that checking it takes little memory."""
Progress = Callable[[int, int], None]
"""Called as ``progress(rows_done, rows_total)``."""


def texts_digest(texts: Sequence[str]) -> str:
    """SHA-256 of texts, their number and their order."""
    rows = (text.encode("utf-8", "surrogatepass") for text in texts)
    # With their lengths: else two texts could be cut in another place and count as the same.
    return bytes_digest(part for row in rows for part in (len(row).to_bytes(8, "little"), row))


def npy_header(n_rows: int, dim: int) -> bytes:
    """Header of a ``.npy`` file of n_rows x dim float32 in C order."""
    # Little-endian on every machine, and no more than rows and columns: equal runs, equal bytes.
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": "<f4", "fortran_order": False, "shape": (n_rows, dim)}
    )
    return stream.getvalue()


def open_vectors(path: Path) -> Float32Array:
    """Open a ``.npy`` file of float32 rows, memory-mapped read-only (plain where it is empty)."""
    try:
        vectors: Float32Array = np.load(path, mmap_mode="r")
    except ValueError:  # NumPy cannot map a file without rows
        vectors = np.load(path)
    return vectors


def whole_vectors(path: Path, shape: tuple[int, int]) -> Float32Array | None:
    """Open a file of vectors; None where there is none, or it is damaged or of another shape."""
    try:
        vectors = open_vectors(path)
    except (ValueError, OSError, EOFError):
        return None
    return vectors if vectors.shape == shape and vectors.dtype == np.float32 else None


def first_bad_row(vectors: np.ndarray[Any, Any]) -> int | None:
    """Return the first row of N x D numbers with NaN or infinity; None where all are finite."""
    for start in range(0, len(vectors), _ROWS_PER_CHECK):
        finite_B = np.isfinite(vectors[start : start + _ROWS_PER_CHECK]).all(axis=1)
        if not finite_B.all():
            return start + int(np.flatnonzero(~finite_B)[0])
    return None


def check_block(block: Any, shape: tuple[int, int], *, first_row: int = 0) -> Float32Array:
    """Return a block of vectors as C-order float32 after checking its shape and values.

    Raises:
        InputError: A wrong shape, NaN or infinity; names the row.
    """
    vectors: Float32Array = np.ascontiguousarray(block, dtype=np.float32)
    if vectors.shape != shape:
        raise InputError(f"the encoder returned shape {vectors.shape}, expected {shape}")
    row = first_bad_row(vectors)
    if row is not None:
        raise InputError(
            f"the vector of text {first_row + row} is not finite (NaN or infinity); the "
            "model is damaged or its precision is too low, try float32"
        )
    return vectors


def _rows_done(folder: Path, header: bytes, row_bytes: int, n_rows: int, chunk_size: int) -> int:
    """Rows that an earlier run finished and recorded; 0 where the record does not hold."""
    data, done = folder / "data.npy", recorded_rows(folder)
    try:
        with data.open("rb") as file:
            head = file.read(len(header))
        size = data.stat().st_size
    except OSError:
        return 0
    whole = isinstance(done, int) and 0 <= done <= n_rows
    if not whole or (done % chunk_size and done != n_rows):
        return 0
    return int(done) if head == header and size >= len(header) + done * row_bytes else 0


def encode_chunks(
    encoder: Encoder,
    texts: Sequence[str],
    *,
    start: int = 0,
    chunk_size: int = DEFAULT_CHUNK_SIZE,
    progress: Progress | None = None,
) -> Iterator[tuple[int, Float32Array]]:
    """Encode texts chunk by chunk: the one loop behind files, the cache and arrays in memory.

    Args:
        encoder: Fitted, of dense vectors.
        texts: N texts.
        start: Rows that are done already.
        chunk_size: Rows per chunk.
        progress: Called as ``progress(done, total)`` once the caller has taken a chunk.

    Yields:
        The first row of a chunk and its vectors, checked.

    Raises:
        InputError: The encoder gave a wrong shape or non-finite numbers.
    """
    for row in range(start, len(texts), chunk_size):
        batch = list(texts[row : row + chunk_size])
        block = dense_vectors(encoder, batch)
        yield row, check_block(block, (len(batch), encoder.dim), first_row=row)
        tell(progress, row + len(batch), len(texts))


def tell(progress: Progress | None, done: int, total: int) -> None:
    """Call ``progress``, if there is one."""
    if progress is not None:
        progress(done, total)


def write_vectors(
    encoder: Encoder,
    texts: Sequence[str],
    path: Path,
    *,
    run_key: str,
    chunk_size: int = DEFAULT_CHUNK_SIZE,
    progress: Progress | None = None,
) -> Float32Array:
    """Encode texts chunk by chunk into ``path``, going on where an earlier run stopped.

    Unfinished work lies in a hidden folder beside ``path``, named by what is being encoded, so
    that a run with other texts or another encoder never continues it. Rows are appended with
    ordinary writes: a full disk is an ``OSError``, where a memory map would kill the process.

    Args:
        encoder: As in :func:`encode_chunks`, as are the texts and the chunk size.
        texts: N texts.
        path: The ``.npy`` file to make or replace.
        run_key: Names everything besides texts and chunk size that the bytes depend on.
        chunk_size: Rows per chunk.
        progress: Called at the start too, with the rows of the earlier run.

    Returns:
        The file, N x D float32, memory-mapped read-only.

    Raises:
        InputError: As :func:`encode_chunks`; the bad chunk is not kept.
        StorageError: The place cannot be written to: full, read-only, no permission.
    """
    chunk_size = whole_number(chunk_size, "chunk size")
    dim = encoder.dim
    job = f"{run_key}\n{texts_digest(texts)}\n{chunk_size}\n{dim}"
    key = bytes_digest([job.encode()])[:16]  # enough to tell jobs apart in a short file name
    path = real_path(path)
    header, row_bytes = npy_header(len(texts), dim), 4 * dim
    with writing(path):
        with partial_folder(path, key) as folder:
            done = _rows_done(folder, header, row_bytes, len(texts), chunk_size)
            with (folder / "data.npy").open("r+b" if done else "wb") as file:
                if not done:
                    file.write(header)
                # Half a chunk that a killed run has left behind the recorded rows is dropped.
                file.truncate(len(header) + done * row_bytes)
                file.seek(0, os.SEEK_END)
                tell(progress, done, len(texts))
                for row, block in encode_chunks(
                    encoder, texts, start=done, chunk_size=chunk_size, progress=progress
                ):
                    file.write(block.astype("<f4", copy=False).data)
                    flush(file)  # first: the record must never name rows that the disk lacks
                    record_rows(folder, row + len(block))
                flush(file)
            (folder / "data.npy").replace(path)
            shutil.rmtree(folder, ignore_errors=True)
        sweep_partial(path)
    return open_vectors(path)
