"""What is saved here, read from the Hugging Face hub by a name, into its client's own cache."""

from __future__ import annotations

import glob
import logging
import os
import re
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from learned_index.errors import InputError, LearnedIndexError
from learned_index.persistence.failures import first_line
from learned_index.persistence.layout import MANIFEST_NAME, named_files
from learned_index.system.extras import require

logger = logging.getLogger(__name__)

EXTRA = "hub"
OFFLINE_VARIABLE = "HF_HUB_OFFLINE"
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_MANY = 96
"""Characters that the hub allows a name."""


def is_offline() -> bool:
    """Whether the environment forbids to ask the hub (``HF_HUB_OFFLINE``)."""
    return os.environ.get(OFFLINE_VARIABLE, "").upper() in ("1", "TRUE", "YES", "ON")


def endpoint() -> str:
    """Address of the hub: the public one, or that in the environment (``HF_ENDPOINT``)."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"


def is_reachable() -> bool:
    """Whether the hub's name is found; the hub's own functions retry for up to a minute."""
    if is_offline():
        return False
    # Behind a proxy it is the proxy that looks names up, so not finding one here says nothing.
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY")):
        return True
    try:
        socket.getaddrinfo(urlsplit(endpoint()).hostname or "", 443)
    except OSError:
        return False
    return True


def is_name(given: object) -> bool:
    """Whether it names something on the hub, and is no path.

    A string of the form ``"user/model"`` is a name where there is neither such a path nor a folder
    ``user`` here: then a path was meant, and mistyped. A :class:`~pathlib.Path` is never a name.
    """
    if not isinstance(given, str) or not _has_form(given):
        return False
    return not (os.path.lexists(given) or Path(given).parent.exists())


def _has_form(given: str) -> bool:
    return len(given) <= _MANY and _NAME.fullmatch(given) is not None


def check_name(given: object) -> str:
    """Return a name for a place on the hub.

    Raises:
        InputError: It has not the form of one.
    """
    if not isinstance(given, str) or not _has_form(given):
        raise InputError(f"got {given!r:.120} for a name on the hub, expected 'user/model'")
    return given


def downloaded(
    name: str,
    *,
    revision: str | None = None,
    token: str | None = None,
    cache_dir: str | Path | None = None,
) -> Path:
    """Return the folder in the hub client's cache that holds the files a manifest names.

    They are asked for at the hub, which sends what the cache lacks; without a network, or with
    ``HF_HUB_OFFLINE``, the cache alone is looked at. Nothing but the manifest and the files that
    it names is fetched.

    Args:
        name: ``"user/model"``.
        revision: Branch, tag or commit; None: the main branch.
        token: For private models; None: the one that ``hf auth login`` keeps.
        cache_dir: Of the hub's client; None: its own.

    Raises:
        InputError: It is not there, may not be read, or cannot be reached and is not in the cache.
        MissingExtraError: The hub's client is not installed.
        ModelFormatError: Its manifest is none of this package.
    """
    check_name(name)
    library = require("huggingface_hub", extra=EXTRA)
    given: dict[str, Any] = {"token": token, "cache_dir": cache_dir, "endpoint": endpoint()}
    cached_only = not is_reachable()
    if not cached_only:
        logger.warning(
            "%s is no folder here: it is read from %s (%s)", name, endpoint(), revision or "main"
        )
    given["local_files_only"] = cached_only
    try:
        manifest = Path(library.hf_hub_download(name, MANIFEST_NAME, revision=revision, **given))
        # The folder is called as the commit, so that all files are of one version.
        folder = manifest.parent
        names = [glob.escape(each) for each in (MANIFEST_NAME, *named_files(folder))]
        library.snapshot_download(name, revision=folder.name, allow_patterns=names, **given)
    except LearnedIndexError:
        raise
    except Exception as error:  # the client and what it sends with have many kinds
        raise InputError(_reason(name, revision, error, cached_only=cached_only)) from error
    return folder


def _reason(name: str, revision: str | None, error: Exception, *, cached_only: bool) -> str:
    """One line that says what was wanted, why it is not there, and how to mend it."""
    what = f"{name!r}" + ("" if revision is None else f" (revision {revision!r:.80})")
    if cached_only:
        why = (
            f"{OFFLINE_VARIABLE} is set, so that the hub is not asked"
            if is_offline()
            else f"{urlsplit(endpoint()).hostname} cannot be reached from here"
        )
        return (
            f"{what} is no folder here, and not (all of it) in the Hugging Face cache, and {why}; "
            f"check the path, or run `hf download {name} --local-dir FOLDER` where there is a "
            "network, and give FOLDER"
        )
    kind = type(error).__name__
    if kind == "RevisionNotFoundError":
        return f"{what} is not on the hub: there is no such branch, tag or commit"
    if kind in ("EntryNotFoundError", "RemoteEntryNotFoundError"):
        return f"{what} on the hub has no {MANIFEST_NAME}: it holds no model of this package"
    if kind in ("RepositoryNotFoundError", "GatedRepoError"):
        return (
            f"{what} is no folder here, and is not on the hub, or may not be read with this "
            "token; check the name, or give token= (or run `hf auth login`)"
        )
    line = first_line(error)
    return f"{what} cannot be read from the hub ({kind}: {line:.200})"
