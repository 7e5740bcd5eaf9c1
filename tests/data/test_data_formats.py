import json

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from learned_index.data import (
    Dataset,
    LabelVocabulary,
    canonical_features,
    canonical_labels,
    convert,
    hold_out,
    labels_from_lists,
    open_dataset,
    write_dataset,
)
from learned_index.errors import DataFormatError, InputError

N_LABELS = 6
VOCABULARY = LabelVocabulary([f"k{i}" for i in range(N_LABELS)], ["A", "B", "", "B", "k1", "Ä"])
CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\n\0")
TEXTS = st.text(CHARACTERS | st.sampled_from('\r\t\u2028\x85\ufeff\x0c"\\'), max_size=15)
IDS = st.lists(st.integers(0, N_LABELS - 1), max_size=4)
VALUES = st.floats(width=32, allow_nan=False, allow_infinity=False).filter(lambda v: v != 0)
FEATURES = st.dictionaries(st.integers(0, 8), VALUES, max_size=4)
FORMATS_OF_FEATURES = ("xmc", "npz")


def assert_same(left, right):
    assert left.split == right.split and left.vocabulary == right.vocabulary
    assert (left.texts is None) == (right.texts is None)
    if left.texts is not None:
        assert list(left.texts) == list(right.texts)
    assert left.ids == right.ids
    for a, b in ((left.labels, right.labels), (left.features, right.features)):
        if a is None:
            assert b is None
            continue
        assert a.shape == b.shape and a.dtype == b.dtype == np.float32
        np.testing.assert_array_equal(a.indptr, b.indptr)
        np.testing.assert_array_equal(a.indices, b.indices)
        np.testing.assert_array_equal(a.data, b.data)


def matrix(rows, width=9):
    entries = [(i, j, v) for i, row in enumerate(rows) for j, v in row.items()]
    i, j, v = zip(*entries, strict=True) if entries else ((), (), ())
    return canonical_features(
        sp.coo_matrix((np.array(v, np.float32), (i, j)), shape=(len(rows), width))
    )


@settings(max_examples=60)
@given(points=st.lists(st.tuples(TEXTS, IDS), min_size=1, max_size=12))
@pytest.mark.parametrize("format_name", ["text", "jsonl"])
def test_texts_come_back_as_they_were(format_name, points, tmp_path_factory):
    data = Dataset(
        split="train",
        labels=labels_from_lists([ids for _, ids in points], N_LABELS),
        vocabulary=VOCABULARY,
        texts=[text for text, _ in points],
        ids=[f"p{i}" for i in range(len(points))] if format_name == "jsonl" else None,
    )
    folder = write_dataset(tmp_path_factory.mktemp("data") / "set", [data], format_name=format_name)
    assert folder.format == format_name
    assert_same(folder.read("train"), data)
    assert list(folder.iter_texts("train")) == data.texts


@settings(max_examples=60)
@given(points=st.lists(st.tuples(FEATURES, IDS), min_size=1, max_size=12))
@pytest.mark.parametrize("format_name", FORMATS_OF_FEATURES)
def test_features_come_back_bit_equal(format_name, points, tmp_path_factory):
    data = Dataset(
        split="test",
        labels=labels_from_lists([ids for _, ids in points], N_LABELS),
        vocabulary=VOCABULARY,
        features=matrix([row for row, _ in points]),
    )
    folder = write_dataset(tmp_path_factory.mktemp("data") / "set", [data], format_name=format_name)
    assert_same(folder.read("test"), data)
    with pytest.raises(InputError, match="no texts"):
        folder.iter_texts("test")


def test_a_text_ends_at_line_feeds_only(tmp_path):
    (tmp_path / "train_texts.txt").write_bytes("a\u2028b\x0cc\r\nd\re\n\n".encode())
    (tmp_path / "train_labels.txt").write_bytes(b"1 0 1\r\n\n0\n")
    train = open_dataset(tmp_path).read("train")
    assert train.texts == ["a\u2028b\x0cc\r", "d\re", ""]
    assert train.labels.toarray().tolist() == [[1, 1], [0, 0], [1, 0]]
    assert train.vocabulary.keys == ("0", "1")


def test_the_last_line_needs_no_line_feed(tmp_path):
    (tmp_path / "train_texts.txt").write_bytes(b"\xef\xbb\xbfa\nb")
    (tmp_path / "train_labels.txt").write_bytes(b"\xef\xbb\xbf0\n1")
    train = open_dataset(tmp_path).read("train")
    assert train.texts == ["a", "b"] and train.labels.nnz == 2


def test_xmc_lines_as_they_occur_in_the_wild(tmp_path):
    (tmp_path / "train.xmc.txt").write_bytes(
        b"6 4 3\n2,0 0:1 3:0.5\n 1:2e-1\n1:7\n1\n\n0, 2:.5 2:1 0:-3\r\n\n"
    )
    train = open_dataset(tmp_path).read("train")
    assert train.labels.toarray().tolist() == [
        [1, 0, 1], [0, 0, 0], [0, 0, 0], [0, 1, 0], [0, 0, 0], [1, 0, 0],
    ]  # fmt: skip
    expected = np.array(
        [[1, 0, 0, 0.5], [0, 0.2, 0, 0], [0, 7, 0, 0], [0] * 4, [0] * 4, [-3, 0, 1.5, 0]],
        np.float32,
    )
    np.testing.assert_array_equal(train.features.toarray(), expected)


