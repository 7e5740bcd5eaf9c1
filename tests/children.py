"""Forked copies of the test process: what needs a process of its own, but no new interpreter.

A new interpreter imports torch, scikit-learn and the package again, three to six seconds of CPU. A
forked child has them, and is a process like any other for signals, kills, locks and exit codes.
Tests of what a fresh interpreter does (imports, hash seeds, equal bytes) start one all the same.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NoReturn

import torch._dynamo  # noqa: F401  (torch's optimisers import it: once here, not in each child)

from learned_index.cli import main
from learned_index.persistence import atomic


class Child:
    """A forked child; used as :class:`subprocess.Popen`.

    Args:
        work: What it runs; the child then ends with exit code 0, or as Python ends by an exception.
        ignores_ctrl_c: Whether Ctrl-C is off when it begins, as for a job in the background.
    """

    def __init__(self, work: Callable[[], object], *, ignores_ctrl_c: bool = False) -> None:
        self.returncode: int | None = None
        self._output = [tempfile.TemporaryFile() for _ in range(2)]  # noqa: SIM115  (see close)
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _run(work, [file.fileno() for file in self._output], ignores_ctrl_c)

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        if self.returncode is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            if ended:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def communicate(self, timeout: float = 120) -> tuple[str, str]:
        """Wait for its end; what it wrote to standard output and error."""
        until = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired("a forked child", timeout)
            time.sleep(0.005)
        written = []
        for file in self._output:
            file.seek(0)
            written.append(file.read().decode())
        return written[0], written[1]

    def close(self) -> None:
        """End it where it still runs."""
        self.send_signal(signal.SIGKILL)
        self.communicate(timeout=60)
        for file in self._output:
            file.close()


def _run(work: Callable[[], object], output: list[int], ignores_ctrl_c: bool) -> NoReturn:
    """Run in the child, and never return to the tests that it is a copy of."""
    code: object = 1
    interrupted = False
    try:
        for number in (signal.SIGTERM, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
        for number, file in enumerate(output, start=1):
            os.dup2(file, number)
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
        signal.signal(
            signal.SIGINT, signal.SIG_IGN if ignores_ctrl_c else signal.default_int_handler
        )
        work()
        code = 0
    except SystemExit as end:
        code = end.code or 0
    except KeyboardInterrupt:
        interrupted = True
        traceback.print_exc()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        if interrupted:  # Python itself ends by the signal
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
        os._exit(code if isinstance(code, int) else 1)


@contextmanager
def forked(work: Callable[[], object], *, ignores_ctrl_c: bool = False) -> Iterator[Child]:
    """A child that runs ``work``; nothing of it is left afterwards."""
    child = Child(work, ignores_ctrl_c=ignores_ctrl_c)
    try:
        yield child
    finally:
        child.close()


def refusing(packages: tuple[str, ...]) -> str:
    """Beginning of a program in whose process these packages are not installed."""
    return f"""
import importlib.abc, sys
class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {packages!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Refuse())
"""


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def forked_ranks(work: Callable[[], object], *, count: int = 2) -> Iterator[list[Child]]:
    """Children that meet as the processes of torchrun do: it starts them with these variables."""
    group = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}

    def of_rank(rank: int) -> Callable[[], object]:
        def run() -> None:
            os.environ.update(group, RANK=str(rank), LOCAL_RANK=str(rank))
            work()

        return run

    with ExitStack() as stack:
        yield [stack.enter_context(forked(of_rank(rank))) for rank in range(count)]


@contextmanager
def forked_li(*arguments: object, ignores_ctrl_c: bool = False) -> Iterator[Child]:
    """``li`` in a child, as it begins after its imports; else as ``cli_cases.started``."""
    words = [str(argument) for argument in arguments]
    with forked(lambda: main(words), ignores_ctrl_c=ignores_ctrl_c) as child:
        yield child


def ended(work: Callable[[], object], *, timeout: float = 120) -> tuple[int | None, str]:
    """Exit code of a child that runs ``work``, and what it wrote to standard error."""
    with forked(work) as child:
        _, errors = child.communicate(timeout)
        return child.returncode, errors


def killed_in_a_save(
    arguments: list[str], *, step: str, part: bool, parent: Path
) -> tuple[int | None, str]:
    """``li`` in a child that is killed in a step of a save; its exit code and errors.

    Args:
        arguments: Command and arguments.
        step: Function of ``persistence.atomic`` that is reached.
        part: Whether it may be with a part of the model, or is with the whole of it, in ``parent``.
        parent: Where the model is.
    """

    def work() -> None:
        whole = getattr(atomic, step)

        def killed(path: Path, *others: object) -> object:
            if part or path.parent == parent:
                os.kill(os.getpid(), signal.SIGKILL)
            return whole(path, *others)

        setattr(atomic, step, killed)
        main(arguments, standalone_mode=False)

    return ended(work)
