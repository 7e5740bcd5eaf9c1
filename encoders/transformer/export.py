"""Networks as graphs of ONNX: the one export, for int8 and for encoders without torch."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from learned_index.encoders.exported import OnnxEncoder
from learned_index.encoders.transformer.tokens import forget_last_call, pad_id
from learned_index.errors import InputError, StorageError
from learned_index.persistence.atomic import scratch_directory
from learned_index.persistence.failures import first_line
from learned_index.system.extras import require

_OPSET = 17
LARGEST_DIFFERENCE = 1e-3
"""Between a number of an exported encoder's vector and of torch's, above which it is refused."""
SENTENCES = (
    "The library holds a copy of this book.",
    "How do I sort a list of numbers by their absolute value?",
    "Energy storage and the transition of the power grid: a study of regional networks, of what "
    "they cost, and of the regulations that govern their extension.",
    "red fox",
    "Der Einfluss der Musik auf das Lernen im Kindesalter",
)
"""What graphs are checked with."""


def exported(encoder: Any, texts: Sequence[str] = ()) -> OnnxEncoder:
    """Make an encoder around a network one that ONNX Runtime runs, without torch.

    In float32, whatever the precision that the network is used with here.

    Args:
        encoder: A :class:`~learned_index.encoders.transformer.network.NetworkEncoder`.
        texts: To check it with, besides a few sentences: some of those that it is for.

    Raises:
        MissingExtraError: onnx or onnxruntime is not installed.
        InputError: The exporter cannot follow the network, its tokeniser has no fast form, or its
            vectors differ from torch's; says by how much.
    """
    for name in ("onnxruntime", "onnx"):
        require(name)
    tokenizer = encoder.tokenizer
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or isinstance(encoder.tokenize_all(["a"]), list):
        raise InputError(
            f"the tokeniser of {encoder.name} has no fast form (tokenizer.json), or the library "
            "encodes in its own way; export a model that has one"
        )
    forget_last_call(tokenizer)
    settings = {
        "name": encoder.name,
        "dim": int(encoder.dim),
        "max_length": int(encoder.max_length),
        "pad_id": pad_id(tokenizer),
        "cut": getattr(tokenizer, "truncation_side", "right"),
        "lower": encoder.lowers,
    }
    with scratch_directory(None, "li-onnx-export") as folder, quiet_export():
        path = folder / "network.onnx"
        try:
            write_float32(encoder, path)
        except (OSError, StorageError, MemoryError):
            raise
        except Exception as error:  # the exporter raises many types
            reason = first_line(error)
            raise InputError(
                f"the network of {encoder.name} cannot be exported "
                f"({type(error).__name__}: {reason:.300}); serve the model with torch"
            ) from error
        made = OnnxEncoder(path, backend.to_str(), **settings)
    made.difference = _difference(encoder, made, [*SENTENCES, " ".join(SENTENCES * 40), *texts])
    if not made.difference <= LARGEST_DIFFERENCE:  # NaN is no agreement either
        raise InputError(
            f"the exported vectors of {encoder.name} differ from torch's by up to "
            f"{made.difference:.2g}, expected at most {LARGEST_DIFFERENCE:g}; serve the model with "
            "torch"
        )
    return made


def _difference(encoder: Any, made: OnnxEncoder, texts: Sequence[str]) -> float:
    """The largest difference of a number in the vectors of some texts, torch's in float32."""
    differences = [0.0]
    for text in texts:
        with torch.inference_mode():
            exact_D = encoder.forward(encoder.tokenize([text]))[0].float().cpu().numpy()
        differences.append(float(np.abs(exact_D - made.encode([text])[0]).max()))
    return float(np.max(differences))


class _Positional(nn.Module):
    """The encoder with its inputs by position, as the exporter wants them."""

    def __init__(self, encoder: Any, names: Sequence[str]) -> None:
        super().__init__()
        self.encoder, self.names = encoder, list(names)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return B x D float32."""
        vectors_BD: Tensor = self.encoder.forward(dict(zip(self.names, inputs, strict=True)))
        return vectors_BD


def write_float32(encoder: Any, path: Path) -> None:
    """Export an encoder around a network, with its pooling and the length of its vectors.

    Args:
        encoder: A :class:`~learned_index.encoders.transformer.network.NetworkEncoder`.
        path: An ``.onnx`` file: int64 B x T in, for each array that the tokeniser makes and the
            mask, float32 B x D out.
    """
    # A copy: the attention is exchanged for the written-out one, whose products are all in sight.
    plain = copy.deepcopy(encoder).float().cpu().eval()
    for module in plain.modules():
        if hasattr(module, "set_attn_implementation"):
            module.set_attn_implementation("eager")
    features = plain.tokenize(["red fox jumps", "sea"])
    names = list(features)
    torch.onnx.export(
        _Positional(plain, names),
        tuple(features.values()),
        str(path),
        input_names=names,
        output_names=["vectors"],
        dynamic_axes={name: {0: "B", 1: "T"} for name in names} | {"vectors": {0: "B"}},
        opset_version=_OPSET,
        dynamo=False,  # the other exporter needs a further package
    )


@contextmanager
def quiet_export() -> Iterator[None]:
    """Keep off standard error what exporter and quantiser say of themselves."""
    loud, root = logging.getLogger("torch.onnx"), logging.getLogger()
    level, handler = loud.level, logging.NullHandler()

    def nothing(_: logging.LogRecord) -> bool:
        return False

    loud.setLevel(logging.ERROR)
    # The quantiser logs with logging.info(), which would give a root logger without handlers one
    # for good; a filter of a logger concerns what is logged with that very logger.
    root.addHandler(handler)
    root.addFilter(nothing)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        loud.setLevel(level)
        root.removeFilter(nothing)
        root.removeHandler(handler)
