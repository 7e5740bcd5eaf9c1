"""Early stopping, and the best epoch's weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch

from learned_index.errors import InputError


class BestEpoch:
    """Keeps the weights of the epoch with the largest value of a metric.

    Args:
        metric: Name of a validation metric; larger is better.
        patience: Epochs without a larger value after which a stage is over.
        parameters: What is kept.

    Attributes:
        value: The largest value so far, -inf before the first epoch.
        epochs_since: Epochs since then.
    """

    def __init__(self, metric: str, patience: int, parameters: list[torch.Tensor]) -> None:
        self.metric = metric
        self._patience = patience
        self._parameters = parameters
        self._kept: list[torch.Tensor] | None = None
        self.value = float("-inf")
        self.epochs_since = 0

    @property
    def is_over(self) -> bool:
        """Whether patience has run out."""
        return self.epochs_since >= self._patience

    def of(self, metrics: dict[str, float]) -> float:
        """The metric's value.

        Raises:
            InputError: It was not measured, or is no number.
        """
        value = metrics.get(self.metric)
        if value is None or not np.isfinite(value):
            raise InputError(
                f"early_stopping_metric {self.metric!r} is {value} on the validation points; "
                f"measured were {', '.join(metrics) or 'no metrics'}"
            )
        return float(value)

    @torch.no_grad()
    def update(self, value: float) -> None:
        """Take the end of an epoch into account."""
        if value > self.value:
            self.value, self.epochs_since = value, 0
            if self._kept is None:
                self._kept = [p.detach().clone() for p in self._parameters]
            else:
                for kept, parameter in zip(self._kept, self._parameters, strict=True):
                    kept.copy_(parameter)
        else:
            self.epochs_since += 1

    @torch.no_grad()
    def restore(self) -> None:
        """Overwrite the parameters with those of the best epoch, if there was one."""
        if self._kept is not None:
            for kept, parameter in zip(self._kept, self._parameters, strict=True):
                parameter.copy_(kept)

    def state(self) -> dict[str, torch.Tensor]:
        """Tensors from which :meth:`load` continues."""
        out = {
            "value": torch.tensor(self.value, dtype=torch.float64),
            "epochs_since": torch.tensor(self.epochs_since),
        }
        return out | {f"kept.{i}": kept for i, kept in enumerate(self._kept or [])}

    def load(self, state: dict[str, torch.Tensor]) -> None:
        """Continue from what :meth:`state` gave."""
        self.value, self.epochs_since = float(state["value"]), int(state["epochs_since"])
        if "kept.0" in state:
            self._kept = as_copies(self._parameters, lambda i: state[f"kept.{i}"])


def below(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """The tensors of a state whose names begin so, named by what follows."""
    return {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}


def as_copies(
    parameters: list[torch.Tensor], source: Callable[[int], torch.Tensor]
) -> list[torch.Tensor]:
    """Copies of saved tensors in the shape and on the device of the parameters."""
    return [
        source(i).to(p.device, p.dtype).reshape(p.shape).clone() for i, p in enumerate(parameters)
    ]
