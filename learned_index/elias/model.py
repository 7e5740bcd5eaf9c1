"""ELIAS: texts in, ranked label names and probabilities out."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp

from learned_index.data.dataset import Dataset
from learned_index.data.holdout import holdout_rows
from learned_index.data.vocabulary import LabelVocabulary
from learned_index.elias.config import EliasConfig
from learned_index.elias.ensemble import Shortlist, merge
from learned_index.elias.points import Points, dense_vectors
from learned_index.elias.prediction import Score, predict_points
from learned_index.engine import EngineConfig, LabelIds, SearchEngine
from learned_index.errors import InputError, NotFittedError
from learned_index.index import IndexConfig, LearnedGraphIndex, TrainingConfig
from learned_index.ranking import Calibrator, Combination, RankerConfig, SparseRanker
from learned_index.text_index import check_encoder, trained_index
from learned_index.training import Progress
from learned_index.training.checkpoint import claimed
from learned_index.types import PAD_ID, Encoder, Float32Array, Int64Array, SearchResult

if TYPE_CHECKING:
    from learned_index.training import CheckpointOptions

Validation = Dataset | tuple[Points, sp.csr_matrix]
_LEAST_HELD_OUT = 100


class ELIAS:
    """Encoder, learned index and label classifiers, with a ranker and calibrated probabilities.

    The index (one, or several with different clusterings whose probabilities are averaged) finds
    the shortlist of a text; a sparse linear ranker on [tf-idf, vector] orders its best
    ``rerank_size`` labels by a product of powers of p and sigmoid(2 q), and a calibrator learned
    on held-out points turns p and q into probabilities (ELIAS++: Gupta et al., NeurIPS 2022,
    section 3.5).

    Args:
        encoder: Makes dense vectors. One that is an ``nn.Module`` with ``tokenize`` can be trained
            with the index, see :class:`EliasConfig`.
        index: Configuration of the index, or an index that is fitted on vectors of this encoder
            already: then :meth:`fit` trains ranker and calibrator only.
        training: How the index (and the encoder) is trained.
        ranker: How the ranker is trained.
        config: What the model consists of.
        features: Makes the sparse features of ranker and clustering; None: tf-idf of texts, the
            rows themselves (weighted by idf, length 1) for sparse features.

    Attributes:
        encoder: The encoder; in an ensemble of trained encoders that of the first member.
        encoders: One encoder, or one for each member where they were trained.
        members: The indexes.
        features: The sparse encoder; None where nothing needs it.
        ranker_: The ranker, or None.
        combination: Ranking score from p and q.
        calibrator_: The calibrator, or None.
        vocabulary: Names of the labels.
        label_counts: int64, L. Training points of each label.
        n_points: Training points, without those that were held out.
        report_: Of the last :meth:`fit`: seconds of each step, metrics on the validation points
            with and without ranker, calibration. A loaded model keeps all but the seconds.

    Example:
        >>> from learned_index.encoders import LSAEncoder
        >>> model = ELIAS(LSAEncoder(dim=64))  # doctest: +SKIP
        >>> model.fit(texts, labels).predict(["sort a list"], k=1)  # doctest: +SKIP
        [[('sorting', 0.93)]]
    """

    kind: ClassVar[str] = "elias"
    """Kind in the manifest of a saved model."""

    def __init__(
        self,
        encoder: Encoder,
        index: IndexConfig | LearnedGraphIndex | None = None,
        *,
        training: TrainingConfig | None = None,
        ranker: RankerConfig | None = None,
        config: EliasConfig | None = None,
        features: Encoder | None = None,
    ) -> None:
        self.config = EliasConfig.given(config)
        check_encoder(encoder)
        self.encoder = encoder
        self.encoders: list[Encoder] = [encoder]
        self.features = features
        self.ranker_config = RankerConfig.given(ranker)
        self.given_index: LearnedGraphIndex | None = None
        self.index_config: IndexConfig
        if isinstance(index, LearnedGraphIndex):
            self.given_index = index
            self.index_config = index.config
            self.training_config = training or index.training_config
            if self.config.n_models != 1:
                raise InputError(
                    f"n_models is {self.config.n_models}, but one fitted index was given; give an "
                    "IndexConfig to train several"
                )
        else:
            self.index_config = IndexConfig.given(index)
            self.training_config = TrainingConfig.given(training)
        self.members: Sequence[LearnedGraphIndex | SearchEngine] = []
        self.ranker_: SparseRanker | None = None
        self.combination = Combination()
        self.calibrator_: Calibrator | None = None
        self.vocabulary = LabelVocabulary([])
        self.label_counts: Int64Array | None = None
        self.n_points = 0
        self.report_: dict[str, Any] = {}

    # -- what it is -----------------------------------------------------------------------------

    @property
    def index(self) -> LearnedGraphIndex | SearchEngine:
        """The index of the first member, or its search engine in a compiled model."""
        self._require_fitted()
        return self.members[0]

    @property
    def n_labels(self) -> int:
        """Number of labels L."""
        return self.index.n_labels

    @property
    def has_own_encoders(self) -> bool:
        """Whether each member has its own, trained encoder."""
        return len(self.encoders) > 1

    def _require_fitted(self) -> None:
        if not self.members:
            raise NotFittedError(
                "the model is not trained; call fit(texts, labels) or from_pretrained(...)"
            )

    def __repr__(self) -> str:
        state = f"{len(self.members)} members" if self.members else "not fitted"
        return f"ELIAS({self.encoder.kind!r}, {state})"

    def to_engine(self, config: EngineConfig | None = None) -> Self:
        """The same model with search engines in the place of its indexes: for search only.

        Raises:
            InputError: It is compiled already.
        """
        self._require_fitted()
        engines = [trained_index(member).to_engine(config) for member in self.members]
        model = copy.copy(self)
        model.members = engines
        return model

    # -- training -------------------------------------------------------------------------------

    def held_out_rows(self, labels_NL: sp.csr_matrix) -> Int64Array:
        """Training points that :meth:`fit` holds out when it gets no validation data.

        The configured share, and on small data 100 points or a tenth of them, whichever is less.
        Whoever encodes the points beforehand fits the encoder on the others. Every label keeps a
        training point; the choice depends on labels, configuration and seed only.

        Args:
            labels_NL: CSR N x L.

        Returns:
            int64, sorted.
        """
        config = self.config
        labelled = int(np.count_nonzero(np.diff(labels_NL.indptr)))
        if config.validation_fraction == 0:
            return np.empty(0, dtype=np.int64)
        least = min(_LEAST_HELD_OUT, labelled / 10)
        size = int(min(config.validation_limit, max(least, config.validation_fraction * labelled)))
        return holdout_rows(labels_NL, size, seed=self.training_config.seed)

    def fit(
        self,
        texts: Points,
        labels: sp.csr_matrix | Sequence[Sequence[int] | Sequence[str] | str],
        *,
        vocabulary: LabelVocabulary | Sequence[str] | None = None,
        validation: Validation | None = None,
        embeddings: Any | None = None,
        validation_embeddings: Any | None = None,
        progress: Progress | None = None,
        checkpoint: CheckpointOptions | None = None,
    ) -> Self:
        """Train everything: encoder, indexes, ranker, calibrator.

        The same data, configuration and thread count give an equal model, also after an
        interruption with ``checkpoint``. Under torchrun all processes train the members together;
        ranker, calibration and report are made by the first one alone, which is the one to save.

        Args:
            texts: N training texts, or CSR N x F.
            labels: CSR N x L, N lists of label ids or of label names, or N names where each text
                has one label; see :func:`~learned_index.data.naming.named_label_matrix`.
            vocabulary: Names of the L labels, also as a list; None calls ids "0", "1", ..., and
                takes names as they are in ``labels``.
            validation: Points to validate and calibrate on, as a data set or (texts, labels).
                None: :meth:`held_out_rows` are taken from the training points. Never the test
                data: the model is chosen by them.
            embeddings: N x D vectors of the texts from this very encoder, already fitted (may be
                memory-mapped); None fits and encodes. Only where the encoder is not trained.
            validation_embeddings: Vectors of the validation texts likewise.
            progress: Called with a :class:`~learned_index.training.TrainingEvent` now and then.
            checkpoint: Where to keep the state of an unfinished training, and whom to ask whether
                to stop.

        Returns:
            The fitted model.

        Raises:
            InputError: Numbers that do not fit together, the test split as validation, a
                configuration that the data cannot serve.
            TrainingInterrupted: ``checkpoint`` asked to stop; the state is saved.
        """
        from learned_index.elias.fitting import fit_model

        with claimed(checkpoint):
            fit_model(
                self,
                texts,
                labels,
                vocabulary=vocabulary,
                validation=validation,
                embeddings=embeddings,
                validation_embeddings=validation_embeddings,
                progress=progress,
                checkpoint=checkpoint,
            )
        return self

    # -- prediction -----------------------------------------------------------------------------

    def encode(self, texts: Points) -> list[Float32Array]:
        """Encode texts: float32 B x D, for each of :attr:`encoders`."""
        return [dense_vectors(encoder, texts) for encoder in self.encoders]

    def predict(self, texts: Points, k: int = 10) -> list[list[tuple[str, float]]]:
        """Find the best k labels of each text.

        Args:
            texts: B texts, or CSR B x F. A blank one has no answer, nor has one without a word
                (or a feature) that the encoder knows.
            k: Labels wanted.

        Returns:
            For each text at most k pairs (label name, ranking score), best first.
        """
        return self._named(self.search(texts, k))

    def predict_proba(self, texts: Points, k: int = 10) -> list[list[tuple[str, float]]]:
        """Return the labels of :meth:`predict` in the same order, with calibrated probabilities.

        The order is that of the ranking score; a probability may be higher than the one before.

        Raises:
            InputError: The model was trained without calibration.
        """
        return self._named(self.search(texts, k, score="probability"))

    def _named(self, result: SearchResult) -> list[list[tuple[str, float]]]:
        return [
            [
                (self.vocabulary.name(int(label)), float(score))
                for label, score in zip(ids, scores, strict=True)
                if label != PAD_ID
            ]
            for ids, scores in zip(result.ids, result.scores, strict=True)
        ]

    def search(
        self,
        texts: Points,
        k: int = 10,
        *,
        vectors: Any | None = None,
        sparse: sp.csr_matrix | None = None,
        score: Score = "ranking",
        beam_width: int | None = None,
        shortlist_size: int | None = None,
        allow: LabelIds | Sequence[str] | None = None,
        deny: LabelIds | Sequence[str] | None = None,
    ) -> SearchResult:
        """Find the best k labels of each text, as ids.

        The best ``rerank_size`` labels of the index are ordered by the ranking score; further
        ones follow in the order of the index. Answers do not depend on batch size or threads.

        Args:
            texts: B texts, or CSR B x F.
            k: Labels wanted; may exceed the number of labels.
            vectors: B x D vectors of these texts, where they are at hand; a list of one for each
                member where these have their own encoders.
            sparse: CSR B x V sparse features likewise.
            score: ``"ranking"`` (non-increasing, in 0 to 1), ``"probability"`` (calibrated, of
                the same labels in the same order), or ``"index"`` (order and score of the index
                alone, without the ranker).
            beam_width: Clusters explored; None: the trained value.
            shortlist_size: Labels scored; None: the trained value.
            allow: The only labels to find: ids, names, or a mask of L booleans; None: all.
            deny: Labels not to find; wins over ``allow``.

        Returns:
            Ids B x k and scores B x k, padded with -1 and -inf.

        Raises:
            InputError: A single string, k below 1, no calibration for ``"probability"``, or
                labels allowed or denied in a model that is not compiled.
        """
        self._require_fitted()
        return predict_points(
            self,
            texts,
            k,
            vectors=vectors,
            sparse=sparse,
            score=score,
            knobs={"beam_width": beam_width, "shortlist_size": shortlist_size},
            allow=allow,
            deny=deny,
        )

    def shortlist(
        self,
        vectors: Sequence[Any],
        width: int,
        *,
        members: Sequence[LearnedGraphIndex | SearchEngine] | None = None,
        beam_width: int | None = None,
        shortlist_size: int | None = None,
    ) -> tuple[Shortlist, Shortlist]:
        """Search all members and average their probabilities.

        Args:
            vectors: B x D of each encoder.
            width: Labels wanted in the wide shortlist, at least ``rerank_size``.
            members: What is searched; None: the model's members.
            beam_width: Clusters explored; None: the trained value.
            shortlist_size: Labels scored; None: the trained value.

        Returns:
            The ``rerank_size`` labels that the ranker orders, and the wide shortlist. The first
            does not depend on ``width``.
        """
        size = self.config.rerank_size
        each = size if len(self.members) == 1 else 2 * size
        results = [
            member.search(
                vectors[min(number, len(vectors) - 1)],
                max(each, width),
                beam_width=beam_width,
                shortlist_size=shortlist_size,
            )
            for number, member in enumerate(self.members if members is None else members)
        ]
        head = merge([SearchResult(r.ids[:, :each], r.scores[:, :each]) for r in results], size)
        return head, head if width <= size else merge(results, max(each, width))

    # -- persistence ----------------------------------------------------------------------------

    def save_pretrained(self, directory: Path | str, *, overwrite: bool = False) -> None:
        """Write the model as one directory: complete, or not at all.

        Args:
            directory: Where; its parents are made.
            overwrite: Replace a directory that is there.

        Raises:
            InputError: It exists and ``overwrite`` is false.
        """
        from learned_index.elias.saving import save_model

        self._require_fitted()
        save_model(self, Path(directory), overwrite=overwrite)

    @classmethod
    def from_pretrained(cls, directory: Path | str) -> Self:
        """Read what :meth:`save_pretrained` wrote.

        Raises:
            ModelFormatError: Not such a model, or truncated, edited or newer.
            MissingExtraError: The package that brings one of its encoders is not installed.
        """
        from learned_index.elias.saving import read_model

        return read_model(cls, Path(directory))
