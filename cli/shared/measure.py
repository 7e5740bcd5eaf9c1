"""Search a data split with a model and measure the answers; used by several commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from learned_index.cli.shared.common import progress_bar
from learned_index.cli.shared.sources import bind, encode_points, plain_points, points_for
from learned_index.errors import InputError

if TYPE_CHECKING:
    from learned_index.data import Dataset, LabelVocabulary
    from learned_index.elias import ELIAS
    from learned_index.elias.prediction import Score
    from learned_index.text_index import TextIndex
    from learned_index.types import Encoder, Int64Array, SearchResult


def score_argument(model: TextIndex | ELIAS, score: str | None) -> dict[str, Any]:
    """Return ``--score`` as a search argument.

    Raises:
        InputError: It was given for a model that has one score only.
    """
    if score is None:
        return {}
    if model.kind != "elias":
        raise InputError(
            f"--score {score} is for models of li train; an index of li train-index has one score"
        )
    return {"score": score}


def model_points(model: TextIndex | ELIAS, dataset: Dataset) -> Any:
    """Return the points of a split in the form that a model searches.

    A full model reads texts or feature rows itself, whatever its encoder takes.
    """
    if model.kind == "elias":
        return plain_points(dataset)
    return points_for(model.encoder, dataset)


def model_vectors(
    model: TextIndex | ELIAS, dataset: Dataset, *, cache: str | None = None, quiet: bool = False
) -> Any | None:
    """Encode a split through the cache; None where the members of a model have own encoders."""
    if getattr(model, "has_own_encoders", False):
        return None
    return encode_split(model.encoder, dataset, cache=cache, quiet=quiet)


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


def search_points(
    model: TextIndex | ELIAS,
    points: Any,
    k: int,
    *,
    vectors: Any | None = None,
    beam_width: int | None = None,
    shortlist_size: int | None = None,
    score: Score | None = None,
    batch_size: int = 1024,
    quiet: bool = False,
) -> SearchResult:
    """Search all points in batches, showing progress.

    Args:
        model: The model.
        points: N texts or rows of sparse features.
        k: Labels wanted.
        vectors: N x D vectors of the points, where they are known already.
        beam_width: Clusters explored; None: the trained value.
        shortlist_size: Labels scored; None: the trained value.
        score: Of a full model: what to order by; None: its ranking score.
        batch_size: Points per call.
        quiet: Show no progress.

    Returns:
        Ids and scores, N x k.
    """
    from learned_index.types import SearchResult

    total = points.shape[0] if sp.issparse(points) else len(points)
    if vectors is not None and len(vectors) != total:
        raise InputError(f"got {len(vectors)} vectors for {total} points; expected as many")
    arguments: dict[str, Any] = {"beam_width": beam_width, "shortlist_size": shortlist_size}
    if score is not None:
        arguments["score"] = score
    pieces = []
    with progress_bar("searching", total=total, quiet=quiet) as bar:
        for start in range(0, total, batch_size):
            stop = min(start + batch_size, total)
            known = None if vectors is None else vectors[start:stop]
            pieces.append(model.search(points[start:stop], k, vectors=known, **arguments))
            bar.advance(stop - start)
    if not pieces:
        return SearchResult(np.empty((0, k), np.int64), np.empty((0, k), np.float32))
    return SearchResult(
        np.concatenate([piece.ids for piece in pieces]),
        np.concatenate([piece.scores for piece in pieces]),
    )


def joint_ids(model: LabelVocabulary, data: LabelVocabulary) -> tuple[Int64Array, int]:
    """Number the labels of a data set and of a model together, by key.

    Args:
        model: The model's labels.
        data: The data set's labels; they keep their ids.

    Returns:
        int64, L of the model: the joint id of each of the model's labels (those that the data
        set does not know get ids behind its own); and the number of joint ids.
    """
    if model.keys == data.keys:
        return np.arange(len(model), dtype=np.int64), len(model)
    id_of_key = {key: number for number, key in enumerate(data.keys)}
    joint = np.empty(len(model), dtype=np.int64)
    size = len(data)
    for number, key in enumerate(model.keys):
        joint[number] = id_of_key.get(key, -1)
        if joint[number] < 0:
            joint[number] = size
            size += 1
    return joint, size


def renumbered(model: LabelVocabulary, dataset: Dataset) -> sp.csr_matrix:
    """Labels of a split under the model's numbers; labels it does not know come behind.

    Raises:
        InputError: The two share no label.
    """
    joint, size = joint_ids(dataset.vocabulary, model)
    if joint.size == 0 or joint.min() >= len(model):
        raise InputError(
            "the model and the data have no label in common; was it trained on other data?"
        )
    matrix = sp.csr_matrix(
        (dataset.labels.data, joint[dataset.labels.indices], dataset.labels.indptr),
        shape=(dataset.n_points, size),
    )
    matrix.sort_indices()
    return matrix


def measure(
    model: TextIndex | ELIAS,
    dataset: Dataset,
    *,
    vectors: Any | None = None,
    cache: str | None = None,
    beam_width: int | None = None,
    shortlist_size: int | None = None,
    score: Score | None = None,
    quiet: bool = False,
) -> dict[str, float | int]:
    """All metrics of a model on one split, in percent.

    Labels that the model was never trained on stay in the truth: each is a miss that no answer
    can reach. Propensities come from the model's training counts.

    Args:
        model: The model.
        dataset: The split; its labels may be numbered otherwise than the model's.
        vectors: N x D vectors of the points; None: encode them, through the cache of vectors.
        cache: Directory of that cache; None: the user's; ``off``: keep nothing.
        beam_width: Clusters explored; None: the trained value.
        shortlist_size: Labels scored; None: the trained value.
        score: Of a full model: what to order by; None: its ranking score.
        quiet: Show no progress.

    Returns:
        The metrics, ``n_points``, and ``n_unseen_labels``: labels of these points that the
        model was never trained on.

    Raises:
        InputError: The split has no points, or the two share no label.
    """
    from learned_index.metrics import RECALL_CUTOFFS, evaluate, propensities_from_counts

    if dataset.n_points == 0:
        raise InputError(f"the {dataset.split} split has no points; nothing can be measured")
    joint, size = joint_ids(model.vocabulary, dataset.vocabulary)
    if joint.size and joint.min() >= len(dataset.vocabulary):
        raise InputError(
            "the model and the data have no label in common; was it trained on other data? "
            f"(model: {model.vocabulary.keys[0]!r} ..., data: {dataset.vocabulary.keys[0]!r} ...)"
        )
    if vectors is None:
        vectors = model_vectors(model, dataset, cache=cache, quiet=quiet)
    result = search_points(
        model,
        model_points(model, dataset),
        max(RECALL_CUTOFFS),
        vectors=vectors,
        beam_width=beam_width,
        shortlist_size=shortlist_size,
        score=score,
        quiet=quiet,
    )
    ids = np.where(result.ids < 0, -1, joint[np.maximum(result.ids, 0)])
    truth = sp.csr_matrix(
        (dataset.labels.data, dataset.labels.indices, dataset.labels.indptr),
        shape=(dataset.n_points, size),
    )
    counts = np.zeros(size, dtype=np.int64)
    if model.label_counts is not None:
        counts[joint] = model.label_counts
    propensities = np.ones(size)  # a model that does not know its counts
    if counts.any() and model.n_points:
        propensities = propensities_from_counts(counts, n_points=model.n_points)
    values: dict[str, float | int] = dict(evaluate(ids, truth, propensities=propensities))
    values["n_points"] = dataset.n_points
    used = np.flatnonzero(np.bincount(truth.indices, minlength=size))
    values["n_unseen_labels"] = int((counts[used] == 0).sum()) if counts.any() else 0
    return values
