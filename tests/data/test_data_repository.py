"""The layouts of the extreme classification repository, as downloaded."""

from __future__ import annotations

import gzip
import json
import logging

import numpy as np
import pytest
import scipy.sparse as sp

from learned_index.data import convert, open_dataset, split_folder
from learned_index.errors import DataFormatError, InputError

TRAIN, TEST = ["red shoe", "blue shoe", "green hat"], ["red hat", "old shoe"]
LABELS = {"train": [[0, 2], [1], [2]], "test": [[2], [0, 1]]}
LABEL_TEXTS = ["Shoe care", "Laces", "Hats \u2028 and caps"]
POINTS = {"train": TRAIN, "test": TEST}
SHORT = {"train": "trn", "test": "tst"}


def write(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        packed = gzip.compress(content.encode()) if name.endswith(".gz") else content.encode()
        path.write_bytes(packed)


def lines(*rows):
    return "".join(f"{row}\n" for row in rows)


def json_lines(*rows):
    return lines(*(json.dumps(row) for row in rows))


def x_y(rows, width=3):
    return lines(f"{len(rows)} {width}", *(" ".join(f"{c}:1.00000" for c in row) for row in rows))


def matrix(rows, width=3):
    return sp.csr_matrix(np.array([[c in row for c in range(width)] for row in rows], np.float64))


def bag(rows, width=4):
    return lines(f"{len(rows)} {width}", *(f"{n % width}:0.5 3:1.25" for n in range(len(rows))))


def check(folder, *, texts=True, names=LABEL_TEXTS, splits=("train", "test")):
    assert folder.splits == splits
    for split in splits:
        data = folder.read(split)
        expected = [[int(c in row) for c in range(3)] for row in LABELS[split]]
        assert data.labels.toarray().tolist() == expected
        if texts:
            assert list(data.texts) == POINTS[split] == list(folder.iter_texts(split))
            assert data.features is None
        else:
            assert data.texts is None and data.features.shape == (len(POINTS[split]), 4)
    assert folder.has_texts == texts
    if names is not None:
        assert list(folder.vocabulary.texts) == [" ".join(text.split()) for text in names]


def downloads():
    """``trn.json.gz``, ``tst.json.gz`` and ``lbl.json.gz``."""
    files = {
        f"{SHORT[split]}.json.gz": json_lines(
            *(
                {
                    "uid": f"B{n}", "title": text.split()[0], "content": text.split()[1],
                    "target_ind": LABELS[split][n], "target_rel": [1.0] * len(LABELS[split][n]),
                }
                for n, text in enumerate(POINTS[split])
            )
        )
        for split in SHORT
    }  # fmt: skip
    labels = ({"uid": f"L{n}", "title": text} for n, text in enumerate(LABEL_TEXTS))
    return files | {"lbl.json.gz": json_lines(*labels)}


def test_json_downloads_and_what_lies_beside_them(tmp_path, caplog):
    write(tmp_path, downloads() | {f"{s}_X_Y.txt": "" for s in ("trn", "tst")})
    write(tmp_path, {"lbl_X_Xf.txt": "3 1\n0:1\n\n\n", "README.md": "", "train.txt": "3 4 3\n"})
    with caplog.at_level(logging.WARNING):
        folder = open_dataset(tmp_path)
    check(folder)
    assert folder.format == "jsonl" and folder.vocabulary.keys == ("L0", "L1", "L2")
    assert folder.read("train").ids == ["B0", "B1", "B2"]
    assert folder.ignored == ("lbl_X_Xf.txt", "train.txt", "trn_X_Y.txt", "tst_X_Y.txt")
    assert "not read: lbl_X_Xf.txt, train.txt" in caplog.text
    assert "texts of labels would" in caplog.text


def test_unpacked_json_downloads(tmp_path):
    write(tmp_path, {k.removesuffix(".gz"): content for k, content in downloads().items()})
    folder = open_dataset(tmp_path)
    check(folder)
    assert folder.ignored == ()


def test_labels_of_relevance_0_are_none(tmp_path):
    point = {"uid": "a", "title": "t", "target_ind": [0, 1], "target_rel": [0.0, 0.7]}
    write(tmp_path, {"trn.json.gz": json_lines(point), "lbl.json.gz": downloads()["lbl.json.gz"]})
    assert open_dataset(tmp_path).read("train").labels.indices.tolist() == [1]
    for wrong in ([1.0], ["x", 1], [-1, 1], "1"):
        write(tmp_path, {"trn.json.gz": json_lines(point | {"target_rel": wrong})})
        with pytest.raises(DataFormatError, match=r"trn\.json\.gz:1: \"target_rel\""):
            open_dataset(tmp_path).read("train")


@pytest.mark.parametrize("name", ["raw/{}_X.txt", "{}_X.txt", "X.{}.txt", "raw_data/{}_X.txt"])
@pytest.mark.parametrize("kind", ["X_Y.txt", "npz"])
def test_texts_beside_label_matrices(tmp_path, name, kind, caplog):
    for split, short in SHORT.items():
        write(tmp_path, {name.format(short): lines(*POINTS[split])})
        if kind == "npz":
            sp.save_npz(tmp_path / f"Y.{short}.npz", matrix(LABELS[split]))
            sp.save_npz(tmp_path / f"X.{short}.npz", matrix(LABELS[split]))
        else:
            write(tmp_path, {f"{short}_X_Y.txt": x_y(LABELS[split])})
            write(tmp_path, {f"{short}_X_Xf.txt": bag(POINTS[split])})
    write(tmp_path, {"raw/Y.txt": lines(*LABEL_TEXTS)})
    with caplog.at_level(logging.WARNING):
        folder = open_dataset(tmp_path)
    check(folder)
    beside = "X.trn.npz, X.tst.npz" if kind == "npz" else "trn_X_Xf.txt, tst_X_Xf.txt"
    assert f"not read: {beside}" in caplog.text
    assert folder.format == "repository" and folder.vocabulary.keys == ("0", "1", "2")


def test_the_layout_of_elias_has_no_features_of_the_test_points(tmp_path):
    for split, short in SHORT.items():
        write(tmp_path, {f"raw/{short}_X.txt": lines(*POINTS[split])})
        sp.save_npz(tmp_path / f"Y.{short}.npz", matrix(LABELS[split]))
    sp.save_npz(tmp_path / "X.trn.npz", matrix(LABELS["train"]))
    folder = open_dataset(tmp_path)
    check(folder, names=["", "", ""])
    assert folder.ignored == ("X.trn.npz",)


def test_raw_texts_beside_npz_and_a_map_of_labels(tmp_path):
    for split, short in SHORT.items():
        write(tmp_path, {f"{split}_raw_texts.txt": lines(*POINTS[split])})
        sp.save_npz(tmp_path / f"Y.{short}.npz", matrix(LABELS[split]))
    write(tmp_path, {"label_map.txt": lines(*LABEL_TEXTS)})
    check(open_dataset(tmp_path))


def test_raw_texts_beside_names_of_labels(tmp_path, caplog):
    names = {0: "17", 1: "1003", 2: "5"}
    for split in SHORT:
        rows = (" ".join(names[c] for c in row) for row in LABELS[split])
        write(tmp_path, {f"{split}_raw_texts.txt": lines(*POINTS[split])})
        write(tmp_path, {f"{split}_labels.txt": lines(*rows)})
        write(tmp_path, {f"{split}_texts.txt": lines(*(["tokens"] * len(POINTS[split])))})
        write(tmp_path, {f"{split}.txt": f"{len(POINTS[split])} 4 3\n"})
    folder = open_dataset(tmp_path)
    assert folder.vocabulary.keys == ("5", "17", "1003")
    train = folder.read("train")
    assert list(train.texts) == TRAIN
    assert [train.label_names(n) for n in range(3)] == [["5", "17"], ["1003"], ["5"]]
    assert folder.ignored == ("test.txt", "test_texts.txt", "train.txt", "train_texts.txt")


def test_our_own_text_folder_wins_over_raw_texts(tmp_path):
    write(tmp_path, {"train_texts.txt": "a\n", "train_labels.txt": "0\n", "labels.txt": "k\tK\n"})
    write(tmp_path, {"train_raw_texts.txt": "A\n"})
    folder = open_dataset(tmp_path)
    assert folder.format == "text" and folder.ignored == ("train_raw_texts.txt",)


def test_features_as_text(tmp_path):
    for split, short in SHORT.items():
        write(tmp_path, {f"{short}_X_Xf.txt": bag(POINTS[split])})
        write(tmp_path, {f"{short}_X_Y.txt": x_y(LABELS[split])})
    write(tmp_path, {"lbl_X_Xf.txt": bag(LABEL_TEXTS), "lbl.json.gz": downloads()["lbl.json.gz"]})
    folder = open_dataset(tmp_path)
    check(folder, texts=False)
    expected = [[0.5, 0, 0, 1.25], [0, 0.5, 0, 1.25], [0, 0, 0.5, 1.25]]
    assert folder.read("train").features.toarray().tolist() == expected
    assert folder.ignored == ("lbl_X_Xf.txt",)
    with pytest.raises(InputError, match="no texts"):
        next(folder.iter_texts("train"))


@pytest.mark.parametrize("name", ["{split}.txt", "{short}.txt", "eurlex_{split}.txt"])
def test_an_old_download_with_a_byte_order_mark(tmp_path, name):
    for split, short in SHORT.items():
        points = (f"{','.join(map(str, row))} 0:1 3:0.5" for row in LABELS[split])
        text = "\ufeff" + lines(f"{len(LABELS[split])} 4 3", *points)
        write(tmp_path, {name.format(split=split, short=short): text})
    folder = open_dataset(tmp_path)
    assert folder.format == "xmc" and folder.ignored == ()
    check(folder, texts=False, names=None)


def texts_and_matrix(tmp_path):
    for split, short in SHORT.items():
        write(tmp_path, {f"raw/{short}_X.txt": lines(*POINTS[split])})
        write(tmp_path, {f"{short}_X_Y.txt": x_y(LABELS[split])})
    return tmp_path


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("trn_X_Y.txt", "3\n", r"trn_X_Y\.txt:1: the header is '3'; expected 'rows columns'"),
        ("trn_X_Y.txt", "3 3\n0:1\n0:x\n\n", r"trn_X_Y\.txt:3: '0:x' is no label"),
        ("trn_X_Y.txt", "3 3\n0:1\n3:1\n\n", r":3: label id 3 is out of range.*3 labels"),
        ("trn_X_Y.txt", "3 3\n0:1\n", r":2: the file ends after 1 rows"),
        ("trn_X_Y.txt", "1 3\n0:1\n0:1\n", r":3: more rows than the 1"),
        ("trn_X_Y.txt", "3 3\n0:-1\n\n\n", r"negative relevances"),
        ("trn_X_Y.txt", "3 9\n0:1\n\n\n", r"differ in their number of labels: trn_X_Y\.txt 9"),
        ("raw/trn_X.txt", "a\n", r"raw/trn_X\.txt has 1 points, but .*trn_X_Y\.txt has 3"),
        ("raw/Y.txt", "a\n", r"raw/Y\.txt has 1 labels, but .*trn_X_Y\.txt has 3"),
    ],
)  # fmt: skip
def test_damage_is_named(tmp_path, name, content, message):
    write(texts_and_matrix(tmp_path), {name: content})
    with pytest.raises(DataFormatError, match=message):
        open_dataset(tmp_path).read("train")


