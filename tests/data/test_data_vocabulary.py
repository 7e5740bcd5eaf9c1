import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learned_index.data import LabelVocabulary, open_dataset
from learned_index.errors import DataFormatError, InputError

CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\n\r\t\0")
KEYS = st.text(CHARACTERS, min_size=1, max_size=12)
TEXTS = st.text(CHARACTERS | st.sampled_from("\t\u2028\x0c\x85"), max_size=12)


@given(labels=st.lists(st.tuples(KEYS, TEXTS), min_size=1, max_size=20, unique_by=lambda kt: kt[0]))
def test_reads_what_it_wrote_and_every_unique_name_leads_back(labels, tmp_path_factory):
    directory = tmp_path_factory.mktemp("vocabulary")
    vocabulary = LabelVocabulary([k for k, _ in labels], [t for _, t in labels])
    vocabulary.save(directory)
    loaded = LabelVocabulary.load(directory)
    assert loaded == vocabulary
    assert [loaded.id(name) for name in loaded.unique_names] == list(range(len(labels)))
    assert [loaded.id(key) for key in loaded.keys] == list(range(len(labels)))


DESCRIPTIONS = st.text(CHARACTERS, max_size=12).map(str.strip)


@given(
    labels=st.lists(
        st.tuples(KEYS, TEXTS, DESCRIPTIONS), min_size=1, max_size=20, unique_by=lambda kt: kt[0]
    )
)
def test_descriptions_are_kept_and_go_with_their_labels(labels, tmp_path_factory):
    directory = tmp_path_factory.mktemp("vocabulary")
    vocabulary = LabelVocabulary(*([label[part] for label in labels] for part in range(3)))
    vocabulary.save(directory)
    assert (directory / "label_descriptions.txt").exists() == any(vocabulary.descriptions)
    assert LabelVocabulary.load(directory) == vocabulary
    backwards = vocabulary.subset(range(len(labels) - 1, -1, -1))
    assert backwards.descriptions == vocabulary.descriptions[::-1]
    assert backwards.renamed({0: "new"}).descriptions == backwards.descriptions
    more = LabelVocabulary(["\tnot taken".strip() * 13], descriptions=["of it"])
    assert vocabulary.extended(more).descriptions == (*vocabulary.descriptions, "of it")


def test_several_descriptions_of_a_label_are_joined_and_models_learn_from_all(tmp_path):
    (tmp_path / "labels.txt").write_text("k1\tAlgebra\nk2\t\nk3\tTopology\n")
    (tmp_path / "label_descriptions.txt").write_text("k2\tof sets\n\nk1\trings\nk1\t fields \n")
    labels = LabelVocabulary.load(tmp_path)
    assert labels.descriptions == ("rings; fields", "of sets", "")
    assert labels.learning_texts == ["Algebra. rings; fields", "of sets", "Topology"]
    assert list(labels) == ["Algebra", "k2", "Topology"]
    assert labels != LabelVocabulary(labels.keys, labels.texts)


@pytest.mark.parametrize(
    ("line", "message"), [("k1 rings", r":2: .*no tab"), ("k9\trings", r":2: no label .*'k9'")]
)
def test_bad_descriptions_are_named(tmp_path, line, message):
    (tmp_path / "labels.txt").write_text("k1\tAlgebra\n")
    (tmp_path / "label_descriptions.txt").write_text(f"k1\tx\n{line}\n")
    with pytest.raises(DataFormatError, match=message):
        LabelVocabulary.load(tmp_path)
    with pytest.raises(InputError, match="blanks around"):
        LabelVocabulary(["k1"], descriptions=[" x"])
    with pytest.raises(InputError, match="expected a string"):
        LabelVocabulary(["k1"], descriptions=[None])


def test_descriptions_of_a_folder_without_a_list_of_labels_are_read(tmp_path):
    (tmp_path / "train.jsonl").write_text('{"text": "x", "labels": ["b", "a"]}\n')
    (tmp_path / "label_descriptions.txt").write_text("b\tsecond\n")
    assert open_dataset(tmp_path).vocabulary.descriptions == ("", "second")


