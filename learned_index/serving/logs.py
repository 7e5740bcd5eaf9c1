"""Logs of a server: a line of JSON for each event, on standard error."""

from __future__ import annotations

import atexit
import json
import logging
import os
import queue
import sys
import threading
import time
from contextlib import suppress
from typing import Any, TextIO

MOST_WAITING = 10_000
_LAST_LINES_S = 2.0

_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "taskName", "color_message"}


class JsonLines(logging.Formatter):
    """A record as one line of JSON: time, level, event, process, and what was handed in beside."""

    def format(self, record: logging.LogRecord) -> str:
        """Make the line; line feeds in texts do not end it."""
        line: dict[str, Any] = {
            "time": _utc(record.created),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "pid": os.getpid(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _PLAIN}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class Written(logging.Handler):
    """Writes lines in a thread of its own: a reader of the log that stands still stops nobody.

    Args:
        stream: Where to; as many lines as may wait are kept, further ones are lost.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self.setFormatter(JsonLines())
        self._stream = stream
        self._lines: queue.Queue[str | None] = queue.Queue(MOST_WAITING)
        self._thread = threading.Thread(target=self._write, name="li-log", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def emit(self, record: logging.LogRecord) -> None:
        """Let a line wait for the thread."""
        with suppress(queue.Full):
            self._lines.put_nowait(self.format(record))

    def close(self) -> None:
        """Write what waits, if that is soon done."""
        with suppress(queue.Full):
            self._lines.put_nowait(None)
            self._thread.join(_LAST_LINES_S)
        super().close()

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            with suppress(OSError, ValueError):  # nobody reads any more
                self._stream.write(line + "\n")
                self._stream.flush()


def log_json_lines() -> None:
    """Write the events of this package and of uvicorn to standard error from now on."""
    handler = Written(sys.stderr)
    for name in ("learned_index", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(logging.INFO)
        logger.propagate = False
    # What it says of each request stands in our own lines, with the model and the time taken.
    logging.getLogger("uvicorn.access").setLevel(logging.WARNING)


def _utc(seconds: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds % 1 * 1000):03d}Z"
