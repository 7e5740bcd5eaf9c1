"""An index with some of the labels of another, under other ids."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch
from torch import nn

from learned_index.index.network import IndexNetwork
from learned_index.index.pruning import with_labels_renumbered
from learned_index.types import Int64Array

AnyIndex = TypeVar("AnyIndex", bound=IndexNetwork)


def with_labels_taken(index: AnyIndex, source_L: Int64Array) -> AnyIndex:
    """An index whose label ``l`` is label ``source_L[l]`` of this one; others are left out.

    Their edges weigh what they weighed. As after :meth:`LearnedGraphIndex.prune`, edges are no
    longer trained.

    Args:
        index: Left as it is.
        source_L: int64, ids of this index, none twice.
    """
    taken = torch.from_numpy(np.asarray(source_L, np.int64)).to(index.label_bias_L.device)
    target = np.full(index.graph.n_labels, -1, np.int64)
    target[source_L] = np.arange(len(source_L))
    twin = index.clone(graph=with_labels_renumbered(index.graph, target, len(source_L)))
    for name in ("label_weight_LD", "label_bias_L"):
        rows = getattr(index, name).detach()[taken]
        setattr(twin, name, nn.Parameter(rows))
    twin.register_buffer("cluster_of_label_L", index.cluster_of_label_L[taken])
    return twin
