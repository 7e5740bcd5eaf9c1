"""Convert a data folder from one format to another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from learned_index.data.dataset import Dataset
from learned_index.data.folder import FORMATS, DataFolder, open_dataset, write_dataset
from learned_index.data.formats.base import FormatName
from learned_index.errors import InputError
from learned_index.inputs.matrices import canonical_features
from learned_index.system.extras import require


def convert(
    source: Path | str,
    target: Path | str,
    *,
    to: FormatName,
    features: Literal["keep", "tfidf"] = "keep",
    max_features: int | None = None,
    overwrite: bool = False,
) -> DataFolder:
    """Write a data folder in another format.

    Texts and sparse features cannot stand for each other: text and jsonl convert to each other,
    xmc and npz do. ``features="tfidf"`` makes sparse features from texts: tf-idf of words, with
    sublinear term frequency, rows of length 1, fitted on the training split. Which column is
    which word is written to ``features.txt``.

    Args:
        source: A data folder.
        target: The folder to write; it appears when it is whole.
        to: The new format.
        features: Keep what the points have, or compute tf-idf features.
        max_features: For tf-idf: keep that many most frequent words; None keeps all.
        overwrite: Replace a target that exists.

    Returns:
        The new folder.

    Raises:
        InputError: The points cannot be written in that format.
        DataFormatError: The source is malformed.
    """
    folder = open_dataset(source)
    _check_possible(folder, to, features)
    splits = (folder.read(split) for split in folder.splits)
    extra_files: dict[str, str] = {}
    if features == "tfidf":
        vectorizer = _fitted_tfidf(folder, max_features)
        splits = (_with_features(dataset, vectorizer) for dataset in splits)
        words = vectorizer.get_feature_names_out()
        extra_files["features.txt"] = "".join(f"{word}\n" for word in words)
    return write_dataset(
        target, splits, format_name=to, overwrite=overwrite, extra_files=extra_files
    )


def _check_possible(folder: DataFolder, to: FormatName, features: str) -> None:
    wants_texts = to in FORMATS and FORMATS[to].has_texts  # write_dataset refuses an unknown one
    if folder.has_texts and not wants_texts and features == "keep":
        raise InputError(
            f"{folder.path} has texts and no sparse features, which {to} needs; ask for "
            "features='tfidf' (--features tfidf) to compute them"
        )
    if features == "tfidf" and wants_texts:
        raise InputError(f"{to} holds texts and no features; tf-idf features go with xmc or npz")
    if features == "tfidf" and not folder.has_texts:
        raise InputError(f"{folder.path} has no texts to compute tf-idf from")
    if not folder.has_texts and wants_texts:
        raise InputError(
            f"{folder.path} has sparse features and no texts, which {to} needs; it converts to xmc "
            "or npz only"
        )


def _fitted_tfidf(folder: DataFolder, max_features: int | None) -> Any:
    vectorizer = require("sklearn.feature_extraction.text").TfidfVectorizer(
        sublinear_tf=True, max_features=max_features, dtype=np.float32
    )
    texts = folder.iter_texts("train")
    try:
        vectorizer.fit(texts)
    except ValueError as error:
        raise InputError(f"tf-idf of {folder.path} is impossible: {error}") from None
    return vectorizer


def _with_features(dataset: Dataset, vectorizer: Any) -> Dataset:
    matrix = canonical_features(vectorizer.transform(dataset.texts))
    return replace(dataset, texts=None, features=matrix)
