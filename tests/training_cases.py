"""Small trainings that the tests of the training engine share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy.sparse as sp
import torch
from encoder_models import WORDS

from learned_index import IndexConfig, LearnedGraphIndex, TrainingConfig
from learned_index.encoders.lexical.bow import BagOfWordsEncoder
from learned_index.index.fit import fit_end_to_end

N_LABELS = 40
SMALL = IndexConfig(n_clusters=5, beam_width=2, edges_per_cluster=20)
DEEP = replace(SMALL, hierarchy="deep", n_regions=2, region_beam_width=1, candidate_clusters=3)
QUICK = TrainingConfig(stage1_epochs=2, stage2_epochs=2, warm_epochs=1, batch_size=32)


def frozen_points(n=200, *, seed=0, dim=8):
    """Vectors that are the sum of two labels' prototypes and noise."""
    centres = np.random.default_rng(7).normal(size=(N_LABELS, dim))
    rng = np.random.default_rng(seed)
    pairs = rng.integers(0, N_LABELS, size=(n, 2))
    X = centres[pairs].sum(1) + 0.2 * rng.normal(size=(n, dim))
    return X.astype(np.float32), label_matrix(pairs)


def text_points(n=200, *, seed=0):
    """Texts of three words of each of two labels and two of noise."""
    words = np.random.default_rng(7).integers(0, len(WORDS), size=(N_LABELS, 3))
    rng = np.random.default_rng(seed)
    pairs = rng.integers(0, N_LABELS, size=(n, 2))
    noise = rng.integers(0, len(WORDS), size=(n, 2))
    chosen = np.concatenate([words[pairs].reshape(n, -1), noise], axis=1)
    return [" ".join(WORDS[w] for w in row) for row in chosen], label_matrix(pairs)


def label_matrix(pairs):
    rows = np.repeat(np.arange(len(pairs)), pairs.shape[1])
    matrix = sp.csr_matrix(
        (np.ones(pairs.size, np.float32), (rows, pairs.ravel())), shape=(len(pairs), N_LABELS)
    )
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix


def bow(texts, **options):
    return BagOfWordsEncoder(8, **options).fit(texts)


def fit_frozen(training=QUICK, points=None, *, config=SMALL, **options):
    X, Y = points or frozen_points()
    return LearnedGraphIndex(config, training=training).fit(X, Y, **options)


def fit_texts(encoder, training=QUICK, points=None, index=None, **options):
    texts, Y = points or text_points()
    index = index or LearnedGraphIndex(SMALL, training=training)
    fit_end_to_end(index, encoder, texts, Y, **options)
    return index


def tensors_of(index, encoder=None):
    out = {f"index.{name}": t for name, t in index.state_dict().items()}
    if encoder is not None:
        out |= {f"encoder.{name}": t for name, t in encoder.state_dict().items()}
    return out


def assert_equal(one, two):
    assert one.keys() == two.keys()
    different = [name for name in one if not torch.equal(one[name], two[name])]
    assert not different, different
