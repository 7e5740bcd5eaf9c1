"""The sparse ranker of ELIAS++: one linear classifier per label, trained on its hard points."""

from __future__ import annotations

from copy import copy
from pathlib import Path
from typing import Any, ClassVar, Self

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
from learned_index.kernels.machine.parallel import run_queries
from learned_index.kernels.machine.scratch import zeros
from learned_index.persistence import Manifest, Saved, save_arrays
from learned_index.persistence.mapped import mapped_arrays
from learned_index.ranking.coded_margins import score_coded_rows
from learned_index.ranking.coded_weights import (
    MOST_LABELS,
    CodedWeights,
    check_coded,
    coded_weights,
    dense_weights,
    sparse_weights,
)
from learned_index.ranking.config import RankerConfig
from learned_index.ranking.float_weights import (
    FloatWeights,
    check_floats,
    taken_rows,
    with_rows,
)
from learned_index.ranking.hard_points import (
    DualVariables,
    label_points,
    listed_labels,
    started,
)
from learned_index.ranking.margin_parts import MarginParts, RankerPoints, margin_parts
from learned_index.ranking.margins import WEIGHT, score_rows
from learned_index.ranking.ranker_training import RankerProgress, trained_weights
from learned_index.types import DenseMatrix, Float32Array, Int64Array

_ARRAYS = "ranker.safetensors"


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
        self._weights: FloatWeights | None = None
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
        return len(kept.features if isinstance(kept, FloatWeights) else kept.term_weights)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in self._kept())

    @property
    def precision(self) -> str:
        """What the weights are kept in: ``"float32"``, or ``"int8"`` after :meth:`to_int8`."""
        return "float32" if self._coded is None else "int8"

    def _kept(self) -> FloatWeights | CodedWeights:
        """The arrays of all classifiers as they are kept."""
        kept = self._weights if self._coded is None else self._coded
        if kept is None:
            raise NotFittedError(
                "the ranker is not trained; call fit(...) or from_pretrained(...) first"
            )
        return kept

    def _fitted(self) -> FloatWeights:
        """The classifiers as floats, which are made anew where bytes are kept."""
        kept = self._kept()
        if isinstance(kept, FloatWeights):
            return kept
        rows = kernel_arrays(sparse_weights(kept))
        return FloatWeights(*rows, dense_weights(kept, slice(None), self.dim_), kept.bias_L)

    def _with(self, weights: FloatWeights) -> Self:
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
        listed_NL = listed_labels(ids, labels_NL.shape[1])
        self._train(x, labels_NL, listed_NL, int(sparse_NV.shape[1]), start, progress)
        return self

    def _train(
        self,
        x: RankerPoints,
        labels_NL: sp.csr_matrix,
        listed_NL: sp.csr_matrix,
        n_features: int,
        start: DualVariables | None = None,
        progress: RankerProgress | None = None,
    ) -> None:
        """Train on checked points; ``listed_NL`` says for which labels each is hard."""
        hard = label_points(
            labels_NL, listed_NL, max_negatives=self.config.max_negatives, seed=self.config.seed
        )
        self._by_term = self._coded = None
        alphas = started(hard, start)
        self._weights = trained_weights(self.config, x, hard, alphas, n_features, progress)
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
        return self._with(FloatWeights(indptr, *rest))

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
        hard = label_points(
            labels_NL[:, touched_U],
            listed_labels(ids, self.n_labels)[:, touched_U],
            max_negatives=self.config.max_negatives,
            seed=self.config.seed,
        )
        alphas, n_features = started(hard, None), int(self.n_features_ or 0)
        prior = taken_rows(old, touched_U)
        new = trained_weights(self.config, x, hard, alphas, n_features, None, prior)
        return self._with(with_rows(old, touched_U, new))

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
            FloatWeights(
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
        if isinstance(kept, FloatWeights):
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
        return margin_parts(self._kept(), self._points(sparse_1V, dense_1D), label)

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

    def _points(
        self, sparse: SparseFeatures, dense: Any, is_dense_plain: bool = False
    ) -> RankerPoints:
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
        return RankerPoints(*matrix[:3], rows)

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
        weights = FloatWeights(*(arrays[name] for name in FloatWeights._fields))
        ranker.n_features_, ranker.dim_ = n_features, int(weights.weight_LD.shape[1])
        check_floats(weights._asdict(), n_features, ranker.dim_)
        ranker._weights = weights
        return ranker


def _checked_ids(ids: Any, n_rows: int, n_labels: int) -> Any:
    ids = as_array(ids, name="shortlists")
    if ids.ndim != 2 or len(ids) != n_rows or ids.dtype.kind not in "iu":
        raise InputError(f"shortlists have shape {ids.shape}, expected {n_rows} rows of label ids")
    if ids.size and (ids.min() < -1 or ids.max() >= n_labels):
        raise InputError(
            f"shortlisted ids run from {ids.min()} to {ids.max()}, expected -1 to {n_labels - 1}"
        )
    return np.ascontiguousarray(ids, dtype=np.int64)
