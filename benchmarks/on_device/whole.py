"""Whole searches and whole training steps."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from learned_index import LearnedGraphIndex
from learned_index.index.search import Knobs, search_in_torch
from learned_index.kernels.machine.dispatch import Implementation, kernel_implementation
from learned_index.kernels.update import RowAdamW
from learned_index.training.optimisers import LabelClassifiers, Optimisers, encoder_groups
from on_device.data import Shape, make_positives, make_queries
from on_device.measure import Rates, timed
from on_device.operations import implementations, precision

PAPER_MS_PER_POINT = 0.08
PAPER_TRAINING_HOURS = 1.66
EPOCHS = 60
"""Warm-up, stage 1 and stage 2 of the preset ``bert`` below 200,000 labels."""


def run_search(
    index: LearnedGraphIndex, shape: Shape, device: torch.device, rates: Rates, *, repeats: int
) -> list[dict[str, Any]]:
    """Milliseconds a query of a batch, from vectors in host memory to answers there."""
    queries = make_queries(shape, seed=3, device=torch.device("cpu")).numpy()
    B, D, W, K = shape.batch, shape.dim, shape.beam_width, shape.shortlist_size
    M, C = index.graph.edge_labels_CM.shape[1], index.n_clusters
    n_pairs = B * K
    n_rows = min(n_pairs, index.n_labels)  # at most; floors are lower where queries agree
    n_bytes = 4 * D * (C + n_rows + B) + 8 * M * min(C, B * W) + 12 * B * shape.k
    flops = 2 * D * (B * C + n_pairs)
    floor_ms = 1e3 * max(n_bytes / rates.bytes_per_s, flops / rates.flops_per_s)
    index.eval()

    def search(implementation: Implementation) -> None:
        if implementation == "numba":
            index.search(queries, shape.k, beam_width=W, shortlist_size=K)
        else:
            search_in_torch(index, queries, Knobs(shape.k, W, K), implementation=implementation,
            )  # fmt: skip

    out = []
    for name in implementations(device):
        with precision(name) as implementation:
            timing = timed(partial(search, implementation), device, repeats=repeats)
        out.append(
            {
                "implementation": name,
                "ms_per_query": timing.median_ms / B,
                "floor_ms_per_query": floor_ms / B,
                "times_floor": timing.median_ms / floor_ms,
                "peak_mb": timing.peak_mb,
                "paper_ms_per_query": PAPER_MS_PER_POINT,
            }
        )
    return out


class _MeanEncoder(nn.Module):
    """BERT with random weights, the mean of its last states: nothing is downloaded."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        from transformers import BertConfig, BertModel

        if shape.dim == 768:
            config = BertConfig()  # bert-base
        else:
            config = BertConfig(
                hidden_size=shape.dim, num_attention_heads=2, num_hidden_layers=2,
                intermediate_size=2 * shape.dim, vocab_size=500,
            )  # fmt: skip
        self.bert = BertModel(config, add_pooling_layer=False)
        self.vocabulary = config.vocab_size

    def forward(self, tokens_BT: torch.Tensor) -> torch.Tensor:
        """Tokens int64 B x T -> float32 B x D."""
        states: torch.Tensor = self.bert(input_ids=tokens_BT).last_hidden_state
        return states.float().mean(1)


class _Training:
    """One training with random data; :meth:`step` is a whole step of it."""

    def __init__(
        self, index: LearnedGraphIndex, shape: Shape, device: torch.device, *, with_encoder: bool
    ) -> None:
        self._index, self._device = index.train(), device
        self._positives = make_positives(shape, seed=4, device=device)
        self._x_BD = make_queries(shape, seed=5, device=device)
        groups: list[dict[str, Any]] = [
            {"params": [index.router.weight_CD], "lr": 1e-4, "weight_decay": 0.01},
            {"params": [index.graph.edge_logits_CM], "lr": 1e-4, "weight_decay": 0.0},
        ]
        self._encoder: _MeanEncoder | None = None
        if with_encoder:
            self._encoder = _MeanEncoder(shape).to(device)
            size = (shape.batch, shape.tokens)
            self._tokens = torch.randint(self._encoder.vocabulary, size, device=device)
            groups += encoder_groups(self._encoder, learning_rate=1e-5, weight_decay=0.01)[0]
        rows = RowAdamW(index.n_labels, shape.dim, learning_rate=1e-4, device=device)
        labels = LabelClassifiers(index.label_weight_LD, index.label_bias_L, rows, peak=1e-4)
        self._optimisers = Optimisers(groups, labels=labels, clip=1.0)

    def step(self) -> None:
        """Forward, backward, update."""
        self._optimisers.zero_grad()
        vectors = self._x_BD
        if self._encoder is not None:
            on_cuda = self._device.type == "cuda"
            with torch.autocast(self._device.type, torch.bfloat16, enabled=on_cuda):
                vectors = self._encoder(self._tokens)
        output = self._index(vectors, self._positives, row_optimiser=self._optimisers.row_optimiser)
        output.loss.backward()
        self._optimisers.step(last=False)


def run_training(
    make: Callable[[], LearnedGraphIndex],
    shape: Shape,
    device: torch.device,
    *,
    repeats: int,
    with_encoder: bool,
    epochs: int,
) -> list[dict[str, Any]]:
    """Seconds a step, and the training that follows.

    Args:
        make: Makes a fresh index.
        shape: Sizes.
        device: Where.
        repeats: Steps that are measured.
        with_encoder: BERT on ``shape.tokens`` tokens, trained too (bfloat16 on CUDA), or frozen
            vectors.
        epochs: Of the whole training.
    """
    out = []
    for name in implementations(device):
        torch.manual_seed(0)
        with precision(name) as implementation, kernel_implementation(implementation):
            training = _Training(make(), shape, device, with_encoder=with_encoder)
            timing = timed(training.step, device, repeats=repeats)
        seconds = timing.median_ms / 1e3
        n_steps = epochs * -(-shape.n_points // shape.batch)
        out.append(
            {
                "encoder": f"BERT, {shape.tokens} tokens" if with_encoder else "frozen vectors",
                "implementation": name,
                "ms_per_step": timing.median_ms,
                "steps_per_s": 1 / seconds,
                "epochs": epochs,
                "hours": n_steps * seconds / 3600,
                "peak_mb": timing.peak_mb,
                "paper_hours": PAPER_TRAINING_HOURS if with_encoder else None,
            }
        )
    return out
