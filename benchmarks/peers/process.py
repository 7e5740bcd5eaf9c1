"""Run one command: output into a log, CPU time and peak memory measured, a time limit kept."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

POLL_S = 0.05
MAX_LINE = 500
"""Characters of a log's line that are shown."""
THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS",
    "RAYON_NUM_THREADS",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a command ended.

    Attributes:
        error: None, or why it failed, one line.
        wall_s: Seconds from start to end.
        cpu_s: CPU seconds of the process and of the children it waited for.
        peak_mb: Largest resident memory of the process, MiB.
    """

    error: str | None
    wall_s: float
    cpu_s: float
    peak_mb: float


def run_logged(
    command: list[str],
    *,
    log: Path,
    threads: int,
    environment: dict[str, str] | None = None,
    stdout: Path | None = None,
    time_limit_s: float | None = None,
) -> Outcome:
    """Run a command to its end; a process that is left over is killed with its children.

    Args:
        command: Program and arguments.
        log: File to which its output is appended.
        threads: Value of the variables that limit the threads of numeric libraries.
        environment: Further variables.
        stdout: File for the standard output alone; None: the log.
        time_limit_s: Kill it after this time.
    """
    variables = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads))}
    start = time.perf_counter()
    peak = 0.0
    with log.open("ab") as output, (stdout or Path(os.devnull)).open("wb") as answers:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=answers if stdout else output,
            stderr=output,
            env={**variables, **(environment or {})},
            start_new_session=True,
        )
        late = False
        try:
            while True:
                peak = max(peak, _peak_mb(process.pid))
                pid, status, usage = os.wait4(process.pid, os.WNOHANG)
                if pid:
                    process.returncode = os.waitstatus_to_exitcode(status)
                    break
                if time_limit_s is not None and time.perf_counter() - start > time_limit_s:
                    late = True
                    os.killpg(process.pid, signal.SIGKILL)
                time.sleep(POLL_S)
        finally:
            if process.returncode is None:  # Ctrl-C here: do not leave it running
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    return Outcome(
        error=_error(process.returncode, f"over the limit of {time_limit_s:g} s" if late else ""),
        wall_s=time.perf_counter() - start,
        cpu_s=usage.ru_utime + usage.ru_stime,
        peak_mb=peak or usage.ru_maxrss / 2**10,
    )


def last_lines(path: Path, count: int = 12) -> list[str]:
    """Return the last lines of a text file without blank ones; of progress bars the last state."""
    lines = path.read_bytes().decode("utf-8", "replace").split("\n")
    shown = [line.rstrip("\r").rpartition("\r")[2][-MAX_LINE:] for line in lines]
    return [line for line in shown if line.strip()][-count:]


def _error(returncode: int, reason: str) -> str | None:
    if returncode == 0:
        return None
    if returncode < 0:
        name = signal.Signals(-returncode).name
        return f"killed by {name}" + (f": {reason}" if reason else "")
    return f"exit code {returncode}"


def _peak_mb(pid: int) -> float:
    """Return ``VmHWM`` of a running process in MiB; 0 where it cannot be read."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    except (OSError, UnicodeDecodeError):
        pass
    return 0.0
