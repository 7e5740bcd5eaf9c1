"""One process, or several, that listen on an address until they are told to stop."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from learned_index.persistence import Manifest, read_manifest
from learned_index.serving.config import Service
from learned_index.serving.listening import listening
from learned_index.system.extras import require_installed


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
        require_installed(module)
    config = service.config
    for path in service.models.values():  # before anything listens: are these models, and whole?
        manifest = read_manifest(path, kind="elias")
        if config.workers == 1:
            _require_packages(manifest)
    from learned_index.serving.processes import run_one, run_several

    with listening(config.host, config.port, config.workers) as listeners:
        tell(address(listeners[0]))
        if config.workers == 1:
            run_one(service, *listeners)
            return
        with _shared_directories() as board:
            run_several(replace(service, board=board), listeners)


def _require_packages(manifest: Manifest) -> None:
    # The parent of workers loads no model, so it imports nothing that models need: that would
    # take a second before they start, and 80 MB for ever.
    from learned_index.elias.saving import require_packages

    require_packages(manifest)


def address(listener: socket.socket) -> str:
    """Where a socket can be connected to, as a URL."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


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
