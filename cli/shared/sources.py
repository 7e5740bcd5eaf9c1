"""Where ``--data`` and ``--encoder`` come from, and how their points reach an encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import scipy.sparse as sp

from learned_index.cli.shared.common import console, progress_bar
from learned_index.errors import InputError

if TYPE_CHECKING:
    from learned_index.data import DataFolder, Dataset
    from learned_index.types import Encoder

API_DOCS = "api-docs"


def resolve_data(data: str, *, quiet: bool = False) -> DataFolder:
    """Open what ``--data`` names.

    Args:
        data: A folder, or ``api-docs``: the default data set, built into the user's cache when it
            is not there (write ``./api-docs`` for a folder of that name).
        quiet: Show no progress.

    Raises:
        DataFormatError: No such folder, or none in a known format.
    """
    from learned_index.data import build_api_docs, open_dataset

    if data != API_DOCS:
        return open_dataset(data)
    if quiet or not console.is_terminal:
        return build_api_docs()
    with console.status("reading the documentation of the installed packages"):
        return build_api_docs()


def make_encoder(spec: str, *, has_texts: bool, seed: int) -> Encoder:
    """Build the encoder that ``--encoder`` names.

    Args:
        spec: See ``li train-index --help``.
        has_texts: Whether the points are texts; else they are sparse features, for which ``lsa``
            is an SVD of them and ``features`` takes them as they are.
        seed: Seed of encoders that need one.

    Raises:
        InputError: An unknown encoder, or one that cannot read sparse features.
    """
    if has_texts:
        from learned_index.encoders.registry import parse_encoder

        return parse_encoder(spec, seed=seed, precision="auto")
    from learned_index.encoders.lexical.feature_rows import DenseFeatureRowsEncoder
    from learned_index.encoders.lexical.lsa import FeatureSvdEncoder
    from learned_index.encoders.precomputed import PrecomputedEncoder
    from learned_index.encoders.registry import check_length, number_after_colon
    from learned_index.encoders.vector_files import is_vector_spec

    check_length(spec)

    if spec in ("features", DenseFeatureRowsEncoder.kind):
        return DenseFeatureRowsEncoder()
    name, colon, argument = spec.partition(":")
    dim = number_after_colon(argument)
    if name in ("lsa", FeatureSvdEncoder.kind) and (dim is not None or not colon):
        return FeatureSvdEncoder(**({} if dim is None else {"dim": dim}), seed=seed)
    if is_vector_spec(spec):
        return PrecomputedEncoder(spec)
    raise InputError(
        f"the data have sparse features and no texts, which --encoder {spec} cannot read; use "
        "features (as they are), lsa:DIM (an SVD of them) or a file of vectors"
    )


def feature_count(dataset: Dataset) -> int | None:
    """Columns of the sparse features of points without texts; None where there are texts."""
    if dataset.texts is not None or dataset.features is None:
        return None
    return int(dataset.features.shape[1])


def plain_points(dataset: Dataset) -> Any:
    """Return what a full model reads itself: the texts, or the feature rows without texts."""
    return dataset.texts if dataset.texts is not None else dataset.features


def points_for(encoder: Encoder, dataset: Dataset) -> Any:
    """Return the points of a split in the form that an encoder takes.

    Texts; or rows of sparse features; or, for stored vectors of points without texts, a name for
    each row of the split.
    """
    if dataset.texts is not None:
        return dataset.texts
    if encoder.kind == "precomputed":
        return dataset.ids or [f"{dataset.split} {row}" for row in range(dataset.n_points)]
    return dataset.features


def bind(encoder: Encoder, dataset: Dataset) -> None:
    """Tell stored vectors which points are those of a split; other encoders need no telling."""
    tie = getattr(encoder, "bind", None)
    if tie is not None and _holds_stored(encoder):
        tie(points_for(encoder, dataset), dataset.split)


def _holds_stored(encoder: Any) -> bool:
    parts = getattr(encoder, "encoders", [])
    return encoder.kind == "precomputed" or any(_holds_stored(part) for part in parts)


def encode_points(
    encoder: Encoder, points: Any, *, what: str, cache: str | None = None, quiet: bool = False
) -> Any:
    """Encode points in chunks with a progress bar, through the cache of vectors.

    Args:
        encoder: Fitted, and bound to the split if it holds stored vectors.
        points: Texts, or rows of sparse features.
        what: Text before the bar.
        cache: Directory of the cache; None: the user's; ``off``: keep nothing.
        quiet: Show no progress.

    Returns:
        N x D float32 array, or a memory-mapped one.

    Raises:
        InputError: The encoder makes sparse vectors.
    """
    from learned_index.encoders import cached_encode

    if sp.issparse(points):
        return encoder.encode(points)
    if getattr(encoder, "sparse", False):
        raise InputError(
            f"the encoder {encoder.kind!r} makes sparse vectors, the index needs dense ones; use "
            "lsa, its dense form"
        )
    with progress_bar(what, total=len(points), quiet=quiet) as bar:
        return cached_encode(
            encoder,
            points,
            cache=cache,
            progress=lambda done, total: bar.update(completed=done, total=total),
        )


def text_features(train: Dataset, *, quiet: bool = False) -> Any | None:
    """Sparse features of the training points for the clustering: tf-idf, or what the data bring."""
    if train.texts is None:
        return train.features
    from learned_index.encoders.lexical.tfidf import TfidfEncoder

    with progress_bar("tf-idf", quiet=quiet):
        return TfidfEncoder().fit(train.texts).encode(train.texts)
