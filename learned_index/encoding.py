"""Encoders as the core sees them: found by their kind, and checked before an index needs them."""

from __future__ import annotations

from importlib.metadata import entry_points

from learned_index.errors import InputError, MissingExtraError
from learned_index.inputs.numbers import shown
from learned_index.types import Encoder

ENCODER_GROUP = "learned_index.encoders"
"""Entry point group in which packages register encoder classes by their ``kind``."""


def encoder_class(kind: str) -> type[Encoder]:
    """Find the class of encoders of one kind among the installed packages.

    Args:
        kind: Name of an entry point in :data:`ENCODER_GROUP`.

    Raises:
        InputError: It is no name.
        MissingExtraError: No installed package registers this kind.
    """
    if not isinstance(kind, str):
        raise InputError(f"the kind of an encoder is {kind!r}, expected its name")
    found = tuple(entry_points(group=ENCODER_GROUP, name=kind))
    if not found:
        known = sorted({point.name for point in entry_points(group=ENCODER_GROUP)})
        raise MissingExtraError(
            f"no installed package brings an encoder of kind {kind!r} (there are "
            f"{', '.join(known) or 'none'}); pip install the package that registers it"
        )
    loaded: type[Encoder] = found[0].load()
    return loaded


def check_encoder(encoder: Encoder) -> None:
    """Refuse what cannot make the dense vectors that an index needs.

    Raises:
        InputError: No encoder, or one of sparse vectors.
    """
    if not (hasattr(encoder, "fit") and hasattr(encoder, "encode")):
        raise InputError(
            f"got {shown(encoder)} for an encoder, expected an object with fit and encode, such as "
            "learned_index.encoders.LSAEncoder()"
        )
    if getattr(encoder, "sparse", False):
        raise sparse_vectors(encoder)


def sparse_vectors(encoder: Encoder) -> InputError:
    """The error of an encoder whose vectors are sparse."""
    return InputError(
        f"the encoder {encoder.kind!r} makes sparse vectors, the index needs dense ones; use "
        "'lsa', its dense form"
    )
