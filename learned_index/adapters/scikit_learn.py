"""A scikit-learn classifier of texts, vectors or sparse rows with very many classes or labels."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from learned_index.adapters.targets import Targets
from learned_index.config import Config
from learned_index.data.naming import as_vocabulary
from learned_index.data.vocabulary import LabelVocabulary
from learned_index.elias.config import EliasConfig
from learned_index.elias.model import ELIAS
from learned_index.elias.presets import ModelConfigs, model_configs, preset_encoder
from learned_index.elias.thresholds import Threshold, scored_answers
from learned_index.encoders.lexical.feature_rows import MOST_DENSE_FEATURES
from learned_index.encoders.registry import parse_feature_encoder
from learned_index.encoding import AnyEncoder, as_encoder
from learned_index.errors import InputError
from learned_index.index.config import IndexConfig, TrainingConfig
from learned_index.inputs.numbers import shown, whole_number
from learned_index.inputs.points import as_points
from learned_index.ranking.config import RankerConfig
from learned_index.system.extras import missing_extra
from learned_index.types import PAD_ID, Encoder

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.metrics import accuracy_score
    from sklearn.utils import check_random_state
    from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data
except ModuleNotFoundError as error:
    raise missing_extra(error, __name__) from error

_PLAIN = "default"
"""The preset that changes nothing."""
_TEXT_ENCODER = "lsa"
_HALF = 0.5
_FALL = 1e-9
"""Of the share by which a label of the same probability is below the one ranked before it."""


class LearnedIndexClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """:class:`~learned_index.ELIAS` as a classifier of scikit-learn.

    It works in pipelines, grid searches and cross-validation. Arguments are stored as they are and
    read by :meth:`fit`. What the model has beyond scikit-learn's words (the best labels of a text
    with their names, filters, explanations, saving) is under :attr:`model_`.

    Args:
        encoder: Makes vectors of the points. ``"auto"``: the preset's for texts (``"lsa"`` without
            a preset), and rows as they are, or their SVD where they are wide. Else what
            :class:`~learned_index.ELIAS` takes; of rows ``"features"`` or ``"lsa:DIM"``. An encoder
            object is copied before it is fitted.
        preset: A name of ``li train --preset`` such as ``"fast"``; None: the defaults of the
            configurations.
        n_clusters: Clusters of the index; None: by the number of labels.
        beam_width: Clusters explored for a point; None: as configured.
        shortlist_size: Labels scored for a point; None: as configured.
        stage1_epochs: Epochs with fixed clusters; None: as configured.
        stage2_epochs: Epochs with the learned graph; None: as configured.
        ranker: ``"sparse"`` or ``"none"``, or how the sparse ranker is trained; None: as the preset
            and ``config`` say.
        index: All of :class:`~learned_index.IndexConfig`, or values of it as a dictionary, which
            take precedence over the preset. The arguments above take precedence over these.
        training: Likewise of :class:`~learned_index.TrainingConfig`.
        config: Likewise of :class:`~learned_index.EliasConfig`.
        vocabulary: Names and texts of the labels, which a model learns from: of the columns of an
            indicator in their order, or of labels whose keys or texts are the classes. None:
            classes are their own names.
        k: Labels of a point that are looked at: all others have probability and decision 0.
        threshold: Least score of a predicted label where a point has several: ``"best"`` and
            numbers as in :meth:`ELIAS.predict_proba`; ``"auto"``: ``"best"``, and 0.5 where the
            data were too few to calibrate probabilities.
        random_state: Seed of the training. With a number equal data give an equal model; None draws
            one from NumPy's generator, as everywhere in scikit-learn.

    Attributes:
        model_: The trained :class:`~learned_index.ELIAS`.
        classes_: L classes or names, sorted; of an indicator the numbers of its columns.
        n_features_in_: Columns of the rows; texts have none.
        feature_names_in_: Their names, where a data frame had any.

    Example:
        >>> classifier = LearnedIndexClassifier(preset="fast")  # doctest: +SKIP
        >>> classifier.fit(texts, labels).predict(["sort a list"])  # doctest: +SKIP
        [['sorting']]
    """

    def __init__(
        self,
        encoder: AnyEncoder = "auto",
        *,
        preset: str | None = None,
        n_clusters: int | None = None,
        beam_width: int | None = None,
        shortlist_size: int | None = None,
        stage1_epochs: int | None = None,
        stage2_epochs: int | None = None,
        ranker: RankerConfig | Mapping[str, Any] | Literal["sparse", "none"] | None = None,
        index: IndexConfig | Mapping[str, Any] | None = None,
        training: TrainingConfig | Mapping[str, Any] | None = None,
        config: EliasConfig | Mapping[str, Any] | None = None,
        vocabulary: LabelVocabulary | Sequence[str] | None = None,
        k: int = 100,
        threshold: Threshold | Literal["auto"] = "auto",
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.encoder = encoder
        self.preset = preset
        self.n_clusters = n_clusters
        self.beam_width = beam_width
        self.shortlist_size = shortlist_size
        self.stage1_epochs = stage1_epochs
        self.stage2_epochs = stage2_epochs
        self.ranker = ranker
        self.index = index
        self.training = training
        self.config = config
        self.vocabulary = vocabulary
        self.k = k
        self.threshold = threshold
        self.random_state = random_state

    # -- training -------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any) -> Self:
        """Train a model.

        Args:
            X: N texts (a list, an array, a column of a data frame), or rows N x F of numbers, dense
                or sparse.
            y: N classes, N lists of names, or an indicator N x L of 0 and 1, dense or sparse.

        Returns:
            This classifier.

        Raises:
            InputError: Texts or labels that are none, a configuration that the data cannot serve.
            ValueError: As scikit-learn's own checks have it.
        """
        if y is None:
            raise InputError(
                f"{type(self).__name__} requires y to be passed, but the target y is None"
            )
        points = self._points(X, to="fit")
        targets, labels_NL = Targets.read(y)
        check_consistent_length(X, labels_NL)
        seed = self._seed()
        configs = self._configs(labels_NL.shape[1], seed)
        model = ELIAS(
            self._encoder(points, seed, are_dense=sp.issparse(points) and not sp.issparse(X)),
            configs.index,
            training=configs.training,
            ranker=configs.ranker,
            config=configs.model,
        )
        vocabulary = targets.vocabulary(as_vocabulary(self.vocabulary))
        model.fit(points, labels_NL, vocabulary=vocabulary)
        self.model_, self._targets = model, targets
        # The model counts those points alone that were not held out.
        counts_L = np.bincount(labels_NL.indices, minlength=labels_NL.shape[1])
        self._shares_L = counts_L / max(1, counts_L.sum())
        self.classes_ = targets.classes
        return self

    def _points(self, X: Any, *, to: Literal["fit", "predict"]) -> Any:
        """Texts as a list, rows as CSR."""
        if to == "predict" and not hasattr(self, "n_features_in_"):
            if not _are_texts(X):
                raise InputError(
                    f"{type(self).__name__} was fitted on texts, got {shown(X)}; give a list of "
                    "strings"
                )
            return as_points(X, name="X")
        if _are_texts(X):
            if to == "predict":
                raise InputError(
                    f"{type(self).__name__} was fitted on rows of {self.n_features_in_} features, "
                    "got texts; give rows"
                )
            for name in ("n_features_in_", "feature_names_in_"):  # of a fit on rows before
                self.__dict__.pop(name, None)
            return as_points(X, name="X")
        rows = validate_data(self, X, accept_sparse="csr", dtype="numeric", reset=to == "fit")
        return sp.csr_matrix(rows)

    def _encoder(self, points: Any, seed: int, *, are_dense: bool) -> Encoder:
        n_features = points.shape[1] if sp.issparse(points) else None
        encoder = self.encoder
        if isinstance(encoder, str) and encoder == "auto":
            if n_features is None and self.preset is None:
                encoder = _TEXT_ENCODER
            elif are_dense and points.shape[1] <= MOST_DENSE_FEATURES:
                encoder = "features"
            else:
                encoder = preset_encoder(self.preset or _PLAIN, n_features=n_features)
        if not isinstance(encoder, str | Path):
            return as_encoder(copy.deepcopy(encoder), seed=seed)
        if n_features is not None:
            return parse_feature_encoder(str(encoder), seed=seed)
        return as_encoder(encoder, seed=seed)

    def _seed(self) -> int:
        if isinstance(self.random_state, int | np.integer):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _configs(self, n_labels: int, seed: int) -> ModelConfigs:
        names = ("n_clusters", "beam_width", "shortlist_size")
        index = _values(self.index) | _given(self, names)
        training = _values(self.training) | _given(self, ("stage1_epochs", "stage2_epochs"))
        config = _values(self.config)
        ranker: dict[str, Any] = {}
        if isinstance(self.ranker, str):
            config["ranker"] = self.ranker
        else:
            ranker = _values(self.ranker)
        return model_configs(
            self.preset or _PLAIN,
            n_labels=n_labels,
            index=index,
            training=training | {"seed": seed},
            ranker=ranker | {"seed": seed},
            model=config,
        )

    # -- prediction -----------------------------------------------------------------------------

    def predict(self, X: Any) -> Any:
        """Predict the class, or the labels, of each point.

        Args:
            X: B texts or rows, as in training.

        Returns:
            As ``y`` was: B classes, of a point that says nothing to the model the most frequent
            one; or the labels above the threshold, as lists of names (best first) or as an
            indicator.
        """
        check_is_fitted(self, "model_")
        points = self._points(X, to="predict")
        targets, model = self._targets, self.model_
        if targets.is_one_each:
            best_B = model.search(points, 1).ids[:, 0]
            return targets.classes[np.where(best_B == PAD_ID, self._shares_L.argmax(), best_B)]
        found, _ = scored_answers(model, points, self._width(), threshold=self._threshold())
        is_found = found.ids != PAD_ID
        starts = np.concatenate([[0], np.cumsum(is_found.sum(axis=1))])
        ids = found.ids[is_found]
        shape = (len(found.ids), model.n_labels)
        return targets.answers(sp.csr_matrix((np.ones(len(ids)), ids, starts), shape=shape))

    def predict_proba(self, X: Any) -> npt.NDArray[np.float64]:
        """Return probabilities of all classes or labels.

        Of classes: they add up to 1, and their order is that of the ranking; a point that says
        nothing to the model has the shares of the classes in training. Of labels: each by itself,
        calibrated where the data were enough for that, else the ranking score.

        Args:
            X: B texts or rows.

        Returns:
            float64 B x L, in the order of :attr:`classes_`; 0 beyond the best ``k`` of a point. Of
            many thousand labels ask :attr:`model_`, whose answers are short lists.
        """
        return self._scores(X, of="probability")

    def decision_function(self, X: Any) -> npt.NDArray[np.float64]:
        """Return what orders all classes or labels, for metrics that need an order alone.

        Args:
            X: B texts or rows.

        Returns:
            float64 B x L: of labels the ranking scores, in 0 to 1, 0 beyond the best ``k`` of a
            point; of classes their probabilities. Of two classes B numbers: the probability of the
            second less that of the first.
        """
        check_is_fitted(self, "model_")
        if not self._targets.is_one_each:
            return self._scores(X, of="ranking")
        p_BL = self.predict_proba(X)
        return p_BL[:, 1] - p_BL[:, 0] if p_BL.shape[1] == 2 else p_BL

    def score(self, X: Any, y: Any, sample_weight: Any | None = None) -> float:
        """Return the share of points whose class, or whose whole set of labels, is right.

        Args:
            X: B texts or rows.
            y: Their classes or labels, in the form of training.
            sample_weight: B weights of the points; None: equal ones.
        """
        found = self.predict(X)
        if self._targets.form == "names":  # which no metric of scikit-learn takes
            check_consistent_length(y, found)
            y = [set(names) for names in y]
            found = [set(names) for names in found]
            is_right = [a == b for a, b in zip(y, found, strict=True)]
            return float(np.average(is_right, weights=sample_weight))
        return float(accuracy_score(y, found, sample_weight=sample_weight))

    def _scores(self, X: Any, *, of: Literal["probability", "ranking"]) -> npt.NDArray[np.float64]:
        check_is_fitted(self, "model_")
        points = self._points(X, to="predict")
        found, p_BK = scored_answers(self.model_, points, self._width())
        given_BK = found.scores if of == "ranking" or p_BK is None else p_BK
        values_BK = np.where(found.ids == PAD_ID, 0.0, given_BK.astype(np.float64))
        if self._targets.is_one_each:
            values_BK = _in_order(values_BK)
        out_BL = np.zeros((len(found.ids), self.model_.n_labels))
        rows, places = np.nonzero(found.ids != PAD_ID)
        out_BL[rows, found.ids[rows, places]] = values_BK[rows, places]
        if self._targets.is_one_each:
            out_BL[~out_BL.any(axis=1)] = self._shares_L
            if of == "probability":
                out_BL /= out_BL.sum(axis=1, keepdims=True)
        return out_BL

    def _width(self) -> int:
        return min(whole_number(self.k, "k"), self.model_.n_labels)

    def _threshold(self) -> Threshold:
        if not isinstance(self.threshold, str) or self.threshold != "auto":
            return self.threshold  # checked where it is used
        return _HALF if self.model_.calibrator_ is None else "best"

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.string = True
        tags.classifier_tags.multi_label = True
        return tags


def _are_texts(X: Any) -> bool:
    """Whether points are texts: one dimension, and a string comes first."""
    if sp.issparse(X) or getattr(X, "ndim", 1) != 1 or not hasattr(X, "__len__") or not len(X):
        return False
    return isinstance(X, str) or isinstance(next(iter(X)), str)


def _values(config: Config | Mapping[str, Any] | None) -> dict[str, Any]:
    if isinstance(config, Config):
        return config.to_dict()
    if config is None:
        return {}
    if not isinstance(config, Mapping):
        raise InputError(
            f"got {shown(config)} for a configuration, expected its class, or a dictionary of some "
            "of its values"
        )
    return dict(config)


def _given(estimator: Any, names: Sequence[str]) -> dict[str, Any]:
    values = {name: getattr(estimator, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def _in_order(values_BK: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The same values in the order of the ranking: none equal to, or above, one that stands before.

    Calibrated probabilities are of each label by itself, and may be higher further down. Of classes
    one is right, the one that stands first is the answer, and the highest probability must be its.
    """
    falling_BK = -np.sort(-values_BK, axis=1) + _FALL
    places_K = np.arange(values_BK.shape[1])
    ordered: npt.NDArray[np.float64] = falling_BK * (1 - _FALL * places_K)
    return ordered
