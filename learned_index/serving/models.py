"""The models of a server: by name, exchanged for their new versions while requests are answered."""

from __future__ import annotations

import gc
import logging
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from learned_index.elias.model import ELIAS
from learned_index.elias.warm_up import warm_up
from learned_index.errors import LearnedIndexError, ModelFormatError
from learned_index.persistence import MANIFEST_NAME, read_manifest
from learned_index.serving.config import NAME, Service
from learned_index.serving.refusals import UNAVAILABLE, UNKNOWN, refuse
from learned_index.system.memory import give_back

logger = logging.getLogger(__name__)

_RETRY_S = 2.0
"""After a version that could not be loaded: it may still be coming, file by file."""
_TRIES = 5
_VERSION_DIGITS = 16

Signature = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Served:
    """One version of a model; requests that have begun with it end with it.

    Attributes:
        name: Under which it is served.
        path: Its directory.
        model: The model.
        version: Digest of its manifest: equal for equal models, on any machine.
        signature: Of its manifest file, by which another version is noticed.
        loaded: When, in seconds since 1970.
        answered_L: bool, L. Labels that were among the answers.
    """

    name: str
    path: Path
    model: ELIAS
    version: str
    signature: Signature
    loaded: float
    answered_L: np.ndarray = field(repr=False)


class Models:
    """All models of one process.

    Args:
        service: What is to be served.
    """

    def __init__(self, service: Service) -> None:
        self._paths = dict(service.models)
        self._watch = service.watch
        self._served: dict[str, Served] = {}
        self._failed: dict[str, tuple[Signature, float]] = {}
        self._lock = threading.Lock()
        self._was_exchanged = False

    # -- asked by requests ------------------------------------------------------------------------

    def get(self, name: str | None) -> Served:
        """The version of a model that answers now; None: the first one's.

        Raises:
            HTTPException: 404 for a name that no model has, 503 where there is none at all.
        """
        served = self._served
        if name is None:
            if not served:
                refuse(UNAVAILABLE, "no model is loaded yet; try again later", Retry_After="1")
            return next(iter(served.values()))
        if name not in served:
            known = ", ".join(served) or "none"
            refuse(UNKNOWN, f"there is no model {name!r:.80}; there are: {known}")
        return served[name]

    def all(self) -> list[Served]:
        """All, in the order in which they were named."""
        return list(self._served.values())

    @property
    def are_ready(self) -> bool:
        """Whether every model that was named, and one at least, is loaded."""
        served = self._served
        return bool(served) and all(name in served for name in self._paths)

    # -- kept fresh -------------------------------------------------------------------------------

    def load(self) -> None:
        """Load all for the first time.

        Raises:
            LearnedIndexError: One of those that were named cannot be loaded.
        """
        for name, path in self._paths.items():
            with self._lock:
                self._take(_loaded(name, path, thoroughly=True))
        self.refresh()

    def refresh(self) -> list[str]:
        """Look at all directories, and exchange what has changed there.

        A version that cannot be loaded is logged, and looked at again later; the one before stays.

        Returns:
            Names of models that were exchanged, have come or gone.
        """
        changed = []
        with self._lock:
            if self._was_exchanged:  # at the look before: nobody answers with the old one any more
                self._was_exchanged = False
                give_back()
            places = self._places()
            for name in [name for name in self._served if name not in places]:
                self._put({n: s for n, s in self._served.items() if n != name})
                logger.info("model gone", extra={"model": name})
                changed.append(name)
            for name, path in places.items():
                if self._refresh_one(name, path):
                    changed.append(name)
        return changed

    def refresh_one(self, name: str) -> Served:
        """Make sure that a model is the one on the disk.

        Raises:
            LearnedIndexError: The one on the disk cannot be loaded.
        """
        with self._lock:
            path = self.get(name).path
            if _signature(path) != self._served[name].signature:
                self._take(_loaded(name, path))
            return self._served[name]

    def _places(self) -> dict[str, Path]:
        found = dict(self._paths)
        if self._watch is not None and self._watch.is_dir():
            for path in sorted(self._watch.iterdir()):
                # Hidden ones are what writers and copying programs are working on.
                is_name = NAME.fullmatch(path.name) and not path.name.startswith(".")
                if is_name and (path / MANIFEST_NAME).is_file():
                    found.setdefault(path.name, path)
        return found

    def _refresh_one(self, name: str, path: Path) -> bool:
        signature = _signature(path)
        served = self._served.get(name)
        if signature is None or (served is not None and served.signature == signature):
            return False  # a directory that is being exchanged is there again at the next look
        failed, when = self._failed.get(name, (None, 0.0))
        if failed == signature and time.monotonic() < when:
            return False
        try:
            self._take(_loaded(name, path, thoroughly=served is None))
        except (LearnedIndexError, OSError) as error:
            if failed != signature:
                logger.warning("model not loaded", extra={"model": name, "reason": str(error)})
            self._failed[name] = signature, time.monotonic() + _RETRY_S
            return False
        self._failed.pop(name, None)
        return True

    def _take(self, served: Served) -> None:
        self._put({**self._served, served.name: served})
        facts = {"model": served.name, "version": served.version}
        logger.info("model loaded", extra=facts)

    def _put(self, served: dict[str, Served]) -> None:
        # Exchanged whole: who reads it meanwhile, without the lock, sees the old one or the new.
        order = [*self._paths, *(name for name in served if name not in self._paths)]
        self._served = {name: served[name] for name in order if name in served}
        self._was_exchanged = True
        _set_apart()


def _set_apart() -> None:
    """Take what is loaded out of the garbage collector's rounds.

    Names of labels and compiled code are hundreds of thousands of objects. To look through all of
    them took a fifth of a second, several times in ten seconds of load, while all requests waited.
    """
    gc.unfreeze()  # the version before goes, if nothing answers with it any more
    gc.collect()
    gc.freeze()


def _signature(path: Path) -> Signature | None:
    """What changes when another version takes a model's place; None: nothing is there."""
    try:
        found = (path / MANIFEST_NAME).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _loaded(name: str, path: Path, *, thoroughly: bool = False) -> Served:
    """Load a model, whole, from a directory that others may exchange meanwhile.

    Args:
        name: Under which it will be served.
        path: Its directory.
        thoroughly: Ask it everything beforehand that requests may ask, so that none of them waits
            for a compilation; else one question, which brings its pages into memory.
    """
    for last in (*(False,) * (_TRIES - 1), True):
        before = _signature(path)
        try:
            version = read_manifest(path, kind=ELIAS.kind, verify=False).digest
            model = ELIAS.from_pretrained(path)
        except (ModelFormatError, OSError):
            if last or _signature(path) == before:
                raise
            continue
        if before is None or _signature(path) != before:
            continue
        if thoroughly:
            warm_up(model)
        else:
            model.search([model.vocabulary.name(0)], 1)
        answered_L = np.zeros(model.n_labels, bool)
        short = version[:_VERSION_DIGITS]
        return Served(name, path, model, short, before, time.time(), answered_L)
    raise ModelFormatError(f"{path} changes all the time; let one version stay until it is loaded")
