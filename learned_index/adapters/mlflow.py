"""Models in MLflow: logged, loaded, and asked as a pyfunc model.

What MLflow keeps is the directory that :meth:`ELIAS.save_pretrained` writes, beside its own
``MLmodel``: no pickle.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from learned_index import __version__
from learned_index.adapters.batches import COLUMNS, answer_columns
from learned_index.adapters.retrieval import ModelOrPath, opened
from learned_index.elias.model import ELIAS
from learned_index.errors import InputError
from learned_index.inputs.numbers import shown
from learned_index.system.extras import require

FLAVOR = "learned_index"
"""Name of the flavour in ``MLmodel``."""
_DATA = "model"
_K = 10
TEXT = "text"
"""The column of texts, where a table has several."""


def log_model(model: ModelOrPath, name: str = "model", **given: Any) -> Any:
    """Log a model to the active run, or to a new one.

    Args:
        model: The model, or the directory of a saved one, which is logged as it is.
        name: What it is called in MLflow.
        **given: What :func:`save_model` takes, and what ``mlflow.models.Model.log`` takes
            (``registered_model_name=``, ``step=``, ``params=``).

    Returns:
        MLflow's ``ModelInfo``, whose ``model_uri`` loads it.
    """
    models = require("mlflow.models")
    flavor = sys.modules[__name__]
    return models.Model.log(artifact_path=None, name=name, flavor=flavor, model=model, **given)


def save_model(
    model: ModelOrPath,
    path: str | Path,
    *,
    mlflow_model: Any = None,
    signature: Any = None,
    input_example: Any = None,
    pip_requirements: Sequence[str] | None = None,
    extra: str = "mlflow",
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write a model as MLflow keeps one.

    Args:
        model: The model, or the directory of a saved one.
        path: A directory that does not exist.
        mlflow_model: MLflow's own description, where it calls this.
        signature: Another one than texts in, labels out, with the parameters ``k`` and
            ``threshold``.
        input_example: What is kept as an example; None: none.
        pip_requirements: What ``requirements.txt`` says; None: this version of learned-index.
        extra: The extra of learned-index that the requirements name. A compiled model of an encoder
            without a network needs no more than ``"mlflow"``; others need ``"mlflow,minilm"``.
        metadata: Kept in ``MLmodel``.

    Raises:
        InputError: The directory exists, or there is no model.
        MissingExtraError: MLflow is not installed.
    """
    models, pyfunc = require("mlflow.models"), require("mlflow.pyfunc")
    target = Path(path)
    if target.exists():
        raise InputError(f"{target} exists already; give another directory to save the model to")
    loaded = opened(model)
    target.mkdir(parents=True)
    if isinstance(model, str | Path):
        shutil.copytree(model, target / _DATA)
    else:
        loaded.save_pretrained(target / _DATA)
    description = models.Model() if mlflow_model is None else mlflow_model
    description.signature = _signature() if signature is None else signature
    if metadata is not None:
        description.metadata = dict(metadata)
    if input_example is not None:
        require("mlflow.models.utils")._save_example(description, input_example, str(target))
    requirements = pip_requirements or [f"learned-index[{extra}]=={__version__}"]
    (target / "requirements.txt").write_text("\n".join(requirements) + "\n", encoding="utf-8")
    (target / "python_env.yaml").write_text(_python_env(), encoding="utf-8")
    pyfunc.add_to_model(
        description, loader_module=__name__, data=_DATA, python_env="python_env.yaml"
    )
    description.add_flavor(
        FLAVOR, data=_DATA, version=__version__, n_labels=loaded.n_labels, kind=loaded.kind
    )
    description.save(str(target / "MLmodel"))


def load_model(model_uri: str, dst_path: str | None = None) -> ELIAS:
    """The model itself, by any address that MLflow knows (``runs:/...``, ``models:/...``, a path).

    Args:
        model_uri: The address.
        dst_path: Where to download to; None: a temporary directory of MLflow's.

    Raises:
        InputError: A model of another flavour lies there.
        ModelFormatError: It is damaged.
    """
    artifacts = require("mlflow.artifacts")
    folder = Path(artifacts.download_artifacts(artifact_uri=model_uri, dst_path=dst_path))
    flavors = require("mlflow.models").Model.load(str(folder)).flavors
    if FLAVOR not in flavors:
        raise InputError(
            f"{model_uri} is a model of {', '.join(flavors) or 'no flavour'}, expected one that "
            "learned_index.adapters.mlflow logged"
        )
    return ELIAS.from_pretrained(folder / flavors[FLAVOR]["data"])


class PyfuncModel:
    """What ``mlflow.pyfunc.load_model`` asks.

    Args:
        model: The model.
    """

    def __init__(self, model: ELIAS) -> None:
        self.model = model

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> Any:
        """The best labels of texts.

        Args:
            model_input: A list, an array or a series of texts, or a table with a column ``text`` or
                with one column.
            params: ``k`` (10), and ``threshold``, the least probability of an answer (0).

        Returns:
            A pandas table with a row a text, lists in its columns: ``labels``, ``keys``,
            ``scores``, and ``probabilities`` of a calibrated model.

        Raises:
            InputError: No texts, or other parameters.
        """
        pandas = require("pandas", extra="mlflow")
        asked = {"k": _K, "threshold": 0.0} | dict(params or {})
        if set(asked) != {"k", "threshold"}:
            raise InputError(f"got the parameters {sorted(asked)}, expected k and threshold")
        texts = _texts(model_input)
        threshold = float(asked["threshold"])
        columns = answer_columns(
            self.model, texts, k=int(asked["k"]), threshold=threshold if threshold > 0 else None
        )
        index = getattr(model_input, "index", None)
        return pandas.DataFrame(columns, index=index if hasattr(index, "dtype") else None)


def _load_pyfunc(path: str, model_config: Any = None) -> PyfuncModel:
    """Called by MLflow with the directory of the data."""
    return PyfuncModel(ELIAS.from_pretrained(path))


def _texts(given: Any) -> list[str]:
    columns = getattr(given, "columns", None)
    if columns is not None:
        names = list(columns)
        if TEXT not in names and len(names) != 1:
            raise InputError(
                f"got a table with the columns {', '.join(map(str, names))}; expected one called "
                f"{TEXT!r}, or one column"
            )
        given = given[TEXT if TEXT in names else names[0]]
    if isinstance(given, str):
        raise InputError("got one text, expected a list of texts; write [text]")
    try:
        return [str(text) for text in given]
    except TypeError:
        raise InputError(f"got {shown(given)}, expected texts or a table of texts") from None


def _signature() -> Any:
    types = require("mlflow.types.schema")
    signature = require("mlflow.models.signature")
    return signature.ModelSignature(
        inputs=types.Schema([types.ColSpec("string")]),
        outputs=types.Schema(
            [
                *(types.ColSpec(types.Array("string"), name) for name in COLUMNS[:2]),
                types.ColSpec(types.Array("double"), "scores"),
                types.ColSpec(types.Array("double"), "probabilities", required=False),
            ]
        ),
        params=types.ParamSchema(
            [types.ParamSpec("k", "long", _K), types.ParamSpec("threshold", "double", 0.0)]
        ),
    )


def _python_env() -> str:
    import platform

    lines = [f"python: {platform.python_version()}", "dependencies:", "- -r requirements.txt"]
    return "\n".join(lines) + "\n"
