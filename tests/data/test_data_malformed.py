"""Malformed input of every kind gives one error that names the file, the line and the mistake."""

import numpy as np
import pytest
import scipy.sparse as sp

from learned_index.data import open_dataset, validate
from learned_index.errors import DataFormatError

LABELS = b"a\tA\nb\tB\nc\tC\n"
XMC = {"labels.txt": LABELS}

CASES = {
    "text: id out of range": (
        {"labels.txt": LABELS, "train_texts.txt": b"x\ny\n", "train_labels.txt": b"0\n1 3\n"},
        r"train_labels\.txt:2: label id 3 is out of range: there are 3 labels",
    ),
    "text: id not a number": (
        {"labels.txt": LABELS, "train_texts.txt": b"x\n", "train_labels.txt": b"0 A\n"},
        r"train_labels\.txt:1: 'A' is not a label id",
    ),
    "text: negative id": (
        {"labels.txt": LABELS, "train_texts.txt": b"x\n", "train_labels.txt": b"-1\n"},
        r"train_labels\.txt:1: '-1' is not a label id",
    ),
    "text: an id python would take": (
        {"labels.txt": LABELS, "train_texts.txt": b"x\n", "train_labels.txt": b"0_1\n"},
        r"train_labels\.txt:1: '0_1' is not a label id",
    ),
    "text: line counts differ": (
        {"labels.txt": LABELS, "train_texts.txt": b"x\ny\n", "train_labels.txt": b"0\n"},
        r"train_texts\.txt has 2 lines, but .*train_labels\.txt has 1",
    ),
    "text: no labels file": (
        {"labels.txt": LABELS, "train_texts.txt": b"x\n"},
        r"train_labels\.txt is missing",
    ),
    "text: not UTF-8": (
        {"labels.txt": LABELS, "train_texts.txt": b"x\n\xe4\n", "train_labels.txt": b"0\n0\n"},
        r"train_texts\.txt:2: byte 1 of the line \(0xe4\) is not UTF-8",
    ),
    "text: binary": (
        {"labels.txt": LABELS, "train_texts.txt": b"\x7fELF\0\0", "train_labels.txt": b"0\n"},
        r"train_texts\.txt:1: a NUL byte",
    ),
    "text: UTF-16": (
        {
            "labels.txt": LABELS,
            "train_texts.txt": "x\n".encode("utf-16"),
            "train_labels.txt": b"0\n",
        },
        r"train_texts\.txt:1: the file is UTF-16",
    ),
    "xmc: no header": (
        {"train.xmc.txt": b"0,1 0:1\n"},
        r"train\.xmc\.txt:1: the header is '0,1 0:1'; expected 'points features labels'",
    ),
    "xmc: empty": ({"train.xmc.txt": b""}, r"train\.xmc\.txt:1: the header is ''"),
    "xmc: truncated": (
        {"train.xmc.txt": b"3 2 2\n0 0:1\n1 1:1\n"},
        r"train\.xmc\.txt:3: the file ends after 2 points, but the header says 3",
    ),
    "xmc: too long": (
        {"train.xmc.txt": b"1 2 2\n0 0:1\n1 1:1\n"},
        r"train\.xmc\.txt:3: more points than the 1 of the header",
    ),
    "xmc: feature out of range": (
        {"train.xmc.txt": b"1 2 2\n0 0:1 2:1\n"},
        r"train\.xmc\.txt:2: feature id 2 is out of range: the header says 2",
    ),
    "xmc: label out of range": (
        {"train.xmc.txt": b"1 2 2\n0,2 0:1\n"},
        r"train\.xmc\.txt:2: label id 2 is out of range: there are 2 labels",
    ),
    "xmc: value not a number": (
        {"train.xmc.txt": b"1 2 2\n0 0:1 1:x\n"},
        r"train\.xmc\.txt:2: '1:x' is no feature",
    ),
    "xmc: NaN": (
        {"train.xmc.txt": b"1 2 2\n0 0:nan\n"},
        r"train\.xmc\.txt:2: '0:nan' is no feature; .*finite",
    ),
    "xmc: infinite in float32": (
        {"train.xmc.txt": b"2 2 2\n0 0:1\n0 1:1e99\n"},
        r"train\.xmc\.txt:3: a value is beyond the range of float32",
    ),
    "xmc: half a feature": (
        {"train.xmc.txt": b"1 9 2\n0 1:2:3 4\n"},
        r"train\.xmc\.txt:2: '1:2:3' is no feature",
    ),
    "xmc: labels apart": (
        {"train.xmc.txt": b"1 2 2\n0,x 0:1\n"},
        r"train\.xmc\.txt:2: '0,x' is no list of label ids",
    ),
    "xmc: labels.txt of another set": (
        {"labels.txt": LABELS, "train.xmc.txt": b"1 2 2\n0 0:1\n"},
        r"train\.xmc\.txt:1: the header says 2 labels, but .*labels\.txt names 3",
    ),
    "xmc: headers disagree": (
        {"train.xmc.txt": b"1 2 2\n0 0:1\n", "test.xmc.txt": b"1 2 3\n0 0:1\n"},
        "the headers disagree about the number of labels",
    ),
    "jsonl: no JSON": (
        {"train.jsonl": b'{"text": "x", "labels": ["a"]}\n{"text": \n'},
        r"train\.jsonl:2: not a JSON value",
    ),
    "jsonl: deep nesting": (
        {"train.jsonl": b"[" * 200_000 + b"\n"},
        r"train\.jsonl:1: not a JSON value",
    ),
    "jsonl: a list": ({"train.jsonl": b"[]\n"}, r"train\.jsonl:1: a list, expected an object"),
    "jsonl: no text": (
        {"train.jsonl": b'{"labels": []}\n'},
        r'train\.jsonl:1: "text" is missing, expected a string',
    ),
    "jsonl: fractions as labels": (
        {"train.jsonl": b'{"text": "x", "labels": [1.5]}\n'},
        r'train\.jsonl:1: a label of "labels" is 1\.5, expected a string or a whole number',
    ),
    "jsonl: no labels": (
        {"train.jsonl": b'{"text": "x"}\n'},
        r'train\.jsonl:1: "labels" is missing',
    ),
    "jsonl: ids now and then": (
        {"train.jsonl": b'{"id": "1", "text": "x", "labels": []}\n{"text": "x", "labels": []}\n'},
        r'train\.jsonl:2: some points have an "id"',
    ),
    "jsonl: id not a name": (
        {"train.jsonl": b'{"id": true, "text": "x", "labels": []}\n'},
        r'train\.jsonl:1: "id" is true, expected a string or a whole number',
    ),
    "jsonl: unknown name": (
        {"labels.txt": LABELS, "train.jsonl": b'{"text": "x", "labels": ["A", "q"]}\n'},
        r"train\.jsonl:1: no label is called 'q'",
    ),
    "jsonl: half a surrogate pair": (
        {"train.jsonl": b'{"text": "\\ud800", "labels": []}\n'},
        r"train\.jsonl:1: \"text\" holds half a surrogate pair",
    ),
    "jsonl: a name with a tab": (
        {"train.jsonl": b'{"text": "x", "labels": ["a\\tb"]}\n'},
        r"train\.jsonl:1: label 0: the key 'a\\tb' holds a tab",
    ),
    "npz: junk": (
        {"train_X.npz": b"junk", "train_Y.npz": b"junk"},
        r"train_Y\.npz cannot be read as \.npz",
    ),
    "npz: no labels": ({"train_X.npz": b""}, r"train_Y\.npz is missing"),
    "npz: pickle": (
        {"train_X.npz": b"\x80\x04N.", "train_Y.npz": b"\x80\x04N."},
        r"train_Y\.npz cannot be read as \.npz",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_malformed_folder(name, tmp_path):
    files, message = CASES[name]
    for file_name, content in files.items():
        (tmp_path / file_name).write_bytes(content)
    with pytest.raises(DataFormatError, match=message):
        open_dataset(tmp_path).read("train")
    report = validate(tmp_path)
    assert not report.ok and report.errors


def save_pair(path, x, y):
    sp.save_npz(path / "train_X.npz", x)
    sp.save_npz(path / "train_Y.npz", y)


def test_malformed_npz_matrices(tmp_path):
    eye = sp.eye(2, format="csr")
    nan = eye.copy()
    nan.data[1] = np.nan
    save_pair(tmp_path, nan, eye)
    with pytest.raises(DataFormatError, match=r"train_X\.npz: got the value nan in row 1"):
        open_dataset(tmp_path).read("train")
    outside = eye.copy()
    outside.indices[1] = 9
    save_pair(tmp_path, eye, outside)
    with pytest.raises(DataFormatError, match=r"train_Y\.npz .*its indices run from 0 to 9"):
        open_dataset(tmp_path).read("train")
    save_pair(tmp_path, sp.eye(3, format="csr"), eye)
    with pytest.raises(DataFormatError, match=r"train_X\.npz has 3 rows, but .* has 2"):
        open_dataset(tmp_path).read("train")
    save_pair(tmp_path, eye, eye)
    content = (tmp_path / "train_X.npz").read_bytes()
    for cut in (10, len(content) // 2, len(content) - 5):
        (tmp_path / "train_X.npz").write_bytes(content[:cut])
        with pytest.raises(DataFormatError, match=r"train_X\.npz cannot be read"):
            open_dataset(tmp_path).read("train")
    np.savez(tmp_path / "train_X.npz", a=np.ones(3))
    with pytest.raises(DataFormatError, match=r"train_X\.npz cannot be read"):
        open_dataset(tmp_path).read("train")


def test_a_damaged_npz_member_is_refused(tmp_path):
    rng = np.random.default_rng(0)
    x = sp.random(200, 50, 0.3, format="csr", random_state=rng)
    save_pair(tmp_path, x, sp.eye(200, format="csr"))
    content = bytearray((tmp_path / "train_X.npz").read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(64)
    (tmp_path / "train_X.npz").write_bytes(content)
    with pytest.raises(DataFormatError, match=r"train_X\.npz"):
        open_dataset(tmp_path).read("train")


def test_folders_that_are_none(tmp_path):
    with pytest.raises(DataFormatError, match="is empty; expected a data folder"):
        open_dataset(tmp_path)
    with pytest.raises(DataFormatError, match="does not exist"):
        open_dataset(tmp_path / "nowhere")
    (tmp_path / "notes.md").write_text("x")
    with pytest.raises(DataFormatError, match=r"holds notes\.md; expected a data folder. Formats:"):
        open_dataset(tmp_path)
    with pytest.raises(DataFormatError, match="is a file"):
        open_dataset(tmp_path / "notes.md")
    (tmp_path / "train.jsonl").write_text("")
    (tmp_path / "train_texts.txt").write_text("")
    with pytest.raises(DataFormatError, match=r"several formats \(text, jsonl\)"):
        open_dataset(tmp_path)
