"""A network that ONNX Runtime runs: what ``li compile --onnx`` makes of one, without torch.

Texts go through the graph one at a time, a thread for each, so that a text's vector is the same
bits alone and among others, with any number of threads (see
:mod:`learned_index.encoders.transformer.int8`).
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np

from learned_index.encoders.base import EncoderBase, check_choice, check_texts
from learned_index.encoders.graphs import open_graph
from learned_index.errors import ModelFormatError
from learned_index.inputs.numbers import real_number, whole_number
from learned_index.persistence.atomic import scratch_directory
from learned_index.persistence.digest import bytes_digest
from learned_index.persistence.failures import first_line
from learned_index.persistence.files import open_regular
from learned_index.system.extras import require
from learned_index.system.threads import current_threads
from learned_index.types import Float32Array

GRAPH_FILE = "network.onnx"
TOKENIZER_FILE = "tokenizer.json"
_EXTRA = "runtime"


class OnnxEncoder(EncoderBase):
    """Texts to dense vectors with a network's graph and tokeniser.

    Made by :func:`~learned_index.encoders.transformer.export.exported`, whose vectors it gives up
    to rounding.

    Args:
        graph: An ``.onnx`` file with pooling and normalisation; it may go once this is made.
        tokenizer: Text of a ``tokenizer.json``.
        name: Of the network.
        dim: D.
        max_length: Texts are cut to so many tokens.
        pad_id: Token of a text that has none.
        cut: Which end of a long text goes.
        lower: Whether texts are folded to lower case first.
        difference: Largest difference from torch that was found, see there.

    Raises:
        MissingExtraError: onnxruntime or tokenizers is not installed.
        ModelFormatError: Graph or tokeniser is none.
    """

    kind: ClassVar[str] = "onnx"
    cost: ClassVar[Literal["cheap", "expensive"]] = "expensive"
    needs_fit: ClassVar[bool] = False

    def __init__(
        self,
        graph: Path,
        tokenizer: str,
        *,
        name: str,
        dim: int,
        max_length: int,
        pad_id: int,
        cut: Literal["left", "right"] = "right",
        lower: bool = False,
        difference: float = 0.0,
    ) -> None:
        self.name = str(name)
        self.difference = real_number(difference, "difference", low=0.0)
        self._settings: dict[str, Any] = {
            "dim": whole_number(dim, "dim"),
            "max_length": whole_number(max_length, "max_length"),
            "pad_id": whole_number(pad_id, "pad_id", low=0),
            "cut": check_choice("cut", cut, ("left", "right")),
            "lower": bool(lower),
        }
        self._tokenizer = tokenizer
        self._open(graph)

    def _open(self, graph: Path) -> None:
        # Mapped: it is needed again when the model is saved, and its place may have gone by then.
        with open_regular(graph) as file:
            self._graph: Any = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        library = require("tokenizers", extra=_EXTRA)
        require("onnxruntime", extra=_EXTRA)
        try:
            self._backend = library.Tokenizer.from_str(self._tokenizer)
            self._session = open_graph(graph, extra=_EXTRA)
        except Exception as error:  # the libraries raise types of their own
            reason = first_line(error)
            raise ModelFormatError(
                f"{graph}: graph or tokeniser cannot be opened ({reason:.200}); compile the model "
                "again"
            ) from error
        self._backend.no_padding()
        self._backend.enable_truncation(self.max_length, direction=self._settings["cut"])
        self._inputs = [entry.name for entry in self._session.get_inputs()]
        (output,) = self._session.get_outputs()
        if output.shape[-1] not in (self.dim, None) and not isinstance(output.shape[-1], str):
            raise ModelFormatError(
                f"{graph} makes {output.shape[-1]}-dimensional vectors, expected {self.dim}"
            )

    def __getstate__(self) -> dict[str, Any]:
        lost = ("_graph", "_session", "_backend")
        kept = {name: value for name, value in self.__dict__.items() if name not in lost}
        return kept | {"graph": self._graph[:]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        graph = state.pop("graph")
        self.__dict__.update(state)
        with scratch_directory(None, "li-onnx") as folder:
            (folder / GRAPH_FILE).write_bytes(graph)
            self._open(folder / GRAPH_FILE)

    @property
    def dim(self) -> int:
        """Vector length D."""
        return int(self._settings["dim"])

    @property
    def max_length(self) -> int:
        """Texts are cut to so many tokens, special ones included."""
        return int(self._settings["max_length"])

    def encode(self, texts: Sequence[str]) -> Float32Array:
        """Return B x D float32."""
        checked = check_texts(texts)
        if self._settings["lower"]:
            checked = [text.lower() for text in checked]
        if not checked:
            return np.zeros((0, self.dim), np.float32)
        tokens = self._backend.encode_batch(checked)
        if len(tokens) == 1:
            return self._vector(tokens[0])
        # The longest first: it is not waited for at the end.
        order = sorted(range(len(tokens)), key=lambda row: -len(tokens[row].ids))
        vectors = np.empty((len(tokens), self.dim), np.float32)
        with ThreadPoolExecutor(current_threads()) as pool:
            found = pool.map(lambda row: self._vector(tokens[row]), order)
            for row, vector_1D in zip(order, found, strict=True):
                vectors[row] = vector_1D[0]
        return vectors

    def _vector(self, tokens: Any) -> Float32Array:
        ids, types = tokens.ids, tokens.type_ids
        if not ids:  # attention over nothing would give NaN
            ids, types = [self._settings["pad_id"]], [0]
        feeds = {
            "input_ids": np.array([ids], np.int64),
            "attention_mask": np.ones((1, len(ids)), np.int64),
            "token_type_ids": np.array([types], np.int64),
        }
        vector_1D: Float32Array = self._session.run(None, {n: feeds[n] for n in self._inputs})[0]
        return vector_1D

    def rounding_key(self) -> str:
        """Nothing changes the bits."""
        return "one text at a time"

    def _config(self) -> dict[str, Any]:
        return {"name": self.name, "difference": self.difference, **self._settings}

    def fingerprint(self) -> str:
        """SHA-256 of graph, tokeniser and settings, not of the network's name."""
        return bytes_digest([repr(sorted(self._settings.items())).encode(), *self._contents()])

    def _contents(self) -> tuple[Any, bytes]:
        return memoryview(self._graph), self._tokenizer.encode()

    def _save_into(self, directory: Path) -> None:
        graph, tokenizer = self._contents()
        (directory / GRAPH_FILE).write_bytes(graph)
        (directory / TOKENIZER_FILE).write_bytes(tokenizer)

    @classmethod
    def _load_from(cls, directory: Path, config: dict[str, Any]) -> Self:
        tokenizer = (directory / TOKENIZER_FILE).read_text(encoding="utf-8")
        encoder = cls(directory / GRAPH_FILE, tokenizer, **config)
        unknown = set(encoder._inputs) - {"input_ids", "attention_mask", "token_type_ids"}
        if unknown:
            raise ModelFormatError(f"{directory}: the graph asks for {sorted(unknown)}")
        return encoder
