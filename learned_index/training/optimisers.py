"""All optimisers of a training as one: rates, clipping, the sum over processes, their state."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from learned_index.kernels.machine.dispatch import choose
from learned_index.kernels.update import RowAdamW, RowGradients
from learned_index.training.processes import Processes
from learned_index.training.selection import below

Group = dict[str, Any]


def group_of(
    parameters: Sequence[torch.Tensor], learning_rate: float, weight_decay: float
) -> Group:
    """Parameters with their peak rate and decay, as torch's optimisers take them."""
    return {"params": list(parameters), "lr": learning_rate, "weight_decay": weight_decay}


def encoder_groups(
    encoder: nn.Module, *, learning_rate: float | None, weight_decay: float
) -> tuple[list[Group], list[Group]]:
    """Parameter groups of an encoder: no decay on norm gains, biases and other vectors.

    Args:
        encoder: The module.
        learning_rate: Peak rate; None: 2e-3 for tables of word vectors summed without a network
            above them (``nn.EmbeddingBag``), 1e-4 for everything else.
        weight_decay: Decoupled decay of matrices.

    Returns:
        Groups for AdamW, and groups of one table each whose gradients are sparse.
    """
    of_bags, of_others = (2e-3, 1e-4) if learning_rate is None else (learning_rate, learning_rate)
    tables: list[Group] = []
    decayed: list[torch.Tensor] = []
    plain: list[torch.Tensor] = []
    bags: list[torch.Tensor] = []
    seen: set[int] = set()
    for module in encoder.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad or id(parameter) in seen:
                continue
            seen.add(id(parameter))
            is_bag = isinstance(module, nn.EmbeddingBag)
            if isinstance(module, nn.EmbeddingBag | nn.Embedding) and module.sparse:
                rate = of_bags if is_bag else of_others
                tables.append(group_of([parameter], rate, weight_decay))
            elif is_bag:
                bags.append(parameter)
            elif parameter.ndim < 2 or name.endswith("bias"):
                plain.append(parameter)
            else:
                decayed.append(parameter)
    dense = [
        group_of(bags, of_bags, weight_decay),
        group_of(decayed, of_others, weight_decay),
        group_of(plain, of_others, 0.0),
    ]
    return [group for group in dense if group["params"]], tables


def _can_fuse(groups: list[Group]) -> bool:
    """Whether torch has a fused AdamW for these parameters: one pass instead of a dozen."""
    parameters = [parameter for group in groups for parameter in group["params"]]
    return all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in parameters)


@dataclass
class LabelClassifiers:
    """The label classifiers and how they are updated.

    Attributes:
        weight_LD: Parameter.
        bias_L: Parameter.
        optimiser: Lazy AdamW of their rows.
        peak: Its peak rate.
        every: k, steps between two updates.
        collected: Gradients are collected where they could be applied within the backward pass
            too, for a training that adds to them.
    """

    weight_LD: torch.Tensor
    bias_L: torch.Tensor
    optimiser: RowAdamW
    peak: float
    every: int = 1
    collected: bool = False


