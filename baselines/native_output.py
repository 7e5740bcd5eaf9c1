"""What a compiled package writes to the terminal, kept away from it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile

from learned_index.errors import LearnedIndexError

TAIL = 400
"""Characters of the output that an error ends with."""


@contextmanager
def native_output_held() -> Iterator[None]:
    """Hold back what is written to the file descriptors 1 and 2 inside the block.

    A compiled package writes its log and its bars there, past Python; they would end up in what a
    command prints for other programs. The descriptors belong to the whole process: use it where
    one method has a process of its own, or nobody else writes.

    Raises:
        LearnedIndexError: The block raised; the message ends with what was written last.
    """
    # Else what Python has buffered so far would come out inside the block.
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    kept = {number: os.dup(number) for number in (1, 2)}
    failure: Exception | None = None
    with TemporaryFile() as held:
        try:
            for number in kept:
                os.dup2(held.fileno(), number)
            try:
                yield
            except Exception as problem:
                failure = problem
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            for number, original in kept.items():
                os.dup2(original, number)
                os.close(original)
        if failure is not None:
            held.seek(0)
            written = held.read().decode("utf-8", "replace")
            # A bar overwrites its line with carriage returns: only its last state counts.
            lines = [line.rpartition("\r")[2].strip() for line in written.split("\n")]
            said = " ".join(line for line in lines if line)[-TAIL:]
            raise LearnedIndexError(f"{failure}; the package wrote: {said or '-'}") from failure
