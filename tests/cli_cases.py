"""Running ``li``, and a small model of ``li train-index``, shared by the tests of the commands."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from click.testing import CliRunner, Result

from learned_index.cli import main

QUICK = ["--encoder", "lsa", "--batch-size", "32", "--stage1-epochs", "3", "--stage2-epochs", "3"]
QUICK += ["--cache", "off", "--threads", "1"]
LI = [sys.executable, "-m", "learned_index.cli"]


# Ctrl-C works as at a terminal, or not at all, whatever the tests themselves were started with.
_START = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.{}); "
    "os.execv(sys.argv[1], sys.argv[1:])"
)


@contextmanager
def started(*arguments: object, ignores_ctrl_c: bool = False) -> Iterator[subprocess.Popen[str]]:
    """``li`` in a process of its own, on one thread; nothing of it is left afterwards."""
    start = _START.format("SIG_IGN" if ignores_ctrl_c else "SIG_DFL")
    process = subprocess.Popen(
        [sys.executable, "-c", start, *LI, *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def li(*arguments: object, stdin: str | bytes | None = None) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments], input=stdin)


def ok(*arguments: object, stdin: str | bytes | None = None) -> str:
    result = li(*arguments, stdin=stdin)
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*arguments: object, code: int = 2, stdin: bytes | None = None) -> str:
    """The command fails with one clear line and this exit code; returns the line."""
    result = li(*arguments, stdin=stdin)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    assert "unexpected" not in result.stderr
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert lines, "an error needs a message"
    if lines[-1].startswith("error:"):
        assert len(lines) == 1
    return lines[-1]


def files(directory: Path) -> dict[str, bytes]:
    paths = [path for path in directory.rglob("*") if path.is_file()]
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in paths}
