"""What all commands share: error lines and exit codes, progress, JSON, thread count.

Exit codes: 0 success; 2 wrong usage or unusable input (arguments, data, model directory);
1 any other failure, such as a full disk or a missing optional package; 130 after Ctrl-C;
143 when terminated.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.markup import escape

from learned_index.cli.shared.help import panel
from learned_index.errors import (
    BusyError,
    LearnedIndexError,
    MissingExtraError,
    NotFittedError,
    StorageError,
)
from learned_index.system.progress import new_bar
from learned_index.system.threads import set_threads

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.progress import Progress, TaskID
    from rich.table import Table

use_threads = set_threads

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143
BAD_PATHS = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG}
"""What is wrong with a path that was given, rather than with the disk."""
NARROW, WIDE = 80, 240
"""Columns of tables that go to a file or a pipe, and of those that are asked to be wide."""
TRACEBACK_VARIABLE = "LI_TRACEBACK"
"""Environment variable that makes the commands raise instead of printing one line."""


console = Console(stderr=True, highlight=False)
"""Rich console on standard error: progress, notes and errors. Results go to standard output."""


def output_console(*, wide: bool = False) -> Console:
    """Return a rich console on standard output, for tables that are the command's result.

    Args:
        wide: Lines may be longer than those of the terminal.
    """
    found = Console(highlight=False, soft_wrap=False)
    if wide:
        found.width = max(found.width, WIDE)
    elif not found.is_terminal and "COLUMNS" not in os.environ:
        found.width = NARROW
    return found


def plain_table(*, show_header: bool = True) -> Table:
    """An empty table of the kind that commands print, without lines."""
    from rich.table import Table

    return Table(show_header=show_header, box=None, pad_edge=False, padding=(0, 1))


def titled(table: Table, title: str, *, caption: str | None = None) -> RenderableType:
    """A table with a text above it and one below, which are wrapped at the console's width."""
    from rich.console import Group
    from rich.text import Text

    below = [] if caption is None else [Text(caption, style="dim")]
    return Group(Text(title, style="italic"), table, *below)


def print_pairs(title: str, rows: Mapping[str, str]) -> None:
    """Print names and values below one another; values end in one column."""
    output_console().print(pairs_table(title, rows))


def pairs_table(title: str, rows: Mapping[str, str]) -> RenderableType:
    """Names and values below one another."""
    table = plain_table(show_header=False)
    table.add_column(overflow="fold")
    table.add_column(justify="right", overflow="fold")
    for name, value in rows.items():
        table.add_row(escape(name), escape(value))
    return titled(table, title)


def note(message: str, *, quiet: bool = False) -> None:
    """Print one line for a person on standard error; silent when it is no terminal.

    What a result lacks is told by :func:`warn`.
    """
    if not quiet and console.is_terminal:
        console.print(escape(message))


def warn(message: str, *, quiet: bool = False) -> None:
    """Print one line on standard error that is to be read in a log, too: what was left out."""
    if not quiet:
        click.echo(message, err=True)


class ProgressHandle:
    """One progress bar.

    Args:
        display: The rich display and its task, or None when nothing is shown.
    """

    def __init__(self, display: tuple[Progress, TaskID] | None = None) -> None:
        self._display = display

    def count(self, done: float, total: float, text: str | None = None) -> None:
        """Set the steps that are done, and all: what the library's ``progress`` is called with."""
        self.update(completed=done, total=total, info=text)

    def update(
        self,
        *,
        completed: float | None = None,
        total: float | None = None,
        description: str | None = None,
        info: str | None = None,
    ) -> None:
        """Set what is given: steps done, steps in all, the text before and after the bar."""
        if self._display is None:
            return
        progress, task = self._display
        fields: dict[str, Any] = {} if info is None else {"info": escape(info)}
        progress.update(
            task,
            completed=completed,
            total=total,
            description=None if description is None else escape(description),
            **fields,
        )


@contextmanager
def progress_bar(
    description: str, *, total: float | None = None, quiet: bool = False
) -> Iterator[ProgressHandle]:
    """Show a progress bar with an estimate of the time left on standard error.

    Args:
        description: Text before the bar.
        total: Steps in all; None shows a moving bar until ``update(total=...)``.
        quiet: Show nothing. Nothing is shown either when standard error is no terminal.
    """
    if quiet or not console.is_terminal:
        yield ProgressHandle()
        return
    with new_bar(console=console, transient=True) as progress:
        task = progress.add_task(escape(description), total=total, info="")
        yield ProgressHandle((progress, task))


