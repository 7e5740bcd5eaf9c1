"""The one input of all peers: weighted features with rows of length 1, and labels, as files."""

from __future__ import annotations

import hashlib
import shutil
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp

from learned_index.data import DataFolder, Dataset, SplitName, open_dataset, write_dataset
from learned_index.encoders import TfidfEncoder
from learned_index.encoders.lexical.point_features import TEXT_FEATURES
from learned_index.errors import InputError
from learned_index.persistence import atomic_directory, read_json, write_json

INPUT_VERSION = 1
Weights = Literal["none", "idf"]


def data_digest(folder: DataFolder, test_split: SplitName) -> str:
    """SHA-256 over the names and contents of the files of the training and the test split."""
    total = hashlib.sha256()
    for path in split_files(folder, ("train", test_split)):
        total.update(f"{path.name}\n{path.stat().st_size}\n".encode())
        with path.open("rb") as file:
            while block := file.read(2**20):
                total.update(block)
    return total.hexdigest()


def split_files(folder: DataFolder, splits: tuple[SplitName, ...]) -> list[Path]:
    """Return the files of some splits, and those of no split at all, such as the vocabulary."""
    left_out = tuple({"train", "dev", "test"} - set(splits))
    return sorted(
        path
        for path in folder.path.iterdir()
        if path.is_file() and not path.name.startswith(left_out)
    )


def training_view(folder: DataFolder, test_split: SplitName, out: Path) -> Path:
    """Make a folder of links to all but the test data, so that training cannot see them.

    The dev split stays unless it is the one that is tested on; the test split never does.
    """
    splits: tuple[SplitName, ...] = ("train",) if test_split == "dev" else ("train", "dev")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    for path in split_files(folder, splits):
        (out / path.name).symlink_to(path.resolve())
    return out


def prepare(
    data: Path, out: Path, *, test_split: SplitName, weights: Weights = "none"
) -> dict[str, Any]:
    """Write the input into the folder ``out`` unless it is there.

    Args:
        data: Data folder.
        out: Folder to make.
        test_split: The split that is tested on.
        weights: Column weights of features that the data bring; texts have tf-idf always.

    Returns:
        The description in ``input.json``: digest, sizes, feature settings, seconds.

    Raises:
        InputError: ``out`` holds the input of other data.
    """
    folder = open_dataset(data)
    settings = TEXT_FEATURES if folder.has_texts else {"weights": weights}
    wanted = {
        "version": INPUT_VERSION,
        "data_digest": data_digest(folder, test_split),
        "test_split": test_split,
        "features": {
            "of": "texts" if folder.has_texts else "the data's own features",
            **settings,
            "rows": "length 1",
        },
    }
    described = out / "input.json"
    if described.is_file():
        found: dict[str, Any] = read_json(described)
        if {key: found.get(key) for key in wanted} != wanted:
            raise InputError(
                f"{out} holds the input of other data or settings; choose another --out, or "
                "remove it"
            )
        return found
    train, test = folder.read("train"), folder.read(test_split)
    start = time.perf_counter()
    x_train, x_test, seconds = _features(train, test, weights)
    description = {
        **wanted,
        "data": str(data),
        "n_train": train.n_points,
        "n_test": test.n_points,
        "n_labels": train.n_labels,
        "n_features": x_train.shape[1],
        "embed_train_s": seconds,
        "embed_test_s": time.perf_counter() - start - seconds,
    }
    with atomic_directory(out) as temporary:
        for name, matrix in (
            ("train_x", x_train),
            ("train_y", train.labels),
            ("test_x", x_test),
            ("test_y", test.labels),
        ):
            sp.save_npz(temporary / f"{name}.npz", matrix, compressed=False)
        featured = Dataset(
            split="train", labels=train.labels, vocabulary=train.vocabulary, features=x_train
        )
        write_dataset(temporary / "xmc", [featured], format_name="xmc")
        write_json(temporary / "input.json", description)
    return description


def _features(
    train: Dataset, test: Dataset, weights: Weights
) -> tuple[sp.csr_matrix, sp.csr_matrix, float]:
    start = time.perf_counter()
    if train.texts is not None and test.texts is not None:
        encoder = TfidfEncoder(**TEXT_FEATURES).fit(train.texts)
        x_train = encoder.encode(train.texts)
        seconds = time.perf_counter() - start
        return x_train, encoder.encode(test.texts), seconds
    assert train.features is not None and test.features is not None
    weights_F = np.ones(train.features.shape[1], dtype=np.float32)
    if weights == "idf":
        weights_F = inverse_document_frequencies(train.features)
    x_train = weighted_rows(train.features, weights_F)
    seconds = time.perf_counter() - start
    return x_train, weighted_rows(test.features, weights_F), seconds


def inverse_document_frequencies(x_NF: sp.csr_matrix) -> Any:
    """Return ``ln((1 + N) / (1 + N_f)) + 1`` for each feature."""
    counts_F = np.bincount(x_NF.indices, minlength=x_NF.shape[1])
    return (np.log((1 + x_NF.shape[0]) / (1 + counts_F)) + 1).astype(np.float32)


def weighted_rows(x_NF: sp.csr_matrix, weights_F: Any) -> sp.csr_matrix:
    """Scale the columns by weights, then the rows to length 1; empty rows stay empty."""
    x_NF = sp.csr_matrix(x_NF, dtype=np.float32, copy=True)
    x_NF.data *= weights_F[x_NF.indices]
    norms_N = np.sqrt(np.asarray(x_NF.multiply(x_NF).sum(axis=1)).ravel())
    x_NF.data /= np.repeat(np.maximum(norms_N, 1e-12), np.diff(x_NF.indptr)).astype(np.float32)
    return x_NF
