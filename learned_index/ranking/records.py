"""The training records that a model remembers: which are nearest to a point, and their labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from learned_index.errors import InputError
from learned_index.inputs.matrices import (
    SparseFeatures,
    canonical_features,
    canonical_labels,
    sparse_rows,
)
from learned_index.inputs.numbers import whole_number
from learned_index.inputs.vectors import as_float32_rows, as_vectors
from learned_index.kernels.machine.parallel import run_queries
from learned_index.kernels.machine.scratch import zeros
from learned_index.persistence import Manifest, Saved, save_arrays
from learned_index.persistence.mapped import mapped_arrays
from learned_index.ranking.nearest import ZERO, nearest_by_words
from learned_index.ranking.nearest_vectors import nearest_by_vectors
from learned_index.ranking.record_layout import WEIGHT_UNIT, centroids, coded, inverted, owned
from learned_index.ranking.record_memory import (
    RecordMemory,
    check_memory,
    joined_lists,
    own_of_both,
)
from learned_index.ranking.votes import count_votes
from learned_index.types import PAD_ID, Float32Array, Int64Array

N_NEAREST = 30
"""Records whose votes count, by words and by vectors each."""
PROBED = 16
"""Cells that a query scans."""
_ARRAYS = "records.safetensors"
_NO_MASK = np.empty(0, np.bool_)


class Votes(NamedTuple):
    """Votes of the nearest records.

    Attributes:
        ids: int64, B x (K + S). The shortlisted labels, and the added ones behind them.
        added: int64, B x S. Labels of nearest records that were not shortlisted, most votes
            first, padded with -1.
        words: float32, B x (K + S). Votes of the nearest by words for the shortlisted and the
            added labels; 0 at pads.
        vectors: float32, likewise of the nearest by vectors.
        likeness: float32, likewise: inner product of the point's words with the mean of the
            label's own records (at most 64 of them, drawn evenly), which is scaled to length 1.
    """

    ids: Int64Array
    added: Int64Array
    words: Float32Array
    vectors: Float32Array
    likeness: Float32Array


class Records(Saved):
    """Training records as evidence: labels of the records that are nearest to a point.

    Args:
        memory: See :class:`RecordMemory`.
        n_labels: L.

    Example:
        >>> x = sp.csr_matrix(np.eye(3, dtype=np.float32))
        >>> y = sp.csr_matrix(np.eye(3, dtype=np.float32))
        >>> records = Records.of(x, np.eye(3), y, np.zeros(3, np.int64))
        >>> records.votes(x[:1], np.eye(3)[:1], np.array([[2]]), n_added=1).added.tolist()
        [[0]]
    """

    kind: ClassVar[str] = "records"

    def __init__(self, memory: RecordMemory, n_labels: int) -> None:
        self._memory = memory
        self.n_labels = n_labels
        # The longest record bounds how many labels a row of nearest records can name.
        self._most_labels = int(np.diff(memory.label_indptr).max(initial=0))

    @classmethod
    def of(
        cls, sparse_NV: sp.csr_matrix, dense_ND: Any, labels_NL: sp.csr_matrix, cell_N: Int64Array
    ) -> Self:
        """Remember points.

        Args:
            sparse_NV: CSR float32, N x V, rows of about length 1 (tf-idf), no negative values.
            dense_ND: N x D vectors.
            labels_NL: CSR N x L. Points without labels are left out.
            cell_N: int64, the cell of each point: near vectors in one cell, cells of about
                sqrt(N) points.

        Raises:
            InputError: Shapes that do not fit, NaN or infinity.
        """
        labels_NL = canonical_labels(labels_NL)
        if labels_NL.shape[0] != len(cell_N):
            raise InputError(f"got {len(cell_N)} cells for {labels_NL.shape[0]} records")
        rows = np.flatnonzero(np.diff(labels_NL.indptr))
        rows = rows[np.argsort(cell_N[rows], kind="stable")]
        kept, labels = sparse_NV[rows], labels_NL[rows]
        kept = canonical_features(kept, what="the sparse features", copy=False)
        vectors = as_float32_rows(as_vectors(np.asarray(dense_ND)[rows], name="vectors"))
        _, counts = np.unique(cell_N[rows], return_counts=True)
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        codes, units = coded(vectors)
        by_term = inverted(kept)
        return cls(
            RecordMemory(
                labels.indptr.astype(np.int64),
                labels.indices.astype(np.int32),
                *by_term,
                codes,
                units,
                offsets,
                centroids(vectors, offsets),
                *owned(labels, *by_term),
            ),
            int(labels_NL.shape[1]),
        )

    def __len__(self) -> int:
        return len(self._memory.units_N)

    @property
    def n_terms(self) -> int:
        """V, sparse features."""
        return len(self._memory.term_indptr) - 1

    @property
    def dim(self) -> int:
        """D, dense features."""
        return int(self._memory.centroids_CD.shape[1])

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in self._memory)

    def with_merged_labels(self, target_L: Int64Array) -> Self:
        """The same records with other labels in the place of some.

        Args:
            target_L: For each label the one that takes its place: itself, as a rule.
        """
        m = self._memory
        labels = canonical_labels(self._label_matrix(target_L[m.label_ids], self.n_labels))
        lists = m.term_indptr, m.term_records, m.term_weights
        own_indptr, own_records, own_scales = owned(labels, *lists)
        return type(self)(
            m._replace(
                label_indptr=labels.indptr.astype(np.int64),
                label_ids=labels.indices.astype(np.int32),
                own_indptr=own_indptr,
                own_records=own_records,
                own_scales=own_scales,
            ),
            self.n_labels,
        )

    def counts(self) -> Int64Array:
        """Records of each label, int64 L; no record names a label twice."""
        return np.bincount(self._memory.label_ids, minlength=self.n_labels).astype(np.int64)

    def without_labels(self, removed_L: npt.NDArray[np.bool_]) -> Self:
        """The same records without some of their labels; a record may be left with none.

        Args:
            removed_L: bool, the labels that go.
        """
        m = self._memory
        kept = ~removed_L[m.label_ids]
        before = np.concatenate([[0], np.cumsum(kept)])  # kept labels before each place
        owned_by = np.repeat(np.arange(self.n_labels), np.diff(m.own_indptr))
        own = ~removed_L[owned_by]
        return type(self)(
            m._replace(
                label_indptr=before[m.label_indptr].astype(np.int64),
                label_ids=m.label_ids[kept],
                own_indptr=np.concatenate([[0], np.cumsum(own)])[m.own_indptr].astype(np.int64),
                own_records=m.own_records[own],
                own_scales=np.where(removed_L, 0, m.own_scales).astype(np.float32),
            ),
            self.n_labels,
        )

    def with_records(
        self, sparse_MV: sp.csr_matrix, dense_MD: Any, labels_ML: sp.csr_matrix
    ) -> Self:
        """These records and more, each in the cell whose centroid is nearest; cells stay.

        Args:
            sparse_MV: See :meth:`of`.
            dense_MD: Likewise.
            labels_ML: CSR, of at least as many labels as these records have; each row has one.
        """
        m = self._memory
        n_labels = int(labels_ML.shape[1])
        sparse_MV = canonical_features(sparse_MV, what="the sparse features", copy=False)
        labels_ML = canonical_labels(labels_ML)
        vectors = as_float32_rows(as_vectors(dense_MD, name="vectors"))
        known = self._label_matrix(m.label_ids, n_labels)
        cell_N = np.repeat(np.arange(len(m.centroids_CD)), np.diff(m.cell_offsets))
        cell_N = np.concatenate([cell_N, np.argmax(vectors @ m.centroids_CD.T, axis=1)])
        order = np.argsort(cell_N, kind="stable")
        number = np.empty(len(order), np.int32)  # new numbers of the records, old ones first
        number[order] = np.arange(len(order), dtype=np.int32)
        codes, units = (
            np.concatenate([old, new])[order]
            for old, new in zip((m.codes_NP, m.units_N), coded(vectors), strict=True)
        )
        labels = sp.vstack([known, labels_ML], format="csr")[order]
        labels.sort_indices()
        lists = joined_lists(m, inverted(sparse_MV), number, len(self))
        offsets = np.searchsorted(cell_N[order], np.arange(len(m.centroids_CD) + 1))
        own = own_of_both(m, number, labels, np.unique(labels_ML.indices), lists)
        memory = RecordMemory(
            labels.indptr.astype(np.int64), labels.indices.astype(np.int32), *lists, codes, units,
            offsets.astype(np.int64), m.centroids_CD, *own,
        )  # fmt: skip
        return type(self)(memory, n_labels)

    def with_more_terms(self, n_terms: int) -> Self:
        """The same records among points with further sparse features, which none of them has."""
        indptr = self._memory.term_indptr
        longer = np.concatenate([indptr, np.full(n_terms - self.n_terms, indptr[-1])])
        return type(self)(self._memory._replace(term_indptr=longer), self.n_labels)

    def points(self) -> tuple[sp.csr_matrix, Float32Array, sp.csr_matrix]:
        """What is remembered of the records: heaviest terms N x V, unit vectors N x D, labels."""
        return self._terms(), self.vectors(slice(None)), self.labels()

    def vectors(self, rows: slice | Int64Array) -> Float32Array:
        """Unit vectors of some records by their numbers, float32 n x D."""
        m = self._memory
        unit: Float32Array = m.codes_NP[rows, : self.dim].astype(np.float32)
        unit -= ZERO
        unit *= m.units_N[rows, None]
        return unit

    def labels(self) -> sp.csr_matrix:
        """Labels of the records, CSR float32 N x L."""
        return self._label_matrix(self._memory.label_ids, self.n_labels)

    def _terms(self) -> sp.csr_matrix:
        m = self._memory
        weights = m.term_weights.astype(np.float32) * WEIGHT_UNIT
        by_term = sp.csr_matrix(
            (weights, m.term_records, m.term_indptr), shape=(self.n_terms, len(self))
        )
        return by_term.T.tocsr()

    def _label_matrix(self, label_ids: Any, n_labels: int) -> sp.csr_matrix:
        """The records' labels as CSR float32, N x L, under other ids."""
        ones = np.ones(len(label_ids), np.float32)
        return sp.csr_matrix(
            (ones, label_ids, self._memory.label_indptr), shape=(len(self), n_labels)
        )

    def labels_of(self, record: int) -> Int64Array:
        """Labels of a record by the number that :meth:`by_words` gives."""
        m = self._memory
        found = m.label_ids[m.label_indptr[record] : m.label_indptr[record + 1]]
        return np.asarray(found, np.int64)

    def by_words(self, sparse_BV: SparseFeatures) -> tuple[npt.NDArray[np.int32], Float32Array]:
        """Nearest records by words: numbers B x T (-1 where there are fewer) and similarities."""
        m, (ids, similarities) = self._memory, _empty(sparse_BV.shape[0], N_NEAREST)
        rows = sparse_rows(sparse_BV)[:3]
        run_queries(
            len(ids),
            lambda start, stop: nearest_by_words(
                start, stop, *rows, m.term_indptr, m.term_records, m.term_weights, WEIGHT_UNIT,
                *self._sums(), ids, similarities,
            ),
        )  # fmt: skip
        return ids, similarities

    def by_vectors(
        self, dense_BD: Any, *, count: int = N_NEAREST
    ) -> tuple[npt.NDArray[np.int32], Float32Array]:
        """Nearest records by vectors, of the nearest cells; likewise, similarities are cosines.

        Args:
            dense_BD: B x D.
            count: T.
        """
        m, (ids, similarities) = self._memory, _empty(len(dense_BD), count)
        x_BD = np.ascontiguousarray(dense_BD, np.float32)
        n_probed = min(PROBED, len(m.centroids_CD))
        run_queries(
            len(ids),
            lambda start, stop: nearest_by_vectors(
                start, stop, x_BD, m.centroids_CD, m.cell_offsets, m.codes_NP, m.units_N,
                n_probed, ids[start:stop], similarities[start:stop],
            ),
        )  # fmt: skip
        return ids, similarities

    def votes(
        self,
        sparse_BV: SparseFeatures,
        dense_BD: Any,
        ids_BK: Int64Array,
        *,
        n_added: int,
        allowed_L: npt.NDArray[np.bool_] | None = None,
    ) -> Votes:
        """Votes of the nearest records for shortlisted labels, and for labels they add.

        Args:
            sparse_BV: B x V.
            dense_BD: B x D.
            ids_BK: int64 label ids, -1 at pads; each row without duplicates.
            n_added: S, labels added at most.
            allowed_L: Which labels may be added; None: all.

        Raises:
            InputError: Features or ids that are not those of the records.
        """
        if sparse_BV.shape[1] != self.n_terms or np.shape(dense_BD)[1] != self.dim:
            raise InputError(
                f"got {sparse_BV.shape[1]} sparse and {np.shape(dense_BD)[1]} dense features, the "
                f"records have {self.n_terms} and {self.dim}; use the same encoders"
            )
        m = self._memory
        n_rows, width = ids_BK.shape
        rows, x_BD = sparse_rows(sparse_BV)[:3], np.ascontiguousarray(dense_BD, np.float32)
        shape = n_rows, width + n_added
        ids = np.empty(shape, np.int64)
        votes = [np.empty(shape, np.float32) for _ in range(3)]
        allowed = _NO_MASK if allowed_L is None else allowed_L
        n_probed = min(PROBED, len(m.centroids_CD))
        wrong: list[int] = []

        def count(start: int, stop: int) -> None:
            row = count_votes(
                start, stop, ids_BK, ids, *rows, m.term_indptr, m.term_records,
                m.term_weights, WEIGHT_UNIT, x_BD, m.centroids_CD, m.cell_offsets, m.codes_NP,
                m.units_N, n_probed, N_NEAREST, m.label_indptr, m.label_ids, m.own_indptr,
                m.own_records, m.own_scales, self._most_labels, allowed, *self._sums(),
                *self._counts(), self.n_labels, *votes,
            )  # fmt: skip
            if row >= 0:
                wrong.append(row)

        run_queries(n_rows, count)
        if wrong:
            raise InputError(f"shortlisted ids must lie in -1 to {self.n_labels - 1}")
        return Votes(ids, ids[:, width:], *votes)

    def _sums(self) -> tuple[Any, Any]:
        """Scratch of a search by words: sums of the records, and those that have one."""
        n = len(self)
        return zeros("records' sums", n, np.float32), zeros("records found", n + 1, np.int32)

    def _counts(self) -> tuple[Any, Any, Any]:
        """Scratch of a count of votes: those by words and by vectors, and labels that have one."""
        n = self.n_labels
        return (
            zeros("votes by words", n, np.float32),
            zeros("votes by vectors", n, np.float32),
            zeros("labels with votes", n, np.bool_),
        )

    def _write(self, folder: Path) -> dict[str, Any]:
        save_arrays(folder / _ARRAYS, self._memory._asdict())
        return {"n_labels": self.n_labels}

    @classmethod
    def _read(cls, manifest: Manifest) -> Self:
        n_labels = whole_number(manifest.config["n_labels"], "n_labels")
        with mapped_arrays(manifest.file(_ARRAYS)) as arrays:
            memory = RecordMemory(*(arrays[name] for name in RecordMemory._fields))
            check_memory(memory, n_labels)
        return cls(memory, n_labels)


def _empty(n_rows: int, count: int) -> tuple[npt.NDArray[np.int32], Float32Array]:
    ids = np.full((n_rows, count), PAD_ID, np.int32)
    return ids, np.zeros((n_rows, count), np.float32)
