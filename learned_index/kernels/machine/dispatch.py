"""Which version of an operation runs: Numba on the CPU, Triton on CUDA, plain torch elsewhere."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal

import torch

from learned_index.errors import InputError

logger = logging.getLogger(__name__)

Implementation = Literal["auto", "numba", "torch", "triton"]
"""``"auto"`` decides by the device; ``"torch"`` is the oracle and runs on any."""

_preferred: ContextVar[Implementation] = ContextVar("learned_index_kernels", default="auto")


@contextmanager
def kernel_implementation(name: Implementation) -> Iterator[None]:
    """What ``"auto"`` means inside the ``with``, in this thread: to compare with plain torch.

    Args:
        name: The version. A backward pass uses the version of its forward pass.

    Example:
        >>> with kernel_implementation("torch"):
        ...     pass  # index.search(...), index(...): plain torch throughout
    """
    token = _preferred.set(name)
    try:
        yield
    finally:
        _preferred.reset(token)


def choose(
    device: torch.device, implementation: str = "auto"
) -> Literal["numba", "torch", "triton"]:
    """The version to run for tensors on a device.

    Args:
        device: Where the tensors are.
        implementation: A name, or ``"auto"``: what :func:`kernel_implementation` says, else Numba
            on the CPU, Triton on CUDA where it is installed, plain torch elsewhere.

    Raises:
        InputError: No such version, or one that cannot run there.
    """
    wanted = _preferred.get() if implementation == "auto" else implementation
    if wanted == "auto":
        if device.type == "cpu":
            return "numba"
        return "triton" if device.type == "cuda" and _has_triton() else "torch"
    if wanted == "torch":
        return "torch"
    if wanted == "numba":
        if device.type != "cpu":
            raise InputError(
                f"the Numba kernels run on the CPU, the tensors are on {device}; use "
                'implementation="auto"'
            )
        return "numba"
    if wanted == "triton":
        if importlib.util.find_spec("triton") is None:
            raise InputError('the package triton is not installed; run "pip install triton"')
        return "triton"
    raise InputError(
        f"no implementation is called {wanted!r}; there are 'auto', 'numba', 'torch' and 'triton'"
    )


def version_of(operation: str, device: torch.device, implementation: str = "auto") -> Any:
    """The module of an operation that runs for tensors on a device, imported where it is not yet.

    Args:
        operation: Its package, with the three versions.
        device: As in :func:`choose`.
        implementation: As in :func:`choose`.
    """
    version = {"numba": "cpu", "torch": "plain", "triton": "cuda"}[choose(device, implementation)]
    return importlib.import_module(f"{operation}.{version}")


@functools.cache
def _has_triton() -> bool:
    """Whether Triton can be imported; says once what is missing."""
    if importlib.util.find_spec("triton") is not None:
        return True
    logger.warning(
        "training and search on this GPU run in plain torch, which is slower and takes more "
        'memory: the package triton is not installed; "pip install triton" mends that'
    )
    return False
