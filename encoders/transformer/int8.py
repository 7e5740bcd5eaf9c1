"""A network's forward pass as an int8 graph of ONNX Runtime, made from the loaded weights.

The matrices of the linear layers are rounded to int8, a scale for each column, once; what they are
multiplied with is rounded to uint8 in every call, a scale for each array ("dynamic quantisation").
Everything else stays float32.

Texts go through the graph one at a time. So there is no padding, the scale of a text's arrays
depends on that text alone, and its vector is the same bits alone and among others, with any number
of threads. A thread for each text is also the fastest: the arrays of one stay in its core's cache.
Measured with MiniLM on records cut to 128 tokens: as many a second one at a time as in batches of
4, and 5 % fewer in batches of 8.
"""

from __future__ import annotations

import logging
import platform
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from learned_index.encoders.chunked_file import Progress, tell
from learned_index.encoders.graphs import open_graph
from learned_index.encoders.transformer.devices import state_digest
from learned_index.encoders.transformer.export import SENTENCES, quiet_export, write_float32
from learned_index.encoders.transformer.tokens import Tokens, pad_batch
from learned_index.errors import InputError, StorageError
from learned_index.persistence import atomic_file
from learned_index.persistence.atomic import scratch_directory
from learned_index.persistence.digest import digest
from learned_index.persistence.failures import first_line
from learned_index.system.cache import cache_directory
from learned_index.system.environment import versions
from learned_index.system.extras import pip_command, require
from learned_index.types import Float32Array, Int64Array

logger = logging.getLogger(__name__)

FOLDER = "int8"
"""Of the cache directory, for the graphs: ``DIGEST.onnx``."""
LEAST_COSINE = 0.98
"""Mean between the vectors of the graph and of torch, below which the graph is refused."""
_RECIPE = 1
"""Of how a graph is made; a change makes the graphs in caches others."""
_TEXTS_A_ROUND = 256
"""Between two reports of progress; Ctrl-C waits for so many."""
_PACKAGES = ("onnxruntime", "onnx")
# As the processor is called in /proc/cpuinfo: 8-bit products that are added up in 32 bits.
_DOT_PRODUCTS = frozenset(("avx512_vnni", "avx_vnni", "amx_int8", "asimddp"))


def cpu_multiplies_int8() -> bool:
    """Whether the processor has dot products of bytes: VNNI, AMX, or ARM's."""
    if platform.system() == "Darwin":
        return platform.machine() == "arm64"
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, words = line.partition(":")
            if name.strip() in ("flags", "Features"):
                return not _DOT_PRODUCTS.isdisjoint(words.split())
    return False


def missing_packages() -> list[str]:
    """Those of the extra ``onnx`` that are not installed."""
    return [name for name in _PACKAGES if find_spec(name) is None]


def why_not_int8(device: torch.device) -> str:
    """Why ``precision="auto"`` leaves int8 alone here; empty where nothing speaks against it."""
    if device.type != "cpu":
        return f"int8 is for the CPU, and the device is {device}"
    if not cpu_multiplies_int8():
        return "the processor has no 8-bit dot products (VNNI), without which int8 is not faster"
    if missing_packages():
        names = " and ".join(missing_packages())
        return f"int8 would be faster and needs {names}: {pip_command('onnx')}"
    return ""


class Int8Network:
    """The int8 graph of an encoder's present weights, remade when they have changed.

    Graphs of weights as they were loaded are kept in the cache directory, named by the SHA-256 of
    weights, structure and the versions of what makes the graph; those of weights that this process
    has trained are not. Nothing of it belongs to a saved encoder.

    Args:
        encoder: A ``NetworkEncoder`` in evaluation mode, on the CPU.

    Raises:
        MissingExtraError: onnxruntime or onnx is not installed.
        InputError: The network cannot be made a graph, or its vectors differ too much.
    """

    def __init__(self, encoder: Any) -> None:
        self._digest = state_digest(encoder.model)
        self._stamp = _stamp(encoder)
        self._session = _opened(encoder, self._digest, keep=True)
        # By the bytes of a text's tokens: vectors to keep, and those that were kept.
        self._kept: dict[bytes, Float32Array] | None = None
        self._known: dict[bytes, Float32Array] = {}

    @contextmanager
    def remembering(self, vectors: dict[bytes, Float32Array]) -> Iterator[None]:
        """For a while, keep the vectors of texts in ``vectors``, by their tokens."""
        self._kept = vectors
        try:
            yield
        finally:
            self._kept = None

    def reuse(self, vectors: dict[bytes, Float32Array]) -> None:
        """Take what was kept for the vectors of these texts, each once."""
        self._known = vectors

    def refresh(self, encoder: Any, *, thoroughly: bool) -> None:
        """Make the graph anew if the weights have changed.

        Args:
            encoder: The same.
            thoroughly: Compare the weights themselves, 0.1 s for MiniLM. Without it, torch's
                counters of what was written to them, which miss what is written to ``.data``.

        Raises:
            InputError: As for the class.
        """
        stamp = _stamp(encoder)
        if stamp == self._stamp and not thoroughly:
            return
        present = state_digest(encoder.model)
        if present != self._digest:
            self._session = _opened(encoder, present, keep=False)
            self._known = {}
        self._digest, self._stamp = present, stamp

    def encode(
        self,
        encoder: Any,
        tokens: Tokens,
        order: Int64Array,
        out: Float32Array,
        progress: Progress | None = None,
    ) -> None:
        """Encode texts into rows of ``out``, as many at once as torch has threads.

        Args:
            encoder: Whose tokeniser made the tokens.
            tokens: Of N texts.
            order: The rows to encode, in this order.
            out: N x D float32.
            progress: Called as ``progress(done, total)`` from time to time.
        """

        def one(row: int) -> None:
            out[row] = self._vector(tokens.row(row), encoder.tokenizer)

        if len(order) == 1:
            one(int(order[0]))
            tell(progress, 1, 1)
            return
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            for start in range(0, len(order), _TEXTS_A_ROUND):
                rows = order[start : start + _TEXTS_A_ROUND].tolist()
                list(pool.map(one, rows))
                tell(progress, start + len(rows), len(order))

    def _vector(self, tokens: dict[str, Any], tokenizer: Any) -> Float32Array:
        is_kept = self._kept is not None or bool(self._known)
        key = tokens["input_ids"].tobytes() if is_kept else b""
        # A text's bits depend on itself alone, so they are what they would be now.
        found = self._known.pop(key, None)
        vector_D = (
            _run(self._session, pad_batch([tokens], tokenizer))[0] if found is None else found
        )
        if self._kept is not None:
            self._kept[key] = vector_D
        return vector_D

    def encode_batches(self, batches: Sequence[dict[str, Tensor]]) -> Float32Array:
        """Encode batches, as many at once as torch has threads.

        Here the scale of an array is that of its whole batch.

        Args:
            batches: As the network takes them.

        Returns:
            float32, the rows of all batches.
        """
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            return np.concatenate(list(pool.map(lambda b: _run(self._session, b), batches)))


