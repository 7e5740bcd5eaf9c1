"""The training texts that a model keeps on request, so that all of it can be trained anew."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import scipy.sparse as sp

from learned_index.errors import InputError
from learned_index.inputs.matrices import canonical_labels
from learned_index.persistence import Manifest, Saved, load_arrays, save_arrays
from learned_index.persistence.contents import require_layout, require_offsets, require_range

_ARRAYS = "texts.safetensors"


class _Arrays(NamedTuple):
    """What is saved, by name.

    Attributes:
        text_bytes: uint8, UTF-8 of all texts.
        text_offsets: int64, N + 1. Where the bytes of each text begin.
        label_indptr: int64, N + 1. Where its labels begin.
        label_ids: int32, ascending within a text.
    """

    text_bytes: Any
    text_offsets: Any
    label_indptr: Any
    label_ids: Any


class KeptTexts(Saved):
    """N training texts and their labels, as they are.

    They are decoded when they are asked for: a search has no use for them.

    Args:
        arrays: See :class:`_Arrays`.

    Example:
        >>> labels = sp.csr_matrix(np.eye(2, dtype=np.float32))
        >>> KeptTexts.of(["a fox", "a kite"], labels).texts()
        ['a fox', 'a kite']
    """

    kind: ClassVar[str] = "kept-texts"

    def __init__(self, arrays: _Arrays) -> None:
        self._arrays = arrays

    @classmethod
    def of(cls, texts: Any, labels_NL: sp.csr_matrix) -> Self:
        """Keep those of N texts that have a label.

        Args:
            texts: N strings.
            labels_NL: CSR N x L.
        """
        labels_NL = canonical_labels(labels_NL)
        rows = np.flatnonzero(np.diff(labels_NL.indptr))
        coded = [str(texts[row]).encode("utf-8", "surrogatepass") for row in rows.tolist()]
        ends = np.cumsum([len(each) for each in coded], dtype=np.int64)
        labels = labels_NL[rows]
        return cls(
            _Arrays(
                np.frombuffer(b"".join(coded), np.uint8),
                np.concatenate([np.zeros(1, np.int64), ends]),
                labels.indptr.astype(np.int64),
                labels.indices.astype(np.int32),
            )
        )

    def __len__(self) -> int:
        return len(self._arrays.text_offsets) - 1

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in self._arrays)

    def with_texts(self, texts: Any, labels_ML: sp.csr_matrix) -> Self:
        """These texts, and more behind them; see :meth:`of`."""
        old, new = self._arrays, type(self).of(texts, labels_ML)._arrays
        return type(self)(
            _Arrays(
                np.concatenate([old.text_bytes, new.text_bytes]),
                np.concatenate([old.text_offsets, old.text_offsets[-1] + new.text_offsets[1:]]),
                np.concatenate([old.label_indptr, old.label_indptr[-1] + new.label_indptr[1:]]),
                np.concatenate([old.label_ids, new.label_ids]),
            )
        )

    def texts(self) -> list[str]:
        """The texts, in the order in which they came.

        Raises:
            InputError: Bytes from a file are no text.
        """
        content, offsets = self._arrays.text_bytes.tobytes(), self._arrays.text_offsets.tolist()
        try:
            return [
                content[start:stop].decode("utf-8", "surrogatepass")
                for start, stop in itertools.pairwise(offsets)
            ]
        except UnicodeDecodeError as error:
            raise InputError(f"{_ARRAYS} holds bytes that are no text ({error.reason})") from None

    def labels(self, n_labels: int) -> sp.csr_matrix:
        """Their labels, CSR float32 N x L."""
        ids = self._arrays.label_ids
        ones = np.ones(len(ids), np.float32)
        shape = (len(self), n_labels)
        return sp.csr_matrix((ones, ids, self._arrays.label_indptr), shape=shape)

    def check(self, n_labels: int) -> None:
        """Refuse labels that a model does not have.

        Raises:
            InputError: It has fewer labels than these texts name.
        """
        if int(self._arrays.label_ids.max(initial=-1)) >= n_labels:
            raise InputError("the kept texts are those of another model")

    def _write(self, folder: Path) -> dict[str, Any]:
        save_arrays(folder / _ARRAYS, self._arrays._asdict())
        return {}

    @classmethod
    def _read(cls, manifest: Manifest) -> Self:
        found = load_arrays(manifest.file(_ARRAYS))
        arrays = _Arrays(*(found[name] for name in _Arrays._fields))
        n, n_bytes, n_pairs = len(arrays.text_offsets) - 1, *map(len, arrays[::3])
        require_layout(
            arrays._asdict(),
            {
                "text_bytes": (np.uint8, (n_bytes,)),
                "text_offsets": (np.int64, (n + 1,)),
                "label_indptr": (np.int64, (n + 1,)),
                "label_ids": (np.int32, (n_pairs,)),
            },
        )
        require_offsets("text_offsets", arrays.text_offsets, n_bytes)
        require_offsets("label_indptr", arrays.label_indptr, n_pairs)
        require_range("label_ids", arrays.label_ids, 0, 1 << 31)
        return cls(arrays)
