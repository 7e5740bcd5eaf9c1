"""Sparse matrices in archives that lie: sizes, types and parts that do not fit together."""

import io
import re
import struct
import zipfile

import numpy as np
import pytest
import scipy.sparse as sp
from hostile_cases import CSR, refused, save_pair

from learned_index.data import open_dataset


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "bsr", "dia"])
@pytest.mark.parametrize("dtype", ["f4", "f8", ">f4", "f2", "i8", "u1", "?"])
def test_matrices_of_every_kind(kind, dtype, tmp_path):
    values = np.array([[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1], [1, 1, 0, 0]])
    matrix = sp.csr_matrix(values.astype("f4")).asformat(kind)
    sp.save_npz(tmp_path / "train_Y.npz", matrix)
    with np.load(tmp_path / "train_Y.npz") as saved:
        parts = dict(saved)
    np.savez(tmp_path / "train_X.npz", **{**parts, "data": parts["data"].astype(dtype)})
    train = open_dataset(tmp_path).read("train")
    assert train.features.toarray().tolist() == train.labels.toarray().tolist() == values.tolist()


@pytest.mark.parametrize(
    "arrays",
    [
        {"indptr": np.array([0, 2, 10**6])},
        {"indptr": np.array([0, 3, 2, 3]), "shape": np.array([3, 3])},
        # int32 differences wrap around to something that rises
        {"indptr": np.array([0, 2**31 - 1, -(2**31), -1, 3], "i4"), "shape": np.array([4, 3])},
        {"indptr": np.array([1, 2, 3])},
        {"indptr": np.array([0, 3])},
        {"indptr": np.array([0.0, 2, 3])},
        {"indices": np.array([0, 3, 1])},
        {"indices": np.array([0, -1, 1])},
        {"indices": np.array([0, 2**40, 1])},
        {"indices": np.array([0, 1])},
        {"indices": np.array([[0, 2, 1]])},
        {"data": np.ones(2)},
        {"data": np.ones((3, 1))},
        {"data": np.array(["1", "2", "3"])},
        {"data": np.ones(3, complex)},
        {"data": np.array([1, np.nan, 1])},
        {"data": np.array([1, 1e300, 1])},
        {"shape": np.array([2, 2**31])},
        {"shape": np.array([2, 2**30])},
        {"shape": np.array([-2, 3])},
        {"shape": np.array([2])},
        {"shape": np.array([2, 3, 1])},
        {"shape": np.array([2.0, 3.0])},
        {"format": np.array(b"lil")},
        {"format": np.array(b"\xff")},
        {"format": np.array([], dtype="S3")},
        {"format": np.array(b"csc"), "shape": np.array([2**40, 2])},
        {"format": np.array(b"coo"), "row": np.array([0, 1, 2]), "col": np.array([0, 1, 2])},
        {"format": np.array(b"coo"), "row": np.array([0, 1, 1])},
        {"format": np.array(b"bsr"), "data": np.ones((3, 0, 0))},
        {"format": np.array(b"dia"), "data": np.ones((1, 3)), "offsets": np.array([2**40])},
        {"format": np.array(b"dia"), "data": np.ones((1, 3)), "offsets": np.array([0.5])},
    ],
)
def test_parts_that_do_not_fit_together(arrays, tmp_path):
    save_pair(tmp_path, **arrays)
    refused(tmp_path, "train_X.npz")


@pytest.mark.parametrize("part", ["shape", "data", "indices", "indptr", "format"])
def test_a_part_that_is_missing(part, tmp_path):
    save_pair(tmp_path)
    np.savez(tmp_path / "train_X.npz", **{k: v for k, v in CSR.items() if k != part})
    refused(tmp_path, "train_X.npz", part)


def zipped(members, **options):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", **options) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return stream.getvalue()


def as_npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def header(descr="'<f8'", order="False", shape="(3,)"):
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + np.ones(3).tobytes()


def hostile_archives():
    whole = {name: as_npy(array) for name, array in CSR.items()}
    yield "encrypted", _encrypted(zipped(whole)), "encrypted"
    yield "bzip2", zipped(whole, compression=zipfile.ZIP_BZIP2), "compressed in a way"
    yield "lzma", zipped(whole, compression=zipfile.ZIP_LZMA), "compressed in a way"
    bomb = {**whole, "data": as_npy(np.zeros(2**26))}
    yield "bomb", zipped(bomb, compression=zipfile.ZIP_DEFLATED), "unpacks to"
    yield "lying size", _with_size(zipped(whole), 2**31), "train_X.npz"
    for name, data, words in (
        ("pickle", header("'|O'"), "pickled objects"),
        ("pickle in a record", header("[('a', '|O')]"), "no header"),
        ("huge shape", header(shape="(1000000000000,)"), "header says (1000000000000)"),
        ("overflowing shape", header(shape="(4294967296, 4294967296)"), "header says"),
        ("shape of 4000 digits", header(shape=f"({'9' * 4000},)"), "header says"),
        ("negative shape", header(shape="(-3,)"), "no header"),
        ("nested", header(shape="(" * 500 + ")" * 500), "no header"),
        ("signs", header(shape="-" * 9000 + "3"), "no header"),
        ("code", header(descr="__import__('os')"), "no header"),
        ("no dictionary", header().replace(b"{", b"["), "no header"),
        ("nothing", b"", "no .npy file"),
        ("half", header()[:40], "train_X.npz"),
        ("other version", header().replace(b"\x01\x00", b"\x07\x00", 1), "no .npy file"),
    ):
        yield name, zipped({**whole, "data": data}), words


def _encrypted(content):
    """Set the flag of encryption in both headers of each member."""
    changed = bytearray(content)
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        for match in re.finditer(re.escape(signature), content):
            changed[match.start() + offset] |= 1
    return bytes(changed)


def _with_size(content, size):
    """Let the directory of a zip file declare a size for its first member."""
    start = content.index(b"PK\x01\x02") + 24
    return content[:start] + struct.pack("<I", size) + content[start + 4 :]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    list(hostile_archives()),
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_archives_that_lie(name, content, words, tmp_path):
    save_pair(tmp_path)
    (tmp_path / "train_X.npz").write_bytes(content)
    refused(tmp_path, "train_X.npz", words)


def test_the_width_of_labels_needs_bytes(tmp_path):
    save_pair(tmp_path)
    wide = sp.csr_matrix((np.ones(2), ([0, 1], [0, 2**30])), shape=(2, 2**31 - 1))
    sp.save_npz(tmp_path / "train_Y.npz", wide)
    refused(tmp_path, "train_Y.npz", "labels are declared")
