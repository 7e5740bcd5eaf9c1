"""One process, or several, that listen on an address until they are told to stop."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from learned_index.errors import InputError
from learned_index.persistence import read_manifest
from learned_index.serving.config import Service
from learned_index.system.extras import require

BACKLOG = 2048


def serve(service: Service, *, tell: Callable[[str], None]) -> None:
    """Serve models until SIGTERM or SIGINT; requests under way are answered before the end.

    SIGHUP makes all workers look at the directories of the models at once.

    Args:
        service: What, and how.
        tell: Called with the address, once it can be connected to.

    Raises:
        InputError: The address cannot be listened on.
        LearnedIndexError: A model cannot be loaded.
        MissingExtraError: A package is missing.
    """
    for module in ("uvicorn", "fastapi", "prometheus_client", "python_multipart"):
        require(module)
    from learned_index.elias.saving import require_packages
    from learned_index.serving.models import Models
    from learned_index.serving.processes import run_one, run_several

    Models(service)  # before anything listens: are these names, and models that are whole?
    for path in service.models.values():
        require_packages(read_manifest(path, kind="elias"))
    with _listening(service.config.host, service.config.port) as listener:
        tell(address(listener))
        if service.config.workers == 1:
            run_one(service, listener)
            return
        with _shared_directories() as board:
            run_several(replace(service, board=board), listener)


def address(listener: socket.socket) -> str:
    """Where a socket can be connected to, as a URL."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        raise InputError(
            f"cannot listen on {host} port {port} ({getattr(error, 'strerror', None) or error}); "
            "choose another --host or --port"
        ) from error
    with listener:
        listener.set_inheritable(True)
        yield listener


@contextmanager
def _shared_directories() -> Iterator[Path]:
    """Where workers tell one another how fresh they are, and add up what they count."""
    with tempfile.TemporaryDirectory(prefix="li-serve-") as folder:
        board, counts = Path(folder) / "board", Path(folder) / "counts"
        board.mkdir()
        counts.mkdir()
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(counts)  # workers are started with it
        try:
            yield board
        finally:
            del os.environ["PROMETHEUS_MULTIPROC_DIR"]
