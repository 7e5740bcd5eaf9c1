"""Vectors of whole splits as files that a later run goes on with: what ``li embed`` does."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from learned_index.encoders.base import ENCODER_FILE, EncoderBase
from learned_index.encoders.cache import cached_encode
from learned_index.encoders.chunked_file import Progress, texts_digest, whole_vectors
from learned_index.encoders.registry import parse_encoder
from learned_index.encoders.vector_files import embed_record, read_embed_record
from learned_index.encoding import sparse_vectors
from learned_index.errors import InputError
from learned_index.persistence import atomic_file, write_json


def fitted_encoder(
    spec: str, training_texts: Callable[[], list[str]], **options: Any
) -> EncoderBase:
    """Make an encoder of dense vectors and fit it; a saved encoder stays as it is.

    Args:
        spec: See :func:`~learned_index.encoders.registry.parse_encoder`, as for the options.
        training_texts: Gives the texts to fit it on, where they are needed.
        **options: Parameters of the encoder.

    Raises:
        InputError: An unknown encoder, or one of sparse vectors.
    """
    encoder = parse_encoder(spec, **options)
    if encoder.sparse:
        raise sparse_vectors(encoder)
    if encoder.needs_fit and not (Path(spec).expanduser() / ENCODER_FILE).is_file():
        encoder.fit(training_texts())
    return encoder


class EmbeddedSplits:
    """The files of vectors of some splits, and the record of which encoder and texts made each.

    A file that is whole, of the same encoder and texts, is not made again.

    Args:
        encoder: Fitted, of dense vectors.
        texts: Texts by split.
        out: Folder for ``{split}.npy`` and ``encoder/``, or one file ending in ``.npy`` for one
            split.

    Attributes:
        paths: The file of each split.
        done: Whether an earlier run has made it.
        encoder_place: Where the encoder is saved.

    Raises:
        InputError: ``out`` does not fit the splits, or a file there was not written by this.
    """

    def __init__(self, encoder: EncoderBase, texts: Mapping[str, list[str]], out: Path) -> None:
        self._is_file = check_out(out, texts)
        self.encoder, self.texts = encoder, texts
        self.paths = {split: out if self._is_file else out / f"{split}.npy" for split in texts}
        self.encoder_place = out.with_suffix(".encoder") if self._is_file else out / "encoder"
        self._record_path = embed_record(out)
        self._record = read_embed_record(self._record_path)
        fingerprint = encoder.fingerprint()
        self._keys = {split: f"{fingerprint}:{texts_digest(rows)}" for split, rows in texts.items()}
        self.done = {split: self._is_whole(split) for split in texts}
        for path in self.paths.values():
            if path.exists() and path.name not in self._record:
                raise InputError(
                    f"{path} was not written by li embed, so it is not overwritten; remove it, or "
                    "choose another --out"
                )

    def _is_whole(self, split: str) -> bool:
        path, shape = self.paths[split], (len(self.texts[split]), self.encoder.dim)
        is_same = self._record.get(path.name) == self._keys[split]
        return is_same and whole_vectors(path, shape) is not None

    def begin(self) -> None:
        """Record what will be replaced, and save the encoder where it is needed again."""
        # Until they are whole, nobody takes older files of these names for them.
        self._record |= {path.name: "" for s, path in self.paths.items() if not self.done[s]}
        if not all(self.done.values()):
            self._write_record()
        if not self._is_file or self.encoder.needs_fit:
            self.encoder.save_pretrained(self.encoder_place, overwrite=True)

    def write(
        self, split: str, *, cache: bool = True, progress: Progress | None = None
    ) -> dict[str, Any]:
        """Encode one split into its file, which appears when it is whole.

        Args:
            split: Name of the split.
            cache: Use and fill the cache of vectors, for encoders that are worth it.
            progress: Called as ``progress(done, total)`` as rows are done.

        Returns:
            ``file``, ``rows``, ``seconds`` and ``status``: ``"written"`` or ``"unchanged"``.
        """
        start, texts, path = time.perf_counter(), self.texts[split], self.paths[split]
        if not self.done[split]:
            self.encoder.bind(texts, split)
            if cache and self.encoder.cost == "expensive":
                vectors = cached_encode(self.encoder, texts, split=split, progress=progress)
                with atomic_file(path) as temporary, temporary.open("wb") as file:
                    np.save(file, np.asarray(vectors), allow_pickle=False)
            else:
                self.encoder.encode_to_file(texts, path, progress=progress)
            self._record[path.name] = self._keys[split]
        self._write_record()
        return {
            "file": str(path),
            "rows": len(texts),
            "seconds": round(time.perf_counter() - start, 3),
            "status": "unchanged" if self.done[split] else "written",
        }

    def _write_record(self) -> None:
        with atomic_file(self._record_path) as temporary:
            write_json(temporary, self._record)


def check_out(out: Path, texts: Mapping[str, Any]) -> bool:
    """Return whether ``out`` is to be one file, where it fits the splits.

    Raises:
        InputError: One file for several splits, or a folder that is a file.
    """
    is_file = out.suffix == ".npy"
    if is_file and len(texts) != 1:
        raise InputError(
            f"{out} is one file, the data have the splits {', '.join(texts)}; choose one with "
            "--split, or give a folder"
        )
    if not is_file and out.is_file():
        raise InputError(f"{out} is a file; give a folder, or a name ending in .npy")
    return is_file
