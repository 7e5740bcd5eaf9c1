"""Files that people hand in: read as they are meant, or refused by file and line, soon."""

import gzip
import json
import os

import numpy as np
import pytest
import scipy.sparse as sp
from hostile_cases import refused, save_pair, write

from learned_index.data import LabelVocabulary, open_dataset, validate
from learned_index.errors import DataFormatError
from learned_index.persistence import foreign

XMC = b"3 4 3\n2 0:1 3:0.5\n0,1 1:2\n 2:1.5\n"
XMC_X = [[1, 0, 0, 0.5], [0, 2, 0, 0], [0, 0, 1.5, 0]]
XMC_Y = [[0, 0, 1], [1, 1, 0], [0, 0, 0]]


# -- sparse text -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        XMC,
        b"\xef\xbb\xbf" + XMC,
        XMC.replace(b"\n", b"\r\n"),
        XMC.replace(b" ", b"\t"),
        XMC.replace(b"2 0:1 3:0.5", b"2\t0:1 3:0.5"),
        XMC.replace(b"2 0:1 3:0.5", b"2 0:1\t3:0.5 "),
        XMC.replace(b" ", b"  "),
        XMC.replace(b" 2:1.5", b"2:1.5"),
        XMC.replace(b"0:1 3:0.5", b"0:.5 3:+5E-1 0:0.5"),
        XMC.replace(b"0,1 1:2", b"1,0,1, 1:2"),
        XMC + b"\n\n",
    ],
)
@pytest.mark.parametrize("name", ["train.txt", "train.xmc.txt", "trn.txt", "eurlex_train.txt"])
def test_sparse_text_as_it_is_found(name, content, tmp_path):
    write(tmp_path, {name: content})
    train = open_dataset(tmp_path).read("train")
    assert train.features.toarray().tolist() == XMC_X
    assert train.labels.toarray().tolist() == XMC_Y


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        (b"3:0.5", b"3:nan", ":2"),
        (b"3:0.5", b"3:inf", ":2"),
        (b"3:0.5", b"3:3e38 3:3e38", ":2"),
        (b"3:0.5", b"4:0.5", ":2"),
        (b"3:0.5", b"-1:0.5", ":2"),
        (b"3:0.5", b"9223372036854775808:0.5", ":2"),
        (b"3:0.5", b"9" * 5000 + b":0.5", ":2"),
        (b"3:0.5", b"qid:1", ":2"),
        (b"3:0.5", b"3:0.5 # a note", ":2"),
        (b"3:0.5", b"3:0x10", ":2"),
        (b"3:0.5", "٣:1".encode(), ":2"),
        (b"0,1", b"0.0,1", ":3"),
        (b"0,1", b"1,3", ":3"),
        (b"0,1", b"1," + b"9" * 5000, ":3"),
        (b"0,1", b"0;1", ":3"),
        (b"3 4 3", b"2 4 3", ":4"),
        (b"3 4 3", b"4 4 3", ":4"),
        (b"3 4 3", b"9223372036854775808 4 3", ":4"),
        (b"3 4 3", b"3 4 2147483647", ":1"),
        (b"3 4 3", b"3 2147483647 3", ":1"),
        (b"3 4 3", b"3 4 " + b"9" * 5000, ":1"),
        (b"3 4 3", b"3 4 3 0", ":1"),
        (b"3 4 3", b"# made by me", ":1"),
        (b"3 4 3\n", b"", ":1"),
        (b"3:0.5", b"3:\x00", ":2"),
        (XMC, XMC.decode().encode("utf-16"), ":1"),
    ],
)
def test_sparse_text_that_means_nothing(old, new, place, tmp_path):
    assert old in XMC
    write(tmp_path, {"train.xmc.txt": XMC.replace(old, new)})
    refused(tmp_path, f"train.xmc.txt{place}")


def test_a_declared_width_needs_bytes_or_names(tmp_path):
    """A million columns are nobody's accident; more are accepted where the data could hold them."""
    write(tmp_path, {"train.xmc.txt": XMC.replace(b"3 4 3", b"3 1000000 1000000")})
    train = open_dataset(tmp_path).read("train")
    assert train.features.shape == (3, 10**6) and train.labels.shape == (3, 10**6)
    write(tmp_path, {"train.xmc.txt": XMC.replace(b"3 4 3", b"3 4 1100000")})
    assert "labels.txt" in refused(tmp_path, "1100000 labels are declared")
    write(tmp_path, {"train.xmc.txt": XMC.replace(b"3 4 3", b"3 4 1100000") + b"\n" * 1_100_000})
    assert open_dataset(tmp_path).read("train").n_labels == 1_100_000


