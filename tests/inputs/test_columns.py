"""Texts and labels as columns of other packages: looked at by what they can do, not imported."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import pytest
import scipy.sparse as sp

from learned_index.data.naming import named_label_matrix
from learned_index.errors import InputError
from learned_index.inputs.points import as_points

TEXTS = ["steel bridge", "tax law", "bird nest"]
NAMES = [["x"], ["y", "x"], []]
EXPECTED = [[1, 0], [1, 1], [0, 0]]


class Column(Sequence):
    """What a column of a Hugging Face data set can do."""

    def __init__(self, values):
        self._values = values

    def __len__(self):
        return len(self._values)

    def __getitem__(self, place):
        return self._values[place]


class Frame:
    """What frames of pandas and polars can do."""

    ndim = 2

    def __init__(self, columns, values):
        self.columns, self._values = columns, np.asarray(values)
        self.shape = self._values.shape

    def __iter__(self):
        return iter(self.columns)

    def __len__(self):
        return len(self._values)

    def to_numpy(self):
        return self._values


def columns(name, values):
    """The same values as columns of the installed packages."""
    found = [Column(values), tuple(values), (value for value in values)]
    if name == "texts":
        found += [np.array(values), np.array(values, object)]
    for package in ("pandas", "polars"):
        with suppress(ModuleNotFoundError):
            found.append(__import__(package).Series(values))
    with suppress(ModuleNotFoundError):
        found.append(__import__("pyarrow").array(values))
    return found


def test_texts_in_any_column() -> None:
    for given in columns("texts", TEXTS):
        found = as_points(given)
        assert type(found) in (list, tuple) and list(found) == TEXTS, type(given)


def test_a_series_with_another_index_keeps_its_order() -> None:
    pandas = pytest.importorskip("pandas")
    assert as_points(pandas.Series(TEXTS, index=[7, 0, 3])) == TEXTS


def test_rows_of_features_stay_what_they_are() -> None:
    rows, vectors = sp.eye(3, format="csr"), np.eye(3)
    assert as_points(rows) is rows and as_points(vectors) is vectors


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["a", None, "c"], r"texts\[1\] is None, expected a string"),
        (["a", float("nan")], r"texts\[1\] is nan.*''"),
        ([None, "a"], r"texts\[0\] is None"),
        ("abc", r"use \[text\]"),
        ({"a": 1}, "are a dict, expected a list"),
        (3, "are a int"),
        (Frame(["title", "year"], [["a", "b"]]), r"one column of texts; give frame\['title'\]"),
    ],
)
def test_what_is_no_column_of_texts(given, message) -> None:
    with pytest.raises(InputError, match=message):
        as_points(given)


@pytest.mark.parametrize(
    ("values", "expected"),
    [(NAMES, EXPECTED), (["x", "y", "x"], [[1, 0], [0, 1], [1, 0]]), ([0, 1, 0], None)],
)
def test_labels_in_any_column(values, expected) -> None:
    for given in columns("labels", values):
        matrix, names = named_label_matrix(TEXTS, given, None)
        assert matrix.toarray().tolist() == (expected or [[1, 0], [0, 1], [1, 0]]), type(given)
        assert names.keys == (("x", "y") if expected else ("0", "1"))


def test_the_columns_of_an_indicator_name_the_labels() -> None:
    matrix, names = named_label_matrix(TEXTS, Frame(["q", "p"], EXPECTED), None)
    assert matrix.toarray().tolist() == EXPECTED and names.keys == ("q", "p")
    matrix, names = named_label_matrix(TEXTS, Frame([0, 1], EXPECTED), ["a", "b"])
    assert names.keys == ("a", "b")
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(EXPECTED, columns=["q", "p"])
    matrix, names = named_label_matrix(TEXTS, frame, None)
    assert matrix.toarray().tolist() == EXPECTED and names.keys == ("q", "p")