def test_the_xmc_repository_own_file_names_are_found(tmp_path):
    (tmp_path / "train.txt").write_bytes(b"1 2 2\n0 1:1\n")
    (tmp_path / "test.txt").write_bytes(b"not a header\n")
    folder = open_dataset(tmp_path)
    assert (folder.format, folder.splits) == ("xmc", ("train",))


def test_unsorted_and_repeated_npz_indices_are_put_in_order(tmp_path):
    x = sp.csr_matrix(
        (np.array([1.0, 2, 3, 4]), np.array([2, 0, 2, 1]), np.array([0, 3, 4])), (2, 3)
    )
    y = sp.csr_matrix((np.array([1, 1, 1]), np.array([1, 0, 1]), np.array([0, 3, 3])), (2, 2))
    x.has_sorted_indices = y.has_sorted_indices = True  # a lie, as files often tell it
    np.savez(
        tmp_path / "X.npz", format=b"csr", shape=x.shape, data=x.data, indices=x.indices,
        indptr=x.indptr,
    )  # fmt: skip
    sp.save_npz(tmp_path / "Y.npz", y.tocsc())
    train = open_dataset(tmp_path).read("train")
    assert train.features.indices.tolist() == [0, 2, 1]
    assert train.features.data.tolist() == [2, 4, 4]
    assert train.labels.toarray().tolist() == [[1, 1], [0, 0]]


def test_short_npz_names(tmp_path):
    for split in ("trn", "tst"):
        sp.save_npz(tmp_path / f"X.{split}.npz", sp.eye(3, 4, format="csr"))
        sp.save_npz(tmp_path / f"Y.{split}.npz", sp.eye(3, 2, format="csr"))
    folder = open_dataset(tmp_path)
    assert folder.splits == ("train", "test") and folder.read("test").n_labels == 2


def test_jsonl_without_vocabulary_numbers_the_sorted_names_of_all_splits(tmp_path):
    write = lambda split, rows: (tmp_path / f"{split}.jsonl").write_text(  # noqa: E731
        "".join(json.dumps(row) + "\n" for row in rows)
    )
    write("train", [{"text": "t", "labels": ["b", "b"], "other": 1}])
    write("test", [{"text": "u", "labels": ["a"]}])
    folder = open_dataset(tmp_path)
    assert folder.vocabulary.keys == ("a", "b")
    assert folder.read("train").labels.toarray().tolist() == [[0, 1]]
    assert folder.read("train").label_names(0) == ["b"]


def make_text_set(path, n=10):
    texts = [f"word{i} shared text" for i in range(n)]
    splits = [
        Dataset(
            split=split,
            labels=labels_from_lists([[i % N_LABELS] for i in range(n)], N_LABELS),
            vocabulary=VOCABULARY,
            texts=texts,
        )
        for split in ("train", "test")
    ]
    return write_dataset(path, splits, format_name="text"), splits


def test_conversions_there_and_back(tmp_path):
    source, splits = make_text_set(tmp_path / "source")
    convert(source.path, tmp_path / "jsonl", to="jsonl")
    back = convert(tmp_path / "jsonl", tmp_path / "back", to="text")
    for data in splits:
        assert_same(back.read(data.split), data)
    for name in ("train_texts.txt", "train_labels.txt", "labels.txt"):
        assert (tmp_path / "back" / name).read_bytes() == (source.path / name).read_bytes()
    npz = convert(source.path, tmp_path / "npz", to="npz", features="tfidf", max_features=5)
    xmc = convert(npz.path, tmp_path / "xmc", to="xmc")
    assert_same(xmc.read("test"), npz.read("test"))
    x = npz.read("train").features
    assert x.shape == (10, 5)
    np.testing.assert_allclose(sp.linalg.norm(x, axis=1), 1, rtol=1e-6)
    assert len((npz.path / "features.txt").read_text().splitlines()) == 5


def test_impossible_conversions_say_why(tmp_path):
    source, _ = make_text_set(tmp_path / "source")
    with pytest.raises(InputError, match="texts and no sparse features"):
        convert(source.path, tmp_path / "x", to="xmc")
    with pytest.raises(InputError, match="go with xmc or npz"):
        convert(source.path, tmp_path / "x", to="jsonl", features="tfidf")
    convert(source.path, tmp_path / "npz", to="npz", features="tfidf")
    with pytest.raises(InputError, match="no texts"):
        convert(tmp_path / "npz", tmp_path / "x", to="text")
    with pytest.raises(InputError, match="exists and is not empty"):
        convert(tmp_path / "npz", tmp_path / "npz", to="xmc")
    assert not (tmp_path / "x").exists()