def test_headers_that_disagree_are_named(tmp_path):
    write(tmp_path, {"train.txt": XMC, "test.txt": XMC.replace(b"3 4 3", b"3 4 5")})
    message = refused(tmp_path, "the headers disagree")
    assert "train.txt 3" in message and "test.txt 5" in message


def test_two_files_for_one_split_are_not_chosen_from(tmp_path):
    write(tmp_path, {"train.txt": XMC, "my_train.txt": XMC})
    refused(tmp_path, "train.txt", "my_train.txt", "keep one")


# -- texts and lines of ids ------------------------------------------------------------------------


def text_folder(folder, ids, **others):
    n_lines = ids.count(b"\n")
    texts = "".join(f"text {i}\n" for i in range(n_lines)).encode()
    return write(folder, {"train_texts.txt": texts, "train_labels.txt": ids, **others})


@pytest.mark.parametrize("white", [b"\x0c", b"\x0b", b" \x0c ", b"\t", b"\r", b" "])
def test_white_space_around_ids(white, tmp_path):
    text_folder(tmp_path, b"0" + white + b"\n" + white + b"1" + white + b"0\n")
    train = open_dataset(tmp_path).read("train")
    assert train.labels.toarray().tolist() == [[1, 0], [1, 1]]


@pytest.mark.parametrize(
    "bad", ["\x1c", "\x85", "\xa0", "\u2028", "٣", "²", "0_1", "1.0", "-1", "9" * 5000, "a" * 5000]
)
def test_what_is_no_id(bad, tmp_path):
    text_folder(tmp_path, f"0\n1 {bad}\n".encode(), **{"labels.txt": b"a\nb\n"})
    refused(tmp_path, "train_labels.txt:2")


@pytest.mark.parametrize("large", [1041632088, 10_000, 2**31, 2**63, 10**40])
def test_an_id_far_beyond_the_others_is_refused_with_its_line(large, tmp_path):
    lines = [b"0", b"1"] * 10
    lines[6] = str(large).encode()
    text_folder(tmp_path, b"\n".join(lines) + b"\n")
    message = refused(tmp_path, f"train_labels.txt:7: label id {large}", "3 different ids")
    assert "labels.txt" in message and "JSON lines" in message


def test_ids_may_be_spread_where_there_are_many(tmp_path):
    text_folder(tmp_path, b"".join(b"%d\n" % (19 * i) for i in range(1000)))
    assert open_dataset(tmp_path).read("train").n_labels == 19 * 999 + 1


def test_a_key_in_the_place_of_an_id_is_explained(tmp_path):
    text_folder(tmp_path, b"0\n118540238\n", **{"labels.txt": b"4\tLaw\n118540238\tGoethe\n"})
    refused(tmp_path, "train_labels.txt:2", "118540238 is the name of a label", "JSON lines")


def test_blank_lines_end_a_vocabulary_and_do_not_move_it(tmp_path):
    path = write(tmp_path, {"labels.txt": b"a\tA\r\nb\n\n\r\n\n"}) / "labels.txt"
    assert LabelVocabulary.read(path) == LabelVocabulary(["a", "b"], ["A", ""])
    path.write_bytes(b"a\n\n\nb\n")
    with pytest.raises(DataFormatError, match=r"labels\.txt:2: the line is empty"):
        LabelVocabulary.read(path)


# -- JSON lines ------------------------------------------------------------------------------------


def records(**changes):
    plain = [{"text": "a", "labels": ["x"]}, {"text": "b", "labels": ["y", "x"]}]
    return [{**record, **changes} for record in plain]


def lines(items, end="\n"):
    return "".join(json.dumps(item) + end for item in items).encode()


URI = {"x": "http://x/0", "y": "http://x/1"}


