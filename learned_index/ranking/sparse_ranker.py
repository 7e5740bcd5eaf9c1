"""The sparse ranker of ELIAS++: one linear classifier per label, trained on its hard points."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import scipy.sparse as sp

from learned_index.errors import InputError, NotFittedError
from learned_index.inputs.matrices import (
    SparseFeatures,
    canonical_labels,
    kernel_arrays,
    sparse_rows,
)
from learned_index.inputs.numbers import whole_number
from learned_index.inputs.vectors import as_array, as_float32_rows, as_vectors, bad_row, is_plain
from learned_index.kernels.machine.parallel import run_queries, run_ranges, split_by_weight
from learned_index.kernels.machine.scratch import zeros
from learned_index.persistence import Manifest, Saved, save_arrays
from learned_index.persistence.contents import (
    LARGEST_WEIGHT,
    require_layout,
    require_offsets,
    require_range,
)
from learned_index.persistence.mapped import mapped_arrays
from learned_index.ranking.coded_margins import score_coded_rows
from learned_index.ranking.coded_weights import (
    MOST_LABELS,
    CodedWeights,
    check_coded,
    coded_weights,
    dense_weights,
    sparse_weights,
    weights_of,
)
from learned_index.ranking.config import RankerConfig
from learned_index.ranking.dual_descent import train_labels
from learned_index.ranking.margins import WEIGHT, score_rows
from learned_index.system.threads import current_threads
from learned_index.types import DenseMatrix, Float32Array, Int64Array

RankerProgress = Callable[[int, int], None]
"""Called as ``progress(labels_done, labels_total)``."""

_ARRAYS = "ranker.safetensors"
_CHUNK_WORK = 400_000
"""(label, point) pairs per piece of work: small enough that threads end together."""


class _Points(NamedTuple):
    """Features of points, in the order in which the kernels take them: a CSR matrix, and N x D."""

    indptr: Any
    indices: Any
    values: Any
    dense: Any


class _HardPoints(NamedTuple):
    """For each label the points that it is trained on: int64 offsets L + 1, int32, and bool."""

    label_indptr: Int64Array
    points: Any
    positive: Any


class DualVariables(NamedTuple):
    """What each label's training points weigh in its classifier: where a further training begins.

    Attributes:
        label_indptr: int64, L + 1. Where the points of each label begin.
        points: int32, ascending within a label.
        alpha: float32, 0 or more.
    """

    label_indptr: Any
    points: Any
    alpha: Any


class _Weights(NamedTuple):
    """All classifiers; the kernels take the fields in this order, a saved ranker has their names.

    Attributes:
        label_indptr: int64, L + 1. Where the sparse weights of each label begin.
        features: int32. The features of the sparse weights, ascending within a label.
        values: float32. The sparse weights.
        weight_LD: float32. The weights of the dense features.
        bias_L: float32.
    """

    label_indptr: Any
    features: Any
    values: Any
    weight_LD: Any
    bias_L: Any


class MarginParts(NamedTuple):
    """What a margin consists of: ``q = sum(parts) + dense + bias``.

    Attributes:
        terms: int64, sparse features that the point has and the label's classifier weighs.
        parts: float32, feature times weight of each.
        dense: Part of the dense features.
        bias: The label's own.
    """

    terms: Int64Array
    parts: Float32Array
    dense: float
    bias: float


class SparseRanker(Saved):
    """Linear classifiers on [sparse, dense] features, evaluated for shortlisted labels only.

    Each label's classifier (L2-regularised squared hinge, solved by dual coordinate descent) sees
    the points that have the label and those that have it in their shortlist: its hard negatives
    (ELIAS++, Gupta et al. 2022, section 3.5). Training is parallel over labels and does not
    depend on the thread count.

    Args:
        config: How to train.

    Attributes:
        n_features_: V, sparse features.
        dim_: D, dense features.
        dual_: Of the last ``fit``; None after loading.

    Example:
        >>> import numpy as np, scipy.sparse as sp
        >>> x = sp.csr_matrix(np.eye(4, dtype=np.float32))
        >>> dense = np.zeros((4, 1), np.float32)
        >>> y = sp.csr_matrix(np.array([[1, 0], [1, 0], [0, 1], [0, 1]], np.float32))
        >>> shortlist = np.array([[0, 1]] * 4)
        >>> ranker = SparseRanker().fit(x, dense, y, shortlist)
        >>> (ranker.score(x, dense, shortlist)[0] > 0).tolist()
        [True, False]
    """

    kind: ClassVar[str] = "sparse-ranker"

    def __init__(self, config: RankerConfig | None = None) -> None:
        self.config = RankerConfig.given(config)
        self.n_features_: int | None = None
        self.dim_ = 0
        self.dual_: DualVariables | None = None
        self._weights: _Weights | None = None
        self._by_term: tuple[Any, Any] | None = None
        self._coded: CodedWeights | None = None

    @property
    def n_labels(self) -> int:
        """Number of labels L."""
        return len(self._kept().bias_L)

    @property
    def n_weights(self) -> int:
        """Sparse weights kept, over all labels."""
        kept = self._kept()
        return len(kept.features if isinstance(kept, _Weights) else kept.term_weights)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in self._kept())

    @property
    def precision(self) -> str:
        """What the weights are kept in: ``"float32"``, or ``"int8"`` after :meth:`to_int8`."""
        return "float32" if self._coded is None else "int8"

    def _kept(self) -> _Weights | CodedWeights:
        """The arrays of all classifiers as they are kept."""
        kept = self._weights if self._coded is None else self._coded
        if kept is None:
            raise NotFittedError(
                "the ranker is not trained; call fit(...) or from_pretrained(...) first"
            )
        return kept

    def _fitted(self) -> _Weights:
        """The classifiers as floats, which are made anew where bytes are kept."""
        kept = self._kept()
        if isinstance(kept, _Weights):
            return kept
        rows = kernel_arrays(sparse_weights(kept))
        return _Weights(*rows, dense_weights(kept, slice(None), self.dim_), kept.bias_L)

    def _with(self, weights: _Weights) -> Self:
        """This ranker with other classifiers, kept in the same precision."""
        twin = copy(self)
        twin._weights, twin._coded, twin._by_term, twin.dual_ = weights, None, None, None
        return twin if self._coded is None else twin.to_int8()

    def to_int8(self) -> Self:
        """The same classifiers rounded to bytes: less than half the memory, and sooner scored.

        Each label's largest weight among the sparse features, and among the dense ones, becomes 127
        units. Of more than 2^24 labels, for which there is no such layout, it is this ranker.
        """
        if self.precision == "int8" or self.n_labels > MOST_LABELS:
            return self
        weights, twin = self._fitted(), copy(self)
        twin._coded = coded_weights(self.sparse_weights(), weights.weight_LD, weights.bias_L)
        twin._weights, twin._by_term, twin.dual_ = None, None, None
        return twin

    def fit(
        self,
        sparse_NV: sp.csr_matrix,
        dense_ND: DenseMatrix,
        labels_NL: sp.csr_matrix,
        shortlist_NK: Int64Array,
        *,
        start: DualVariables | None = None,
        progress: RankerProgress | None = None,
    ) -> Self:
        """Train the classifier of every label.

        Args:
            sparse_NV: CSR float32, N x V, rows of about length 1 (tf-idf).
            dense_ND: N x D, rows of about length 1 (the embedding).
            labels_NL: CSR N x L, the points' labels.
            shortlist_NK: int64 label ids, N x K, padded with -1; each row without duplicates.
            start: Dual variables of a training on some of these points, with the same numbers:
                the same optimum, sooner.
            progress: Called now and then.

        Raises:
            InputError: Shapes that do not fit, ids out of range, NaN or infinity.
        """
        x = self._points(sparse_NV, dense_ND)
        n_points = len(x.dense)
        labels_NL = canonical_labels(labels_NL)
        if labels_NL.shape[0] != n_points:
            raise InputError(f"got {n_points} rows of features, {labels_NL.shape[0]} of labels")
        ids = _checked_ids(shortlist_NK, n_points, labels_NL.shape[1])
        listed_NL = _listed(ids, labels_NL.shape[1])
        self._train(x, labels_NL, listed_NL, int(sparse_NV.shape[1]), start, progress)
        return self

    def _train(
        self,
        x: _Points,
        labels_NL: sp.csr_matrix,
        listed_NL: sp.csr_matrix,
        n_features: int,
        start: DualVariables | None = None,
        progress: RankerProgress | None = None,
    ) -> None:
        """Train on checked points; ``listed_NL`` says for which labels each is hard."""
        hard = _label_points(
            labels_NL, listed_NL, max_negatives=self.config.max_negatives, seed=self.config.seed
        )
        self._by_term = self._coded = None
        alphas = _started(hard, start)
        self._weights = _trained(self.config, x, hard, alphas, n_features, progress)
        self.dual_ = DualVariables(hard.label_indptr, hard.points, alphas)
        self.n_features_, self.dim_ = n_features, int(x.dense.shape[1])

    def with_labels(
        self,
        sparse_NV: sp.csr_matrix,
        dense_ND: DenseMatrix,
        labels_NM: sp.csr_matrix,
        hard_NM: sp.csr_matrix,
    ) -> Self:
        """A ranker of M more labels, trained as :meth:`fit` does; the others keep theirs.

        Args:
            sparse_NV: Points with new labels, and those that are hard for these.
            dense_ND: Likewise.
            labels_NM: CSR, the new labels of each.
            hard_NM: CSR, the new labels that each is hard for.
        """
        old, more = self._fitted(), SparseRanker(self.config)
        x = self._points(sparse_NV, dense_ND)
        more._train(x, canonical_labels(labels_NM), hard_NM, int(sparse_NV.shape[1]))
        new = more._fitted()
        indptr = np.concatenate([old.label_indptr, old.label_indptr[-1] + new.label_indptr[1:]])
        rest = (np.concatenate(pair) for pair in zip(old[1:], new[1:], strict=True))
        return self._with(_Weights(indptr, *rest))

    def with_points(
        self,
        sparse_NV: sp.csr_matrix,
        dense_ND: DenseMatrix,
        labels_NL: sp.csr_matrix,
        shortlist_NK: Int64Array,
        *,
        also: Int64Array | None = None,
    ) -> Self:
        """A ranker that has learned from more points, without those that it was trained on.

        The classifiers of labels that the points have are trained as by :meth:`fit`, but stay near
        what they are: ``1/2 |w - w0|^2`` stands where :meth:`fit` has ``1/2 |w|^2``. All others
        stay what they are.

        Args:
            sparse_NV: As :meth:`fit`.
            dense_ND: Likewise.
            labels_NL: Likewise; of this ranker's labels.
            shortlist_NK: Likewise: a point is a negative of the labels that are shortlisted for it.
            also: int64, labels that learn from the negatives too, though no point has them.

        Raises:
            InputError: As :meth:`fit`.
        """
        old = self._fitted()
        x, labels_NL = self._points(sparse_NV, dense_ND), canonical_labels(labels_NL)
        ids = _checked_ids(shortlist_NK, len(x.dense), self.n_labels)
        negatives = np.empty(0, np.int64) if also is None else np.intersect1d(also, ids)
        touched_U = np.union1d(labels_NL.indices, negatives).astype(np.int64)
        hard = _label_points(
            labels_NL[:, touched_U],
            _listed(ids, self.n_labels)[:, touched_U],
            max_negatives=self.config.max_negatives,
            seed=self.config.seed,
        )
        features_U, values_U = (
            _rows_of(old.label_indptr, array, touched_U) for array in (old.features, old.values)
        )
        lengths_U = (old.label_indptr[1:] - old.label_indptr[:-1])[touched_U]
        prior = _Weights(
            _offsets(lengths_U),
            np.concatenate([old.features[:0], *features_U]),
            np.concatenate([old.values[:0], *values_U]),
            old.weight_LD[touched_U],
            old.bias_L[touched_U],
        )
        alphas, n_features = _started(hard, None), int(self.n_features_ or 0)
        new = _trained(self.config, x, hard, alphas, n_features, None, prior)
        return self._with(_with_rows(old, touched_U, new))

    def with_more_features(self, n_features: int) -> Self:
        """The same classifiers of points with further sparse features, which weigh nothing yet."""
        kept, twin = self._kept(), copy(self)
        if isinstance(kept, CodedWeights):  # which lie by term
            more = np.full(n_features + 1 - len(kept.term_indptr), kept.term_indptr[-1])
            longer = np.concatenate([kept.term_indptr, more])
            twin._coded = kept._replace(term_indptr=longer)
        twin.n_features_, twin._by_term, twin.dual_ = n_features, None, None
        return twin

    def with_labels_taken(self, source_L: Int64Array) -> Self:
        """A ranker whose label ``l`` is label ``source_L[l]`` of this one; others are left out."""
        taken = (np.ones(len(source_L), np.float32), (np.arange(len(source_L)), source_L))
        shape = (len(source_L), self.n_labels)
        return self.with_merged_labels(sp.csr_matrix(taken, shape=shape))

    def with_merged_labels(self, shares_LL: sp.csr_matrix) -> Self:
        """A ranker whose classifiers are weighted means of this one's.

        Args:
            shares_LL: What the classifiers (columns) are worth in the new ones (rows).
        """
        old = self._fitted()
        merged = sp.csr_matrix(shares_LL @ self.sparse_weights())
        merged.sort_indices()
        indptr, features, values = kernel_arrays(merged.astype(np.float32))
        return self._with(
            _Weights(
                indptr,
                features,
                values,
                (shares_LL @ old.weight_LD).astype(np.float32),
                (shares_LL @ old.bias_L).astype(np.float32),
            )
        )

    def score(
        self, sparse_BV: SparseFeatures, dense_BD: DenseMatrix, ids_BK: Int64Array
    ) -> Float32Array:
        """Margins ``q`` of shortlisted labels.

        Args:
            sparse_BV: B x V.
            dense_BD: B x D.
            ids_BK: int64 label ids, -1 at pads.

        Returns:
            float32 B x K; 0 at pads. Positive: the classifier says yes.

        Raises:
            InputError: Shapes that do not fit, ids out of range, NaN or infinity.
        """
        kept = self._kept()
        # What compiled code takes as it is, as nearly always, is looked at by the kernel alone.
        x = self._points(sparse_BV, dense_BD, is_plain(dense_BD, np.float32))
        if sparse_BV.shape[1] != self.n_features_ or x.dense.shape[1] != self.dim_:
            raise InputError(
                f"got {sparse_BV.shape[1]} sparse and {x.dense.shape[1]} dense features, the "
                f"ranker was trained on {self.n_features_} and {self.dim_}; use the same encoders"
            )
        ids: Any = ids_BK
        if not (is_plain(ids, np.int64) and len(ids) == len(x.dense)):
            ids = _checked_ids(ids_BK, len(x.dense), self.n_labels)
        weights: Any = kept
        if isinstance(kept, _Weights):
            weights = (*self._weights_by_term(), kept.weight_LD, kept.bias_L)
        n_labels = len(kept.bias_L)
        out_BK = np.empty(ids.shape, np.float32)
        wrong: list[int] = []

        def score(start: int, stop: int) -> None:
            margins_L = zeros("margins", n_labels, np.float32)
            if isinstance(kept, CodedWeights):
                listed_L = zeros("labels with margins", n_labels, np.uint8)
                row = score_coded_rows(start, stop, *x, ids, *weights, listed_L, margins_L, out_BK)
            else:
                row = score_rows(start, stop, *x, ids, *weights, margins_L, out_BK)
            if row >= 0:
                wrong.append(row)

        run_queries(len(ids), score, few=16)
        if wrong:
            _checked_ids(ids, len(ids), n_labels)
            raise bad_row(x.dense, name="dense features")
        return out_BK

    def explain(self, sparse_1V: sp.csr_matrix, dense_1D: Any, label: int) -> MarginParts:
        """Split the margin of one point and one label.

        Args:
            sparse_1V: CSR, 1 x V.
            dense_1D: 1 x D.
            label: Its id.
        """
        kept, x = self._kept(), self._points(sparse_1V, dense_1D)
        if isinstance(kept, CodedWeights):
            values = weights_of(kept, label, x.indices)
            ours = np.flatnonzero(values)
            weight_1D = dense_weights(kept, [label], self.dim_)
            return MarginParts(
                x.indices[ours].astype(np.int64),
                (values[ours] * x.values[ours]).astype(np.float32),
                float(weight_1D[0] @ x.dense[0]),
                float(kept.bias_L[label]),
            )
        weights = kept
        a, b = weights.label_indptr[label], weights.label_indptr[label + 1]
        features, values = weights.features[a:b], weights.values[a:b]
        _, ours, theirs = np.intersect1d(features, x.indices, return_indices=True)
        return MarginParts(
            features[ours].astype(np.int64),
            (values[ours] * x.values[theirs]).astype(np.float32),
            float(weights.weight_LD[label] @ x.dense[0]),
            float(weights.bias_L[label]),
        )

    def sparse_weights(self) -> sp.csr_matrix:
        """The weights of the sparse features in all classifiers: CSR float32, L x V, ascending.

        Those below ``weight_threshold`` of the configuration were not kept.
        """
        weights = self._kept()
        if isinstance(weights, CodedWeights):
            return sparse_weights(weights)
        return sp.csr_matrix(
            (weights.values, weights.features, weights.label_indptr),
            shape=(self.n_labels, self.n_features_),
        )

    def _weights_by_term(self) -> tuple[Any, Any]:
        """The sparse weights turned round, made once: offsets V + 1, labels and values."""
        if self._by_term is None:
            indptr, labels, values = kernel_arrays(self.sparse_weights().tocsc())
            both = np.empty(len(labels), WEIGHT)
            both["label"], both["value"] = labels, values
            self._by_term = indptr, both
        return self._by_term

    def _points(self, sparse: SparseFeatures, dense: Any, is_dense_plain: bool = False) -> _Points:
        """Features as the kernels take them; dense ones that are plain are not looked at."""
        matrix, rows = sparse_rows(sparse), dense
        if not is_dense_plain:
            rows = as_float32_rows(as_vectors(dense, name="dense features"), name="dense features")
        if rows.shape[0] != matrix.shape[0]:
            raise InputError(
                f"dense features have shape {rows.shape}, expected {matrix.shape[0]} rows, as "
                "many as the sparse ones"
            )
        if self.config.dense_scale != 1.0:
            rows = rows * np.float32(self.config.dense_scale)
        return _Points(*matrix[:3], rows)

    def _require_complete(self) -> None:
        self._kept()

    def _write(self, folder: Path) -> dict[str, Any]:
        save_arrays(folder / _ARRAYS, self._kept()._asdict())
        facts = {**self.config.to_dict(), "n_features": self.n_features_}
        return facts if self._coded is None else {**facts, "int8_of_dim": self.dim_}

    def _format_version(self) -> int:
        return 1 if self._coded is None else 2  # version 1 knows no bytes

    @classmethod
    def _read(cls, manifest: Manifest) -> Self:
        with mapped_arrays(manifest.file(_ARRAYS)) as arrays:
            return cls._made_of(arrays, dict(manifest.config))

    @classmethod
    def _made_of(cls, arrays: dict[str, Any], config: dict[str, Any]) -> Self:
        n_features = whole_number(config.pop("n_features"), "n_features", low=0)
        dim = config.pop("int8_of_dim", None)
        ranker = cls(RankerConfig.from_dict(config))
        if dim is not None:
            ranker.n_features_, ranker.dim_ = n_features, whole_number(dim, "int8_of_dim")
            ranker._coded = CodedWeights(*(arrays[name] for name in CodedWeights._fields))
            check_coded(ranker._coded, n_features, ranker.dim_)
            return ranker
        weights = _Weights(*(arrays[name] for name in _Weights._fields))
        ranker.n_features_, ranker.dim_ = n_features, int(weights.weight_LD.shape[1])
        _check_arrays(weights._asdict(), n_features, ranker.dim_)
        ranker._weights = weights
        return ranker


def _check_arrays(arrays: dict[str, Any], n_features: int, dim: int) -> None:
    """The compiled code does not check bounds: arrays from a file are checked here."""
    n_labels, n_weights = len(arrays["bias_L"]), len(arrays["features"])
    require_layout(
        arrays,
        {
            "label_indptr": (np.int64, (n_labels + 1,)),
            "features": (np.int32, (n_weights,)),
            "values": (np.float32, (n_weights,)),
            "weight_LD": (np.float32, (n_labels, dim)),
            "bias_L": (np.float32, (n_labels,)),
        },
    )
    require_offsets("label_indptr", arrays["label_indptr"], n_weights)
    require_range("features", arrays["features"], 0, n_features - 1)
    for name in ("values", "weight_LD", "bias_L"):
        require_range(name, arrays[name], -LARGEST_WEIGHT, LARGEST_WEIGHT)


def _checked_ids(ids: Any, n_rows: int, n_labels: int) -> Any:
    ids = as_array(ids, name="shortlists")
    if ids.ndim != 2 or len(ids) != n_rows or ids.dtype.kind not in "iu":
        raise InputError(f"shortlists have shape {ids.shape}, expected {n_rows} rows of label ids")
    if ids.size and (ids.min() < -1 or ids.max() >= n_labels):
        raise InputError(
            f"shortlisted ids run from {ids.min()} to {ids.max()}, expected -1 to {n_labels - 1}"
        )
    return np.ascontiguousarray(ids, dtype=np.int64)


def _trained(
    config: RankerConfig,
    x: _Points,
    hard: _HardPoints,
    alphas: Float32Array,
    n_features: int,
    progress: RankerProgress | None,
    prior: _Weights | None = None,
) -> _Weights:
    """Train the labels in parallel, each on its own points; near a prior if there is one."""
    n_labels, dim = len(hard.label_indptr) - 1, x.dense.shape[1]
    norms_N = _squared_norms(x)
    costs = np.array([config.cost, config.cost * config.positive_cost], np.float32)
    prior = _no_weights(n_labels, dim) if prior is None else prior
    weight_LD, bias_L = prior.weight_LD.copy(), prior.bias_L.copy()
    counts_L = np.zeros(n_labels, np.int64)
    parts = max(1, int(hard.label_indptr[-1]) // _CHUNK_WORK, 4 * current_threads())
    # One more than its points: a label without points takes time too.
    ranges = split_by_weight(hard.label_indptr + np.arange(n_labels + 1), parts)
    results: list[Any] = [None] * len(ranges)
    done = 0

    def train(part: int, start: int, stop: int) -> None:
        nonlocal done
        results[part] = train_labels(
            start, stop, *hard, *x, norms_N, costs, config.max_iterations,
            np.float32(config.tolerance), config.seed, np.float32(config.weight_threshold),
            n_features, *prior[:3], alphas, weight_LD, bias_L, counts_L,
        )  # fmt: skip
        done += stop - start
        if progress is not None:
            progress(done, n_labels)

    run_ranges(ranges, train)
    features, kept = (np.concatenate(arrays) for arrays in zip(*results, strict=True))
    return _Weights(_offsets(counts_L), features, kept, weight_LD, bias_L)


def _rows_of(indptr: Int64Array, values: Any, rows: Int64Array) -> list[Any]:
    """The values of some rows of a compressed matrix."""
    return [values[indptr[row] : indptr[row + 1]] for row in rows.tolist()]


def _with_rows(old: _Weights, touched_U: Int64Array, new: _Weights) -> _Weights:
    """All classifiers, some of them replaced; what stays is copied in runs, not row by row.

    Args:
        old: Of all labels.
        touched_U: int64, ascending: the labels whose classifiers are new.
        new: Theirs.
    """
    weight_LD, bias_L = old.weight_LD.copy(), old.bias_L.copy()
    weight_LD[touched_U], bias_L[touched_U] = new.weight_LD, new.bias_L
    lengths_L = np.diff(old.label_indptr)
    lengths_L[touched_U] = np.diff(new.label_indptr)
    ends = np.append(old.label_indptr[touched_U], old.label_indptr[-1])
    begins = np.append(old.label_indptr[:1], old.label_indptr[touched_U + 1])
    spliced = []
    for before, after in ((old.features, new.features), (old.values, new.values)):
        rows = _rows_of(new.label_indptr, after, np.arange(len(touched_U)))
        runs = [before[start:stop] for start, stop in zip(begins, ends, strict=True)]
        parts = [part for pair in zip(runs, [*rows, after[:0]], strict=True) for part in pair]
        spliced.append(np.concatenate(parts))
    return _Weights(_offsets(lengths_L), spliced[0], spliced[1], weight_LD, bias_L)


def _no_weights(n_labels: int, dim: int) -> _Weights:
    return _Weights(
        np.zeros(n_labels + 1, np.int64),
        np.empty(0, np.int32),
        np.empty(0, np.float32),
        np.zeros((n_labels, dim), np.float32),
        np.zeros(n_labels, np.float32),
    )


def _started(hard: _HardPoints, start: DualVariables | None) -> Float32Array:
    """The dual variables to begin with, one for each label's point: 0 where none is known."""
    alphas = np.zeros(len(hard.points), np.float32)
    if start is None or not len(start.points):
        return alphas
    size = 1 + max(int(hard.points.max(initial=0)), int(start.points.max()))
    mine, known = (
        np.repeat(np.arange(len(indptr) - 1), np.diff(indptr)) * size + points
        for indptr, points in ((hard.label_indptr, hard.points), start[:2])
    )
    found = np.minimum(np.searchsorted(known, mine), len(known) - 1)
    same = known[found] == mine
    alphas[same] = start.alpha[found[same]]
    return alphas


