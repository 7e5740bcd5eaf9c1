"""The index inside a plain PyTorch loop: its gradients train an encoder of yours.

Run: python examples/train_in_your_loop.py
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
from torch import nn

from learned_index import IndexConfig, LearnedGraphIndex, TrainingConfig

N_LABELS, N_FEATURES, DIM = 400, 100, 32


def make_data(n_points: int, seed: int) -> tuple[torch.Tensor, sp.csr_matrix]:
    """Points are the sum of two labels' prototypes, seen through a fixed non-linear lens."""
    fixed = np.random.default_rng(0)
    prototypes, lens = fixed.normal(size=(N_LABELS, 24)), fixed.normal(size=(24, N_FEATURES))
    rng = np.random.default_rng(seed)
    pairs = np.stack([rng.choice(N_LABELS, 2, replace=False) for _ in range(n_points)])
    inputs = np.tanh(prototypes[pairs].sum(1) @ lens / 5 + 0.1 * rng.normal(size=(1, N_FEATURES)))
    rows = np.repeat(np.arange(n_points), 2)
    labels = sp.csr_matrix((np.ones(2 * n_points), (rows, pairs.ravel())), (n_points, N_LABELS))
    return torch.from_numpy(inputs.astype(np.float32)), labels


def recall_at_10(
    encoder: nn.Module, index: LearnedGraphIndex, inputs: torch.Tensor, truth: sp.csr_matrix
) -> float:
    """Share of the true labels among the first ten."""
    with torch.no_grad():
        found = index.search(encoder(inputs), k=10).ids
    return sum(np.isin(row, truth[i].indices).sum() for i, row in enumerate(found)) / truth.nnz


def main() -> None:
    """Train encoder and index together, through both stages."""
    torch.manual_seed(0)
    inputs, labels = make_data(6000, seed=1)
    test_inputs, test_labels = make_data(500, seed=2)

    encoder = nn.Sequential(nn.Linear(N_FEATURES, 128), nn.GELU(), nn.Linear(128, DIM))
    index = LearnedGraphIndex(
        IndexConfig(n_clusters=32, beam_width=5), training=TrainingConfig(label_init_scale=3.0)
    )
    for stage in (1, 2):
        with torch.no_grad():
            vectors = encoder(inputs)
        if stage == 1:
            index.build_partition(vectors, labels)  # clusters and parameters
        else:
            index.build_graph(vectors, labels)  # the partition becomes a graph to learn
        optimiser = torch.optim.AdamW([*encoder.parameters(), *index.parameters()], lr=3e-3)
        for epoch in range(4):
            for batch in torch.randperm(len(inputs)).split(128):
                output = index(encoder(inputs[batch]), labels[batch.numpy()])
                optimiser.zero_grad()
                output.loss.backward()
                optimiser.step()
            recall = recall_at_10(encoder, index, test_inputs, test_labels)
            print(f"stage {stage} epoch {epoch + 1}: recall@10 {100 * recall:.1f} %")


if __name__ == "__main__":
    main()
