"""Kill writing commands with ``kill -9`` at random moments, and look at what is at their paths.

    python -m benchmarks.hostile.kills --n 1000 --seed 0

Each command writes one of two results, known byte for byte, over the other. After a kill the path
must hold one of the two, whole; after a run that is let finish, the new one and nothing beside it.
Commands run in forks of this process, which has imported and compiled everything.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from learned_index import LearnedGraphIndex
from learned_index.cli import main as li
from learned_index.elias.model import ELIAS
from learned_index.elias.saving import index_directory
from learned_index.encoders import load_encoder
from learned_index.encoders.vector_files import embed_record, read_embed_record
from learned_index.errors import LearnedIndexError
from learned_index.persistence import atomic

_QUICK = ["--encoder", "lsa:8", "--batch-size", "16", "--stage1-epochs", "2", "--cache", "off"]
_QUICK += ["--stage2-epochs", "2", "--n-clusters", "3", "--threads", "1", "--quiet"]


def run_li(*arguments: object) -> None:
    """Run ``li`` in this process; an exit code other than 0 is an error."""
    code = li([str(argument) for argument in arguments], standalone_mode=False)
    if code not in (None, 0):
        raise SystemExit(f"li {arguments[0]} ended with {code}")


def digest(path: Path) -> str:
    """SHA-256 of the names and contents of all files in a directory, hidden ones apart."""
    sha = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path).as_posix()
        if file.is_file() and not name.startswith("."):
            sha.update(f"{name}\n".encode())
            sha.update(file.read_bytes())
    return sha.hexdigest()


class Writer(ABC):
    """A command that is killed: it writes version 0 or 1 of its result over the other.

    Args:
        folder: Holds nothing but what it writes.
        inputs: Data and models to work with.
    """

    name: str
    unkilled_every = 1
    """Kills between two runs that are let finish."""

    def __init__(self, folder: Path, inputs: Path) -> None:
        self.folder, self.inputs = folder, inputs
        self.target = folder / "out"
        self.digests: list[str] = []
        self.beside: list[str] = []

    @abstractmethod
    def write(self, version: int) -> None:
        """Write a version to :attr:`target`."""

    @abstractmethod
    def load(self) -> None:
        """Load what is at :attr:`target` as a user would."""

    def is_whole(self) -> bool:
        """Whether one of the versions is at the target."""
        try:
            self.load()
        except LearnedIndexError as error:
            print(f"{self.name}: {error}", file=sys.stderr)
            return False
        return digest(self.target) in self.digests

    def leftovers(self) -> list[str]:
        """Names beside the target that do not belong there."""
        names = sorted(path.name for path in self.folder.iterdir())
        return [name for name in names if name not in self.beside]


class Overwrite(Writer):
    """``LearnedGraphIndex.save_pretrained(..., overwrite=True)``."""

    name = "overwrite"

    def write(self, version: int) -> None:  # noqa: D102 - as in the base class
        index = LearnedGraphIndex.from_pretrained(
            index_directory(self.inputs / "models" / str(version))
        )
        index.save_pretrained(self.target, overwrite=True)

    def load(self) -> None:  # noqa: D102
        LearnedGraphIndex.from_pretrained(self.target)


class OverwriteByRenaming(Overwrite):
    """The same where the system cannot exchange two directories."""

    name = "overwrite, renaming"

    def write(self, version: int) -> None:  # noqa: D102
        exchange, atomic.exchange = atomic.exchange, lambda _first, _second: False
        try:
            super().write(version)
        finally:
            atomic.exchange = exchange


class Compile(Writer):
    """``li compile``."""

    name = "compile"

    def write(self, version: int) -> None:  # noqa: D102
        model = self.inputs / "models" / str(version)
        run_li("compile", model, "--out", self.target, "--overwrite", "--quiet", "--threads", 1)

    def load(self) -> None:  # noqa: D102
        ELIAS.from_pretrained(self.target)


class AddLabels(Writer):
    """``li labels add`` to a compiled model: a segment of one new label."""

    name = "labels add"

    def write(self, version: int) -> None:  # noqa: D102
        example = f"word{version} word{version + 1}"
        run_li(
            "labels", "add", self.inputs / "compiled", f"new {version}", "--example", example,
            "--out", self.target, "--overwrite",
        )  # fmt: skip

    def load(self) -> None:  # noqa: D102
        ELIAS.from_pretrained(self.target)


class RenameInPlace(AddLabels):
    """``li labels rename`` of the model at the path itself; all such commands end alike."""

    name = "labels, in place"

    def write(self, version: int) -> None:  # noqa: D102
        if not self.target.exists():
            super().write(0)
        run_li("labels", "rename", self.target, 0, f"version {version}")


class Train(Writer):
    """``li train --resume``: killed runs go on until the model is there."""

    name = "train, resumed"
    unkilled_every = 6

    def write(self, version: int) -> None:  # noqa: D102
        run_li(
            "train", "--data", self.inputs / "data", "--out", self.target, "--overwrite",
            "--resume", "--checkpoint-seconds", 0, "--seed", version,
            "--validation-fraction", 0.2, *_QUICK,
        )  # fmt: skip

    def load(self) -> None:  # noqa: D102
        ELIAS.from_pretrained(self.target)


class Embed(Writer):
    """``li embed``: each file is whole, and a mixture of versions is marked as unfinished."""

    name = "embed"

    def write(self, version: int) -> None:  # noqa: D102
        run_li(
            "embed", "--data", self.inputs / "data", "--encoder", f"lsa:{4 + version}",
            "--out", self.target, "--no-cache", "--quiet", "--threads", 1,
        )  # fmt: skip

    def load(self) -> None:  # noqa: D102
        load_encoder(self.target / "encoder")
        for split in ("train", "test"):
            np.load(self.target / f"{split}.npy")

    def is_whole(self) -> bool:  # noqa: D102
        self.load()
        unfinished = "" in read_embed_record(embed_record(self.target)).values()
        return unfinished or digest(self.target) in self.digests

    def leftovers(self) -> list[str]:  # noqa: D102
        inside = {path.name for path in self.target.iterdir()}
        known = {"train.npy", "test.npy", "encoder", "embed.json"}
        return [*super().leftovers(), *sorted(inside - known)]


WRITERS: list[type[Writer]] = [
    Train, Overwrite, OverwriteByRenaming, Compile, AddLabels, RenameInPlace, Embed
]  # fmt: skip


@dataclass
class Count:
    """What happened to one command."""

    kills: int = 0
    whole: int = 0
    lost: int = 0
    finished: int = 0
    leftovers: int = 0


def fork(writer: Writer, version: int) -> int:
    """Start writing a version in a child process; returns its id."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with Path(os.devnull).open("w") as nowhere:
                os.dup2(nowhere.fileno(), 1)
            writer.write(version)
            code = 0
        except BaseException as error:
            print(f"{writer.name}: {type(error).__name__}: {error}", file=sys.stderr)
        finally:
            os._exit(code)
    return child


