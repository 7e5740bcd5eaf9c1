"""Targets as scikit-learn hands them in, and answers of the same form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from learned_index.data.naming import named_label_matrix
from learned_index.data.vocabulary import LabelVocabulary
from learned_index.errors import InputError
from learned_index.system.extras import missing_extra
from learned_index.types import Int64Array

try:
    from sklearn.utils.multiclass import check_classification_targets, type_of_target
    from sklearn.utils.validation import check_array, column_or_1d
except ModuleNotFoundError as error:
    raise missing_extra(error, __name__) from error

Form = Literal["class", "names", "indicator", "sparse"]
"""One class a point, lists of names, an array N x L of 0 and 1, the same as a sparse matrix."""


@dataclass(frozen=True, eq=False)
class Targets:
    """The form in which labels were handed in, and what they are called.

    Attributes:
        form: In which form.
        classes: L classes or names, sorted; of an indicator the numbers of its columns.
    """

    form: Form
    classes: npt.NDArray[Any]

    @classmethod
    def read(cls, y: Any) -> tuple[Targets, sp.csr_matrix]:
        """Read targets to learn from.

        Args:
            y: N classes (strings, integers, booleans), N lists of names, or an indicator N x L of 0
                and 1, dense or sparse.

        Returns:
            Their form, and the labels as CSR N x L.

        Raises:
            InputError: Lists of something else than names.
            ValueError: Nothing to classify: real numbers, NaN, several columns of classes.
        """
        if _are_lists_of_names(y):
            labels_NL, known = named_label_matrix(y, y, None)
            return cls("names", np.array(known.keys, dtype=object)), labels_NL
        y = check_array(
            y, accept_sparse="csr", dtype=None, ensure_2d=False, ensure_min_samples=0,
            input_name="y",
        )  # fmt: skip
        check_classification_targets(y)
        if type_of_target(y).startswith("multilabel"):
            form: Form = "sparse" if sp.issparse(y) else "indicator"
            return cls(form, np.arange(y.shape[1])), sp.csr_matrix(y)
        y = column_or_1d(y, warn=True)
        classes, ids_N = np.unique(y, return_inverse=True)
        return cls("class", classes), _one_each(ids_N, len(classes))

    @property
    def is_one_each(self) -> bool:
        """Whether each point has one class."""
        return self.form == "class"

    def vocabulary(self, given: LabelVocabulary | None) -> LabelVocabulary | None:
        """What a model calls the labels; None: by their numbers.

        Args:
            given: Names and texts of the columns of an indicator, in their order, or of labels
                whose keys or texts are the classes here.

        Raises:
            InputError: It lacks a class, or two classes have the same name.
        """
        if self.form in ("indicator", "sparse"):
            return given
        names = [str(each) for each in self.classes]
        return LabelVocabulary(names) if given is None else given.subset(given.ids(names))

    def answers(self, labels_NL: sp.csr_matrix) -> Any:
        """Sets of labels in the form of an indicator or of lists of names.

        Args:
            labels_NL: CSR N x L of ones; names come in the order in which a row has them.
        """
        if self.form == "sparse":
            found = labels_NL.astype(np.int64)
            found.sort_indices()
            return found
        if self.form == "indicator":
            return labels_NL.toarray().astype(np.int64)
        rows = np.split(self.classes[labels_NL.indices], labels_NL.indptr[1:-1])
        return [row.tolist() for row in rows[: labels_NL.shape[0]]]


def _are_lists_of_names(y: Any) -> bool:
    """Whether each point has a list: of names, as an indicator's rows hold numbers.

    Raises:
        InputError: Lists of different lengths that do not hold names.
    """
    one_dimensional = getattr(y, "ndim", 1) == 1 and hasattr(y, "__len__") and len(y) > 0
    if not one_dimensional or isinstance(y, str | bytes | dict):
        return False
    rows: list[Any] = list(y)
    if not all(isinstance(row, Sequence | set | frozenset | np.ndarray) for row in rows) or any(
        isinstance(row, str | bytes) for row in rows
    ):
        return False
    if any(isinstance(name, str) for row in rows for name in row):
        return True
    if len({len(row) for row in rows}) > 1:
        raise InputError(
            "y holds lists of different lengths without names; expected lists of names (strings), "
            "an indicator of 0 and 1 with a column for each label, or one class for each point"
        )
    return False


def _one_each(ids_N: Int64Array, n_labels: int) -> sp.csr_matrix:
    n_points = len(ids_N)
    entries = (np.ones(n_points), ids_N, np.arange(n_points + 1))
    return sp.csr_matrix(entries, shape=(n_points, n_labels))
