"""What the core knows of encoders: how to find one, what it must be, and how to ask it for vectors.

The classes themselves live in :mod:`learned_index.encoders` and in other people's packages. They
are found by their ``kind`` among the entry points of the group :data:`ENCODER_GROUP`, the only
registry there is, so the core imports none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
import scipy.sparse as sp

from learned_index.errors import InputError, MissingExtraError
from learned_index.inputs.matrices import SparseRows, sparse_rows
from learned_index.inputs.vectors import is_plain
from learned_index.system.extras import missing_extra
from learned_index.types import Encoder, Float32Array

ENCODER_GROUP = "learned_index.encoders"
"""Entry points: the class of encoders of each kind, by its name."""
SEARCH_GROUP = "learned_index.search_encoders"
"""Entry points: the class that encodes for compiled models, of kinds whose own class needs more."""
PARSER_GROUP = "learned_index.encoder_parsers"
"""Entry points: what makes an encoder of a description such as ``"lsa:256"``; one, "default"."""

AnyEncoder: TypeAlias = Encoder | str | Path | Callable[[Sequence[str]], Any]
"""What :func:`as_encoder` takes; a SentenceTransformer is one of the callables."""

_FORMS = (
    "expected a description such as 'minilm' or 'lsa:256', the folder of a saved encoder or model, "
    "a SentenceTransformer, a function of texts that returns an array, or an encoder such as "
    "learned_index.encoders.LSAEncoder()"
)


def encoder_class(kind: str) -> type[Encoder]:
    """Find the class of encoders of one kind among the installed packages.

    Args:
        kind: Name of an entry point in :data:`ENCODER_GROUP`.

    Raises:
        InputError: It is no name.
        MissingExtraError: No installed package registers this kind, or what its class needs is
            not installed.
    """
    if not isinstance(kind, str):
        raise InputError(f"the kind of an encoder is {kind!r:.60}, expected its name")
    found = tuple(entry_points(group=ENCODER_GROUP, name=kind))
    if not found:
        known = sorted({point.name for point in entry_points(group=ENCODER_GROUP)})
        raise MissingExtraError(
            f"no installed package brings an encoder of kind {kind!r:.60} (there are "
            f"{', '.join(known) or 'none'}); pip install the package that registers it"
        )
    return cast("type[Encoder]", _load(found[0], f"the encoder {kind!r}"))


def search_class(kind: str) -> type[Encoder]:
    """Find the class that a compiled model's encoder is loaded with: one that can only encode.

    Raises:
        InputError: As :func:`encoder_class`.
        MissingExtraError: Likewise.
    """
    found = tuple(entry_points(group=SEARCH_GROUP, name=kind)) if isinstance(kind, str) else ()
    if not found:
        return encoder_class(kind)
    return cast("type[Encoder]", _load(found[0], f"the encoder {kind!r}"))


def for_search(encoder: Encoder) -> Encoder:
    """The encoder as a compiled model holds it; most are as they are."""
    made: Any = getattr(encoder, "for_search", None)
    return encoder if made is None else cast("Encoder", made())


def exported(encoder: Encoder, texts: Sequence[str] = ()) -> Encoder:
    """The encoder with its networks as graphs that ONNX Runtime runs; without one it is as it is.

    Args:
        encoder: Fitted.
        texts: What the graphs are checked with, besides a few sentences.

    Raises:
        InputError: A network that cannot be exported, or a graph that gives other vectors.
        MissingExtraError: onnx or onnxruntime is not installed.
    """
    made: Any = getattr(encoder, "exported", None)
    return encoder if made is None else cast("Encoder", made(texts))


def _load(point: EntryPoint, what: str) -> Any:
    try:
        return point.load()
    except ModuleNotFoundError as error:
        raise missing_extra(error, what) from error


def as_encoder(value: AnyEncoder, *, seed: int = 0) -> Encoder:
    """Make an encoder of any of the things that stand for one.

    Args:
        value: A description or the folder of a saved encoder or model (see
            :func:`learned_index.encoders.parse_encoder`), a ``SentenceTransformer``, a function
            that takes a list of texts and returns an array B x D, or an encoder, which is
            returned as it is.
        seed: Seed of an encoder that is made here and draws random numbers.

    Returns:
        The encoder, fitted where it learns nothing.

    Raises:
        InputError: Nothing of this kind, or an encoder whose vectors are sparse.
        MissingExtraError: A package that it needs is not installed; names the pip command.
    """
    if isinstance(value, str | Path):
        parsers = tuple(entry_points(group=PARSER_GROUP, name="default"))
        if not parsers:
            raise MissingExtraError(
                "no installed package reads descriptions of encoders; install learned-index again"
            )
        encoder = _load(parsers[0], f"the encoder {str(value)!r:.60}")(str(value), seed=seed)
    elif isinstance(value, type):
        raise InputError(
            f"got the class {value.__name__} for an encoder, not an object of it; {_FORMS}"
        )
    # Before the test for fit and encode: a SentenceTransformer has both, and means others by them.
    elif _is_sentence_transformer(value):
        encoder = cast("Any", encoder_class("sentence-transformer"))(value)
    elif hasattr(value, "fit") and hasattr(value, "encode"):
        encoder = value
    elif callable(value):
        encoder = cast("Any", encoder_class("callable"))(value)
    else:
        raise InputError(f"got {type(value).__name__} for an encoder; {_FORMS}")
    check_encoder(encoder)
    return cast("Encoder", encoder)


def _is_sentence_transformer(value: Any) -> bool:
    # By name: importing the package takes seconds, and whoever has such an object has done so.
    return any(
        base.__name__ == "SentenceTransformer"
        and base.__module__.partition(".")[0] == "sentence_transformers"
        for base in type(value).__mro__
    )


def check_encoder(encoder: Any) -> None:
    """Refuse what cannot make the dense vectors that an index needs.

    Raises:
        InputError: No encoder, or one of sparse vectors.
    """
    if not (hasattr(encoder, "fit") and hasattr(encoder, "encode")):
        raise InputError(
            f"got {encoder!r:.60} for an encoder, expected an object with fit and encode, such as "
            "learned_index.encoders.LSAEncoder()"
        )
    if getattr(encoder, "sparse", False):
        raise sparse_vectors(encoder)


def sparse_vectors(encoder: Any) -> InputError:
    """The error of an encoder whose vectors are sparse where dense ones are needed."""
    return InputError(
        f"the encoder {encoder.kind!r} makes sparse vectors, dense ones are needed; use 'lsa', "
        "their dense form"
    )


def sparse_features(encoder: Encoder, points: Any) -> SparseRows:
    """Encode N texts, or CSR N x F where the encoder reads features, as rows of sparse features.

    Without a detour over a checked matrix of scipy where the encoder has ``encode_rows``.

    Raises:
        InputError: What it makes is no sparse matrix of finite numbers.
    """
    encode: Any = getattr(encoder, "encode_rows", encoder.encode)
    return sparse_rows(encode(points))


def dense_vectors(encoder: Encoder, points: Any) -> Float32Array:
    """Encode N texts, or CSR N x F where the encoder reads features, as float32 N x D.

    Raises:
        InputError: Its vectors are sparse.
    """
    vectors = encoder.encode(points)
    if is_plain(vectors, np.float32):
        return cast("Float32Array", vectors)
    if sp.issparse(vectors):
        raise sparse_vectors(encoder)
    return np.asarray(vectors, dtype=np.float32)
