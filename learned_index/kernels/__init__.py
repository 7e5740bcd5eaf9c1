"""The few hot operations: plain torch (the oracle), Numba for the CPU, Triton for CUDA."""

from learned_index.kernels.dispatch import kernel_implementation
from learned_index.kernels.explore import Shortlist, explore
from learned_index.kernels.optimiser import RowAdamW, RowGradients
from learned_index.kernels.paths import path_scores
from learned_index.kernels.score import score_labels

__all__ = [
    "RowAdamW",
    "RowGradients",
    "Shortlist",
    "explore",
    "kernel_implementation",
    "path_scores",
    "score_labels",
]