@pytest.mark.parametrize(
    ("content", "keys"),
    [
        (lines(records(), "\n\n"), ["x", "y"]),
        (b"\xef\xbb\xbf" + lines(records(), "\r\n"), ["x", "y"]),
        (b" \t\n" + lines(records()) + b"\r\n\x0c\n", ["x", "y"]),
        (lines([{"text": "a", "labels": [9]}, {"text": "b", "labels": [10, 9]}]), ["9", "10"]),
        (lines([{"text": "a", "label": "x"}, {"text": "b", "label": ["y", "x"]}]), ["x", "y"]),
        (lines(records(year=float("nan"), extra=[{"a": None}])), ["x", "y"]),
        (
            lines(
                [
                    {
                        "text": r["text"],
                        "subjects": [{"uri": URI[x], "label": x} for x in r["labels"]],
                    }
                    for r in records()
                ]
            ),
            ["http://x/0", "http://x/1"],
        ),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_json_lines_as_other_tools_write_them(content, keys, packed, tmp_path):
    name = "train.jsonl.gz" if packed else "train.jsonl"
    write(tmp_path, {name: gzip.compress(content) if packed else content})
    folder = open_dataset(tmp_path)
    train = folder.read("train")
    assert list(train.texts) == ["a", "b"] == list(folder.iter_texts("train"))
    assert folder.vocabulary.keys == tuple(keys)
    assert train.labels.toarray().tolist() == [[1, 0], [1, 1]]
    if "http" in keys[0]:
        assert folder.vocabulary.texts == ("x", "y")


def test_ids_may_be_numbers_of_any_length(tmp_path):
    write(tmp_path, {"train.jsonl": lines([{"text": "a", "labels": [], "id": 7}])})
    assert open_dataset(tmp_path).read("train").ids == ["7"]
    content = b'{"text": "a", "labels": [%b], "id": %b, "year": %b}\n' % ((b"9" * 5000,) * 3)
    write(tmp_path, {"train.jsonl": content})
    train = open_dataset(tmp_path).read("train")
    assert train.ids == ["9" * 5000] and train.vocabulary.keys == ("9" * 5000,)


def test_packed_json_lines_of_the_extreme_classification_repository(tmp_path):
    points = [
        {
            "uid": "B1",
            "title": "tax law",
            "content": "of 1990",
            "target_ind": [1],
            "target_rel": [1.0],
        },
        {"uid": "B2", "title": "birds", "content": "", "target_ind": [0, 1]},
    ]
    labels = [{"uid": "L1", "title": "Animals "}, {"uid": "L2", "title": "Laws"}]
    write(
        tmp_path,
        {
            "trn.json.gz": gzip.compress(lines(points)),
            "lbl.json.gz": gzip.compress(lines(labels)),
            "trn_X_Y.txt": b"2 2\n1:1.0\n0:1.0 1:1.0\n",
            "filter_labels_test.txt": b"0 0\n",
        },
    )
    folder = open_dataset(tmp_path)
    train = folder.read("train")
    assert (folder.format, folder.splits) == ("jsonl", ("train",))
    assert train.texts == ["tax law of 1990", "birds"] and train.ids == ["B1", "B2"]
    assert folder.vocabulary == LabelVocabulary(["L1", "L2"], ["Animals", "Laws"])
    assert train.labels.toarray().tolist() == [[0, 1], [1, 1]]
    (tmp_path / "trn.json.gz").write_bytes(gzip.compress(lines([{**points[0], "target_ind": [2]}])))
    refused(tmp_path, "trn.json.gz:1: label 2 is out of range: there are 2 labels")
    (tmp_path / "lbl.json.gz").unlink()
    refused(tmp_path, "trn.json.gz:1: the labels are lines of lbl.json.gz, which is missing")


@pytest.mark.parametrize(
    "line",
    [
        '{"text": 5, "labels": []}',
        '{"text": null, "labels": []}',
        '{"title": null, "content": "", "labels": []}',
        '{"title": "a", "content": [], "labels": []}',
        '{"text": ["a"], "labels": []}',
        '{"text": "a\\udc00", "labels": []}',
        '{"text": "a", "labels": null}',
        '{"text": "a", "labels": "x"}',
        '{"text": "a", "labels": [true]}',
        '{"text": "a", "labels": [1.5]}',
        '{"text": "a", "labels": [NaN]}',
        '{"text": "a", "labels": [["x"]]}',
        '{"text": "a", "labels": [{"name": "x"}]}',
        '{"text": "a", "labels": [{"uri": "x", "label": 5}]}',
        '{"text": "a", "labels": ["\\ud800"]}',
        '{"text": "a", "labels": [""]}',
        '{"text": "a", "labels": ["' + "x" * 20_000 + '"]}',
        '{"text": "a", "label": null}',
        '{"text": "a", "target_ind": [0]}',
        '{"text": "a", "labels": [], "id": {}}',
        '{"text": "a", "labels": [], "id": "\\ud800"}',
        '{"text": "a", "labels": [], "labels": ["x"]}',
        '{"text": ' + "[" * 900 + "]" * 900 + ', "labels": []}',
        "[" * 100_000,
        '{"a":' * 100_000,
        "5",
        '"text"',
        "[1, 2]",
    ],
)
def test_json_lines_that_mean_nothing(line, tmp_path):
    write(tmp_path, {"train.jsonl": b'{"text": "a", "labels": ["x"]}\n' + line.encode() + b"\n"})
    refused(tmp_path, "train.jsonl:2: ")


def test_a_packed_file_that_is_damaged_or_swells(tmp_path, monkeypatch):
    whole = gzip.compress(lines(records() * 100))
    for content in (whole[:-9], whole[:30] + bytes(20) + whole[50:], b"\x1f\x8bjunk", b"junk"):
        write(tmp_path, {"train.jsonl.gz": content})
        refused(tmp_path, "train.jsonl.gz cannot be read to its end")
    monkeypatch.setattr(foreign, "_ROOM", 2**22)
    blank = gzip.compress(b" " * 2**20 + b"\n", 9)  # a thousand times its size
    write(tmp_path, {"train.jsonl.gz": blank * 5})
    refused(tmp_path, "train.jsonl.gz has", "unpacks to")


def test_a_line_without_end(tmp_path):
    with (tmp_path / "train.jsonl").open("wb") as file:
        file.truncate(2**34)  # a hole: it takes no space on the disk
    refused(tmp_path, "train.jsonl:1", "64 MiB")


# -- what is no file -------------------------------------------------------------------------------

PLACES = {
    "text": ("train_texts.txt", "train_labels.txt", "labels.txt"),
    "xmc": ("train.xmc.txt", "labels.txt"),
    "xmc of a download": ("train.txt",),
    "jsonl": ("train.jsonl", "labels.txt"),
    "json.gz": ("trn.json.gz", "lbl.json.gz"),
    "npz": ("train_X.npz", "train_Y.npz", "labels.txt"),
}


def whole_folder(folder, kind):
    write(folder, {"labels.txt": b"x\ny\nz\n"} if "labels.txt" in PLACES[kind] else {})
    if kind == "text":
        text_folder(folder, b"0\n1 2\n")
    elif kind.startswith("xmc"):
        write(folder, {PLACES[kind][0]: XMC})
    elif kind == "jsonl":
        write(folder, {"train.jsonl": lines(records())})
    elif kind == "json.gz":
        point = lines([{"title": "a", "target_ind": [0]}])
        write(folder, {"trn.json.gz": gzip.compress(point)})
        write(folder, {"lbl.json.gz": gzip.compress(lines([{"uid": "x"}]))})
    else:
        save_pair(folder)
        sp.save_npz(folder / "train_Y.npz", sp.csr_matrix(np.eye(2, 3)))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
@pytest.mark.parametrize("what", ["folder", "pipe", "loop", "nowhere", "device"])
@pytest.mark.parametrize(("kind", "name"), [(k, n) for k, names in PLACES.items() for n in names])
def test_something_else_in_the_place_of_a_file(kind, name, what, tmp_path):
    whole_folder(tmp_path, kind)
    assert validate(tmp_path).ok
    path = tmp_path / name
    path.unlink()
    if what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to({"loop": path, "nowhere": tmp_path / "x", "device": "/dev/zero"}[what])
    refused(tmp_path, name)


@pytest.mark.skipif(os.geteuid() == 0, reason="everything can be read by root")
@pytest.mark.parametrize("name", ["train_texts.txt", "labels.txt", "."])
def test_files_that_may_not_be_read(name, tmp_path):
    whole_folder(tmp_path, "text")
    (tmp_path / name).chmod(0)
    try:
        refused(tmp_path, "cannot be read")
    finally:
        (tmp_path / name).chmod(0o700)


@pytest.mark.parametrize("path", ["", "a" * 5000, "no\0where", "loop"])
def test_paths_that_lead_nowhere(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(DataFormatError):
        open_dataset(path)