class Optimisers:
    """Everything that a training step updates.

    Args:
        groups: Groups of ordinary parameters for AdamW; ``lr`` is the peak rate.
        tables: Groups of one parameter whose gradient is sparse: lazy AdamW on the touched rows.
        labels: The label classifiers.
        processes: Gradients are summed over them; every process weighs its own by its part.
        clip: Largest norm of all gradients but the label classifiers'; 0 is off.
    """

    def __init__(
        self,
        groups: list[Group],
        *,
        labels: LabelClassifiers,
        tables: Iterable[Group] = (),
        processes: Processes | None = None,
        clip: float = 0.0,
    ) -> None:
        self.processes = processes or Processes()
        self._labels = labels
        self._clip = clip
        self._dense = torch.optim.AdamW(groups, fused=_can_fuse(groups))
        self._peaks = [float(group["lr"]) for group in self._dense.param_groups]
        self._tables: list[tuple[torch.Tensor, RowAdamW, float]] = []
        for group in tables:
            (table,) = group["params"]
            rows = RowAdamW(
                *table.shape,
                learning_rate=group["lr"],
                weight_decay=group["weight_decay"],
                device=table.device,
            )
            self._tables.append((table, rows, float(group["lr"])))
        device = labels.weight_LD.device
        fused = self.processes.count == 1 and labels.every == 1 and choose(device) != "torch"
        fused = fused and not labels.collected
        self._gradients = None if fused else RowGradients(*labels.weight_LD.shape, device=device)
        self._collected = 0

    @property
    def row_optimiser(self) -> RowAdamW | RowGradients:
        """What the index's forward pass takes: updates rows at once, or collects gradients."""
        return self._labels.optimiser if self._gradients is None else self._gradients

    @property
    def _parameters(self) -> list[torch.Tensor]:
        return [p for group in self._dense.param_groups for p in group["params"]]

    def set_rates(self, factor: float) -> None:
        """Set all rates to their peaks times a factor."""
        for group, peak in zip(self._dense.param_groups, self._peaks, strict=True):
            group["lr"] = peak * factor
        self._labels.optimiser.learning_rate = self._labels.peak * factor
        for _, rows, peak in self._tables:
            rows.learning_rate = peak * factor

    def zero_grad(self) -> None:
        """Forget the gradients of the step before."""
        self._dense.zero_grad(set_to_none=True)
        for table, _, _ in self._tables:
            table.grad = None

    def share(self, loss: float, stop: bool) -> tuple[float, bool]:
        """Sum the gradients over the processes.

        Args:
            loss: This process's part of the batch's loss.
            stop: Whether this process was asked to stop.

        Returns:
            The batch's loss, and whether any process was asked to stop.
        """
        if self.processes.count == 1:
            return loss, stop
        parameters = self._parameters
        flags = torch.tensor([float(p.grad is not None) for p in parameters] + [float(stop)])
        self.processes.max_(flags)
        used = [p for p, flag in zip(parameters, flags.tolist()[:-1], strict=True) if flag]
        for p in used:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        device = self._labels.weight_LD.device
        scalar = torch.tensor([loss], device=device)
        flat = torch.cat([*(p.grad.reshape(-1) for p in used if p.grad is not None), scalar])
        self.processes.sum_(flat)
        start = 0
        for p in used:
            assert p.grad is not None
            p.grad.copy_(flat[start : start + p.numel()].view_as(p))
            start += p.numel()
        for table, _, _ in self._tables:
            table.grad = self._share_table(table)
        return float(flat[-1]), bool(flags[-1])

    def _share_table(self, table: torch.Tensor) -> torch.Tensor:
        """The sum of sparse gradients: over the union of the rows that the processes touch."""
        touched = torch.zeros(len(table), dtype=torch.bool, device=table.device)
        own = None if table.grad is None else table.grad.coalesce()
        if own is not None:
            touched[own.indices()[0]] = True
        self.processes.max_(touched)
        rows = touched.nonzero().reshape(-1)
        values = torch.zeros(len(rows), table.shape[1], device=table.device)
        if own is not None:
            values[torch.searchsorted(rows, own.indices()[0])] = own.values()
        self.processes.sum_(values)
        return torch.sparse_coo_tensor(
            rows[None], values, tuple(table.shape), is_coalesced=True, check_invariants=False
        )

    @torch.no_grad()
    def step(self, *, last: bool) -> None:
        """Update everything.

        Args:
            last: This is the epoch's last step: label gradients do not wait for more.
        """
        tables = []
        for table, rows, _ in self._tables:
            if table.grad is not None:
                gradient = table.grad.coalesce()
                tables.append((table, rows, gradient.indices()[0], gradient.values()))
        if self._clip:
            self._clip_gradients([values for *_, values in tables])
        self._dense.step()
        for table, rows, indices, values in tables:
            rows.step(table, None, values, None, indices)
        if self._gradients is None:
            return
        self._collected += 1
        if self._collected >= self._labels.every or last:
            self._update_labels()

    def _clip_gradients(self, sparse: list[torch.Tensor]) -> None:
        gradients = [p.grad for p in self._parameters if p.grad is not None] + sparse
        if gradients:
            # As torch.nn.utils.clip_grad_norm_, over dense gradients and rows of sparse ones alike.
            norm = torch.stack([g.norm() for g in gradients]).norm()
            factor = (self._clip / (norm + 1e-6)).clamp(max=1.0)
            for gradient in gradients:
                gradient.mul_(factor)

    def _update_labels(self) -> None:
        assert self._gradients is not None
        labels = self._labels
        self.processes.max_(self._gradients.touched_L)
        rows, weight_UD, bias_U = self._gradients.take()
        self.processes.sum_(weight_UD)
        self.processes.sum_(bias_U)
        if self._collected > 1:
            weight_UD /= self._collected
            bias_U /= self._collected
        self._collected = 0
        labels.optimiser.step(labels.weight_LD, labels.bias_L, weight_UD, bias_U, rows)

    @property
    def is_settled(self) -> bool:
        """Whether no collected gradients wait: only then does :meth:`state` say all."""
        return self._collected == 0

    def state(self) -> dict[str, torch.Tensor]:
        """Tensors from which :meth:`load` continues bit-equal, if :attr:`is_settled`."""
        out = {f"labels.{name}": t for name, t in self._labels.optimiser.state_dict().items()}
        for number, (_, rows, _) in enumerate(self._tables):
            out |= {f"table.{number}.{name}": t for name, t in rows.state_dict().items()}
        for number, parameter in enumerate(self._parameters):
            for name, value in self._dense.state.get(parameter, {}).items():
                out[f"dense.{number}.{name}"] = value
        return out

    @torch.no_grad()
    def load(self, state: dict[str, torch.Tensor]) -> None:
        """Continue from what :meth:`state` gave.

        Raises:
            KeyError: It belongs to other parameters.
            RuntimeError: They have other shapes.
        """
        self._labels.optimiser.load_state_dict(below(state, "labels."))
        for number, (_, rows, _) in enumerate(self._tables):
            rows.load_state_dict(below(state, f"table.{number}."))
        for number, parameter in enumerate(self._parameters):
            moments = below(state, f"dense.{number}.")
            if moments:
                self._dense.state[parameter] = {
                    name: value.reshape(()).clone()
                    if name == "step"
                    else value.to(parameter.device).reshape(parameter.shape).clone()
                    for name, value in moments.items()
                }
