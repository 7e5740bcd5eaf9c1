"""Save and load encoders of any kind."""

from __future__ import annotations

import importlib
import importlib.metadata
from pathlib import Path
from typing import Any, cast

from learned_index.encoders.base import EncoderBase, read_encoder_file
from learned_index.errors import ModelFormatError
from learned_index.persistence import atomic_directory
from learned_index.types import Encoder

ENTRY_POINT_GROUP = "learned_index.encoders"
CLASSES = {
    "tfidf": ("lexical.tfidf", "TfidfEncoder"),
    "lsa": ("lexical.lsa", "LSAEncoder"),
    "bow": ("lexical.bow", "BagOfWordsEncoder"),
    "transformer": ("transformer", "TransformerEncoder"),
    "sentence-transformer": ("sentence_transformer", "SentenceTransformerEncoder"),
    "precomputed": ("precomputed", "PrecomputedEncoder"),
    "concatenated": ("concatenated", "ConcatenatedEncoder"),
}
"""Module and class of each kind in this package."""


def encoder_class(kind: str) -> type[EncoderBase]:
    """Return the class of a kind: of this package, or one that another package registers.

    Raises:
        ModelFormatError: No installed package has that kind.
    """
    if kind in CLASSES:
        module, name = CLASSES[kind]
        found: Any = getattr(importlib.import_module(f"learned_index.encoders.{module}"), name)
        return cast("type[EncoderBase]", found)
    for entry in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP, name=kind):
        return cast("type[EncoderBase]", entry.load())
    raise ModelFormatError(
        f"no installed package brings an encoder of kind {kind!r}; known are "
        f"{', '.join(CLASSES)}. Install the package it was made with"
    )


def save_encoder(encoder: Encoder, directory: Path | str, *, overwrite: bool = False) -> None:
    """Save an encoder; the directory appears when it is whole.

    Args:
        encoder: A fitted encoder.
        directory: Where to save it.
        overwrite: Replace a directory that exists.

    Raises:
        InputError: The directory exists and ``overwrite`` is false.
    """
    with atomic_directory(directory, overwrite=overwrite) as temporary:
        encoder.save_pretrained(temporary)


def load_encoder(directory: Path | str) -> EncoderBase:
    """Load an encoder of any kind.

    Raises:
        ModelFormatError: No encoder is saved there, or it is damaged or of an unknown kind.
    """
    kind, _ = read_encoder_file(Path(directory))
    return encoder_class(kind).from_pretrained(Path(directory))
