"""The static table of a sentence encoder: its vector for each piece of its vocabulary alone.

Tulkens and van Dongen's model2vec does the same; no text is needed.

Legend: P pieces of the vocabulary, D dimension.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from learned_index.encoders.distilled.pieces import WordPieces
from learned_index.encoders.transformer.tokens import pad_batch
from learned_index.errors import InputError
from learned_index.persistence import atomic_file, load_arrays, save_arrays
from learned_index.persistence.digest import digest
from learned_index.system.cache import cache_directory
from learned_index.types import Float32Array

logger = logging.getLogger(__name__)

_AT_A_TIME = 1024
_FORMAT = 2


def piece_table(teacher: Any, pieces: WordPieces) -> Float32Array:
    """The teacher's vector for each piece between its special pieces, less their mean.

    Made once for each teacher, 10 to 20 seconds on two cores for MiniLM, and kept in the cache
    directory.

    Args:
        teacher: A :class:`~learned_index.encoders.transformer.network.NetworkEncoder`.
        pieces: Of its tokeniser.

    Returns:
        float32 P x D.
    """
    directory = cache_directory()
    path = None
    if directory is not None:
        key = digest([_FORMAT, teacher.fingerprint(), pieces.description])
        path = directory / "tables" / f"{key}.safetensors"
        if path.is_file():
            try:
                kept: Float32Array = load_arrays(path)["table"]
            except Exception as error:  # whatever is wrong with it, it can be made again
                logger.warning("%s is damaged and is made again (%s)", path, error)
            else:
                return kept
    table_PD = encode_pieces(teacher, pieces, range(pieces.n_pieces))
    table_PD -= table_PD.mean(axis=0)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as temporary:
            save_arrays(temporary, {"table": table_PD})
    return table_PD


def encode_pieces(teacher: Any, pieces: WordPieces, some: range) -> Float32Array:
    """The teacher's vectors of some pieces, a float32 row each.

    Not by ``teacher.encode``: short texts want large batches.
    """
    before, after = pieces.surroundings()
    names = list(teacher.tokenizer(["a"]).keys())
    rows = [
        {name: ids if name == "input_ids" else [0] * len(ids) for name in names
         if name != "attention_mask"}
        for ids in ([*before, piece, *after] for piece in some if piece < pieces.n_pieces)
    ]  # fmt: skip
    batches = [
        pad_batch(rows[start : start + _AT_A_TIME], teacher.tokenizer)
        for start in range(0, len(rows), _AT_A_TIME)
    ]
    table: Float32Array = teacher.encode_batches(batches)
    return table


def check_teacher(teacher: Any) -> None:
    """Refuse what cannot encode single pieces.

    Raises:
        InputError: No encoder around a network.
    """
    if not all(hasattr(teacher, name) for name in ("tokenizer", "encode", "device")):
        kind = getattr(teacher, "kind", type(teacher).__name__)
        raise InputError(
            f"the teacher is an encoder of kind {kind!r}, expected a sentence-transformers or "
            "transformers model, such as 'minilm'"
        )


def mean_length(x_BD: Float32Array) -> float:
    """Root mean square of the rows' lengths; 1 where all rows are zero."""
    return float(np.sqrt(np.einsum("bd,bd->b", x_BD, x_BD, dtype=np.float64).mean())) or 1.0
