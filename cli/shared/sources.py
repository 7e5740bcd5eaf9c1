"""Where ``--data`` and ``--encoder`` come from, and how their points reach an encoder."""

from __future__ import annotations

from typing import Any

import scipy.sparse as sp

from learned_index.cli.shared.common import console, progress_bar
from learned_index.cli.shared.tables import DataSource, open_source
from learned_index.data import DataFolder, Dataset, build_api_docs
from learned_index.data.propensities import DEFAULT_CONSTANTS
from learned_index.elias.model import ELIAS
from learned_index.elias.points import parts_of
from learned_index.encoders import cached_encode
from learned_index.encoders.registry import parse_encoder, parse_feature_encoder
from learned_index.encoding import check_encoder
from learned_index.errors import InputError
from learned_index.evaluation.answers import Answers, answers_of
from learned_index.evaluation.evaluate import measured_values
from learned_index.evaluation.search import Query
from learned_index.types import Encoder

API_DOCS = "api-docs"


def resolve_data(data: DataSource | str, *, quiet: bool = False) -> DataFolder:
    """Open what ``--data`` names.

    Args:
        data: A folder; a table; or ``api-docs``: the default data set, built into the user's
            cache when it is not there (write ``./api-docs`` for a folder of that name).
        quiet: Show no progress.

    Raises:
        DataFormatError: No such folder or table, or none in a known format.
        InputError: Columns that are not there, or that can be meant in two ways.
    """
    source = data if isinstance(data, DataSource) else DataSource(data)
    if source.name != API_DOCS:
        return open_source(source, quiet=quiet)
    if source.table is not None and source.table.given:
        raise InputError(f"{API_DOCS} is no table: leave out --text, --labels and the others")
    if quiet or not console.is_terminal:
        return build_api_docs()
    with console.status("reading the documentation of the installed packages"):
        return build_api_docs()


def make_encoder(spec: str, *, has_texts: bool, seed: int) -> Encoder:
    """Build the encoder that ``--encoder`` names.

    Args:
        spec: See ``li train-index --help``.
        has_texts: Whether the points are texts; else they are sparse features.
        seed: Seed of encoders that need one.

    Raises:
        InputError: An unknown encoder, or one that cannot read sparse features.
    """
    if has_texts:
        return parse_encoder(spec, seed=seed, precision="auto")
    return parse_feature_encoder(spec, seed=seed)


def precisions_of(encoder: Encoder) -> dict[str, tuple[str, str]]:
    """What each neural part of an encoder computes in, and why, by the part's name."""
    return {
        part.name: (part.precision, part.precision_reason)
        for part in parts_of(encoder)
        if hasattr(part, "precision_reason")
    }


def lengths_of(encoder: Encoder) -> dict[str, dict[str, Any]]:
    """How many tokens of a text the parts read that chose it by labelled texts, and why."""
    return {
        part.name: part.length_choice.to_dict()
        for part in parts_of(encoder)
        if getattr(part, "length_choice", None) is not None
    }


def length_lines(lengths: dict[str, dict[str, Any]]) -> list[str]:
    """What :func:`lengths_of` gave, for a person."""
    return [
        f"{name} reads {choice['tokens']} tokens of a text: {choice['reason']}"
        for name, choice in lengths.items()
    ]


def feature_count(dataset: Dataset) -> int | None:
    """Columns of the sparse features of points without texts; None where there are texts."""
    if dataset.texts is not None or dataset.features is None:
        return None
    return int(dataset.features.shape[1])


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
    for part in parts_of(encoder):
        if part.kind == "precomputed":
            part.bind(points_for(part, dataset), dataset.split)


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
    if sp.issparse(points):
        return encoder.encode(points)
    check_encoder(encoder)
    with progress_bar(what, total=len(points), quiet=quiet) as bar:
        return cached_encode(encoder, points, cache=cache, progress=bar.count)


def encode_split(encoder: Encoder, dataset: Dataset, *, cache: str | None, quiet: bool) -> Any:
    """Encode a split through the cache, N x D."""
    bind(encoder, dataset)
    return encode_points(
        encoder,
        points_for(encoder, dataset),
        what=f"encoding {dataset.split}",
        cache=cache,
        quiet=quiet,
    )


def model_vectors(
    model: ELIAS, dataset: Dataset, *, cache: str | None = None, quiet: bool = False
) -> Any | None:
    """Encode a split through the cache; None where the members of a model have own encoders."""
    if model.has_own_encoders:
        return None
    return encode_split(model.encoder, dataset, cache=cache, quiet=quiet)


def answers_shown(
    model: ELIAS,
    dataset: Dataset,
    *,
    vectors: Any | None = None,
    cache: str | None = None,
    query: Query | None = None,
    quiet: bool = False,
) -> Answers:
    """:func:`~learned_index.evaluation.answers.answers_of`, with the cache and a progress bar."""
    if vectors is None and dataset.n_points:
        vectors = model_vectors(model, dataset, cache=cache, quiet=quiet)
    with progress_bar("searching", total=dataset.n_points, quiet=quiet) as bar:
        return answers_of(model, dataset, vectors=vectors, query=query, progress=bar.count)


def evaluate_shown(
    model: ELIAS,
    dataset: Dataset,
    *,
    vectors: Any | None = None,
    cache: str | None = None,
    query: Query | None = None,
    propensity: tuple[float, float] = DEFAULT_CONSTANTS,
    quiet: bool = False,
) -> dict[str, Any]:
    """:func:`~learned_index.evaluation.evaluate.evaluate`, with the cache and a progress bar."""
    answers = answers_shown(model, dataset, vectors=vectors, cache=cache, query=query, quiet=quiet)
    return measured_values(answers, propensity=propensity)
