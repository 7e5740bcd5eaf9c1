"""Trainings in MLflow."""

from __future__ import annotations

import os
import re
from typing import Any

from learned_index.system.extras import require
from learned_index.tracking.tracker import Tracker

_NOT_ALLOWED = re.compile(r"[^\w\-. /]")
_MOST_PARAMETERS = 100
"""MLflow takes so many at a time."""


class MLflowTracker(Tracker):
    """Logs to an MLflow tracking server or store.

    MLflow's own variables of the environment are respected: ``MLFLOW_TRACKING_URI`` where no
    address is given, ``MLFLOW_EXPERIMENT_NAME``, and the credentials. Its names have no ``@``: P@1
    is called ``P_at_1``.

    Args:
        uri: Address of the server (``http://localhost:5000``), or of a store: a folder
            (``file:runs``), or a database where the whole of ``mlflow`` is installed; None: as
            MLflow finds it.
    """

    name = "MLflow"

    def __init__(self, uri: str | None = None) -> None:
        super().__init__()
        # It would tell its makers of the training, which nobody has asked for.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        require("mlflow", extra="mlflow")  # told now, not after hours of encoding
        self.uri = uri
        self._client: Any = None
        self._run: str = ""

    def begin(self, parameters: dict[str, Any]) -> None:
        """Open a run of the experiment."""
        from mlflow.entities import Param
        from mlflow.tracking import MlflowClient

        self._client = MlflowClient(tracking_uri=self.uri)
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "Default")
        experiment = self._client.get_experiment_by_name(name)
        number = (
            self._client.create_experiment(name) if experiment is None else experiment.experiment_id
        )
        self._run = self._client.create_run(number).info.run_id
        values = [Param(allowed(key), str(value)) for key, value in parameters.items()]
        for start in range(0, len(values), _MOST_PARAMETERS):
            self._client.log_batch(self._run, params=values[start : start + _MOST_PARAMETERS])

    def log(self, values: dict[str, float], step: int) -> None:
        """Log numbers of a step."""
        for name, value in values.items():
            self._client.log_metric(self._run, allowed(name), value, step=step)

    def end(self, results: dict[str, float], *, failed: bool) -> None:
        """Log the results, and end the run as finished or failed."""
        self.log(results, 0)
        self._client.set_terminated(self._run, "FAILED" if failed else "FINISHED")


def allowed(name: str) -> str:
    """A name that MLflow takes.

    Example:
        >>> allowed("model 1/2: stage 1/P@1")
        'model 1/2_ stage 1/P_at_1'
    """
    return _NOT_ALLOWED.sub("_", name.replace("@", "_at_"))
