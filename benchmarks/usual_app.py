"""The usual way to serve labels: FastAPI, a sentence-transformer, and FAISS's HNSW.

Two kinds of items. ``labels``: the mean vector of each label's training records; the nearest are
the answer. ``records``: the training records; the labels of the nearest 30 are the answer, each
with the sum of their cosines. :func:`make` is the application; the environment tells its folder.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp

FOLDER = "USUAL_APP_FOLDER"
DONE = "tokens.txt"
"""Written last."""
LINKS, EF_CONSTRUCTION, EF_SEARCH = 32, 200, 128
N_NEAREST = 30
Items = Literal["labels", "records"]


class Usual:
    """An encoder and a graph of items.

    Args:
        folder: What :func:`prepare` wrote.
    """

    def __init__(self, folder: Path) -> None:
        import faiss
        from sentence_transformers import SentenceTransformer

        from learned_index.encoders.transformer.hub import packaged_minilm

        self.items: str = (folder / "items.txt").read_text(encoding="utf-8").strip()
        self._index = faiss.read_index(str(folder / "index.faiss"))
        self._index.hnsw.efSearch = EF_SEARCH
        self._labels_NL = sp.load_npz(folder / "labels.npz")
        self._encoder = SentenceTransformer(str(packaged_minilm()), device="cpu")
        self._encoder.max_seq_length = int((folder / DONE).read_text(encoding="utf-8"))

    def search(self, texts: Sequence[str], k: int) -> list[list[tuple[int, float]]]:
        """The k best labels of each text, with scores."""
        x = self._encoder.encode(
            list(texts), normalize_embeddings=True, show_progress_bar=False, convert_to_numpy=True
        )
        if self.items == "labels":
            cosine, ids = self._index.search(x, k)
            return [
                [(int(i), float(c)) for i, c in zip(*row, strict=True) if i >= 0]
                for row in zip(ids, cosine, strict=True)
            ]
        cosine, records = self._index.search(x, N_NEAREST)
        answers = []
        for row, near in zip(records, cosine, strict=True):
            votes = np.asarray(self._labels_NL[row].T @ near).ravel()
            best = np.argpartition(-votes, k)[:k]
            best = best[np.argsort(-votes[best], kind="stable")]
            answers.append([(int(i), float(votes[i])) for i in best if votes[i] > 0])
        return answers


def prepare(folder: Path, items: Items, x_ND: Any, labels_NL: Any, tokens: int) -> None:
    """Build the graph of the items.

    Args:
        folder: To write into.
        items: Which.
        x_ND: Vectors of the training records.
        labels_NL: Their labels, CSR.
        tokens: What the encoder reads of a text.
    """
    import faiss

    folder.mkdir(parents=True)
    labels_NL = sp.csr_matrix(labels_NL, dtype=np.float32)
    x = np.asarray(x_ND, np.float32)
    rows = labels_NL.T @ x if items == "labels" else x
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    index = faiss.IndexHNSWFlat(rows.shape[1], LINKS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = EF_CONSTRUCTION
    index.add(np.ascontiguousarray(rows, np.float32))
    faiss.write_index(index, str(folder / "index.faiss"))
    sp.save_npz(folder / "labels.npz", labels_NL)
    (folder / "items.txt").write_text(items, encoding="utf-8")
    (folder / DONE).write_text(str(tokens), encoding="utf-8")


def make() -> Any:
    """The application: as many requests at a time as there are CPUs, each in one thread.

    FastAPI's own forty at a time, each in as many threads as torch likes, would be forty times that
    many threads on those CPUs.
    """
    import torch
    from fastapi import FastAPI
    from pydantic import create_model

    usual = Usual(Path(os.environ[FOLDER]))
    torch.set_num_threads(1)
    turn = threading.BoundedSemaphore(os.cpu_count() or 1)
    request = create_model("Request", texts=(list[str], ...), k=(int, 10))
    app = FastAPI()

    def search(asked: Any) -> dict[str, Any]:
        with turn:
            return {"answers": usual.search(asked.texts, asked.k)}

    search.__annotations__["asked"] = request  # not a name of this module
    app.post("/search")(search)
    return app
