"""Synthetic instances in which queries are not like labels: documents against classifiers.

    python benchmarks/synthetic.py --labels 131072 --dim 384 --out synthetic

Documents are draws from a hierarchical mixture: topics hold subtopics, subtopics hold labels, and a
document is the mean of its labels' directions with noise. Classifiers are what training makes of
the documents: not their centroids, but directions that tell a label from its siblings, longer for
frequent labels, with a bias that follows frequency. How far they are from centroids is a parameter;
at 1 the statistics are roughly those of a trained index over sentence vectors of 36,000 records
with 21,000 subjects (cosine between a classifier and the centroid of its documents 0.79 for rare
and 0.65 for frequent labels, norms 15 to 23, biases near -9; the best classifier of a query at
cosine 0.44, its 100th at 0.22, where the nearest document is at 0.58).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from learned_index.data.folder import DataFolder, foreign_data_content, open_dataset
from learned_index.data.vocabulary import LabelVocabulary
from learned_index.errors import InputError
from learned_index.persistence import atomic_directory
from learned_index.types import Float32Array, Int64Array

BLOCK_FLOATS = 2**22
"""Numbers drawn at a time; fixes the sequence of draws together with the seed."""
TOPIC_SHARE, SUBTOPIC_SHARE = 0.25, 0.3
"""Parts of a label direction's variance that topic and subtopic make; the rest is its own."""
NOISE_SHARE = 0.42
"""Part of a document's variance that is noise."""
COMMON = 0.25
"""Length of the mean of all documents."""
SAME_TOPIC = 0.7
"""Chance that a further label of a document comes from the topic of the first."""
WHITENING = 0.5
"""Exponent to which directions of large variance are damped in classifiers."""
AGAINST_SIBLINGS, AGAINST_WITH_COUNT = 0.15, 0.1
"""Part of its subtopic's mean that is taken off a classifier, and how it grows with log(1 + n)."""
OWN_NOISE, NOISE_WITH_COUNT = 0.32, 0.1
"""Length of a classifier's part that no document explains, and how it grows with log(1 + n)."""


@dataclass(frozen=True, eq=False, kw_only=True)
class SyntheticInstance:
    """Points to train and test on, and label classifiers for timings without training.

    Attributes:
        vectors_ND: Training vectors of length 1, float32.
        labels_NL: Their labels, canonical CSR of float32 ones.
        test_vectors_QD: Queries, drawn like the training vectors.
        test_labels_QL: Their labels.
        label_weights_LD: Label classifiers, float32.
        label_bias_L: Their biases, float32.
    """

    vectors_ND: Float32Array
    labels_NL: sp.csr_matrix
    test_vectors_QD: Float32Array
    test_labels_QL: sp.csr_matrix
    label_weights_LD: Float32Array
    label_bias_L: Float32Array


def asymmetric_instance(
    n_labels: int,
    dim: int,
    *,
    n_points: int | None = None,
    n_queries: int = 2000,
    asymmetry: float = 1.0,
    labels_per_point: float = 3.0,
    seed: int = 0,
) -> SyntheticInstance:
    """Make an instance; equal arguments give equal bits.

    Labels have Zipf frequencies, and each at least one training point where there are as many
    labelled places. Memory is the result's and one L x D matrix at most.

    Args:
        n_labels: L.
        dim: D.
        n_points: Training points; default 2 L.
        n_queries: Test points.
        asymmetry: 0: classifiers are the centroids of their documents, of length 1 without bias;
            1: as far from them as those of a trained index.
        labels_per_point: Labels of a point on average, at least 1.
        seed: Of everything drawn.

    Raises:
        InputError: A size is below 1 (2 for labels and dimensions), or an argument out of range.
    """
    n_points = 2 * n_labels if n_points is None else n_points
    if min(n_labels, dim) < 2 or n_points < 1 or n_queries < 1:
        raise InputError(
            "n_labels and dim must be at least 2, n_points and n_queries at least 1, got "
            f"{n_labels}, {dim}, {n_points} and {n_queries}"
        )
    if not 0 <= asymmetry <= 1 or not labels_per_point >= 1:
        raise InputError(
            "asymmetry must lie in [0, 1] and labels_per_point must be at least 1, got "
            f"{asymmetry} and {labels_per_point}"
        )
    rng = np.random.default_rng(seed)
    space = _Space(dim, rng)
    topics = _Topics(n_labels, rng)
    directions_LD = _label_directions(topics, space, rng)
    train = _assign_labels(n_points, labels_per_point, topics, rng, cover=True)
    test = _assign_labels(n_queries, labels_per_point, topics, rng, cover=False)
    vectors_ND = _documents(train, directions_LD, space, rng)
    test_vectors_QD = _documents(test, directions_LD, space, rng)
    # From here on the matrix of directions becomes that of the classifiers, in place.
    counts_L = np.diff(train.tocsc().indptr)
    _to_centroids(directions_LD, train, vectors_ND)
    bias_L = _to_classifiers(directions_LD, counts_L, topics, space, asymmetry, rng)
    return SyntheticInstance(
        vectors_ND=vectors_ND,
        labels_NL=train,
        test_vectors_QD=test_vectors_QD,
        test_labels_QL=test,
        label_weights_LD=directions_LD,
        label_bias_L=bias_L,
    )


