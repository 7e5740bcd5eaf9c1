"""A model on the Hugging Face hub: sent there with its card.

Reading it from there needs nothing of this file: ``ELIAS.from_pretrained("user/model")``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from learned_index.adapters.model_card import model_card
from learned_index.adapters.retrieval import ModelOrPath
from learned_index.elias.model import ELIAS
from learned_index.errors import InputError
from learned_index.evaluation.compared import report_path
from learned_index.evaluation.report.contents import read_json_report
from learned_index.persistence import read_manifest
from learned_index.persistence.failures import first_line
from learned_index.persistence.hub import (
    EXTRA,
    OFFLINE_VARIABLE,
    check_name,
    endpoint,
    is_offline,
    is_reachable,
)
from learned_index.persistence.layout import MANIFEST_NAME
from learned_index.system.extras import require

CARD = "README.md"


def push_to_hub(
    model: ModelOrPath,
    repo_id: str,
    *,
    card: str | None = None,
    report: Mapping[str, Any] | str | Path | None = None,
    license: str | None = None,
    language: str | Sequence[str] | None = None,
    visibility: Literal["public", "private"] = "private",
    revision: str | None = None,
    message: str | None = None,
    token: str | None = None,
) -> str:
    """Send a model to the Hugging Face hub, as one commit with its card.

    Sent are ``manifest.json``, the files that it names and ``README.md``; nothing else that lies in
    the directory. Files of an older version in the folders of the model's parts are removed there.

    Args:
        model: The model, or the directory where it is saved.
        repo_id: Its name there, ``"user/model"``; it is made where there is none.
        card: Text of ``README.md``; None: :func:`~learned_index.adapters.model_card.model_card`
            writes it.
        report: What the training wrote, or its path; None: ``MODEL.report.json`` beside the
            directory, where it is.
        license: See :func:`~learned_index.adapters.model_card.model_card`.
        language: The same.
        visibility: Of a repository that is made; one that exists stays as it is.
        revision: Branch; None: the main one.
        message: Of the commit.
        token: With the right to write; None: the one that ``hf auth login`` keeps.

    Returns:
        Address of the commit.

    Raises:
        InputError: No name for the hub, no report, or the hub cannot be reached or refuses.
        MissingExtraError: The hub's client is not installed.
        ModelFormatError: The directory holds no sound model.
    """
    check_name(repo_id)
    if visibility not in ("public", "private"):
        raise InputError(f"visibility is {visibility!r:.80}, expected 'public' or 'private'")
    library = require("huggingface_hub", extra=EXTRA)
    if not is_reachable():
        why = f"{OFFLINE_VARIABLE} is set" if is_offline() else f"{endpoint()} cannot be reached"
        raise InputError(f"{repo_id!r} cannot be sent: {why}; nothing was sent")
    made = tempfile.TemporaryDirectory if isinstance(model, ELIAS) else nullcontext
    with made() as place:
        if isinstance(model, ELIAS):
            folder, loaded = Path(str(place)) / "model", model
            model.save_pretrained(folder)
        else:
            folder = Path(model)
            # Every checksum is looked at: what is sent is what was saved.
            read_manifest(folder, kind=ELIAS.kind)
            loaded = ELIAS.from_pretrained(folder, verify=False)
        if card is None:
            told = _report(report, folder)
            card = model_card(loaded, repo_id, report=told, license=license, language=language)
        return _send(library, folder, card, repo_id, visibility, revision, message, token)


def _report(given: Mapping[str, Any] | str | Path | None, folder: Path) -> Mapping[str, Any] | None:
    if isinstance(given, Mapping):
        return given
    path = report_path(folder) if given is None else Path(given)
    return None if given is None and not path.is_file() else read_json_report(path)


def _send(
    library: Any,
    folder: Path,
    card: str,
    repo_id: str,
    visibility: str,
    revision: str | None,
    message: str | None,
    token: str | None,
) -> str:
    """Make the repository where there is none, and one commit of card and files in it."""
    names = list(read_manifest(folder, kind=ELIAS.kind, verify=False).files)
    parts = sorted({PurePosixPath(name).parts[0] for name in names if "/" in name})
    api = library.HfApi(endpoint=endpoint(), token=token, library_name="learned-index")
    try:
        api.create_repo(repo_id, private=visibility == "private", exist_ok=True)
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        present = set(api.list_repo_files(repo_id, revision=revision))
        kept = {*names, MANIFEST_NAME, CARD}
        stale = [
            name
            for name in sorted(present - kept)
            if "/" in name and PurePosixPath(name).parts[0] in parts
        ]
        done = api.create_commit(
            repo_id,
            [
                *(
                    library.CommitOperationAdd(name, folder / name)
                    for name in (*names, MANIFEST_NAME)
                ),
                library.CommitOperationAdd(CARD, card.encode("utf-8")),
                *(library.CommitOperationDelete(name) for name in stale),
            ],
            commit_message=message or "A model of learned-index",
            revision=revision,
        )
    except Exception as error:  # the client and what it sends with have many kinds
        line = first_line(error)
        raise InputError(
            f"{repo_id!r} cannot be sent to {endpoint()} ({type(error).__name__}: {line:.200}); "
            "check the name and that the token may write there"
        ) from error
    return str(done.commit_url)
