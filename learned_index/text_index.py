"""Text in, label names out: an encoder, an index and a vocabulary, trained and saved as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp

from learned_index.data.naming import ids_of, named_label_matrix
from learned_index.data.vocabulary import LabelVocabulary
from learned_index.engine import EngineConfig, SearchEngine
from learned_index.errors import InputError, MissingExtraError
from learned_index.index import IndexConfig, LearnedGraphIndex, TrainingConfig
from learned_index.index.build.partition import n_clusters_for
from learned_index.index.learned_graph_index import open_index
from learned_index.inputs.labels import LabelIds
from learned_index.inputs.numbers import shown, whole_number
from learned_index.inputs.points import n_rows, unanswerable_rows
from learned_index.persistence import (
    atomic_directory,
    load_arrays,
    read_manifest,
    reading_model,
    save_arrays,
    write_manifest,
)
from learned_index.persistence.contents import require_layout, require_range
from learned_index.training import TrainingEvent
from learned_index.types import PAD_ID, PAD_SCORE, Encoder, Float32Array, Int64Array, SearchResult

ENCODER_GROUP = "learned_index.encoders"
_COUNTS = "counts.safetensors"
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


class TextIndex:
    """A learned index that takes texts and answers with label names.

    This is what ``li train-index`` writes and ``li search`` reads.

    Args:
        encoder: Fitted; turns texts into D-dimensional vectors.
        index: Fitted on vectors of that encoder, or a search engine made of such an index.
        vocabulary: Names of the index's labels.
        label_counts: int64, L. Training points of each label (for propensities); None: unknown.
        n_points: Training points in all.

    Raises:
        InputError: Dimensions or numbers of labels do not fit together.

    Example:
        >>> from learned_index.encoders import LSAEncoder
        >>> texts = ["sum of squares", "sorted list", "square root", "sort in place"] * 5
        >>> labels = [[0], [1], [0], [1]] * 5
        >>> model = TextIndex.fit(texts, labels, encoder=LSAEncoder(dim=2),
        ...     vocabulary=LabelVocabulary(["math", "sorting"]))  # doctest: +SKIP
        >>> model.search(["sort a list"], k=1)  # doctest: +SKIP
        [[('sorting', 0.93)]]
    """

    kind: ClassVar[str] = "text-index"
    """Kind in the manifest of a saved model."""

    def __init__(
        self,
        encoder: Encoder,
        index: LearnedGraphIndex | SearchEngine,
        vocabulary: LabelVocabulary,
        *,
        label_counts: Int64Array | None = None,
        n_points: int = 0,
    ) -> None:
        if encoder.dim != index.dim:
            raise InputError(
                f"the encoder makes {encoder.dim}-dimensional vectors, the index expects "
                f"{index.dim}; use the encoder that the index was trained with"
            )
        if len(vocabulary) != index.n_labels:
            raise InputError(
                f"the vocabulary names {len(vocabulary)} labels, the index has {index.n_labels}"
            )
        self.encoder = encoder
        self.index = index
        self.vocabulary = vocabulary
        self.label_counts = label_counts
        self.n_points = n_points

    @classmethod
    def fit(
        cls,
        texts: Sequence[Any],
        labels: sp.csr_matrix | Sequence[Sequence[int] | Sequence[str] | str],
        *,
        encoder: Encoder,
        vocabulary: LabelVocabulary | Sequence[str] | None = None,
        index_config: IndexConfig | None = None,
        training_config: TrainingConfig | None = None,
        embeddings: Any | None = None,
        clustering_features: sp.csr_matrix | None = None,
        validation: Any | None = None,
        progress: Callable[[TrainingEvent], None] | None = None,
    ) -> Self:
        """Fit the encoder on the texts, encode them and train the index on the vectors.

        Args:
            texts: N training texts.
            labels: CSR N x L, N lists of label ids or of label names, or N names where each text
                has one label; see :func:`~learned_index.data.naming.named_label_matrix`.
            encoder: Its ``fit`` is called unless ``embeddings`` are given.
            vocabulary: Names of the L labels, also as a list; None calls ids "0", "1", ..., and
                takes names as they are in ``labels``.
            index_config: Shape and constants of the index.
            training_config: How to train.
            embeddings: N x D vectors of the texts from this very encoder, already fitted (e.g.
                from a cache, may be memory-mapped); None encodes the texts.
            clustering_features: Sparse features N x V (e.g. tf-idf) that the clustering of the
                labels uses beside the vectors.
            validation: Passed on to :meth:`LearnedGraphIndex.fit`.
            progress: Called with an event now and then.

        Returns:
            The fitted object.

        Raises:
            InputError: Numbers of texts, labels or vectors differ, or the encoder's vectors are
                sparse.
        """
        check_encoder(encoder)
        labels_NL, vocabulary = named_label_matrix(texts, labels, vocabulary)
        index = LearnedGraphIndex(index_config, training=training_config)
        n_clusters_for(index.config, labels_NL.shape[1])
        if embeddings is None:
            embeddings = encoder.fit(texts).encode(texts)
        if sp.issparse(embeddings):
            raise sparse_vectors(encoder)
        index.fit(
            embeddings,
            labels_NL,
            clustering_features=clustering_features,
            validation=validation,
            progress=progress,
        )
        return cls(
            encoder,
            index,
            vocabulary,
            label_counts=np.bincount(labels_NL.indices, minlength=index.n_labels).astype(np.int64),
            n_points=labels_NL.shape[0],
        )

    def to_engine(self, config: EngineConfig | None = None) -> Self:
        """The same model with a search engine in the place of its index.

        Raises:
            InputError: It has one already.
        """
        return type(self)(
            self.encoder,
            trained_index(self.index).to_engine(config),
            self.vocabulary,
            label_counts=self.label_counts,
            n_points=self.n_points,
        )

    def encode(self, texts: Sequence[Any]) -> Float32Array:
        """Encode texts with the model's encoder.

        Returns:
            float32, B x D.
        """
        return np.asarray(self.encoder.encode(texts), dtype=np.float32)

    def search(
        self,
        texts: Sequence[Any],
        k: int = 10,
        *,
        vectors: Any | None = None,
        beam_width: int | None = None,
        shortlist_size: int | None = None,
        allow: LabelIds | Sequence[str] | None = None,
        deny: LabelIds | Sequence[str] | None = None,
    ) -> SearchResult:
        """Find the best k labels of each text, as ids.

        A text without anything but white space has no answer: its row is all padding. Nor has one
        without a word that the encoder knows, whose vector is zero.

        Args:
            texts: B texts.
            k: Labels wanted; may exceed the number of labels.
            vectors: B x D vectors of these texts from this encoder, where they are at hand.
            beam_width: Clusters explored; None: the trained value.
            shortlist_size: Labels scored; None: the trained value.
            allow: The only labels to find: ids, names, or a mask of L booleans; None: all.
            deny: Labels not to find; wins over ``allow``.

        Returns:
            Ids B x k and scores B x k, best first, padded with -1 and -inf.

        Raises:
            InputError: ``texts`` is a single string, ``k`` is below 1, or labels are allowed or
                denied and the index is not compiled.
        """
        rows = n_rows(texts)
        k = whole_number(k, "k")
        if rows == 0:
            return SearchResult(np.empty((0, k), np.int64), np.empty((0, k), np.float32))
        if vectors is None:
            vectors = self.encode(texts)
        if len(vectors) != rows:
            raise InputError(f"got {len(vectors)} vectors for {rows} texts; expected as many")
        searched = restricted(self.index, self.vocabulary, allow=allow, deny=deny)
        result = searched.search(vectors, k, beam_width=beam_width, shortlist_size=shortlist_size)
        silent = unanswerable_rows(texts, [vectors])
        result.ids[silent], result.scores[silent] = PAD_ID, PAD_SCORE
        return result

    def predict(
        self,
        texts: Sequence[str],
        k: int = 10,
        *,
        beam_width: int | None = None,
        shortlist_size: int | None = None,
    ) -> list[list[tuple[str, float]]]:
        """Find the best k labels of each text, as names.

        Args:
            texts: B texts; a blank one, and one of unknown words, has no answer.
            k: Labels wanted.
            beam_width: Clusters explored; None: the trained value.
            shortlist_size: Labels scored; None: the trained value.

        Returns:
            For each text at most k pairs (label name, score), best first.
        """
        result = self.search(texts, k, beam_width=beam_width, shortlist_size=shortlist_size)
        return [
            [
                (self.vocabulary.name(int(label)), float(score))
                for label, score in zip(ids, scores, strict=True)
                if label != PAD_ID
            ]
            for ids, scores in zip(result.ids, result.scores, strict=True)
        ]

    def save_pretrained(self, directory: Path | str, *, overwrite: bool = False) -> None:
        """Write the model as one directory: complete, or not at all.

        Args:
            directory: Where; its parents are made.
            overwrite: Replace a directory that is there.

        Raises:
            InputError: It exists and ``overwrite`` is false.
        """
        with atomic_directory(directory, overwrite=overwrite) as temporary:
            (temporary / "encoder").mkdir()
            self.encoder.save_pretrained(temporary / "encoder")
            self.index.save_pretrained(temporary / "index")
            self.vocabulary.save(temporary)
            if self.label_counts is not None:
                save_arrays(
                    temporary / _COUNTS,
                    {"label_counts": np.asarray(self.label_counts, dtype=np.int64)},
                )
            write_manifest(
                temporary,
                kind=self.kind,
                config={"encoder": self.encoder.kind, "n_points": int(self.n_points)},
            )

    @classmethod
    def from_pretrained(cls, directory: Path | str) -> Self:
        """Read what :meth:`save_pretrained` wrote.

        Raises:
            ModelFormatError: Not such a model, or truncated, edited or newer.
            MissingExtraError: The package that brings its encoder is not installed.
        """
        directory = Path(directory)
        manifest = read_manifest(directory, kind=cls.kind)
        with reading_model(directory, "model"):
            index = open_index(directory / "index", verify=False)
            counts = None
            if _COUNTS in manifest.files:
                counts = load_label_counts(manifest.file(_COUNTS), index.n_labels)
            return cls(
                encoder_class(manifest.config["encoder"]).from_pretrained(directory / "encoder"),
                index,
                LabelVocabulary.read(manifest.file(LabelVocabulary.FILE_NAME)),
                label_counts=counts,
                n_points=whole_number(manifest.config["n_points"], "n_points", low=0),
            )


def trained_index(index: LearnedGraphIndex | SearchEngine) -> LearnedGraphIndex:
    """The index, which must not be an engine.

    Raises:
        InputError: It is a search engine.
    """
    if isinstance(index, SearchEngine):
        raise InputError(
            "the model is compiled: its index is a search engine, which can be searched only; "
            "use the model that it was compiled from"
        )
    return index


def restricted(
    index: LearnedGraphIndex | SearchEngine,
    vocabulary: LabelVocabulary,
    *,
    allow: LabelIds | Sequence[str] | None,
    deny: LabelIds | Sequence[str] | None,
) -> LearnedGraphIndex | SearchEngine:
    """The index, or the engine of those labels that may be found, which may be named.

    Raises:
        InputError: Labels are allowed or denied, and the index is not compiled.
    """
    if allow is None and deny is None:
        return index
    if not isinstance(index, SearchEngine):
        raise InputError(
            "allow- and deny-lists need a search engine; compile the model first: li compile, or "
            "model.to_engine()"
        )
    return index.restrict(allow=ids_of(allow, vocabulary), deny=ids_of(deny, vocabulary))


def load_label_counts(path: Path, n_labels: int) -> Int64Array:
    """Training points of each label, int64 L, as a saved model holds them.

    Raises:
        InputError: Another dtype or number of labels, or negative counts.
    """
    arrays = load_arrays(path)
    require_layout(arrays, {"label_counts": (np.int64, (n_labels,))})
    require_range("label_counts", arrays["label_counts"], 0, 1 << 62)
    return arrays["label_counts"]