class _Space:
    """Directions with a decaying spectrum, as encoders have, in a random rotation."""

    def __init__(self, dim: int, rng: np.random.Generator) -> None:
        self.dim = dim
        variance_D = 1.0 / (np.arange(dim) + max(dim / 77, 1.0))
        self.variance_D = variance_D / variance_D.sum()
        rotation_DD = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
        self.to_vectors_DD = (np.sqrt(self.variance_D)[:, None] * rotation_DD).astype(np.float32)
        damping_D = self.variance_D ** (-0.5 * WHITENING)
        self.whitening_DD = (rotation_DD.T * (damping_D / damping_D.mean())) @ rotation_DD
        self.common_D = unit_rows(rng.standard_normal((1, dim)) @ rotation_DD)[0]

    def draw(self, n_rows: int, rng: np.random.Generator) -> Float32Array:
        """Return random directions of mean square length 1, float32 N x D."""
        drawn: Float32Array = rng.standard_normal((n_rows, self.dim), dtype=np.float32)
        rotated: Float32Array = drawn @ self.to_vectors_DD
        return rotated


class _Topics:
    """Which topic and subtopic each label lies in, and how frequent it is.

    Labels of one topic have consecutive numbers only inside this class: ``order_L`` scatters them.
    """

    def __init__(self, n_labels: int, rng: np.random.Generator) -> None:
        self.n_labels = n_labels
        self.n_topics = max(1, round(n_labels**0.4))
        self.n_subtopics = max(self.n_topics, round(n_labels**0.7))
        self.subtopic_L: Int64Array = rng.integers(0, self.n_subtopics, n_labels)
        self.topic_S: Int64Array = rng.integers(0, self.n_topics, self.n_subtopics)
        self.topic_L: Int64Array = self.topic_S[self.subtopic_L]
        weight_L = 1.0 / (rng.permutation(n_labels) + 15.0)
        self.weight_L = weight_L / weight_L.sum()
        self.by_topic_L = np.argsort(self.topic_L, kind="stable")
        self.cumulated_L = np.cumsum(self.weight_L[self.by_topic_L])
        ends_T = np.searchsorted(self.topic_L[self.by_topic_L], np.arange(self.n_topics + 1))
        bounds = np.concatenate([[0.0], self.cumulated_L])
        self.low_T, self.high_T = bounds[ends_T[:-1]], bounds[ends_T[1:]]

    def draw(self, n_labels: int, rng: np.random.Generator) -> Int64Array:
        """Return labels drawn by frequency."""
        return self._pick(rng.random(n_labels) * self.cumulated_L[-1])

    def draw_within(self, topics: Int64Array, rng: np.random.Generator) -> Int64Array:
        """Return a label drawn by frequency for each topic."""
        low, high = self.low_T[topics], self.high_T[topics]
        return self._pick(low + rng.random(len(topics)) * (high - low))

    def _pick(self, places: npt.NDArray[np.float64]) -> Int64Array:
        found = np.searchsorted(self.cumulated_L, places, side="right")
        picked: Int64Array = self.by_topic_L[np.minimum(found, self.n_labels - 1)]
        return picked


def _label_directions(topics: _Topics, space: _Space, rng: np.random.Generator) -> Float32Array:
    """Return a direction of length 1 for each label."""
    topic_TD = space.draw(topics.n_topics, rng) * np.float32(TOPIC_SHARE**0.5)
    subtopic_SD = space.draw(topics.n_subtopics, rng) * np.float32(SUBTOPIC_SHARE**0.5)
    subtopic_SD += topic_TD[topics.topic_S]
    own = np.float32((1 - TOPIC_SHARE - SUBTOPIC_SHARE) ** 0.5)
    directions_LD = np.empty((topics.n_labels, space.dim), dtype=np.float32)
    for rows in _blocks(topics.n_labels, space.dim):
        block = space.draw(rows.stop - rows.start, rng) * own
        directions_LD[rows] = unit_rows(block + subtopic_SD[topics.subtopic_L[rows]])
    return directions_LD


