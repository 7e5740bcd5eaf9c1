"""The same in plain NumPy and SciPy: what the fast versions are tested against."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from learned_index.kernels.bags.cpu import Block
from learned_index.types import Float32Array, Int64Array


def bag_rows(
    ids: Int64Array, offsets: Int64Array, first: Block, second: Block, *, most_words: int
) -> sp.csr_matrix:
    """See :func:`learned_index.kernels.bags.bag_rows`."""
    n = len(offsets) - 1
    bags_BV = np.zeros((n, 1 + len(first.weights) + len(second.weights)), np.float64)
    for row in range(n):
        words = ids[offsets[row] : offsets[row + 1]]
        shift = 1
        for block, chosen in ((first, words[:most_words]), (second, words)):
            counts = np.zeros(len(block.weights))
            for word in chosen:
                for term in block.terms[block.offsets[word] : block.offsets[word + 1]]:
                    counts[term] += 1
            if block is second:
                counts = np.where(counts > 0, 1 + np.log(np.maximum(counts, 1)), 0.0)
            weighted = counts * block.weights
            norm = np.linalg.norm(weighted)
            bags_BV[row, shift : shift + len(counts)] = weighted / (norm or 1.0)
            shift += len(counts)
        bags_BV[row, 0] = bags_BV[row].any()
    return sp.csr_matrix(bags_BV.astype(np.float32))


def sum_bags(bags_BV: sp.csr_matrix, table_VD: Float32Array, *, normalise: bool) -> Float32Array:
    """The sums that :func:`learned_index.kernels.bags.sum_bags` writes."""
    x_BD = bags_BV.astype(np.float64) @ table_VD.astype(np.float64)
    norm_B = np.linalg.norm(x_BD, axis=1, keepdims=True)
    x_BD = x_BD / np.where(norm_B > 0, norm_B, 1.0) if normalise else x_BD
    return np.asarray(x_BD, np.float32)
