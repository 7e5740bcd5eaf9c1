"""Several processes that train one model together, as torchrun and accelerate start them."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch

# Process 0 clusters, builds the graph and validates while the others wait.
_TIMEOUT = timedelta(hours=24)


@dataclass(frozen=True)
class Processes:
    """The processes of a training and this one's place among them.

    All methods are collective: every process calls them in the same order. With one process they
    do nothing.

    Attributes:
        rank: Number of this process, 0 to ``count - 1``.
        count: How many there are.
        backend: ``"gloo"`` or ``"nccl"``; empty with one process.
    """

    rank: int = 0
    count: int = 1
    backend: str = ""

    @property
    def is_first(self) -> bool:
        """Whether this is the process that clusters, reports and saves."""
        return self.rank == 0

    def part(self, n: int) -> slice:
        """This process's part of n rows; over all processes the parts cover each row once."""
        return slice(n * self.rank // self.count, n * (self.rank + 1) // self.count)

    def sum_(self, tensor: torch.Tensor) -> torch.Tensor:
        """Replace a tensor by its sum over the processes."""
        return self._reduce(tensor, "SUM")

    def max_(self, tensor: torch.Tensor) -> torch.Tensor:
        """Replace a tensor by its maximum over the processes."""
        return self._reduce(tensor, "MAX")

    def broadcast_(self, tensor: torch.Tensor) -> torch.Tensor:
        """Replace a tensor by that of process 0."""
        if self.count > 1:
            wire = self._wire(tensor)
            torch.distributed.broadcast(wire, src=0)
            tensor.copy_(wire)
        return tensor

    def _reduce(self, tensor: torch.Tensor, operation: str) -> torch.Tensor:
        if self.count > 1 and tensor.numel():
            wire = self._wire(tensor)
            torch.distributed.all_reduce(wire, op=getattr(torch.distributed.ReduceOp, operation))
            if wire is not tensor:
                tensor.copy_(wire)
        return tensor

    def _wire(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor where the backend can send it from, contiguous; flags as bytes."""
        device = "cuda" if self.backend == "nccl" else "cpu"
        wire = tensor.detach()
        wire = wire.to(torch.uint8) if wire.dtype == torch.bool else wire
        return wire.to(device).contiguous()


def is_first_process() -> bool:
    """Whether this process is alone or the first of those that torchrun started.

    Only the first one ranks, calibrates, reports and writes.
    """
    distributed: Any = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return bool(distributed.get_rank() == 0)
    return int(os.environ.get("WORLD_SIZE", "1")) < 2 or os.environ.get("RANK", "0") == "0"


@contextmanager
def first_process_first(device: torch.device) -> Iterator[None]:
    """Let the first process go through the block before the others, e.g. to fill a cache.

    Args:
        device: As in :func:`join_processes`.
    """
    processes = join_processes(device)
    if not processes.is_first:
        processes.sum_(torch.zeros(1))
    yield
    if processes.is_first:
        processes.sum_(torch.zeros(1))


def join_processes(device: torch.device) -> Processes:
    """Find the other processes of this training, and connect to them if nobody has done so.

    Nothing happens unless ``torch.distributed`` is initialised or ``WORLD_SIZE`` in the
    environment is more than 1 (``torchrun`` and ``accelerate launch`` set it). The connection
    then lasts until the program ends.

    Args:
        device: Where the model is trained: decides between gloo (CPU) and nccl (GPU).
    """
    distributed: Any = torch.distributed
    if not distributed.is_available():
        return Processes()
    if not distributed.is_initialized():
        if int(os.environ.get("WORLD_SIZE", "1")) < 2:
            return Processes()
        distributed.init_process_group(
            "nccl" if device.type == "cuda" else "gloo", timeout=_TIMEOUT
        )
        atexit.register(distributed.destroy_process_group)
    if distributed.get_world_size() < 2:
        return Processes()
    return Processes(
        distributed.get_rank(), distributed.get_world_size(), distributed.get_backend()
    )


def own_device(device: torch.device) -> torch.device:
    """The GPU of this process: ``cuda`` becomes that of ``LOCAL_RANK``, others stay."""
    local = os.environ.get("LOCAL_RANK")
    if device.type == "cuda" and local is not None and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        device = torch.device("cuda", int(local) % torch.cuda.device_count())
        torch.cuda.set_device(device)
    return device