def emit_json(value: Any) -> None:
    """Print ``value`` as JSON on standard output; NaN and infinities become null."""
    from learned_index.persistence.files import json_ready

    click.echo(json.dumps(json_ready(value), indent=1, ensure_ascii=False))


def _set_threads(_: click.Context, __: click.Parameter, threads: int | None) -> int | None:
    if threads is not None:
        # Libraries that start later read these; torch, already imported or not, is told below.
        for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            os.environ[variable] = str(threads)
    return threads


json_option = panel(
    "Machine",
    click.option(
        "--json", "as_json", is_flag=True, help="Print the result as JSON on standard output."
    ),
)
quiet_option = panel(
    "Machine",
    click.option("--quiet", "-q", is_flag=True, help="No progress and no notes on standard error."),
)
threads_option = panel(
    "Machine",
    click.option(
        "--threads",
        type=click.IntRange(min=1),
        callback=_set_threads,
        help="CPU threads to use. Default: all that are available to the process.",
    ),
)
"""Its command calls :func:`use_threads`."""
wide_option = click.option(
    "--wide", is_flag=True, help="Tables with all columns, in lines as long as these need."
)


def error_line(error: BaseException) -> tuple[str, int]:
    """Return the one line that explains ``error``, and the exit code."""
    text = " ".join(str(error).split()) or type(error).__name__
    number = error.errno if isinstance(error, OSError) else None
    code = EXIT_USAGE if number in BAD_PATHS else EXIT_FAILURE
    if isinstance(error, MissingExtraError | NotFittedError):
        return text, EXIT_FAILURE
    if isinstance(error, StorageError) and not isinstance(error, BusyError):
        return text, code  # an OSError too, but its text says more
    if isinstance(error, LearnedIndexError):
        return text, EXIT_USAGE
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        if number == errno.ENOSPC:
            return f"{where}the disk is full; nothing was left half-written", EXIT_FAILURE
        return f"{where}{error.strerror or text}", code
    if isinstance(error, ImportError):
        name = f"{error.name}: " if error.name else ""
        return f"{name}{text}; install what is missing with pip", EXIT_FAILURE
    if isinstance(error, MemoryError):
        remedy = "use fewer threads, a smaller batch or a smaller shortlist"
        return f"out of memory; {remedy}", EXIT_FAILURE
    return (
        f"unexpected {type(error).__name__}: {text} "
        f"(set {TRACEBACK_VARIABLE}=1 to see where, and please report it)",
        EXIT_FAILURE,
    )


@contextmanager
def errors_as_lines() -> Iterator[None]:
    """Turn exceptions of the block into one line on standard error and an exit code.

    The group ``li`` does so for every command; what runs without it takes this as a decorator.
    """
    try:
        yield
    except (click.ClickException, click.exceptions.Exit, SystemExit):
        raise
    except (KeyboardInterrupt, click.Abort):
        click.echo("\ninterrupted; nothing was left half-written", err=True)
        raise click.exceptions.Exit(EXIT_INTERRUPTED) from None
    except BrokenPipeError:
        raise  # the reader went away (`li ... | head`): click ends quietly
    except Exception as error:
        if os.environ.get(TRACEBACK_VARIABLE):
            raise
        line, code = error_line(error)
        click.echo(f"error: {line}", err=True)
        raise click.exceptions.Exit(code) from None


@contextmanager
def handling(numbers: Iterable[int], handler: Callable[[int, Any], None]) -> Iterator[None]:
    """Handle these signals in the block; elsewhere than in the main thread nothing can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, handler_before in before.items():
            signal.signal(number, handler_before)


@contextmanager
def terminated_as_exit() -> Iterator[None]:
    """Unwind the block on SIGTERM, so that temporary files are removed, and exit with 143."""

    def leave(_signal: int, _frame: object) -> None:
        raise SystemExit(EXIT_TERMINATED)

    with handling([signal.SIGTERM], leave):
        yield


def standard_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--threads``, ``--quiet`` and ``--json``."""
    return threads_option(quiet_option(json_option(function)))