def _assign_labels(
    n_points: int,
    labels_per_point: float,
    topics: _Topics,
    rng: np.random.Generator,
    *,
    cover: bool,
) -> sp.csr_matrix:
    """Return the labels of points: the first by frequency, further ones mostly of its topic.

    Args:
        n_points: N.
        labels_per_point: Mean number.
        topics: The labels.
        rng: Draws.
        cover: Give every label one place first, as far as there are places.
    """
    extra_N = rng.poisson(labels_per_point - 1, n_points)
    rows_P = np.concatenate([np.arange(n_points), np.repeat(np.arange(n_points), extra_N)])
    first_N = topics.draw(n_points, rng)
    if cover:
        covered = rng.permutation(topics.n_labels)[:n_points]
        first_N[: len(covered)] = covered
    further_P = topics.draw(len(rows_P) - n_points, rng)
    same = rng.random(len(further_P)) < SAME_TOPIC
    topics_of_rows = topics.topic_L[first_N[rows_P[n_points:]]]
    further_P[same] = topics.draw_within(topics_of_rows[same], rng)
    if cover and n_points < topics.n_labels:
        missing = np.setdiff1d(np.arange(topics.n_labels), first_N)[: len(further_P)]
        further_P[: len(missing)] = missing
    # Points in random order, so that the covering ones are not all in front.
    rows_P = rng.permutation(n_points)[rows_P]
    labels = sp.csr_matrix(
        (
            np.ones(len(rows_P), dtype=np.float32),
            (rows_P, np.concatenate([first_N, further_P])),
        ),
        shape=(n_points, topics.n_labels),
    )
    labels.sum_duplicates()
    labels.sort_indices()
    labels.data[:] = 1
    return labels


def _documents(
    labels_NL: sp.csr_matrix, directions_LD: Float32Array, space: _Space, rng: np.random.Generator
) -> Float32Array:
    """Return a vector of length 1 for each point: its labels' mean direction, noise, and a mean."""
    vectors_ND = np.empty((labels_NL.shape[0], space.dim), dtype=np.float32)
    common_D = (COMMON * space.common_D).astype(np.float32)
    signal, noise = np.float32((1 - NOISE_SHARE) ** 0.5), np.float32(NOISE_SHARE**0.5)
    for rows in _blocks(len(vectors_ND), space.dim):
        block = unit_rows(labels_NL[rows] @ directions_LD) * signal
        block += space.draw(len(block), rng) * noise
        vectors_ND[rows] = unit_rows(block + common_D)
    return vectors_ND


def _to_centroids(
    directions_LD: Float32Array, labels_NL: sp.csr_matrix, vectors_ND: Float32Array
) -> None:
    """Replace the directions of labels that have points by the centroids of these, of length 1."""
    by_label = sp.csr_matrix(labels_NL.T)
    for rows in _blocks(*directions_LD.shape):
        sums = by_label[rows] @ vectors_ND
        has_points = np.diff(by_label.indptr)[rows] > 0
        directions_LD[rows][has_points] = unit_rows(sums[has_points])


def _to_classifiers(
    centroids_LD: Float32Array,
    counts_L: npt.NDArray[np.integer],
    topics: _Topics,
    space: _Space,
    asymmetry: float,
    rng: np.random.Generator,
) -> Float32Array:
    """Turn centroids into classifiers, in place, and return the biases.

    A classifier is whitened, loses what its subtopic has in common (the more the more negatives it
    met in training, hence with frequency), and gets a part of its own.
    """
    n_labels, dim = centroids_LD.shape
    whitening_DD = ((1 - asymmetry) * np.eye(dim) + asymmetry * space.whitening_DD).astype(
        np.float32
    )
    sums_SD = np.zeros((topics.n_subtopics, dim), dtype=np.float32)
    for rows in _blocks(n_labels, dim):
        whitened = unit_rows(centroids_LD[rows] @ whitening_DD)
        np.add.at(sums_SD, topics.subtopic_L[rows], whitened)
        centroids_LD[rows] = whitened
    members_S = np.bincount(topics.subtopic_L, minlength=topics.n_subtopics)
    mean_D = asymmetry * sums_SD.sum(axis=0) / n_labels
    means_SD = sums_SD / np.maximum(members_S, 1)[:, None].astype(np.float32) - mean_D
    depth_L = np.log1p(counts_L.astype(np.float32))
    bias_L = np.empty(n_labels, dtype=np.float32)
    for rows in _blocks(n_labels, dim):
        depth = depth_L[rows, None]
        against = asymmetry * np.minimum(AGAINST_SIBLINGS + AGAINST_WITH_COUNT * depth, 1)
        block = centroids_LD[rows] - mean_D - against * means_SD[topics.subtopic_L[rows]]
        noise = space.draw(len(block), rng)
        block += asymmetry * (OWN_NOISE + NOISE_WITH_COUNT * depth) * noise
        spread = rng.standard_normal((2, len(block)), dtype=np.float32)
        norm = 15.5 * np.exp(0.095 * depth[:, 0] + 0.05 * spread[0])
        centroids_LD[rows] = unit_rows(block) * (norm**asymmetry)[:, None]
        bias_L[rows] = asymmetry * (-9.4 + 0.12 * depth[:, 0] + 0.1 * spread[1])
    return bias_L


