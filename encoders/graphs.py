"""Graphs of networks, opened with ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from learned_index.system.extras import require


def open_graph(path: Path, *, extra: str | None = None) -> Any:
    """Open a graph for texts that come one at a time, on the CPU.

    Args:
        path: An ``.onnx`` file.
        extra: As :func:`~learned_index.system.extras.require` takes it.

    Raises:
        MissingExtraError: ONNX Runtime is not installed.
    """
    runtime = require("onnxruntime", extra=extra)
    options = runtime.SessionOptions()
    # No threads of its own: texts are spread over threads here, and a fork finds none missing.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
