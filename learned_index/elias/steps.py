"""The steps of a training: their times, their events, their state on disk."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from learned_index.errors import InputError, ModelFormatError, TrainingInterrupted
from learned_index.index.learned_graph_index import LearnedGraphIndex
from learned_index.persistence import (
    MANIFEST_NAME,
    atomic_directory,
    atomic_file,
    load_arrays,
    read_json,
    read_manifest,
    reading_model,
    recover,
    remove_directory,
    save_arrays,
    sweep_directory,
    write_json,
    write_manifest,
)
from learned_index.ranking.hard_points import DualVariables
from learned_index.ranking.sparse_ranker import SparseRanker
from learned_index.system.timing import timed
from learned_index.training.checkpoint import CheckpointOptions
from learned_index.training.curves import Curves
from learned_index.training.events import Progress, TrainingEvent
from learned_index.training.processes import is_first_process
from learned_index.types import Encoder

logger = logging.getLogger(__name__)

_STATE = "training.json"
_WEIGHTS = "encoder.safetensors"
_DUAL = "dual.safetensors"
_CURVES = "curves.json"
_OURS = re.compile(
    r"training\.json|curves\.json|finished_(ranker|member_\d+)|member_\d+|"
    r"\.(training|curves|finished|member).+"
)


class Steps:
    """Times, reports and keeps the steps of one training.

    Of several processes that train together, the first one reports and keeps.

    Args:
        progress: Receives the events.
        checkpoint: Where finished steps are kept; None keeps nothing.

    Attributes:
        seconds: Time of each step, in order.
        curves: Losses and metrics of what was trained, also before an interruption.
    """

    def __init__(
        self, progress: Progress | None = None, checkpoint: CheckpointOptions | None = None
    ) -> None:
        self._writes = is_first_process()
        self._progress = progress if self._writes else None
        self._checkpoint = checkpoint
        self.seconds: dict[str, float] = {}
        self.curves = Curves()
        self._epoch: tuple[str, int] | None = None

    def open(self, make_key: Callable[[], str]) -> None:
        """Take possession of the checkpoint's directory, where there is one.

        Args:
            make_key: Digests what the state belongs to: all data, so only called where needed.

        Raises:
            InputError: It belongs to a training with other data or another configuration.
        """
        if self._checkpoint is None or not self._writes:
            return
        path = Path(self._checkpoint.directory) / _STATE
        check_directory(path.parent)
        key = make_key()
        if path.is_file() and self._checkpoint.resume:
            found = read_json(path)
            if not isinstance(found, dict) or found.get("key") != key:
                raise InputError(
                    f"{path.parent} holds the state of a training on other data or with another "
                    "configuration; repeat the call that began it, or choose another directory"
                )
            if (path.parent / _CURVES).is_file():
                with _reading(path.parent / _CURVES):
                    self.curves = Curves(read_json(path.parent / _CURVES))
            return
        if not self._checkpoint.resume:
            discard_progress(path.parent)
        with atomic_file(path) as temporary:
            write_json(temporary, {"key": key})

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a step and tell its begin and end; stop before it where a stop is asked for."""
        self.stop_if_asked()
        self.tell(name, 0, 1)
        with timed(self.seconds, name):
            yield
        self.tell(name, 1, 1)

    def tell(self, name: str, done: int, total: int) -> None:
        """Report that a step has come so far."""
        self._tell(TrainingEvent(name, 0, 1, done, max(total, 1)))

    def _tell(self, event: TrainingEvent) -> None:
        if not self._writes:
            return
        self.curves(event)
        if self._progress is not None:
            self._progress(event)
        if event.loss is not None and self._epoch != (event.stage, event.epoch):
            self._epoch = (event.stage, event.epoch)
            self.keep_curves()

    def keep_curves(self) -> None:
        """Keep the curves so far beside the state of the training, where there is one."""
        if self._checkpoint is not None and self._writes and self.curves.rows:
            with atomic_file(Path(self._checkpoint.directory) / _CURVES) as temporary:
                write_json(temporary, self.curves.rows)

    def stop_if_asked(self) -> None:
        """End the training where its caller wants that.

        Raises:
            TrainingInterrupted: A stop is asked for.
        """
        checkpoint = self._checkpoint
        if checkpoint is not None and checkpoint.stop is not None and checkpoint.stop():
            raise TrainingInterrupted(
                f"training was stopped; its state is in {checkpoint.directory}, the same call "
                "goes on from there"
            )

    def member_progress(self, number: int, total: int) -> Progress | None:
        """Return the callback for the training of one member."""
        if not self._writes or total == 1:
            return self._tell if self._writes else None
        prefix = f"model {number + 1}/{total}: "
        return lambda event: self._tell(replace(event, stage=prefix + event.stage))

    def member_checkpoint(self, number: int) -> CheckpointOptions | None:
        """Return where the training of one member keeps its state."""
        if self._checkpoint is None:
            return None
        directory = Path(self._checkpoint.directory) / f"member_{number}"
        return replace(self._checkpoint, directory=directory)

    # -- finished steps on disk -----------------------------------------------------------------

    def _finished(self, name: str) -> Path | None:
        if self._checkpoint is None:
            return None
        return Path(self._checkpoint.directory) / f"finished_{name}"

    def _kept(self, name: str) -> Path | None:
        """The directory of a finished step; None where there is none."""
        target = self._finished(name)
        if target is not None:
            recover(target)
        return target if target is not None and (target / MANIFEST_NAME).is_file() else None

    def keep_member(self, number: int, index: LearnedGraphIndex, encoder: Encoder | None) -> None:
        """Keep a trained index, and the weights of the encoder trained with it."""
        target = self._finished(f"member_{number}")
        if target is None or not self._writes:
            return
        with atomic_directory(target, overwrite=True) as temporary:
            index.save_pretrained(temporary / "index")
            if encoder is not None:
                assert isinstance(encoder, nn.Module)
                state = encoder.state_dict()
                arrays = {name: value.detach().cpu().numpy() for name, value in state.items()}
                save_arrays(temporary / _WEIGHTS, arrays)
            write_manifest(temporary, kind="elias-member", config={})

    def kept_member(self, number: int, encoder: Encoder | None) -> LearnedGraphIndex | None:
        """Return a kept index, and give the encoder its trained weights; None: there is none."""
        target = self._kept(f"member_{number}")
        if target is None:
            return None
        with _reading(target):
            manifest = read_manifest(target, kind="elias-member")
            index = LearnedGraphIndex.from_pretrained(target / "index", verify=False)
            if encoder is not None:
                assert isinstance(encoder, nn.Module)
                with reading_model(target, "encoder"):
                    arrays = load_arrays(manifest.file(_WEIGHTS))
                    encoder.load_state_dict({n: torch.from_numpy(a) for n, a in arrays.items()})
        return index

    def keep_ranker(self, ranker: SparseRanker) -> None:
        """Keep a trained ranker, and what a further training of it begins with."""
        target = self._finished("ranker")
        if target is None:
            return
        assert ranker.dual_ is not None
        with atomic_directory(target, overwrite=True) as temporary:
            ranker.save_pretrained(temporary / "ranker")
            save_arrays(temporary / _DUAL, ranker.dual_._asdict())
            write_manifest(temporary, kind="elias-ranker", config={})

    def kept_ranker(self) -> SparseRanker | None:
        """Return the kept ranker; None: there is none."""
        target = self._kept("ranker")
        if target is None:
            return None
        with _reading(target):
            manifest = read_manifest(target, kind="elias-ranker")
            ranker = SparseRanker.from_pretrained(target / "ranker")
            with reading_model(target, "ranker"):
                ranker.dual_ = DualVariables(**load_arrays(manifest.file(_DUAL)))
        return ranker


@contextmanager
def _reading(target: Path) -> Iterator[None]:
    try:
        yield
    except ModelFormatError as error:
        raise ModelFormatError(
            f"the state of the training in {target} is damaged ({error}); remove this "
            "directory: this part is trained again"
        ) from error


def discard_progress(directory: Path) -> None:
    """Remove the state of a training, and its directory where nothing else is in it."""
    sweep_directory(directory)
    for path in directory.glob("*"):
        if not _OURS.fullmatch(path.name):
            continue
        if path.is_dir():
            remove_directory(path)
        else:
            path.unlink(missing_ok=True)
    with suppress(OSError):  # it holds something else
        directory.rmdir()


def check_directory(directory: Path) -> None:
    """Refuse a directory that holds other things: it would be mixed up with the state.

    Raises:
        InputError: It does, or it is a file.
    """
    if not directory.is_dir():
        if directory.exists():
            raise InputError(f"{directory} is a file, expected a checkpoint directory")
        return
    for path in directory.iterdir():
        if not _OURS.fullmatch(path.name):
            raise InputError(
                f"{directory} holds {path.name}, which is no state of a training; give a "
                "checkpoint directory of its own"
            )
