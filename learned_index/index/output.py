"""What one forward pass of the index returns."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class IndexOutput:
    """What a training step needs from the index.

    Attributes:
        loss: ``classification_loss + lambda * shortlist_loss``, and of a deep index
            ``+ mu * region_loss``; scalar with gradients.
        classification_loss: L_c, scalar.
        shortlist_loss: L_s, scalar.
        region_loss: cross-entropy of the regions, scalar; None for a flat index.
        label_ids_BK: int64 shortlist, -1 at pads; the reached positives stand first.
        path_scores_BK: y_hat in [0, 1], 0 at pads.
        logits_BK: z = w_l . x + b_l, 0 at pads.
        positive_BK: bool.
    """

    loss: torch.Tensor
    classification_loss: torch.Tensor
    shortlist_loss: torch.Tensor
    region_loss: torch.Tensor | None
    label_ids_BK: torch.Tensor
    path_scores_BK: torch.Tensor
    logits_BK: torch.Tensor
    positive_BK: torch.Tensor
