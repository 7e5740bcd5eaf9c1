"""Filters for each query by itself: the answers of as many calls with one filter."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from elias_cases import finally_ranked, fitted, queries

from learned_index import LearnedGraphIndex
from learned_index.errors import InputError
from learned_index.inputs.filters import filters_of_queries
from learned_index.inputs.labels import label_mask

N_LABELS, DIM, N = 40, 12, 7


@pytest.fixture(scope="module")
def index() -> LearnedGraphIndex:
    rng = np.random.default_rng(0)
    labels = sp.random(400, N_LABELS, 0.05, format="csr", random_state=1)
    labels.data[:] = 1
    return LearnedGraphIndex().fit(rng.normal(size=(400, DIM)).astype(np.float32), labels)


def points() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(N, DIM)).astype(np.float32)


def masks(seed: int) -> np.ndarray:
    mask = np.random.default_rng(seed).random((N, N_LABELS)) < 0.3
    mask[4] = mask[1]  # two queries share one
    return mask


def column(rows: list) -> np.ndarray:
    """An array of objects, as the columns of data frames are."""
    made = np.empty(len(rows), object)
    made[:] = rows
    return made


FORMS = {
    "boolean array": lambda mask: mask,
    "tensor": torch.from_numpy,
    "sparse": sp.csr_matrix,
    "lists": lambda mask: [np.flatnonzero(row).tolist() for row in mask],
    "arrays": lambda mask: [np.flatnonzero(row) for row in mask],
    "masks": list,
    "lists of booleans": lambda mask: mask.tolist(),
    "tensors of booleans": lambda mask: [torch.from_numpy(row) for row in mask],
    "iterators": lambda mask: [iter(np.flatnonzero(row).tolist()) for row in mask],
    "array of lists": lambda mask: column([np.flatnonzero(row).tolist() for row in mask]),
    "weights": lambda mask: sp.coo_matrix(mask * -2.5),
    "sets": lambda mask: tuple(set(np.flatnonzero(row).tolist()) for row in mask),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["index", "deep", "engine"])
def test_each_query_is_answered_as_by_itself(index, form, kind):
    searcher = {
        "index": lambda: index,
        "engine": index.to_engine,
        "deep": lambda: LearnedGraphIndex().fit(
            points().repeat(20, 0), [[i % N_LABELS] for i in range(20 * N)]
        ).build_hierarchy(points().repeat(20, 0)),
    }[kind]()  # fmt: skip
    allow, deny = masks(1), masks(2)
    found = searcher.search(points(), 5, allow=FORMS[form](allow), deny=FORMS[form](deny))
    for row, query in enumerate(points()):
        alone = searcher.search(query[None], 5, allow=allow[row], deny=deny[row])
        np.testing.assert_array_equal(found.ids[row], alone.ids[0])
        np.testing.assert_array_equal(found.scores[row], alone.scores[0])
        inside = found.ids[row][found.ids[row] >= 0]
        assert allow[row][inside].all() and not deny[row][inside].any()


@pytest.mark.parametrize("kind", ["trees", "ensemble", "compiled"])
def test_whole_models_take_names_too(kind):
    model = fitted(n_models=2) if kind == "ensemble" else finally_ranked("trees")
    model = model.to_engine() if kind == "compiled" else model
    texts = queries(4)
    names = list(model.vocabulary.keys)
    allow = [names[:3], None, [1, 2, 5], names[:3]]
    for score in ("ranking", "index"):
        found = model.search(texts, 4, allow=allow, deny=[0], score=score)
        for row, text in enumerate(texts):
            alone = model.search([text], 4, allow=allow[row], deny=[0], score=score)
            np.testing.assert_array_equal(found.ids[row], alone.ids[0])
            np.testing.assert_array_equal(found.scores[row], alone.scores[0])
    vectors = model.encode(texts)
    given = model.search(texts, 4, vectors=vectors, allow=allow)
    np.testing.assert_array_equal(given.ids, model.search(texts, 4, allow=allow).ids)
    assert [len(row) for row in model.predict(texts, 9, allow=[[0], [1, 2], [], None])][:3] == [
        1,
        2,
        0,
    ]


def test_queries_with_one_filter_are_searched_together():
    groups = filters_of_queries([[1, 2], None, [2, 1], None], None, 4, n_labels=9)
    assert [group.rows.tolist() for group in groups] == [[0, 2], [1, 3]]
    assert [None if group.allow is None else group.allow.tolist() for group in groups] == [
        [1, 2],
        None,
    ]
    assert filters_of_queries([1, 2], [3], 4, n_labels=9) is None
    assert filters_of_queries(None, np.ones(9, bool), 4, n_labels=9) is None
    both = filters_of_queries([[1], [1], [2]], [[3], [4], [3]], 3, n_labels=9)
    assert [group.rows.tolist() for group in both] == [[0], [1], [2]]
    mask = [False, True, True] + 6 * [False]
    alike = filters_of_queries([[1, 2], mask, {2, 1}, np.array([2, 1, 1])], None, 4, n_labels=9)
    assert [group.rows.tolist() for group in alike] == [[0, 1, 2, 3]]
    names = filters_of_queries(
        [["b"], [1], ["a"]], None, 3, n_labels=2,
        ids_of=lambda labels: [{"a": 0, "b": 1}.get(label, label) for label in labels],
    )  # fmt: skip
    assert [group.rows.tolist() for group in names] == [[0, 1], [2]]


def test_masks_with_as_many_labels_are_not_the_same():
    """Lists of booleans with equally many true ones used to share the filter of the first."""
    groups = filters_of_queries([[True, False, False], [False, True, False]], None, 2, n_labels=3)
    assert [group.allow.tolist() for group in groups] == [[0], [1]]


def test_both_of_two_labels_can_be_named():
    """The ids 0 and 1 of two labels could be a mask, where they stand for all queries."""
    both = np.array([[True, True], [True, False]])
    for given in (both, sp.csr_matrix(both), both.tolist()):
        groups = filters_of_queries(given, None, 2, n_labels=2)
        assert label_mask(groups[0].allow, 2, name="allow").tolist() == [True, True]
        assert label_mask(groups[1].allow, 2, name="allow").tolist() == [True, False]


@pytest.mark.parametrize(
    ("allow", "said"),
    [
        ([[1]] * (N - 1), "given for 6 queries, expected 7"),
        (np.ones((2, N_LABELS), bool), "given for 2 queries"),
        (sp.csr_matrix((N + 1, N_LABELS)), "given for 8 queries"),
        ([[1], 2, None, None, None, None, None], "mixes lists of labels and labels"),
        ([[N_LABELS]] * N, "expected 0 to 39"),
        ([[0], [N_LABELS], *[None] * 5], r"allow\[1\] holds ids"),
        ([[[0]]] * N, r"allow\[0\] is"),
        (np.ones((N, 3), bool), "got 3 columns, expected 40"),
        (sp.csr_matrix((N, N_LABELS + 1)), "got 41 columns, expected 40"),
        (sp.csr_matrix((N, N_LABELS - 1)), "got 39 columns, expected 40"),
        (np.arange(2 * N).reshape(N, 2), "a list of lists of ids"),
        (np.ones((N, N_LABELS), int), "a list of lists of ids"),
        (np.ones((N, N_LABELS, 1), bool), "a list of lists of ids"),
    ],
)
def test_filters_that_cannot_be_meant_are_refused(index, allow, said):
    for searcher in (index, index.to_engine()):
        with pytest.raises(InputError, match=said):
            searcher.search(points(), 5, allow=allow)