def test_writing_fails_whole(tmp_path):
    good = Dataset(
        split="train", labels=labels_from_lists([[0]], N_LABELS), vocabulary=VOCABULARY, texts=["a"]
    )
    bad = Dataset(
        split="test",
        labels=labels_from_lists([[0]], N_LABELS),
        vocabulary=VOCABULARY,
        texts=["a\nb"],
    )
    with pytest.raises(InputError, match=r"point 0 holds a line feed.*jsonl"):
        write_dataset(tmp_path / "out", [good, bad], format_name="text")
    with pytest.raises(InputError, match="two splits are called train"):
        write_dataset(tmp_path / "out", [good, good], format_name="text")
    with pytest.raises(InputError, match="unknown"):
        write_dataset(tmp_path / "out", [good], format_name="csv")
    with pytest.raises(InputError, match="no split"):
        write_dataset(tmp_path / "out", [], format_name="text")
    assert list(tmp_path.iterdir()) == []


def test_hold_out_is_seeded_disjoint_and_in_order():
    data = Dataset(
        split="train",
        labels=labels_from_lists([[i % N_LABELS] for i in range(50)], N_LABELS),
        vocabulary=VOCABULARY,
        texts=[f"{i:02}" for i in range(50)],
    )
    rest, held = hold_out(data, 0.2, seed=3)
    assert (len(rest), len(held), held.split, rest.split) == (40, 10, "dev", "train")
    assert sorted([*rest.texts, *held.texts]) == data.texts
    assert rest.texts == sorted(rest.texts) and held.texts == sorted(held.texts)
    for part in (rest, held):
        for row, text in enumerate(part.texts):
            assert part.labels[row].indices.tolist() == [int(text) % N_LABELS]
    again = hold_out(data, 10, seed=3, split="test")[1]
    assert again.texts == held.texts and again.split == "test"
    assert hold_out(data, 0.2, seed=4)[1].texts != held.texts
    for size in (0, 50, 1.5, -0.1, 0.001):
        with pytest.raises(InputError):
            hold_out(data, size, seed=0)


def test_dataset_refuses_parts_that_do_not_fit():
    labels = labels_from_lists([[0], [1]], N_LABELS)
    with pytest.raises(InputError, match="1 texts but 2 rows"):
        Dataset(split="train", labels=labels, vocabulary=VOCABULARY, texts=["a"])
    with pytest.raises(InputError, match="neither"):
        Dataset(split="train", labels=labels, vocabulary=VOCABULARY)
    with pytest.raises(InputError, match="vocabulary names 2"):
        Dataset(
            split="train", labels=labels, vocabulary=LabelVocabulary.numbered(2), texts=["", ""]
        )
    with pytest.raises(InputError, match="split 'valid' is unknown"):
        Dataset(split="valid", labels=labels, vocabulary=VOCABULARY, texts=["", ""])


@pytest.mark.parametrize("build", [canonical_features, canonical_labels])
def test_matrices_that_cannot_be_used(build):
    with pytest.raises(InputError, match=r"nan in row 1"):
        build(sp.csr_matrix([[1.0, 0], [0, np.nan]]))
    with pytest.raises(InputError, match="expected a scipy sparse matrix"):
        build(np.eye(2))
    with pytest.raises(InputError, match="dtype complex"):
        build(sp.csr_matrix([[1j]]))
    outside = sp.csr_matrix((np.ones(1), np.array([0]), np.array([0, 1])), (1, 2))
    outside.indices[0] = 7
    with pytest.raises(InputError, match="not a valid sparse matrix"):
        build(outside)


def test_labels_are_ones():
    y = canonical_labels(sp.csr_matrix([[True, False], [False, True]]))
    assert y.dtype == np.float32 and y.toarray().tolist() == [[1, 0], [0, 1]]
    for value in (3, 0.5, -1.0):
        with pytest.raises(InputError, match=f"value {value}.* expected 0 and 1"):
            canonical_labels(sp.csr_matrix([[value]]))
    with pytest.raises(InputError, match="beyond the range"):
        canonical_features(sp.csr_matrix([[1e200]]))
    with pytest.raises(InputError, match="row 1 has label id 2"):
        labels_from_lists([[0], [2]], 2)


def test_a_missing_split_names_those_that_are_there(tmp_path):
    source, _ = make_text_set(tmp_path / "source")
    with pytest.raises(InputError, match="no dev split; it has train, test"):
        source.read("dev")


def test_reading_never_unpickles(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    objects = np.empty(1, dtype=object)
    objects[0] = Trap()
    np.savez(
        tmp_path / "train_X.npz", format=b"csr", shape=(1, 1), data=objects, indices=[0],
        indptr=[0, 1],
    )  # fmt: skip
    sp.save_npz(tmp_path / "train_Y.npz", sp.eye(1, format="csr"))
    with pytest.raises(DataFormatError, match=r"train_X\.npz: data\.npy holds pickled objects"):
        open_dataset(tmp_path).read("train")
