"""Running ``li``, and a small model of ``li train-index``, shared by the tests of the commands."""

from __future__ import annotations

import sys
from pathlib import Path

from click.testing import CliRunner, Result

from learned_index.cli import main

QUICK = ["--encoder", "lsa", "--batch-size", "32", "--stage1-epochs", "3", "--stage2-epochs", "3"]
QUICK += ["--cache", "off", "--threads", "1"]
LI = [sys.executable, "-m", "learned_index.cli"]


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
