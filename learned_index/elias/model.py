"""ELIAS: texts in, ranked label names and probabilities out."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, cast

import numpy as np
import scipy.sparse as sp

from learned_index.data.dataset import Dataset
from learned_index.data.naming import as_vocabulary, ids_of
from learned_index.data.vocabulary import LabelVocabulary
from learned_index.elias.config import EliasConfig
from learned_index.elias.explanation import Explanation, explain_labels
from learned_index.elias.label_changes import (
    merge_labels,
    remove_labels,
    rename_labels,
    require_present,
)
from learned_index.elias.label_scores import score_labels
from learned_index.elias.new_labels import add_labels
from learned_index.elias.parts import EliasParts, SearchOptions
from learned_index.elias.points import Points, parts_of
from learned_index.elias.prediction import Score, predict_points
from learned_index.elias.saving import check_parts, read_members, read_rest, write_model
from learned_index.elias.thresholds import Threshold, search_above
from learned_index.encoding import AnyEncoder, as_encoder, exported, for_search
from learned_index.engine.config import EngineConfig
from learned_index.engine.search_engine import SearchEngine
from learned_index.errors import InputError
from learned_index.index.config import IndexConfig, TrainingConfig
from learned_index.index.opening import is_index
from learned_index.inputs.filters import Filter
from learned_index.inputs.labels import LabelIds, label_ids
from learned_index.inputs.numbers import shown
from learned_index.inputs.points import as_points, n_rows, one_point
from learned_index.inputs.scored import ScoredLabels, Scores, Wanted
from learned_index.persistence import Manifest, Saved
from learned_index.ranking.config import RankerConfig
from learned_index.system.extras import importing
from learned_index.system.memory import give_back
from learned_index.types import PAD_ID, Encoder, Int64Array, SearchResult

if TYPE_CHECKING:
    from learned_index.index.learned_graph_index import LearnedGraphIndex
    from learned_index.training.callbacks import Callback
    from learned_index.training.checkpoint import CheckpointOptions
    from learned_index.training.events import Progress

_CHECKED_NAMES = 32
"""Of labels, by which an exported network is checked."""
Validation = Dataset | tuple[Points, sp.csr_matrix]


class ELIAS(EliasParts, Saved):
    """Encoder, learned index and label classifiers, with a ranker and calibrated probabilities.

    The index (one, or several with different clusterings whose probabilities are averaged) finds
    the shortlist of a text; a sparse linear ranker on [tf-idf, vector] judges its best
    ``rerank_size`` labels (ELIAS++: Gupta et al., NeurIPS 2022, section 3.5), and labels of the
    nearest training records join them. A final ranker learned on held-out points orders them by
    all evidence, and a calibrator turns its score into probabilities.

    Args:
        encoder: Makes dense vectors: ``"minilm"``, ``"lsa:256"`` (see
            :func:`~learned_index.encoders.parse_encoder`), a ``SentenceTransformer``, a function
            that takes texts and returns an array, or an encoder. One that is an ``nn.Module`` with
            ``tokenize`` can be trained with the index, see :class:`EliasConfig`.
        index: Configuration of the index, or an index that is fitted on vectors of this encoder
            already: then :meth:`fit` trains ranker and calibrator only.
        training: How the index (and the encoder) is trained.
        ranker: How the ranker is trained; ``"none"``: the index alone ranks, and its probabilities
            are the scores.
        config: What the model consists of.
        features: Makes the sparse features of ranker and clustering; None: tf-idf of texts, the
            rows themselves (weighted by idf, length 1) for sparse features.

    Attributes:
        encoder: The encoder; in an ensemble of trained encoders that of the first member.
        encoders: One encoder, or one for each member where they were trained.
        members: The indexes.
        features: The sparse encoder; None where nothing needs it.
        ranker_: The ranker, or None.
        records_: The training records that it remembers, or None.
        texts_: The training texts, where the configuration keeps them, or None.
        final_ranker_: Makes the ranking score of all evidence, or None.
        combination: Ranking score from p and q where there is no final ranker.
        calibrator_: The calibrator, or None.
        vocabulary: Names of the labels.
        label_counts: int64, L. Training points of each label.
        removed_labels: Ids that :meth:`remove_labels` took away.
        merged_labels: Ids that :meth:`merge_labels` took away, and what they became: labels of data
            to measure on, or to update with, are read so.
        n_points: Training points; those that were held out among them where they were given back.
        n_indexed: Training points when the indexes were trained.
        report_: Of the last :meth:`fit`: seconds of each step, metrics on the validation points
            with and without ranker, calibration, ``curves`` of losses and metrics
            (:class:`~learned_index.training.curves.Curves`). A loaded model keeps all but seconds
            and curves.

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
        encoder: AnyEncoder,
        index: IndexConfig | LearnedGraphIndex | None = None,
        *,
        training: TrainingConfig | None = None,
        ranker: RankerConfig | Literal["none"] | None = None,
        config: EliasConfig | None = None,
        features: Encoder | None = None,
    ) -> None:
        config = EliasConfig.given(config)
        if isinstance(ranker, str):
            config, ranker = replace(config, ranker=ranker), None
        given = index if is_index(index) else None
        shape = cast("IndexConfig | None", index) if given is None else given.config
        if given is not None:
            if config.n_models != 1:
                raise InputError(
                    f"n_models is {config.n_models}, but one fitted index was given; give an "
                    "IndexConfig to train several"
                )
            training = given.training_config if training is None else training
        training = TrainingConfig.given(training)
        super().__init__(
            as_encoder(encoder, seed=training.seed),
            config=config,
            index_config=IndexConfig.given(shape),
            training_config=training,
            ranker_config=RankerConfig.given(ranker),
            features=features,
        )
        self.given_index = given

    @classmethod
    def from_parts(
        cls,
        encoder: Encoder,
        index: LearnedGraphIndex | SearchEngine,
        vocabulary: LabelVocabulary | Sequence[str],
        *,
        label_counts: Int64Array | None = None,
        n_points: int = 0,
    ) -> Self:
        """Put an encoder before an index that is trained already: a model without a ranker.

        Args:
            encoder: Fitted; the index was trained on its vectors.
            index: The index, or a search engine made of one.
            vocabulary: Names of the index's labels.
            label_counts: int64, L. Training points of each label (for propensities); None:
                unknown.
            n_points: Training points in all.

        Raises:
            InputError: Something is not what it is called; dimensions or numbers of labels do not
                fit together.
            NotFittedError: The index is not trained.
        """
        if not (is_index(index) or isinstance(index, SearchEngine)):
            raise InputError(
                f"got {shown(index)} for an index, expected a LearnedGraphIndex or a SearchEngine"
            )
        names = as_vocabulary(vocabulary)
        if names is None:
            raise InputError("the vocabulary is None, expected the names of the index's labels")
        model = cls._around(encoder, index, EliasConfig(ranker="none"))
        model.members = [index]
        model.vocabulary, model.label_counts, model.n_points = names, label_counts, n_points
        check_parts(model)
        return model

    @classmethod
    def _around(
        cls, encoder: Encoder, index: LearnedGraphIndex | SearchEngine, config: EliasConfig
    ) -> Self:
        """A model with the configurations of its index, where that is no engine, which has none."""
        if isinstance(index, SearchEngine):
            return cls(encoder, config=config)
        return cls(encoder, index.config, training=index.training_config, config=config)

    # -- what it is -----------------------------------------------------------------------------

    def __repr__(self) -> str:
        state = f"{len(self.members)} members" if self.members else "not fitted"
        return f"ELIAS({self.encoder.kind!r}, {state})"

    def to_engine(
        self,
        config: EngineConfig | None = None,
        *,
        networks: Literal["torch", "onnx"] = "torch",
    ) -> Self:
        """The same model with search engines in the place of its indexes: for search only.

        Where these have label vectors of bytes, as by default, the ranker's weights become bytes
        too (:meth:`SparseRanker.to_int8`). Encoders that are tables keep what encodes, so that the
        model needs no torch. Kept texts stay behind.

        Args:
            config: How the engines are laid out.
            networks: What runs encoders that are networks. ``"onnx"``: ONNX Runtime, so that the
                compiled model needs no torch; their graphs are checked against torch. The index's
                own projection is part of the engine either way.

        Raises:
            InputError: It is compiled already, or a network gives other vectors once exported.
            MissingExtraError: What exports a network is not installed.
        """
        model = copy.copy(self)
        model.members = [index.to_engine(config) for index in self.trained_members()]
        encoders = self.encoders
        if networks == "onnx":
            names = self.vocabulary.names(range(min(self.n_labels, _CHECKED_NAMES)))
            encoders = [exported(encoder, names) for encoder in encoders]
            if not any(part.kind == "onnx" for each in encoders for part in parts_of(each)):
                raise InputError(
                    f"the encoder {self.encoder.kind!r} is no network, so there is nothing to "
                    "export; leave out networks (--onnx): it needs no torch once compiled"
                )
        model.encoders = [for_search(encoder) for encoder in encoders]
        model.encoder = model.encoders[0]
        model.texts_ = None  # it cannot be trained, and is handed out
        is_int8 = all(engine.config.precision == "int8" for engine in model.engines())
        if is_int8 and model.ranker_ is not None:
            model.ranker_ = model.ranker_.to_int8()
        return model

    def compact(self) -> Self:
        """A compiled model whose added labels have joined the main part of its engines.

        See :meth:`SearchEngine.compact`: scores stay, and searches no longer look at two parts.

        Raises:
            InputError: The model is not compiled.
        """
        model = copy.copy(self)
        model.members = [engine.compact() for engine in self.compiled_members()]
        return model

    # -- labels that change ---------------------------------------------------------------------

    def add_labels(
        self, labels: Mapping[str, Sequence[str]], *, texts: Mapping[str, str] | None = None
    ) -> Self:
        """A model that answers new labels too, learned from a few examples or from their names.

        No training: a new label gets the classifier that labels with such examples have (ridge
        regression over the labels of the remembered records, and a few steps), edges from the
        clusters that its examples visit, as strong as those of labels with as many points, a
        classifier of the ranker, and its examples are remembered. Known labels
        keep ids, classifiers and edges. This model answers as before. The engines of a compiled
        model hold the new labels in a segment (:meth:`SearchEngine.add_labels`).

        Args:
            labels: For each new label, by its key, some texts that have it; an empty list: it is
                learned from its name alone (zero-shot).
            texts: Names to show by key, where these are not the keys.

        Returns:
            A model whose new labels are numbered from L on, in the order given.

        Raises:
            InputError: A key that a label has (or had), examples that say nothing to the model, or
                a model without remembered records.

        Example:
            >>> model.add_labels({"quantum computing": ["qubits and gates"]})  # doctest: +SKIP
        """
        return add_labels(self, labels, texts)

    def remove_labels(self, labels: str | LabelIds | Sequence[str]) -> Self:
        """A model that never answers some labels; it shares all vectors with this one.

        Exact, and at once: no path leads to these labels any more and no remembered record
        suggests them; others keep their ids, keys and probabilities from the index, and what
        was crowded out by the removed ones may now be found. This model answers as before, so
        that a server can go on with it until it takes the other.

        Args:
            labels: Names or ids, or one of these.

        Returns:
            A model whose ``removed_labels`` (ids) are those of this one, and these.

        Raises:
            InputError: Labels that do not exist.
        """
        return remove_labels(self, labels)

    def merge_labels(self, targets: Mapping[str, str] | Mapping[int, int]) -> Self:
        """A model in which some labels have become one with others; no training.

        The label that stays is found wherever one of them was; its classifiers are the means of
        theirs, weighted by their training points; their remembered records are its own. Those
        that go are never answered (they are in ``removed_labels``); ids and keys stay.

        Args:
            targets: Name, key or id of each label that goes, and of the one that it becomes.

        Raises:
            InputError: Labels that do not exist or were removed, a target that goes itself.
        """
        return merge_labels(self, targets)

    def rename_labels(self, names: Mapping[str, str] | Mapping[int, str]) -> Self:
        """A model in which some labels are called otherwise; ids and keys stay.

        Where names are evidence for the final ranker, it reads the new ones.

        Args:
            names: The new text by name, key or id.

        Raises:
            InputError: Labels that do not exist, or texts that a vocabulary cannot hold.
        """
        return rename_labels(self, names)

    def update(
        self,
        texts: Points,
        labels: sp.csr_matrix | Sequence[Sequence[int] | Sequence[str] | str],
        *,
        vocabulary: LabelVocabulary | Sequence[str] | None = None,
    ) -> Self:
        """A model that has learned from new points, and new labels, without the old data.

        Seconds where :meth:`fit` takes minutes: label classifiers and edges of the index take a
        few steps on the new points and on a sample of the remembered ones, which protects what was
        learned; the ranker's classifiers of labels that the new points have learn from these, near
        what they were; the points are remembered and counted. Words that only the new points have
        become sparse features. Encoders stay: :meth:`fit` anew where the language changes, or after
        much has been added. This model answers as before.

        A model that keeps its texts (``keep_texts``) is trained anew, on old and new ones, by the
        update with which they have doubled since the last training; nothing needs to be fitted by
        hand then. In another one, where it is due, two parts are made anew first, and the update
        takes longer. The index is trained on all remembered points once these are twice as many as
        it was trained on (not in a model of ``keep_sample``). Final ranker and calibrator are
        learned from at least 100 new points, of which the model is asked before it learns from
        them, once the training points have doubled since: so an update should bring points that it
        has not seen.

        Args:
            texts: N new texts, or CSR N x F. Those without labels, or without a word that the model
                knows, are left out.
            labels: As :meth:`fit`, ids being those of this model. Names that no label has become
                new labels, learned from the texts that have them.
            vocabulary: Where ``labels`` are ids or columns of another numbering: its labels, which
                are matched by key; keys that this model lacks become new labels where a text has
                them.

        Raises:
            InputError: As :meth:`fit`; a compiled model, removed labels, new labels for a model
                without remembered records.

        Example:
            >>> model.update(["qubits and gates"], [["quantum computing"]])  # doctest: +SKIP
        """
        self.trained_members()  # a compiled model learns nowhere, with torch or without
        with importing("learning from new points"):
            from learned_index.elias.updating import update_model
        return update_model(self, texts, labels, vocabulary=vocabulary)

    def learn(self, text: str, labels: Sequence[str] | Sequence[int] | str) -> Self:
        """A model that has taken a person's correction: one text and all its right labels.

        As :meth:`update`, in less than a second; wrong labels among the ten best answers learn that
        they were wrong, too.

        Args:
            text: A text, or a row of features.
            labels: Names, keys or ids; a name that no label has becomes a new label.

        Raises:
            InputError: As :meth:`update`.

        Example:
            >>> model = model.learn("green tea leaves", ["tea"])  # doctest: +SKIP
        """
        self.trained_members()
        with importing("learning from new points"):
            from learned_index.elias.updating import update_model
        given = [labels] if isinstance(labels, str) else list(labels)
        return update_model(self, one_point(text), [given], correction=True)

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
        with importing("training a model"):
            from learned_index.elias.request import rows_to_hold_out
        return rows_to_hold_out(self, labels_NL)

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
        callbacks: Sequence[Callback] | None = None,
        checkpoint: CheckpointOptions | None = None,
    ) -> Self:
        """Train everything: encoder, indexes, ranker, calibrator.

        The same data, configuration and thread count give an equal model, also after an
        interruption with ``checkpoint``. Under torchrun all processes train the members together;
        ranker, calibration and report are made by the first one alone, which is the one to save.

        Args:
            texts: N training texts (a list, an iterator, a column of a data frame or of a data
                set), or CSR N x F.
            labels: CSR N x L, an indicator, N lists of label ids or of label names, or N names
                where each text has one label; see
                :func:`~learned_index.data.naming.named_label_matrix`.
            vocabulary: Names of the L labels, also as a list; None calls ids "0", "1", ..., and
                takes names as they are in ``labels``.
            validation: Points to validate and calibrate on, as a data set or (texts, labels).
                None: :meth:`held_out_rows` are taken from the training points. Never the test
                data: the model is chosen by them.
            embeddings: N x D vectors of the texts from this very encoder, already fitted (may be
                memory-mapped); None fits and encodes. Only where the encoder is not trained.
            validation_embeddings: Vectors of the validation texts likewise.
            progress: Called with a :class:`~learned_index.training.events.TrainingEvent` now and
                then.
            callbacks: Who is told that the training begins, its events, and how it ends: a
                :class:`~learned_index.tracking.ProgressBar`, a tracker of
                :mod:`learned_index.tracking`, a
                :class:`~learned_index.training.callbacks.TrainingCallback`, a function that takes
                events.
            checkpoint: Where to keep the state of an unfinished training, and whom to ask whether
                to stop.

        Returns:
            The fitted model.

        Raises:
            InputError: Numbers that do not fit together, the test split as validation, a
                configuration that the data cannot serve.
            TrainingInterrupted: ``checkpoint`` asked to stop; the state is saved.
        """
        with importing("training a model"):
            from learned_index.elias.fitting import fit_model
            from learned_index.elias.request import Request, described
            from learned_index.elias.steps import Steps
            from learned_index.training.callbacks import announced
            from learned_index.training.checkpoint import claimed
        texts = as_points(texts)
        request = Request(texts, labels, vocabulary, validation, embeddings, validation_embeddings)
        with (
            claimed(checkpoint),
            announced(callbacks, lambda: described(self), progress=progress) as run,
        ):
            fit_model(self, request, Steps(run.progress, checkpoint))
            run.results = self.report_
        return self

    # -- prediction -----------------------------------------------------------------------------

    def predict(
        self,
        texts: Points,
        k: int = 10,
        *,
        threshold: Threshold | None = None,
        allow: Filter | None = None,
        deny: Filter | None = None,
    ) -> list[list[tuple[str, float]]]:
        """Find the best k labels of each text, as names.

        Args:
            texts: B texts, or CSR B x F. A blank one has no answer, nor has one without a word
                (or a feature) that the encoder knows.
            k: Labels wanted.
            threshold: Answers whose score is below it are left out. ``"best"``: those whose
                calibrated probability is below the one that had the best F1 on held-out points, for
                labels trained as often (head, torso, tail).
            allow: The only labels to find: ids, names, or a mask of L booleans; None: all. For each
                text by itself: a list of B of these, or a boolean or sparse matrix B x L.
            deny: Labels not to find, likewise; wins over ``allow``.

        Returns:
            For each text at most k pairs (label name, ranking score), best first.

        Raises:
            InputError: A threshold that is none, or ``"best"`` for a model without calibration.
        """
        k = self.at_most(k)
        return self._named(self.search(texts, k, threshold=threshold, allow=allow, deny=deny))

    def predict_proba(
        self,
        texts: Points,
        k: int = 10,
        *,
        threshold: Threshold | None = None,
        allow: Filter | None = None,
        deny: Filter | None = None,
    ) -> list[list[tuple[str, float]]]:
        """Return the labels of :meth:`predict` in the same order, with calibrated probabilities.

        The order is that of the ranking score; a probability may be higher than the one before.
        Answers whose probability is below ``threshold`` are left out; ``"best"`` as there.

        Raises:
            InputError: The model was trained without calibration.

        Example:
            >>> model.predict_proba(["sort a list"], threshold="best")  # doctest: +SKIP
            [[('sorting', 0.97)]]
        """
        k = self.at_most(k)
        return self._named(
            self.search(texts, k, score="probability", threshold=threshold, allow=allow, deny=deny)
        )

    def score(self, texts: Points, labels: ScoredLabels, *, score: Score = "ranking") -> Scores:
        """Score labels for texts, also those that a search would not find.

        A label on the shortlist of a text has the score that :meth:`search` gives it, bit for bit.
        Another one is scored as if it stood on the shortlist behind the others, with the p that
        :meth:`LearnedGraphIndex.score` or, in a compiled model, :meth:`SearchEngine.score` gives it
        (of an ensemble the mean). A score depends on no other text and no other label of the call.

        Args:
            texts: B texts, or CSR B x F.
            labels: M names or ids for all texts, each once; an array B x M of ids, -1 at pads, as
                :meth:`search` gives them; or for each text by itself, as filters are: a list of B
                lists, a boolean or a sparse matrix B x L (the labels of a row in ascending order).
            score: ``"ranking"`` and ``"probability"`` as in :meth:`search`; ``"index"``: p alone,
                0 where no edge leads to a label.

        Returns:
            float32 B x M in the order of the labels, -inf at pads and for texts without an answer.
            Of labels for each text by itself a list of B arrays.

        Raises:
            InputError: A single string, labels that do not exist, come twice for a text or were
                removed, no calibration for ``"probability"``.

        Example:
            >>> model.score(["sort a list"], ["sorting", "graphs"])  # doctest: +SKIP
            array([[0.93, 0.02]], dtype=float32)
        """
        self.require_fitted()
        texts = as_points(texts)
        wanted = Wanted(
            labels, n_rows(texts), self.n_labels, ids_of=lambda each: ids_of(each, self.vocabulary)
        )
        require_present(self, np.unique(wanted.labels_n))
        return score_labels(self, texts, wanted, score)

    def explain(
        self, text: str | sp.csr_matrix, labels: str | LabelIds | Sequence[str]
    ) -> list[Explanation]:
        """Tell why a text has the scores that it has for some labels.

        Args:
            text: One text, or a CSR row.
            labels: Names or ids, or one of these; also of labels that are not among the answers.

        Returns:
            One :class:`Explanation` a label: the evidence with the part of each in the score (the
            parts add up to it), the clusters that lead to the label, the words that the ranker
            counted, and the nearest training records.

        Raises:
            InputError: A text without an answer, or labels that do not exist or were removed.

        Example:
            >>> why = model.explain("sort a list", "sorting")[0]  # doctest: +SKIP
            >>> why.evidence[0].name, why.ranker.words[0].term  # doctest: +SKIP
            ('word_votes', 'sort')
        """
        self.require_fitted()
        points = one_point(text)
        one = isinstance(labels, str | int | np.integer)
        ids = ids_of([labels] if one else labels, self.vocabulary)
        wanted = label_ids(ids, self.n_labels, name="labels")
        require_present(self, wanted)
        return explain_labels(self, points, wanted)

    def _named(self, result: SearchResult) -> list[list[tuple[str, float]]]:
        name = self.vocabulary.name
        return [
            [(name(label), score) for label, score in zip(*row, strict=True) if label != PAD_ID]
            for row in zip(result.ids.tolist(), result.scores.tolist(), strict=True)
        ]

    def search(
        self,
        texts: Points,
        k: int = 10,
        *,
        vectors: Any | None = None,
        sparse: sp.csr_matrix | None = None,
        score: Score = "ranking",
        threshold: Threshold | None = None,
        beam_width: int | None = None,
        shortlist_size: int | None = None,
        allow: Filter | None = None,
        deny: Filter | None = None,
    ) -> SearchResult:
        """Find the best k labels of each text, as ids.

        The best ``rerank_size`` labels of the index, and those that nearest records add, are
        ordered by the ranking score; further ones
        follow in the order of the index. Answers do not depend on batch size or threads.

        Args:
            texts: As in :meth:`predict`.
            k: Labels wanted; may exceed the number of labels.
            vectors: B x D vectors of these texts, where they are at hand; a list of one for each
                member where these have their own encoders.
            sparse: CSR B x V sparse features likewise.
            score: ``"ranking"`` (non-increasing, in 0 to 1), ``"probability"`` (calibrated, of
                the same labels in the same order), or ``"index"`` (order and score of the index
                alone, without the ranker).
            threshold: As in :meth:`predict`: least score, or ``"best"``.
            beam_width: Clusters explored; None: the trained value.
            shortlist_size: Labels scored; None: the trained value.
            allow: As in :meth:`predict`.
            deny: Likewise.

        Returns:
            Ids B x k and scores B x k, padded with -1 and -inf.

        Raises:
            InputError: A single string, k below 1, no calibration for ``"probability"``, labels
                that do not exist, a threshold that is none.
        """
        self.require_fitted()
        options: SearchOptions = {
            "beam_width": beam_width,
            "shortlist_size": shortlist_size,
            "allow": allow,
            "deny": deny,
        }
        given: dict[str, Any] = {"vectors": vectors, "sparse": sparse, "score": score}
        if threshold is None:
            return predict_points(self, texts, k, options=options, **given)
        return search_above(self, texts, k, threshold=threshold, options=options, **given)

    # -- persistence ----------------------------------------------------------------------------

    def _require_complete(self) -> None:
        self.require_fitted()

    def _write(self, folder: Path) -> dict[str, Any]:
        return write_model(self, folder)

    @classmethod
    def _read(cls, manifest: Manifest) -> Self:
        encoders, members, config = read_members(manifest)
        model = cls._around(encoders[0], members[0], config)
        model.encoders, model.members = encoders, members
        read_rest(model, manifest)
        if model.engines():
            give_back()
        return model