def write_instance(
    instance: SyntheticInstance, directory: Path | str, *, overwrite: bool = False
) -> DataFolder:
    """Write an instance as a data folder in the npz format; it appears when it is whole.

    Vectors are the features: an index takes them as they are with the encoder ``features``.
    ``label_weights.npy`` and ``label_bias.npy`` beside the splits hold the label classifiers.

    Args:
        instance: What to write.
        directory: The folder to make.
        overwrite: Replace a folder that exists.

    Raises:
        InputError: ``directory`` exists and is not empty.
    """
    vocabulary = LabelVocabulary.numbered(len(instance.label_bias_L))
    with atomic_directory(
        directory, overwrite=overwrite, foreign=foreign_data_content
    ) as temporary:
        vocabulary.save(temporary)
        for split, vectors, labels in (
            ("train", instance.vectors_ND, instance.labels_NL),
            ("test", instance.test_vectors_QD, instance.test_labels_QL),
        ):
            sp.save_npz(temporary / f"{split}_X.npz", _as_csr(vectors), compressed=False)
            sp.save_npz(temporary / f"{split}_Y.npz", labels)
        np.save(temporary / "label_weights.npy", instance.label_weights_LD, allow_pickle=False)
        np.save(temporary / "label_bias.npy", instance.label_bias_L, allow_pickle=False)
    return open_dataset(directory)


def _as_csr(vectors_ND: Float32Array) -> sp.csr_matrix:
    """Return dense rows as CSR over the same memory."""
    n_rows, dim = vectors_ND.shape
    index_type = np.int32 if vectors_ND.size < 2**31 else np.int64
    indices = np.tile(np.arange(dim, dtype=index_type), n_rows)
    indptr = np.arange(n_rows + 1, dtype=index_type) * dim
    return sp.csr_matrix((vectors_ND.reshape(-1), indices, indptr), shape=vectors_ND.shape)


def unit_rows(matrix_RD: npt.NDArray[np.floating]) -> Float32Array:
    """Return the rows divided by their lengths, float32; rows of zeros stay."""
    lengths_R = np.linalg.norm(matrix_RD, axis=1, keepdims=True)
    scaled: Float32Array = (matrix_RD / np.maximum(lengths_R, 1e-12)).astype(np.float32, copy=False)
    return scaled


def _blocks(n_rows: int, dim: int) -> Iterator[slice]:
    step = max(1, BLOCK_FLOATS // dim)
    for start in range(0, n_rows, step):
        yield slice(start, min(start + step, n_rows))


def main() -> None:
    """Write an instance as a data folder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--labels", type=int, required=True, help="labels L")
    parser.add_argument("--dim", type=int, required=True, help="dimension D")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--points", type=int, help="training points (default: 2 L)")
    parser.add_argument("--queries", type=int, default=2000, help="test points")
    parser.add_argument("--labels-per-point", type=float, default=3.0, help="on average")
    parser.add_argument(
        "--asymmetry",
        type=float,
        default=1.0,
        help="0: label classifiers are the centroids of their points; 1: as far from them as those "
        "of a trained index",
    )
    parser.add_argument("--seed", type=int, default=0, help="of everything drawn")
    parser.add_argument("--force", action="store_true", help="replace the folder if it exists")
    chosen = parser.parse_args()
    instance = asymmetric_instance(
        chosen.labels,
        chosen.dim,
        n_points=chosen.points,
        n_queries=chosen.queries,
        asymmetry=chosen.asymmetry,
        labels_per_point=chosen.labels_per_point,
        seed=chosen.seed,
    )
    folder = write_instance(instance, chosen.out, overwrite=chosen.force)
    print(f"{folder.path}: {', '.join(folder.splits)}")


if __name__ == "__main__":
    main()
