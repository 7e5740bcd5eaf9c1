"""The few hot operations, each in a plain torch version (the oracle) and a fast CPU version."""

from learned_index.kernels.explore import Shortlist, explore
from learned_index.kernels.optimiser import RowAdamW, RowGradients
from learned_index.kernels.score import score_labels

__all__ = ["RowAdamW", "RowGradients", "Shortlist", "explore", "score_labels"]