def _stamp(encoder: nn.Module) -> tuple[Any, ...]:
    """What changes when parameters or buffers are written to or replaced."""
    tensors = [*encoder.parameters(), *encoder.buffers()]
    return tuple((id(t), t.data_ptr(), 0 if t.is_inference() else t._version) for t in tensors)


def _run(session: Any, features: dict[str, Tensor]) -> Float32Array:
    feeds = {entry.name: features[entry.name].numpy() for entry in session.get_inputs()}
    vectors_BD: Float32Array = session.run(None, feeds)[0]
    return vectors_BD


def _opened(encoder: Any, weights: str, *, keep: bool) -> Any:
    """Open the graph of the present weights, from the cache if it is there, and check it."""
    for name in _PACKAGES:
        require(name)
    directory = cache_directory() if keep else None
    path = None if directory is None else directory / FOLDER / f"{_key(encoder, weights)}.onnx"
    if path is not None and path.is_file():
        # Whatever is wrong with a file of the cache, it can be made again.
        with suppress(Exception):
            return _checked(open_graph(path), encoder)
    if path is not None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(path) as temporary:
                _write_graph(encoder, temporary)
                return _checked(open_graph(temporary), encoder)
        except (StorageError, OSError) as error:
            logger.warning("the int8 graph is not kept: %s", error)
    with scratch_directory(None, "li-int8") as folder:
        _write_graph(encoder, folder / "graph.onnx")
        return _checked(open_graph(folder / "graph.onnx"), encoder)


def _key(encoder: Any, weights: str) -> str:
    found = versions(_PACKAGES)
    tools = {name: found.get(name) for name in ("torch", "transformers", *_PACKAGES)}
    pooling = getattr(encoder, "pooling", None)
    content = [encoder.kind, encoder.normalise, pooling, encoder.structure(), weights]
    return digest([_RECIPE, content, tools])


def _checked(session: Any, encoder: Any) -> Any:
    """Return the session if its vectors of a few sentences are near those of torch."""
    cosines = []
    for sentence in SENTENCES:
        features = encoder.tokenize([sentence])
        with torch.inference_mode():
            exact_D = encoder.forward(features)[0].double().numpy()
        rounded_D = _run(session, features)[0].astype(np.float64)
        lengths = np.linalg.norm(exact_D) * np.linalg.norm(rounded_D)
        cosines.append(float(exact_D @ rounded_D) / max(float(lengths), 1e-30))
    mean = float(np.mean(cosines))
    if not mean >= LEAST_COSINE:  # NaN is no agreement either
        raise InputError(
            f"the int8 vectors of {encoder.name} have a mean cosine of {mean:.3f} to the float32 "
            f"vectors, expected {LEAST_COSINE} or more; use precision='float32'"
        )
    return session


def _write_graph(encoder: Any, path: Path) -> None:
    """Export a copy of the encoder with its pooling, and round its matrices.

    Raises:
        InputError: The exporter cannot follow the network.
    """
    quantization = require("onnxruntime.quantization")
    with scratch_directory(None, "li-int8-export") as folder, quiet_export():
        try:
            write_float32(encoder, folder / "float32.onnx")
            model = require("onnx").load(str(folder / "float32.onnx"))
            require("onnxruntime.quantization.quant_utils").add_pre_process_metadata(model)
            quantization.quantize_dynamic(
                model,
                str(path),
                op_types_to_quantize=["MatMul"],
                per_channel=True,
                weight_type=quantization.QuantType.QInt8,
                extra_options={"MatMulConstBOnly": True, "DefaultTensorType": 1},
            )
        except (OSError, StorageError, MemoryError):
            raise
        except Exception as error:  # exporter and quantiser raise many types
            reason = first_line(error)
            raise InputError(
                f"the network of {encoder.name} cannot be made an int8 graph "
                f"({type(error).__name__}: {reason:.300}); use precision='float32'"
            ) from error
