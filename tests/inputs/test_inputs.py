"""What users hand in is taken as it was meant, or refused with what to do instead."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learned_index import (
    EliasConfig,
    EngineConfig,
    IndexConfig,
    LearnedGraphIndex,
    SearchEngine,
    TrainingConfig,
)
from learned_index.comparison import evaluate
from learned_index.errors import InputError
from learned_index.inputs.labels import as_label_matrix, label_ids, label_mask
from learned_index.inputs.matrices import canonical_features, canonical_labels
from learned_index.inputs.numbers import check_result_size, real_number, whole_number
from learned_index.inputs.points import n_rows, unanswerable_rows
from learned_index.inputs.positives import as_positives
from learned_index.inputs.vectors import as_float32_rows, as_query_rows, as_vectors
from learned_index.ranking.sparse_ranker import SparseRanker

N, L, D = 60, 6, 8
IDS = [[i % L] for i in range(N)]
DENSE = np.eye(L, dtype=np.int64)[[row[0] for row in IDS]]
CSR = sp.csr_matrix(DENSE.astype(np.float32))
QUICK = TrainingConfig(stage1_epochs=1, stage2_epochs=1)
WHOLE = np.arange(3)


def vectors(n: int = N) -> np.ndarray:
    centres = np.random.default_rng(0).normal(size=(L, D))
    noise = 0.1 * np.random.default_rng(1).normal(size=(n, D))
    return (centres[np.arange(n) % L] + noise).astype(np.float32)


@pytest.fixture(scope="module")
def index() -> LearnedGraphIndex:
    return LearnedGraphIndex(training=QUICK).fit(vectors(), IDS)


@pytest.fixture(scope="module")
def engine(index: LearnedGraphIndex) -> SearchEngine:
    return index.to_engine()


def spoiled(name: str, place: int, value: int, layout: str = "csr") -> sp.csr_matrix:
    matrix = CSR.asformat(layout).copy()
    getattr(matrix, name)[place] = value
    return matrix


# -- labels of points ------------------------------------------------------------------------------

TAKEN = {
    "CSR": CSR,
    "CSR of booleans": CSR.astype(bool),
    "CSR of int8": CSR.astype(np.int8),
    "CSR array": sp.csr_array(CSR),
    "COO": CSR.tocoo(),
    "COO with a label twice": sp.coo_matrix(
        (np.ones(N + 1), (np.r_[np.arange(N), 3], np.r_[np.arange(N) % L, 3])), shape=(N, L)
    ),
    "CSR with a label twice": sp.csr_matrix(
        (np.ones(2 * N), np.repeat(np.arange(N) % L, 2), 2 * np.arange(N + 1)), shape=(N, L)
    ),
    "CSR with a stored zero": sp.csr_matrix(
        (np.tile([1.0, 0.0], N), (np.arange(2 * N) // 2 + np.arange(2 * N) % 2) % L,
         2 * np.arange(N + 1)), shape=(N, L),
    ),
    "LIL": CSR.tolil(),
    "CSC": CSR.tocsc(),
    "BSR": CSR.tobsr(),
    "DOK": CSR.todok(),
    "indices of 64 bits": sp.csr_matrix(
        (CSR.data, CSR.indices.astype(np.int64), CSR.indptr.astype(np.int64)), CSR.shape
    ),
    "lists": IDS,
    "tuples of sets": tuple(set(row) for row in IDS),
    "arrays": [np.array(row, np.uint8) for row in IDS],
    "tensors": [torch.tensor(row) for row in IDS],
    "ids of NumPy": [[np.int16(row[0])] for row in IDS],
    "an id twice": [row * 2 for row in IDS],
    "one id a point": [row[0] for row in IDS],
    "an array of one id a point": np.array(IDS)[:, 0],
    "a tensor of one id a point": torch.tensor(IDS)[:, 0],
    "a generator": None,
    "indicator": DENSE,
    "indicator of booleans": DENSE.astype(bool),
    "indicator of floats": DENSE.astype(np.float64),
    "indicator in a tensor": torch.tensor(DENSE),
    "indicator of booleans in a tensor": torch.tensor(DENSE, dtype=torch.bool),
}  # fmt: skip


@pytest.mark.parametrize("form", TAKEN)
def test_labels_in_any_form_are_one_canonical_matrix(form: str) -> None:
    labels = (list(row) for row in IDS) if form == "a generator" else TAKEN[form]
    matrix = as_label_matrix(labels, n_points=N)
    assert type(matrix) is sp.csr_matrix and matrix.dtype == np.float32
    assert matrix.has_canonical_format and (matrix.data == 1).all()
    np.testing.assert_array_equal(matrix.toarray(), DENSE)


REFUSED = {
    "fraction": ([[2.9], *IDS[1:]], "row 0 has the label 2.9, expected label ids"),
    "whole float": ([[2.0], *IDS[1:]], "whole numbers"),
    "text": ([*IDS[:-1], ["3"]], f"row {N - 1} has the label '3'.*LabelVocabulary"),
    "truth value": ([[True], *IDS[1:]], "the label True"),
    "truth value of NumPy": ([[np.True_], *IDS[1:]], "the label np.True_"),
    "None for a row": ([None, *IDS[1:]], r"write \[\] for a point without labels"),
    "nested": ([[[1]], *IDS[1:]], r"the label \[1\]"),
    "negative": ([IDS[0], [-1], *IDS[2:]], "row 1 has label id -1, expected 0 or more"),
    "beyond 64 bits": ([[2**70], *IDS[1:]], "row 0 has label id 1180591620717411303424"),
    "beyond what Python prints": ([[10**5000], *IDS[1:]], "a number of 16610 bits"),
    "array of floats": ([np.array([1.0])] * N, "the label 1.0"),
    "a string": ("abc", "labels are a str"),
    "a dictionary": (dict(enumerate(IDS)), "labels are a dict"),
    "a set": ({(1,), (2,)}, "labels are a set"),
    "nothing": (None, "labels are a NoneType"),
    "a number": (3, "labels are a int"),
    "too few": (IDS[:-1], "have 59 rows, expected 60"),
    "too few of a matrix": (CSR[:-1], "have 59 rows, expected 60"),
    "none at all": ([[]] * N, "no point has a label"),
    "indicator in lists": (DENSE.tolist(), "scipy.sparse.csr_matrix"),
    "two classes in lists": ([[0, 1], [1, 0]] * (N // 2), "scipy.sparse.csr_matrix"),
    "array of ids": (np.array(IDS), "labels.tolist()"),
    "column of zeros and ones": (DENSE[:, :1], "two ways"),
    "counts": (DENSE * 3, "scipy.sparse.csr_matrix"),
    "objects": (DENSE.astype(object), "two ways"),
    "three dimensions": (DENSE[None], "two dimensions"),
    "masked": (np.ma.array(DENSE, mask=DENSE == 1), "masked entries"),
    "sparse tensor": (torch.tensor(DENSE).to_sparse(), "expected a scipy.sparse matrix"),
    "minus one": (-CSR, "value -1.0 in row 0, expected 0 and 1"),
    "minus one and one": (sp.csr_matrix(2 * DENSE - 1), "expected 0 and 1"),
    "infinite": (CSR * np.inf, "value inf"),
    "not a number": (CSR * np.nan, "value nan"),
    "half": (CSR * 0.5, "value 0.5"),
    "two": (2 * CSR, r"labels != 0"),
    "two in COO": (2 * CSR.tocoo(), r"labels != 0"),
    "complex": (CSR.astype(complex), "complex128, expected numbers"),
    "one dimension": (sp.coo_array(np.ones(4)), "1 dimensions"),
    "ids of a database": ([[10**6 + row[0]] for row in IDS], "only 6 labels occur.*as strings"),
    "authority numbers": ([[3 * 10**9 + row[0]] for row in IDS], "only 6 labels occur"),
    "columns of a database": (
        sp.csr_matrix((np.ones(N), (np.arange(N), np.arange(N) % L + 10**9)), (N, 2 * 10**9)),
        "2000000000 columns, but only 6",
    ),
    "indptr far away": (spoiled("indptr", 5, 10**6), "not a valid sparse matrix"),
    "indptr negative": (spoiled("indptr", 5, -1), "not a valid sparse matrix"),
    "index far away": (spoiled("indices", 5, 10**6), "not a valid sparse matrix"),
    "index negative": (spoiled("indices", 5, -1), "not a valid sparse matrix"),
    "CSC far away": (spoiled("indices", 5, 10**6, "csc"), "not a valid sparse matrix"),
    "BSR far away": (spoiled("indices", 0, 10**6, "bsr"), "not a valid sparse matrix"),
    "COO far away": (spoiled("col", 5, 10**6, "coo"), "its columns run from 0 to 1000000"),
}


@pytest.mark.parametrize("form", REFUSED)
def test_what_are_no_labels_is_refused(form: str) -> None:
    labels, message = REFUSED[form]
    with pytest.raises(InputError, match=message):
        as_label_matrix(labels, n_points=N)


def test_the_number_of_labels_is_kept_and_decides() -> None:
    assert as_label_matrix([[1], [0]], n_points=2, n_labels=9).shape == (2, 9)
    assert as_label_matrix([[0, 1]], n_points=1, n_labels=9).nnz == 2  # no indicator of 9 labels
    assert as_label_matrix([[10**6]], n_points=1, n_labels=2 * 10**6).shape == (1, 2 * 10**6)
    assert as_label_matrix([[]], n_points=1, n_labels=2, need_labels=False).nnz == 0
    with pytest.raises(InputError, match="row 0 has label id 9, expected 0 to 8"):
        as_label_matrix([[9]], n_points=1, n_labels=9)
    with pytest.raises(InputError, match="6 columns, expected 9"):
        as_label_matrix(CSR, n_points=N, n_labels=9)


def test_ids_may_have_gaps_as_data_sets_have_them() -> None:
    """An unused id here and there, and a small data set of a large vocabulary, are no accident."""
    assert as_label_matrix([[9_999]], n_points=1).shape == (1, 10_000)
    rows = [[19 * i] for i in range(2000)]
    assert as_label_matrix(rows, n_points=2000).shape == (2000, 37_982)
    with pytest.raises(InputError, match="run to 20001, but only 2 labels occur"):
        as_label_matrix([[0], [20_001]], n_points=2)
    sample = sp.csr_matrix((np.ones(500), (np.arange(500), 800 * np.arange(500))), (500, 400_000))
    assert as_label_matrix(sample, n_points=500).shape == (500, 400_000)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(-2, 12), max_size=5), min_size=1, max_size=6), st.booleans())
def test_label_lists_against_plain_python(rows: list[list[int]], known: bool) -> None:
    n_labels = 10 if known else None
    flat = [label for row in rows for label in row]
    allowed = bool(flat) and min(flat) >= 0 and (not known or max(flat) < 10)
    if not allowed:
        with pytest.raises(InputError):
            as_label_matrix(rows, n_points=len(rows), n_labels=n_labels)
        return
    try:
        matrix = as_label_matrix(rows, n_points=len(rows), n_labels=n_labels)
    except InputError as error:
        # Lists of one length that hold only 0 and 1 could be an indicator.
        assert "0 or 1" in str(error) and max(flat) <= 1 and len({*map(len, rows)}) == 1
        return
    assert [sorted(set(row)) for row in rows] == [row.tolist() for row in np.split(
        matrix.indices, matrix.indptr[1:-1]
    )]  # fmt: skip
    assert matrix.shape == (len(rows), 10 if known else max(flat) + 1)


def test_the_callers_matrix_is_left_alone() -> None:
    matrix = sp.csr_matrix((np.array([1.0, 1.0]), np.array([1, 0]), np.array([0, 2])), (1, 2))
    matrix.data.setflags(write=False)
    matrix.indices.setflags(write=False)
    matrix.has_sorted_indices = True  # a lie
    assert canonical_labels(matrix).indices.tolist() == [0, 1]
    assert canonical_features(matrix).indices.tolist() == [0, 1]
    assert matrix.indices.tolist() == [1, 0]


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_a_canonical_matrix_is_known_without_a_copy(data: st.DataObject) -> None:
    """What is returned uncopied is what the copy is; everything else is copied, or refused."""
    draw = data.draw
    n_rows, n_columns = draw(st.integers(0, 4)), draw(st.integers(1, 5))
    counts = draw(st.lists(st.integers(0, 3), min_size=n_rows, max_size=n_rows))
    places = st.integers(0, n_columns - 1)
    rows = [draw(st.lists(places, min_size=n, max_size=n)) for n in counts]
    if draw(st.booleans()):
        rows = [sorted(set(row)) for row in rows]
    indices = np.array([column for row in rows for column in row], np.int32)
    values = draw(st.lists(st.sampled_from([1.0, 2.0, 0.0]), min_size=len(indices),
                           max_size=len(indices)))  # fmt: skip
    matrix = sp.csr_matrix(
        (np.array(values, np.float32), indices, np.cumsum([0, *map(len, rows)])),
        shape=(n_rows, n_columns),
    )
    found, right = canonical_features(matrix, copy=False), canonical_features(matrix)
    canonical = all(row == sorted(set(row)) for row in rows) and all(values)
    assert (found is matrix) == canonical and right is not matrix
    for name in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(found, name), getattr(right, name))


# -- where they are handed in ----------------------------------------------------------------------


def test_an_indicator_trains_the_same_index(index: LearnedGraphIndex) -> None:
    dense = LearnedGraphIndex(training=QUICK).fit(vectors(), DENSE)
    np.testing.assert_array_equal(dense.search(vectors(), 3).scores, index.search(vectors(), 3)[1])


BAD = spoiled("indptr", 5, 10**6)


@pytest.mark.parametrize(
    "call",
    [
        lambda index: LearnedGraphIndex().fit(vectors(), BAD),
        lambda index: LearnedGraphIndex().fit(vectors(), CSR, validation=(vectors(), BAD)),
        lambda index: LearnedGraphIndex().fit(vectors(), CSR, clustering_features=BAD),
        lambda index: LearnedGraphIndex().build_partition(vectors(), BAD),
        lambda index: LearnedGraphIndex().build_partition(vectors(), CSR, clustering_features=BAD),
        lambda index: index.build_graph(vectors(), BAD),
        lambda index: index(torch.tensor(vectors()), BAD),
        lambda index: index.tune(vectors(), BAD, k=2),
        lambda index: index.to_engine().tune(vectors(), BAD, k=2),
        lambda index: evaluate(index.search(vectors(), 2), BAD, propensities=np.ones(L), ks=(1,),
                               recall_ks=(2,)),
        lambda index: SparseRanker().fit(BAD, vectors(), CSR, np.zeros((N, 1), np.int64)),
        lambda index: SparseRanker().fit(CSR, vectors(), BAD, np.zeros((N, 1), np.int64)),
    ],
)  # fmt: skip
def test_no_call_follows_a_broken_matrix(call, index: LearnedGraphIndex) -> None:
    with pytest.raises(InputError, match="not a valid sparse matrix"):
        call(index)


@pytest.mark.parametrize(
    ("validation", "message"),
    [
        (vectors(), "expected a pair"),
        ((vectors()[:, :3], CSR), "dimension 3"),
        ((vectors()[:5], CSR), "rows, expected 5"),
        ((vectors() * np.nan, CSR), "validation vectors hold NaN"),
    ],
)
def test_validation_is_checked_before_training(validation, message: str) -> None:
    events: list[object] = []
    with pytest.raises(InputError, match=message):
        LearnedGraphIndex().fit(vectors(), CSR, validation=validation, progress=events.append)
    assert not events


# -- positives of a batch, lists of labels ---------------------------------------------------------


@pytest.mark.parametrize(
    "positives",
    [
        torch.tensor(IDS), torch.tensor(IDS, dtype=torch.int32), np.array(IDS), IDS, CSR, DENSE,
        torch.tensor(DENSE), torch.tensor(DENSE, dtype=torch.bool), DENSE.astype(np.float32),
    ],
)  # fmt: skip
def test_positives_in_any_form(positives) -> None:
    assert as_positives(positives, n_labels=L).tolist() == IDS


@pytest.mark.parametrize(
    "positives",
    [
        torch.tensor([[6]]), torch.tensor([[-2]]), torch.tensor([[0.5]]), torch.tensor([3]),
        torch.tensor([[0, 1, 0]]), [[0, 1, 0]], [[True]], [["a"]], None, "ab", torch.tensor(1),
    ],
)  # fmt: skip
def test_what_are_no_positives_is_refused(positives) -> None:
    with pytest.raises(InputError):
        as_positives(positives, n_labels=L)


def test_a_batch_whose_numbers_do_not_fit_is_refused(index: LearnedGraphIndex) -> None:
    x = torch.tensor(vectors(4))
    with pytest.raises(InputError, match="expected B x 8"):
        index(x[:, :3], IDS[:4])
    with pytest.raises(InputError, match="4 vectors and positives of 3"):
        index(x, IDS[:3])


@pytest.mark.parametrize(
    "ids",
    [[1, 4], (4, 1), {1, 4}, np.array([1, 4, 4], np.uint8), torch.tensor([1, 4]), iter([1, 4]),
     range(1, 5, 3), np.isin(np.arange(L), [1, 4]), [False, True, False, False, True, False]],
)  # fmt: skip
def test_lists_and_masks_of_labels(ids) -> None:
    assert label_mask(ids, L, name="deny").nonzero()[0].tolist() == [1, 4]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([0, 1, 0, 0, 1, 0], "a mask is 6 booleans"),
        (np.array([0, 1, 0, 0, 1, 0]), "a mask is 6 booleans"),
        ([0, 0, 1], "a mask is 6 booleans"),
        ([True, 4], "mixes booleans"),
        ([np.True_, 4], "mixes booleans"),
        ([1.0], "float64"),
        (["a"], "list of label ids"),
        ("ab", "list of label ids"),
        (3, "list of label ids"),
        ([[1, 2]], "list of label ids"),
        ([6], "expected 0 to 5"),
        ([-1], "expected 0 to 5"),
        (np.ones(5, bool), "mask of shape"),
    ],
)
def test_what_is_no_list_of_labels_is_refused(ids, message: str) -> None:
    with pytest.raises(InputError, match=message):
        label_ids(ids, L, name="allow")


# -- vectors and queries ---------------------------------------------------------------------------

X = vectors(3)


@pytest.mark.parametrize(
    "queries",
    [
        X, X.tolist(), np.asfortranarray(X), X.astype(">f4"), X.astype(np.float64),
        X.astype(np.longdouble), torch.tensor(X), torch.tensor(X, requires_grad=True),
        np.repeat(X, 2, axis=0)[::2], np.ma.array(X), np.asmatrix(X),
    ],
)  # fmt: skip
def test_queries_in_any_form_answer_alike(queries, index, engine) -> None:
    for searcher in (index, engine):
        np.testing.assert_array_equal(searcher.search(queries, 2)[1], searcher.search(X, 2)[1])


def test_one_query_no_query_and_few_bits(engine: SearchEngine) -> None:
    assert engine.search(X[0], 2).ids.shape == engine.search(X[0].tolist(), 2).ids.shape == (1, 2)
    assert engine.search(X[:0], 2).ids.shape == (0, 2)
    assert engine.search(torch.tensor(X).bfloat16(), 2).ids.shape == (3, 2)


NO_QUERIES = {
    "whole": (WHOLE[None].repeat(D, 1)[:, :D], "dtype int64"),
    "objects": (X.astype(object), "dtype object"),
    "complex": (X.astype(complex), "dtype complex"),
    "texts": (["a", "b"], "dtype <U1"),
    "a text": ("a", "expected two dimensions"),
    "nothing": (None, "expected two dimensions"),
    "three dimensions": (X[None], "expected two dimensions"),
    "ragged": ([[1.0], [1.0, 2.0]], "all of one length"),
    "sparse": (sp.csr_matrix(X), "sparse"),
    "sparse tensor": (torch.tensor(X).to_sparse(), "sparse"),
    "no memory": (torch.empty(3, D, device="meta"), "cannot be made an array"),
    "masked": (np.ma.array(X, mask=X > 0), "masked entries"),
    "narrow": (X[:, :3], "dimension 3"),
    "NaN": (np.where(WHOLE[:, None] == 1, np.nan, X), "NaN or infinity, first in row 1"),
    "float16 infinity": (np.full((2, D), np.inf, np.float16), "first in row 0"),
    "beyond float32": (X.astype(np.float64) * 1e200, "NaN or infinity"),
    "near the end of float32": (np.full((2, D), 3e38, np.float32), r"beyond 1e\+15"),
}


@pytest.mark.parametrize("form", NO_QUERIES)
def test_what_are_no_queries_is_refused(form: str, index, engine) -> None:
    queries, message = NO_QUERIES[form]
    for searcher in (index, engine):
        with pytest.raises(InputError, match=message):
            searcher.search(queries, 2)


@pytest.mark.parametrize("scale", [9e14, 1e-38, 0.0])
def test_finite_queries_have_finite_scores(scale: float, index, engine) -> None:
    huge = (np.sign(X) * scale).astype(np.float32)
    for searcher in (index, engine):
        result = searcher.search(huge, L)
        assert np.isfinite(result.scores[result.ids >= 0]).all()
        assert all(len({*row[row >= 0]}) == (row >= 0).sum() for row in result.ids)


@pytest.mark.parametrize(("scale", "message"), [(1e30, "beyond"), (1e-30, "scale them up")])
def test_training_vectors_of_absurd_lengths_are_refused(scale: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        LearnedGraphIndex(training=QUICK).fit(vectors() * np.float32(scale), IDS)


def test_vectors_need_columns_and_name_the_row_that_is_wrong() -> None:
    with pytest.raises(InputError, match="no columns"):
        as_vectors(np.empty((3, 0), np.float32))
    with pytest.raises(InputError, match="first in row 102"):
        as_float32_rows(np.array([[1.0], [2.0], [np.inf]]), first_row=100)
    assert as_query_rows(X, dim=D) is X


# -- k, knobs, configurations ----------------------------------------------------------------------

NO_COUNT = [2.0, "3", True, None, 0, -1, 2**70, 10**5000, float("nan"), np.float32(2), [2], 2j]


@pytest.mark.parametrize("value", NO_COUNT, ids=[f"{i}" for i in range(len(NO_COUNT))])
def test_what_is_no_count_is_refused_everywhere(value, index, engine) -> None:
    for searcher in (index, engine):
        with pytest.raises(InputError, match="k is"):
            searcher.search(X, value)
        with pytest.raises(InputError, match="k is"):
            searcher.tune(X, k=value)
        if value is not None:
            for knob in ("beam_width", "shortlist_size"):
                with pytest.raises(InputError, match=f"{knob} is"):
                    searcher.search(X, 2, **{knob: value})
    with pytest.raises(InputError, match="beam_width is"):
        engine.with_knobs(beam_width=value, shortlist_size=3)
    with pytest.raises(InputError, match="beam_width is"):
        IndexConfig(beam_width=value)
    if value is not None:
        with pytest.raises(InputError, match="top_k is"):
            index.prune(top_k=value)
        with pytest.raises(InputError, match="n_clusters is"):
            IndexConfig(n_clusters=value)


@pytest.mark.parametrize("value", [2, np.int8(2), np.uint64(2), np.array(2), torch.tensor(2)])
def test_whole_numbers_of_any_kind_count(value, index, engine) -> None:
    for searcher in (index, engine):
        found = searcher.search(X, value, beam_width=value, shortlist_size=value)
        assert found.ids.shape == (3, 2)
    assert type(IndexConfig(beam_width=value).beam_width) is int


def test_a_result_that_is_padding_without_end_is_refused(index, engine) -> None:
    assert engine.search(X, 100).ids.shape == (3, 100)
    for searcher in (index, engine):
        with pytest.raises(InputError, match="expected k of at most 6"):
            searcher.search(X, 2**30)
    check_result_size(2**30, n_rows=10**6, n_labels=2**30)  # as many labels: what was asked for


@pytest.mark.parametrize(
    ("config", "name", "value"),
    [
        (IndexConfig, "router_scale", "a"), (IndexConfig, "router_scale", float("nan")),
        (IndexConfig, "router_scale", float("inf")), (IndexConfig, "router_scale", True),
        (IndexConfig, "router_scale", 0.5), (IndexConfig, "router_scale", 10**400),
        (IndexConfig, "hierarchy", "tall"), (IndexConfig, "hierarchy", ["flat"]),
        (IndexConfig, "projection", None), (TrainingConfig, "seed", -1),
        (TrainingConfig, "seed", 2**64), (TrainingConfig, "seed", "0"),
        (TrainingConfig, "dropout", 1.0), (TrainingConfig, "warmup_fraction", 1.1),
        (TrainingConfig, "stage1_epochs", 1.5), (TrainingConfig, "learning_rate", -1.0),
        (TrainingConfig, "device", 3), (TrainingConfig, "early_stopping_metric", "F1"),
        (EngineConfig, "precision", "int4"), (EngineConfig, "edge_threshold", 2),
        (EliasConfig, "validation_fraction", 1.0), (EliasConfig, "n_models", 0),
    ],
)  # fmt: skip
def test_values_of_configurations_are_checked(config, name: str, value) -> None:
    with pytest.raises(InputError, match=f"{name} is"):
        config(**{name: value})


def test_configurations_hold_plain_numbers() -> None:
    config = IndexConfig(router_scale=np.float32(3), n_clusters=np.int64(4), path_exponent=1)
    assert config == IndexConfig.from_dict({**config.to_dict()})
    assert type(config.router_scale) is type(config.path_exponent) is float
    assert type(config.n_clusters) is int


@pytest.mark.parametrize("values", [None, 3, [], "abc", {"beams": 3}, {1: 2}, {"beam_width": "3"}])
def test_what_is_no_configuration_is_refused(values) -> None:
    with pytest.raises(InputError):
        IndexConfig.from_dict(values)
    with pytest.raises(InputError, match="expected a IndexConfig"):
        LearnedGraphIndex(values if values is not None else {})


def test_numbers_say_their_range() -> None:
    assert whole_number(0, "seed", low=0) == 0 and real_number(np.float16(0.5), "share") == 0.5
    with pytest.raises(InputError, match="k is 9, expected 1 to 5"):
        whole_number(9, "k", high=5)
    with pytest.raises(InputError, match=r"share is 1\.0, expected at least 0\.0 and below 1\.0"):
        real_number(1.0, "share", low=0.0, below=1.0)
    with pytest.raises(InputError, match="share is '1', expected a number"):
        real_number("1", "share")


# -- points ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("points", ["text", b"text", None, 3, {"a"}, {"a": 1}, iter("ab")])
def test_what_are_no_points_is_refused(points) -> None:
    with pytest.raises(InputError, match="list"):
        n_rows(points)


def test_points_that_say_nothing() -> None:
    """Blank ones, and those of which no encoder knows anything."""
    first = np.array([[1.0, 0], [1, 0], [0, 0], [0, 0]])
    second = np.array([[1.0], [0], [1], [0]])
    texts = ["law", " \t", "qqq", "zzz"]
    assert unanswerable_rows(texts, [first]).tolist() == [False, True, True, True]
    assert unanswerable_rows(texts, [first, second]).tolist() == [False, True, False, True]
    assert unanswerable_rows(CSR[:2], [first[1:3]]).tolist() == [False, True]
