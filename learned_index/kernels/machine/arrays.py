"""NumPy's view of tensors on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch


def as_arrays(*tensors: torch.Tensor) -> list[np.ndarray[Any, Any]]:
    """The tensors' own memory where it is in C order, else copies; without gradients."""
    return [tensor.detach().contiguous().numpy() for tensor in tensors]
