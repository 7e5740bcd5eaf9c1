"""A server of models in a process of its own, and connections to it; for what measures servers."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

START_S = 300


def children(parent: int) -> Iterator[int]:
    """Processes that a process has started and that live."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(path.read_text().rpartition(")")[2].split()[1]) == parent:
                yield int(path.parent.name)


def below(parent: int) -> Iterator[int]:
    """Processes that a process has started, and those that they have."""
    for child in children(parent):
        yield child
        yield from below(child)


def cpu_ticks(pid: int) -> int:
    """Processor time of a process, in ticks of the system."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def told_port(process: subprocess.Popen[bytes], log: IO[bytes], words: str) -> int:
    """Wait until a server tells its port in its log, behind these words.

    Raises:
        SystemExit: It ended, or does not tell it.
    """

    def told() -> str:
        log.seek(0)
        return log.read().decode()

    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        found = told().partition(words)[2]
        if found:
            return int(found.split()[0])
        time.sleep(0.1)
    raise SystemExit(f"the server did not start: {told()}")


class Connection:
    """One connection that is kept open, and opened again when it breaks."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, path: str, body: Any, headers: str = "") -> tuple[int, bytes]:
        """Send a request and wait for its answer: status and body."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        content = json.dumps(body).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(content)}\r\n{headers}\r\n"
        )
        try:
            writer.write(head.encode() + content)
            top = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(top.partition(b"content-length:")[2].partition(b"\r\n")[0])
            answer = await reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError):
            self.close()
            raise ConnectionError from None
        if b"connection: close" in top:
            self.close()
        return int(top.split(b" ", 2)[1]), answer

    def close(self) -> None:
        """Close it; the next request opens another."""
        if self._streams is not None:
            self._streams[1].close()
        self._streams = None


class Server:
    """``li serve`` on a free port.

    Args:
        model: Directory of the model that it may change.
        workers: Processes.
        options: More of the command's options.
    """

    def __init__(self, model: Path, workers: int, options: list[str]) -> None:
        self.model, self.token = model, secrets.token_urlsafe()
        command = [
            sys.executable, "-m", "learned_index.cli", "serve", str(model), "--port", "0",
            "--workers", str(workers), "--log", "errors", *options,
        ]  # fmt: skip
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the server runs
        self.process = subprocess.Popen(
            command, stderr=self._log, env={**os.environ, "LI_SERVE_TOKEN": self.token}
        )
        self.port = told_port(self.process, self._log, "serving on http://127.0.0.1:")

    def log(self) -> str:
        """What it wrote on standard error."""
        self._log.seek(0)
        return self._log.read().decode()

    def workers(self) -> list[int]:
        """Process ids of its workers."""
        found = []
        for pid in children(self.process.pid):
            with suppress(OSError):
                if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(pid)
        return sorted(found)

    def resident_mb(self) -> float:
        """Memory of all its processes; pages that they share are counted in each."""
        pages = 0
        for pid in [*self.workers(), self.process.pid]:
            with suppress(OSError):
                pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def memory_mb(self) -> dict[int, dict[str, float]]:
        """Memory of each of its processes, by process id.

        ``rss``: resident pages. ``pss``: the same, each divided by the processes that share it, so
        that the sum is what the server takes. ``own``: what nobody else has. ``anonymous``: what
        is no file, divided likewise.
        """
        names = {"rss": "Rss:", "pss": "Pss:", "anonymous": "Pss_Anon:"}
        found = {}
        for pid in [self.process.pid, *self.workers()]:
            with suppress(OSError):
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
                kb = {line.split()[0]: int(line.split()[1]) for line in lines}
                found[pid] = {name: kb[key] / 1024 for name, key in names.items()}
                found[pid]["own"] = (kb["Private_Clean:"] + kb["Private_Dirty:"]) / 1024
        return found

    def cpu_seconds(self) -> float:
        """Processor time of all its processes that live."""
        ticks = 0
        for pid in [*self.workers(), self.process.pid]:
            with suppress(OSError):
                ticks += cpu_ticks(pid)
        return ticks / os.sysconf("SC_CLK_TCK")

    def end(self) -> int:
        """End it gracefully; its exit code."""
        self.process.terminate()
        return self.process.wait(60)
