"""The state of an unfinished training on disk: written whole or not at all, read back bit-equal.

A directory holds one training. Each state is a directory ``state-N`` in it (safetensors, and a
manifest with checksums), written under another name and renamed; the one before goes only then.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from learned_index.errors import InputError, ModelFormatError
from learned_index.persistence import (
    MANIFEST_NAME,
    atomic_directory,
    load_arrays,
    path_lock,
    read_manifest,
    reading_model,
    remove_directory,
    save_arrays,
    sweep_directory,
    write_manifest,
    writing,
)
from learned_index.persistence.digest import data_digest, digest
from learned_index.training.processes import is_first_process
from learned_index.training.selection import below

logger = logging.getLogger(__name__)

KIND = "training-state"
_ARRAYS = "state.safetensors"
_NAME = re.compile(r"state-(\d+)")


@dataclass(frozen=True)
class CheckpointOptions:
    """Where and when training saves its state.

    Attributes:
        directory: Holds the state of one training; made when it does not exist.
        every_seconds: Time between two states within an epoch. One is also written when a stage
            begins, at the end of each epoch, and when a stop is asked for.
        resume: Go on from the state in ``directory``, if there is one. False starts anew and
            replaces it.
        stop: Asked after every step; true saves the state and ends the training with
            :class:`~learned_index.errors.TrainingInterrupted`. :class:`StopFlag` is one that
            can be set from a signal handler.
    """

    directory: Path | str
    every_seconds: float = 300.0
    resume: bool = True
    stop: Callable[[], bool] | None = None

    def __post_init__(self) -> None:
        if not self.every_seconds >= 0:
            raise InputError(f"every_seconds is {self.every_seconds}, expected 0 or more")


class StopFlag:
    """Asks a training to stop: ``CheckpointOptions(directory, stop=flag)``, then ``flag.set()``.

    Example:
        >>> flag = StopFlag()
        >>> flag()
        False
        >>> flag.set()
        >>> flag()
        True
    """

    def __init__(self) -> None:
        self._is_set = False

    def set(self, *_: Any) -> None:
        """Ask for the stop; takes and ignores what a signal handler is given."""
        self._is_set = True

    def __call__(self) -> bool:
        """Whether a stop was asked for."""
        return self._is_set


@dataclass(frozen=True)
class TrainingState:
    """A state that was read.

    Attributes:
        tensors: Everything that numbers can say.
        facts: The rest, JSON.
        directory: Where it came from.
    """

    tensors: dict[str, torch.Tensor]
    facts: dict[str, Any]
    directory: Path

    def below(self, prefix: str) -> dict[str, torch.Tensor]:
        """The tensors whose names begin so, without it."""
        return below(self.tensors, prefix)

    def reading(self) -> AbstractContextManager[None]:
        """Within it, what does not fit this training is a :class:`ModelFormatError`."""
        return reading_model(self.directory, "state of this training", remedy="remove it")


_BYTES_A_SECOND = 2e8
_QUICK = 1.0
_WRITING_SHARE = 20.0
"""A state that takes a second or more is written when so many times that have passed."""


@contextmanager
def claimed(options: CheckpointOptions | None) -> Iterator[None]:
    """Be the only training that uses a checkpoint directory while the block runs.

    Of several processes that train together, the first one claims it.

    Raises:
        BusyError: Another training uses it.
        StorageError: The place cannot be written to.
    """
    if options is None or not is_first_process():
        yield
        return
    with path_lock(options.directory, wait=False, doing="training with the checkpoint directory"):
        sweep_directory(Path(options.directory))
        yield


class CheckpointFiles:
    """The states of one training in a directory.

    Args:
        options: Where and when.
        fingerprint: Named digests of configuration and data; a state of others is refused.
    """

    def __init__(self, options: CheckpointOptions, fingerprint: Mapping[str, str]) -> None:
        self.options = options
        self._directory = Path(options.directory)
        self._fingerprint = dict(fingerprint)
        self._last = time.monotonic()
        self._write_seconds = 0.0

    def is_worthwhile(self, n_bytes: int) -> bool:
        """Whether a state of so many bytes takes little of the time since the last one to write.

        Until one was written, its time is estimated. Quick ones are always worth it.
        """
        seconds = self._write_seconds or n_bytes / _BYTES_A_SECOND
        return seconds < _QUICK or time.monotonic() - self._last >= _WRITING_SHARE * seconds

    @property
    def is_due(self) -> bool:
        """Whether ``every_seconds`` have passed since the last state."""
        return time.monotonic() - self._last >= self.options.every_seconds

    def _states(self) -> list[tuple[int, Path]]:
        """Numbered states, newest last."""
        if not self._directory.is_dir():
            if self._directory.exists():
                raise InputError(f"{self._directory} is a file, expected a checkpoint directory")
            return []
        found = ((_NAME.fullmatch(path.name), path) for path in self._directory.iterdir())
        return sorted((int(match[1]), path) for match, path in found if match)

    def check_writable(self) -> None:
        """Refuse a directory that holds other things before the training rather than after it.

        Raises:
            InputError: It is a file, or holds something that is no state.
            StorageError: It cannot be used.
        """
        with writing(self._directory):
            self._states()
            for path in self._directory.iterdir() if self._directory.is_dir() else ():
                if not _is_ours(path):
                    raise InputError(
                        f"{self._directory} holds {path.name}, which is no state of a training; "
                        "give a checkpoint directory of its own"
                    )

    def write(self, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> None:
        """Write a state; afterwards remove the ones before it.

        Args:
            tensors: float32, integers or bytes, on any device.
            facts: JSON-able.
        """
        start = time.monotonic()
        states = self._states()
        number = states[-1][0] + 1 if states else 1
        arrays = {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}
        config = {
            "facts": dict(facts),
            "fingerprint": self._fingerprint,
            # Files hold a scalar as an array of one.
            "shapes": {name: list(array.shape) for name, array in arrays.items()},
        }
        with atomic_directory(self._directory / f"state-{number}") as temporary:
            save_arrays(temporary / _ARRAYS, arrays)
            write_manifest(temporary, kind=KIND, config=config)
        for _, path in states:
            remove_directory(path)
        self._last = time.monotonic()
        self._write_seconds = self._last - start

    def read(self) -> TrainingState | None:
        """Read the newest state; None if there is none, or ``resume`` is false.

        Raises:
            ModelFormatError: It is damaged.
            InputError: It belongs to other data or another configuration.
        """
        states = self._states()
        if not states:
            return None
        if not self.options.resume:
            for _, path in states:
                remove_directory(path)
            return None
        path = states[-1][1]
        try:
            manifest = read_manifest(path, kind=KIND)
            with reading_model(path, "state"):
                facts, found, shapes = (
                    dict(manifest.config[key]) for key in ("facts", "fingerprint", "shapes")
                )
                arrays = load_arrays(manifest.file(_ARRAYS))
                tensors = {
                    name: torch.from_numpy(arrays[name]).reshape(shape)
                    for name, shape in shapes.items()
                }
        except ModelFormatError as error:
            raise ModelFormatError(
                f"the checkpoint {path} is damaged ({error}); remove {self._directory} to train "
                "from the start"
            ) from error
        other = [k for k in self._fingerprint if found.get(k) != self._fingerprint[k]]
        if other:
            raise InputError(
                f"{self._directory} holds the state of another training: {' and '.join(other)} "
                "differ. Give the same as then, another checkpoint directory, or resume=False to "
                "start anew"
            )
        logger.info("going on from %s", path)
        return TrainingState(tensors, facts, path)


def _is_ours(path: Path) -> bool:
    """Whether an entry of a checkpoint directory is a state, or what is left of one."""
    if not _NAME.fullmatch(path.name):
        return path.name.startswith(".state-")
    return path.is_dir() and (not any(path.iterdir()) or (path / MANIFEST_NAME).is_file())


def digest_tensors(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of named tensors."""
    names = sorted(tensors)
    arrays = (tensors[name].detach().cpu().numpy() for name in names)
    return digest(names) + data_digest(*arrays)
