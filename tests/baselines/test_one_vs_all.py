"""One-vs-all with the encoder trained along: gradients, learning, memory, refusals."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from conftest import tiny_dataset
from torch import nn

from learned_index.baselines import ova
from learned_index.baselines.ova import OneVsAll
from learned_index.baselines.ova_step import Step, required_bytes
from learned_index.encoders import BagOfWordsEncoder
from learned_index.errors import InputError
from learned_index.metrics import evaluate
from learned_index.training.optimisers import encoder_groups
from learned_index.training.sources import EncoderInputs

B, F, D, L = 6, 7, 4, 5


@pytest.fixture
def double():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.mark.parametrize("projection", ["none", "residual"])
def test_gradients_equal_finite_differences(double, projection):
    """Through all of it: encoder, input projection, classifiers, biases."""
    torch.manual_seed(0)
    features = torch.randn(B, F)
    encoder = nn.Sequential(nn.Linear(F, D), nn.Tanh())
    weights, bias = torch.randn(L, D), torch.randn(L)
    matrix = 0.3 * torch.randn(D, D) if projection == "residual" else None
    labels = sp.random(B, L, density=0.4, format="csr", random_state=1)
    labels.data[:] = 1
    target = torch.from_numpy(labels.toarray())

    def loss():
        with torch.no_grad():
            h = x = encoder(features)
            if matrix is not None:
                h = x + x @ matrix.T
            scores = h @ weights.T + bias
            likelihood = nn.functional.binary_cross_entropy_with_logits
            return float(likelihood(scores, target, reduction="sum")) / B

    step = Step(weights, bias, matrix, B + 3)
    found = step.gradients(encoder(features), labels, with_loss=True)
    assert found == pytest.approx(loss(), rel=1e-9)
    parts = [weights, bias, *encoder.parameters()] + ([] if matrix is None else [matrix])
    epsilon = 1e-6
    for part in parts:
        flat, gradient = part.detach().view(-1), part.grad.view(-1)
        for place in range(len(flat)):
            value = float(flat[place])
            flat[place] = value + epsilon
            above = loss()
            flat[place] = value - epsilon
            below = loss()
            flat[place] = value
            slope = (above - below) / (2 * epsilon)
            assert float(gradient[place]) == pytest.approx(slope, abs=1e-7)


def bag(texts, **options):
    return BagOfWordsEncoder(dim=16, **options).fit(texts)


def groups_of(encoder, rate=0.02):
    return encoder_groups(encoder, learning_rate=rate, weight_decay=0.0)[0]


def precision(model, encoder, dataset):
    ids = model.search(encoder.encode(dataset.texts), 5).ids
    return evaluate(ids, dataset.labels, propensities=np.ones(dataset.n_labels), recall_ks=())[
        "P@1"
    ]


def test_training_the_encoder_helps_where_its_start_is_random():
    train, test = tiny_dataset("train", 300, seed=0), tiny_dataset("test", 60, seed=1)
    settings = {"epochs": 12, "batch_size": 32, "dropout": 0.1}
    encoder = bag(train.texts, init="random")
    frozen = OneVsAll(**settings)
    frozen.build(encoder.encode(train.texts), train.labels)
    before = precision(frozen, encoder, test)
    table = encoder.bag.weight.detach().clone()
    trained = OneVsAll(**settings)
    trained.fit_end_to_end(
        EncoderInputs(encoder, train.texts), train.labels, encoder_groups=groups_of(encoder)
    )
    assert not torch.equal(table, encoder.bag.weight)
    assert precision(trained, encoder, test) > max(before + 3, 90)


def test_it_is_reproducible_and_tells_progress():
    train = tiny_dataset("train", 80, seed=0)
    answers, told = [], []
    for seed in (0, 0, 1):
        encoder = bag(train.texts)
        model = OneVsAll(epochs=2, batch_size=32, dropout=0.2, seed=seed)
        model.progress = lambda done, total, text="": told.append(done / total)
        model.fit_end_to_end(
            EncoderInputs(encoder, train.texts), train.labels, encoder_groups=groups_of(encoder)
        )
        answers.append(model.search(encoder.encode(train.texts), 5).scores)
    np.testing.assert_array_equal(answers[0], answers[1])
    assert not np.array_equal(answers[0], answers[2])
    assert len(told) == 3 * 6 and told[5] == 1.0


def test_an_encoder_rate_of_zero_is_training_on_frozen_vectors():
    train = tiny_dataset("train", 80, seed=0)
    encoder = bag(train.texts)
    settings = {"epochs": 2, "batch_size": 32}
    frozen, still = OneVsAll(**settings), OneVsAll(**settings)
    vectors = encoder.encode(train.texts)
    frozen.build(vectors, train.labels)
    still.fit_end_to_end(
        EncoderInputs(encoder, train.texts), train.labels, encoder_groups=groups_of(encoder, 0.0)
    )
    left, right = frozen.search(vectors, 7), still.search(vectors, 7)
    np.testing.assert_array_equal(left.ids, right.ids)
    np.testing.assert_allclose(left.scores, right.scores, rtol=1e-5, atol=1e-5)


def test_what_does_not_fit_into_memory_is_refused_before_anything_is_made():
    points = np.zeros((10, 64), np.float32)
    labels = sp.csr_matrix((np.ones(1, np.float32), ([0], [0])), shape=(10, 50_000_000))
    with pytest.raises(InputError, match=r"50,000,000 labels .* GiB"):
        OneVsAll(memory_limit=2**30).build(points, labels)
    small = labels[:, :50]
    exact = required_bytes(50, 64, 256)
    with pytest.raises(InputError, match="batch_size"):
        OneVsAll(epochs=1, memory_limit=exact - 1).build(points, small)
    OneVsAll(epochs=1, memory_limit=exact).build(points, small)


def test_required_bytes_are_those_of_the_arrays():
    weights, bias, matrix = torch.zeros(50, 8), torch.zeros(50), torch.zeros(8, 8)
    step = Step(weights, bias, matrix, 16)
    parameters = sum(4 * part.numel() for part in (weights, bias, matrix))
    assert required_bytes(50, 8, 16) == 4 * parameters + 4 * step.scores_BL.numel()


def test_sparse_gradients_are_refused():
    train = tiny_dataset("train", 40, seed=0)
    encoder = bag(train.texts, gradient="sparse")
    with pytest.raises(InputError, match="gradient='dense'"):
        OneVsAll(epochs=1).fit_end_to_end(
            EncoderInputs(encoder, train.texts),
            train.labels,
            encoder_groups=[{"params": list(encoder.parameters()), "lr": 0.01}],
        )


@pytest.mark.parametrize("dropout", [-0.1, 1.0])
def test_unusable_dropout(dropout):
    with pytest.raises(InputError, match="dropout"):
        OneVsAll(dropout=dropout)


def test_the_example_of_the_docstring_runs():
    assert doctest.testmod(ova).failed == 0