def _listed(ids_NK: Int64Array, n_labels: int) -> sp.csr_matrix:
    """Shortlists as a matrix N x L, 1 where a label is listed."""
    row, column = np.nonzero(ids_NK >= 0)
    ones = np.ones(len(row), np.int8)
    return sp.csr_matrix((ones, (row, ids_NK[row, column])), shape=(len(ids_NK), n_labels))


def _label_points(
    labels_NL: sp.csr_matrix, listed_NL: sp.csr_matrix, *, max_negatives: int, seed: int
) -> _HardPoints:
    """Invert shortlists and labels: for each label its points, and whether they have it."""
    n_labels = labels_NL.shape[1]
    listed = listed_NL.astype(np.int8)
    listed.data[:] = 1
    # A shortlisted label counts 1, a true one 2: the sum of both matrices tells them apart.
    truth = sp.csr_matrix(
        (np.full(labels_NL.nnz, 2, np.int8), labels_NL.indices, labels_NL.indptr),
        shape=labels_NL.shape,
    )
    pairs = (listed + truth).tocsc()
    pairs.sort_indices()
    positive = pairs.data >= 2
    points, indptr = pairs.indices.astype(np.int32), pairs.indptr.astype(np.int64)
    label_of_pair = np.repeat(np.arange(n_labels), np.diff(indptr))
    negatives_L = np.bincount(label_of_pair[~positive], minlength=n_labels)
    if negatives_L.max(initial=0) > max_negatives:
        share = np.minimum(1.0, max_negatives / np.maximum(negatives_L, 1))
        draw = np.random.default_rng(seed).random(len(points))
        kept = positive | (draw < share[label_of_pair])
        points, positive = points[kept], positive[kept]
        indptr = _offsets(np.bincount(label_of_pair[kept], minlength=n_labels))
    return _HardPoints(indptr, points, positive)


def _offsets(counts_L: Int64Array) -> Int64Array:
    """Where the part of each label begins in a list of all, and where the last one ends."""
    return np.concatenate([[0], np.cumsum(counts_L)]).astype(np.int64)


def _squared_norms(x: _Points) -> Float32Array:
    """|x|^2 of each point with its constant feature 1, float32 N."""
    # reduceat wants an entry at every offset, and gives a row without entries that of the next.
    squares = np.add.reduceat(np.append(x.values * x.values, np.float32(0)), x.indptr[:-1])
    dense = np.einsum("nd,nd->n", x.dense, x.dense)
    norms_N: Float32Array = (squares * (np.diff(x.indptr) > 0) + dense + 1.0).astype(np.float32)
    return norms_N