def test_names_and_ids():
    vocabulary = LabelVocabulary(["k1", "k2", "k3"], ["Algebra", "", "Topology"])
    assert list(vocabulary) == ["Algebra", "k2", "Topology"]
    assert vocabulary.names(np.array([2, -1, 0])) == ["Topology", "", "Algebra"]
    assert vocabulary.ids(["Topology", "k2"]).tolist() == [2, 1]
    assert vocabulary.ids([]).dtype == np.int64
    assert "Algebra" in vocabulary and "k3" in vocabulary
    assert "" not in vocabulary and "x" not in vocabulary
    with pytest.raises(InputError, match="out of range"):
        vocabulary.name(3)


def test_a_key_wins_over_a_text_of_another_label():
    vocabulary = LabelVocabulary(["a", "b"], ["b", "c"])
    assert vocabulary.id("b") == 1
    assert vocabulary.unique_names == ("a", "c")


def test_unknown_name_suggests_close_ones():
    vocabulary = LabelVocabulary(["numpy.linalg.eigh", "numpy.linalg.svd", "scipy.fft.rfft"])
    with pytest.raises(InputError, match=r"did you mean 'numpy\.linalg\.eigh'"):
        vocabulary.id("numpy.linalg.eihg")
    with pytest.raises(InputError) as caught:
        vocabulary.id("zzzz")
    assert "did you mean" not in str(caught.value)


def test_ambiguous_text_lists_the_keys():
    vocabulary = LabelVocabulary(["a", "b"], ["same", "same"])
    with pytest.raises(InputError, match=r"2 labels have the text 'same'.*'a', 'b'"):
        vocabulary.id("same")
    assert vocabulary.unique_names == ("a", "b")


@pytest.mark.parametrize(
    ("keys", "texts", "message"),
    [
        (["a", "a"], None, "labels 0 and 1 have the same key 'a'"),
        ([""], None, "the key is empty"),
        (["a\tb"], None, "holds a tab"),
        (["a"], ["x\ny"], "line feed"),
        (["a"], ["x\r"], "carriage return"),
        (["a"], ["x", "y"], "1 label keys but 2 texts"),
        (["\ud800"], None, "surrogate"),
    ],
)
def test_refuses_bad_labels(keys, texts, message):
    with pytest.raises(InputError, match=message):
        LabelVocabulary(keys, texts)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\tA\na\tB\n", r"labels\.txt:2: the key 'a' was used in line 1"),
        (b"a\tA\n\tB\n", r"labels\.txt:2: the key is empty"),
        (b"", "is empty"),
        (b"a\xff\n", r"labels\.txt:1: byte 2 of the line \(0xff\) is not UTF-8"),
        ("a\tA\n".encode("utf-16"), r"labels\.txt:1: the file is UTF-16"),
        (b"a\0b\n", r"labels\.txt:1: a NUL byte"),
    ],
)
def test_bad_file_names_the_line(tmp_path, content, message):
    (tmp_path / "labels.txt").write_bytes(content)
    with pytest.raises(DataFormatError, match=message):
        LabelVocabulary.load(tmp_path)


def test_byte_order_mark_and_windows_line_ends_are_not_part_of_the_names(tmp_path):
    (tmp_path / "labels.txt").write_bytes(b"\xef\xbb\xbfa\tA\r\nb\r\n")
    vocabulary = LabelVocabulary.load(tmp_path)
    assert (vocabulary.keys, vocabulary.texts) == (("a", "b"), ("A", ""))


def test_missing_file(tmp_path):
    with pytest.raises(DataFormatError, match=r"labels\.txt is missing"):
        LabelVocabulary.load(tmp_path)


def test_long_names_make_no_long_messages():
    long = ["9" * 5000, "8" * 5000]
    vocabulary = LabelVocabulary(long, ["same"] * 2)
    for name in ("same", "7" * 5000):
        with pytest.raises(InputError) as caught:
            vocabulary.id(name)
        assert len(str(caught.value)) < 500
    for keys in (long * 2, [f"{long[0]}\t"]):
        with pytest.raises(InputError) as caught:
            LabelVocabulary(keys)
        assert len(str(caught.value)) < 500