def test_a_split_without_texts_is_named(tmp_path):
    texts_and_matrix(tmp_path)
    (tmp_path / "raw" / "tst_X.txt").unlink()
    write(tmp_path, {"tst_X_Xf.txt": bag(TEST)})
    with pytest.raises(DataFormatError, match="neither texts nor features of its points"):
        open_dataset(tmp_path).read("train")


def test_downloads_are_converted_and_split(tmp_path):
    (tmp_path / "download").mkdir()
    source = texts_and_matrix(tmp_path / "download")
    write(source, {"raw/Y.txt": lines(*LABEL_TEXTS), "filter_labels_test.txt": "1 0\n"})
    made = convert(source, tmp_path / "made", to="jsonl")
    assert list(made.vocabulary.texts) == [" ".join(text.split()) for text in LABEL_TEXTS]
    assert made.read("test").filtered.toarray().tolist() == [[0, 0, 0], [1, 0, 0]]
    assert made.read("test").labels.toarray().tolist() == [[0, 0, 1], [0, 1, 0]]
    parted = split_folder(source, tmp_path / "parted", size=1, split="dev")
    assert parted.format == "jsonl" and parted.splits == ("train", "dev", "test")
    with pytest.raises(InputError, match=r"expected one of text, xmc, npz, jsonl$"):
        convert(source, tmp_path / "more", to="repository")