def finish(writer: Writer, version: int) -> float:
    """Write a version without a kill; returns the seconds that it took."""
    start = time.perf_counter()
    _, status = os.waitpid(fork(writer, version), 0)
    if status != 0:
        raise SystemExit(f"{writer.name}: a run that nobody killed failed")
    return time.perf_counter() - start


def prepare(inputs: Path) -> None:
    """Make the data and the models that the commands work with."""
    rng = np.random.default_rng(0)
    words = [f"word{number}" for number in range(24)]
    (inputs / "data").mkdir()
    for split, n_points in (("train", 60), ("test", 12)):
        labels = rng.integers(6, size=n_points)
        texts = [" ".join(rng.choice(words[4 * y : 4 * y + 4], size=5)) for y in labels]
        (inputs / "data" / f"{split}_texts.txt").write_text("\n".join(texts) + "\n")
        (inputs / "data" / f"{split}_labels.txt").write_text("".join(f"{y}\n" for y in labels))
    for version in (0, 1):
        out = inputs / "models" / str(version)
        run_li("train-index", "--data", inputs / "data", "--out", out, "--seed", version, *_QUICK)
    run_li(
        "train", "--data", inputs / "data", "--out", inputs / "whole", "--records", "yes",
        "--final-ranker", "linear", "--validation-fraction", 0.3, *_QUICK,
    )  # fmt: skip
    run_li("compile", inputs / "whole", "--out", inputs / "compiled", "--quiet", "--threads", 1)


def first_runs(writer: Writer) -> float:
    """Learn what the two versions look like and how long a run takes."""
    seconds = 0.0
    for version in (0, 1):
        finish(writer, version)
        writer.digests.append(digest(writer.target))
    writer.beside = sorted(path.name for path in writer.folder.iterdir())
    hidden = [name for name in writer.beside if name.startswith(".")]
    if hidden:
        raise SystemExit(f"{writer.name} leaves {', '.join(hidden)}")
    seconds = finish(writer, 0)
    if digest(writer.target) != writer.digests[0] or len(set(writer.digests)) != 2:
        raise SystemExit(f"{writer.name}: the versions cannot be told apart")
    return seconds


def kill_runs(writer: Writer, n_kills: int, rng: random.Random) -> Count:
    """Kill so many runs of a command, and let some finish in between."""
    count, version, seconds = Count(), 1, first_runs(writer)
    while count.kills < n_kills:
        child = fork(writer, version)
        time.sleep(rng.uniform(0, seconds))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            if status:
                raise SystemExit(f"{writer.name}: a run that nobody killed failed")
            version = 1 - version  # it was faster than the kill
            continue
        count.kills += 1
        if writer.is_whole():
            count.whole += 1
        else:
            count.lost += 1
        if count.kills % writer.unkilled_every == 0 or count.kills == n_kills:
            finish(writer, version)
            count.finished += 1
            if digest(writer.target) != writer.digests[version]:
                count.lost += 1
            left = writer.leftovers()
            count.leftovers += len(left)
            if left:
                print(f"{writer.name} leaves {', '.join(left)}", file=sys.stderr)
            version = 1 - version
    return count


def main() -> int:
    """Parse the arguments, kill, print the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=1000, help="kills in all")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--folder", type=Path, default=None, help="where to write")
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    print(f"{'command':24}{'kills':>8}{'whole':>8}{'lost':>8}{'finished':>10}{'leftovers':>11}")
    total = Count()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        inputs = Path(name) / "inputs"
        inputs.mkdir()
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
            prepare(inputs)
        for number, kind in enumerate(WRITERS):
            folder = Path(name) / str(number)
            folder.mkdir()
            n_kills = arguments.n // len(WRITERS) + (number < arguments.n % len(WRITERS))
            count = kill_runs(kind(folder, inputs), n_kills, rng)
            _print(kind.name, count)
            for field, value in vars(count).items():
                setattr(total, field, getattr(total, field) + value)
    _print("all", total)
    print(f"{time.perf_counter() - start:.0f} s, {os.cpu_count()} CPUs, {os.uname().release}")
    return 1 if total.lost or total.leftovers else 0


def _print(name: str, count: Count) -> None:
    print(
        f"{name:24}{count.kills:8}{count.whole:8}{count.lost:8}{count.finished:10}"
        f"{count.leftovers:11}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
