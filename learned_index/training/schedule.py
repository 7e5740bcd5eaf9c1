"""Learning-rate schedule and weight averaging."""

from __future__ import annotations

import torch

from learned_index.training.selection import as_copies


def warmup_linear_decay(step: int, n_steps: int, warmup_fraction: float) -> float:
    """Factor on the peak rate at ``step`` (0-based): linear up, then linear down to 0."""
    warmup = max(1, round(n_steps * warmup_fraction))
    if step < warmup:
        return (step + 1) / warmup
    return max(0.0, (n_steps - step) / max(1, n_steps - warmup))


def averages_at(done: int, n_steps: int, fraction: float) -> bool:
    """Whether weights are averaged after so many steps: some ten times in the last ``fraction``.

    More often it would cost too much: each is a pass over all weights.
    """
    averaged = round(n_steps * fraction)
    since_start = done - (n_steps - averaged)
    return since_start > 0 and since_start % max(1, averaged // 10) == 0


class WeightAverage:
    """Running mean of parameters (stochastic weight averaging, Izmailov et al. 2018)."""

    def __init__(self, parameters: list[torch.Tensor]) -> None:
        self._parameters = parameters
        self._means: list[torch.Tensor] | None = None
        self._n = 0

    @property
    def is_empty(self) -> bool:
        """Whether there was no update yet."""
        return self._means is None

    @torch.no_grad()
    def update(self) -> None:
        """Take the parameters' present values into the mean."""
        self._n += 1
        if self._means is None:
            self._means = [p.detach().clone() for p in self._parameters]
        else:
            for mean, parameter in zip(self._means, self._parameters, strict=True):
                mean.lerp_(parameter, 1.0 / self._n)

    @torch.no_grad()
    def apply(self) -> None:
        """Overwrite the parameters with their means; without an update they stay."""
        if self._means is not None:
            for mean, parameter in zip(self._means, self._parameters, strict=True):
                parameter.copy_(mean)

    def state(self) -> dict[str, torch.Tensor]:
        """Tensors from which :meth:`load` continues bit-equal."""
        means = {f"mean.{i}": mean for i, mean in enumerate(self._means or [])}
        return {"n": torch.tensor(self._n), **means}

    def load(self, state: dict[str, torch.Tensor]) -> None:
        """Continue from what :meth:`state` gave."""
        self._n = int(state["n"])
        if self._n:
            self._means = as_copies(self._parameters, lambda i: state[f"mean.{i}"])
