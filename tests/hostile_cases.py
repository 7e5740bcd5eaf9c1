"""What the tests of hostile data folders share: folders that are written, refusals, a matrix."""

import time

import numpy as np
import pytest
import scipy.sparse as sp

from learned_index.data import open_dataset, validate
from learned_index.errors import DataFormatError


def write(folder, files):
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def refused(folder, *parts, split="train"):
    """Reading is refused within a second, in one line of some hundred characters."""
    started = time.process_time()
    with pytest.raises(DataFormatError) as caught:
        open_dataset(folder).read(split)
    assert time.process_time() - started < 1
    message = str(caught.value)
    assert len(message) < 1000 and all(part in message for part in parts), message
    report = validate(folder)
    assert not report.ok and report.errors
    return message


CSR = {
    "format": np.array(b"csr"),
    "shape": np.array([2, 3]),
    "data": np.ones(3),
    "indices": np.array([0, 2, 1], np.int32),
    "indptr": np.array([0, 2, 3], np.int32),
}


def save_pair(folder, **arrays):
    np.savez(folder / "train_X.npz", **{**CSR, **arrays})
    sp.save_npz(folder / "train_Y.npz", sp.csr_matrix(np.eye(2)))
