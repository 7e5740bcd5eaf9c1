"""The recipe for trainable encoders, early stopping, and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from encoder_models import make_bert, make_sentence_transformer
from torch import nn
from training_cases import (
    N_LABELS,
    QUICK,
    SMALL,
    assert_equal,
    bow,
    fit_frozen,
    fit_texts,
    frozen_points,
    label_matrix,
    tensors_of,
    text_points,
)

from learned_index import LearnedGraphIndex
from learned_index.encoders.lexical.lsa import LSAEncoder
from learned_index.encoders.lexical.tfidf import TfidfEncoder
from learned_index.encoders.transformer.models import SentenceTransformerEncoder, TransformerEncoder
from learned_index.errors import InputError, LearnedIndexError
from learned_index.index import course
from learned_index.index import fit as building
from learned_index.index.build import partition as partitioning
from learned_index.metrics import evaluate, label_propensities
from learned_index.training import sources
from learned_index.training.sources import EncoderInputs, FrozenVectors


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return make_bert(tmp_path_factory.mktemp("bert") / "model")


def precision_at_1(index, vectors, truth):
    result = index.search(vectors, k=100)
    return evaluate(result, truth, propensities=np.ones(N_LABELS))["P@1"]


def noisy_points(n, seed):
    """One word of a label's three, and five words that say nothing."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, N_LABELS, size=(n, 1))
    noise = [" ".join(f"noise{word}" for word in row) for row in rng.integers(0, 60, size=(n, 5))]
    keys = [
        f"key{label}x{form}"
        for label, form in zip(labels[:, 0], rng.integers(0, 3, n), strict=True)
    ]
    return [f"{key} {words}" for key, words in zip(keys, noise, strict=True)], label_matrix(labels)


def test_a_trained_encoder_beats_the_frozen_one():
    texts, Y = noisy_points(800, seed=0)
    test_texts, test_Y = noisy_points(200, seed=1)
    training = replace(
        QUICK, stage1_epochs=4, stage2_epochs=4, warm_epochs=2, encoder_learning_rate=1e-2
    )
    config = replace(SMALL, projection="none")
    start = bow(texts, init="random")
    frozen = LearnedGraphIndex(config, training=training).fit(start.encode(texts), Y)
    encoder = bow(texts, init="random")
    trained = LearnedGraphIndex(config, training=training)
    fit_texts(encoder, points=(texts, Y), index=trained)
    before = precision_at_1(frozen, start.encode(test_texts), test_Y)
    after = precision_at_1(trained, encoder.encode(test_texts), test_Y)
    assert after > before + 5  # 22 and 10


def test_all_stages_are_run_and_reported_in_order():
    events = []
    texts, Y = text_points()
    fit_texts(bow(texts), points=(texts, Y), progress=events.append)
    order = list(dict.fromkeys((e.stage, e.n_epochs) for e in events))
    assert order == [
        ("clustering", 1), ("warm-up", 1), ("stage 1", 2), ("graph", 1), ("stage 2", 2),
    ]  # fmt: skip
    assert [e.step for e in events if e.stage == "clustering"] == [0, 1, 0, 1]
    assert all(math.isfinite(e.loss) for e in events if e.loss is not None)


def test_the_first_clustering_sees_features_alone_the_second_both(monkeypatch):
    texts, Y = text_points()
    features = TfidfEncoder().fit(texts).encode(texts)
    seen = []
    original = partitioning.balanced_partition
    monkeypatch.setattr(
        partitioning,
        "balanced_partition",
        lambda blocks, n, **o: (
            seen.append([b.shape[1] for b in blocks]),
            original(blocks, n, **o),
        )[1],
    )
    fit_texts(bow(texts), points=(texts, Y), clustering_features=features)
    assert seen == [[features.shape[1]], [8, features.shape[1]]]
    seen.clear()
    fit_texts(bow(texts), replace(QUICK, warm_epochs=0), (texts, Y), clustering_features=features)
    assert seen == [[8, features.shape[1]]]
    seen.clear()
    fit_texts(bow(texts), points=(texts, Y))
    assert seen == [[8], [8]]


def test_only_the_encoder_goes_on_from_the_warm_up(monkeypatch):
    texts, Y = text_points()
    encoder, starts = bow(texts), []
    original = course.IndexTraining._run_stage

    def watch(self, name, *arguments):
        weights = encoder.bag.weight.detach().clone()
        starts.append((name, weights, {n: t.clone() for n, t in tensors_of(self._index).items()}))
        assert name == "stage 2" or (self._row_optimiser.steps == 0)
        original(self, name, *arguments)

    monkeypatch.setattr(course.IndexTraining, "_run_stage", watch)
    fit_texts(encoder, points=(texts, Y))
    (warm, before, _), (stage_1, after, index), _ = starts
    assert (warm, stage_1) == ("warm-up", "stage 1")
    assert not torch.equal(before, after)
    fresh = LearnedGraphIndex(SMALL, training=QUICK)
    at_start = bow(texts)
    at_start.bag.weight.data.copy_(after)
    fresh.build_partition(at_start.encode(texts), Y)
    assert_equal(index, tensors_of(fresh))


def test_the_same_seed_gives_the_same_bits_another_seed_others():
    texts, Y = text_points()

    def fit(seed):
        encoder = bow(texts)
        return tensors_of(fit_texts(encoder, replace(QUICK, seed=seed), (texts, Y)), encoder)

    one, two, other = fit(0), fit(0), fit(1)
    assert_equal(one, two)
    assert not torch.equal(one["encoder.bag.weight"], other["encoder.bag.weight"])


def test_bert_and_sentence_transformers_are_trained(bert, tmp_path):
    texts, Y = text_points(60)
    training = replace(QUICK, stage1_epochs=1, stage2_epochs=1, encoder_learning_rate=1e-3)
    make_sentence_transformer(tmp_path / "st", bert)
    for encoder in (TransformerEncoder(bert), SentenceTransformerEncoder(tmp_path / "st")):
        before = {n: p.detach().clone() for n, p in encoder.named_parameters()}
        index = fit_texts(encoder, training, (texts, Y))
        changed = {n for n, p in encoder.named_parameters() if not torch.equal(p, before[n])}
        assert {n for n in before if "pooler" not in n} == changed
        assert index.search(encoder.encode(texts), k=5).ids.shape == (60, 5)


def test_bfloat16_trains_the_encoder_under_autocast(bert):
    texts, Y = text_points(40)
    encoder = TransformerEncoder(bert)
    inputs = EncoderInputs(encoder, texts, precision="bfloat16")
    exact = EncoderInputs(encoder, texts, precision="float32")
    rows = np.arange(8)
    rough, fine = inputs.batch(rows, seed=(0,)), exact.batch(rows, seed=(0,))
    assert rough.dtype == fine.dtype == torch.float32
    assert 0 < float((rough - fine).abs().max()) < 0.05
    fit_texts(encoder, replace(QUICK, precision="bfloat16", stage1_epochs=1), (texts, Y))


# -- inputs ---------------------------------------------------------------------------------------


def encoders(bert):
    texts, _ = text_points()
    return [bow(texts), bow(texts, gradient="sparse"), TransformerEncoder(bert)]


@pytest.mark.parametrize("number", range(3))
def test_batches_and_vectors_are_what_the_encoder_gives(bert, number, monkeypatch):
    texts = ["", "red fox", *text_points(20)[0]]
    encoder = encoders(bert)[number]
    inputs = EncoderInputs(encoder, texts)
    expected = encoder.encode(texts)
    rows = np.array([0, 3, 4, 11])
    batch = inputs.batch(rows, seed=(1, 2))
    assert batch.requires_grad
    np.testing.assert_allclose(batch.detach(), expected[rows], rtol=1e-4, atol=1e-5)
    assert np.array_equal(inputs.vectors(), expected)
    monkeypatch.setattr(sources, "_BYTES_IN_MEMORY", 0)
    on_disk = inputs.vectors()
    assert isinstance(on_disk, np.memmap)
    assert np.array_equal(on_disk, expected)


def test_texts_are_tokenised_once(monkeypatch):
    texts, Y = text_points()
    encoder = bow(texts)
    calls = []
    original = encoder.tokenize_all
    monkeypatch.setattr(encoder, "tokenize_all", lambda t: (calls.append(len(t)), original(t))[1])
    fit_texts(encoder, points=(texts, Y), validation=text_points(30, seed=2))
    assert calls == [200, 30]


def test_digests_tell_points_apart(bert):
    texts, _ = text_points()
    for encoder in encoders(bert):
        one = EncoderInputs(encoder, texts).digest()
        assert one == EncoderInputs(encoder, list(texts)).digest()
        assert one != EncoderInputs(encoder, [*texts[1:], texts[0]]).digest()
    X, _ = frozen_points()
    assert FrozenVectors(X).digest() == FrozenVectors(np.asfortranarray(X)).digest()
    assert FrozenVectors(X).digest() != FrozenVectors(X.astype(np.float64)).digest()


class Plain(nn.Module):
    """A trainable encoder with tokenize and forward only."""

    kind, dim = "plain", 6

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.letters = nn.EmbeddingBag(256, self.dim)

    def tokenize(self, texts):
        return [torch.tensor(list((text or " ").encode())) for text in texts]

    def forward(self, features):
        return nn.functional.normalize(torch.cat([self.letters(f[None]) for f in features]), dim=1)

    def encode(self, texts):
        with torch.no_grad():
            return self(self.tokenize(texts)).numpy()


def test_any_module_with_tokenize_and_forward_is_trained():
    encoder = Plain()
    before = encoder.letters.weight.detach().clone()
    texts, Y = text_points(60)
    index = fit_texts(encoder, points=(texts, Y))
    assert index.dim == 6
    assert not torch.equal(encoder.letters.weight, before)


# -- early stopping -------------------------------------------------------------------------------


def with_metrics(monkeypatch, values):
    """Let each measurement give the next of some values of P@1; return the weights measured."""
    left, measured = list(values), []

    def fake(*_, **__):
        return {"P@1": left.pop(0)}

    original = building.search_index

    def search(network, *arguments, **options):
        measured.append({n: t.clone() for n, t in tensors_of(network).items()})
        return original(network, *arguments, **options)

    monkeypatch.setattr(building, "evaluate", fake)
    monkeypatch.setattr(building, "search_index", search)
    return measured


EARLY = replace(QUICK, early_stopping_metric="P@1", patience=2, stage1_epochs=9, stage2_epochs=0)


def test_a_stage_ends_when_patience_runs_out_with_the_best_weights(monkeypatch):
    measured = with_metrics(monkeypatch, [1, 5, 4, 5])
    events = []
    index = fit_frozen(EARLY, validation=frozen_points(20), progress=events.append)
    assert len(measured) == 4  # the second is the best; an equal value is not better
    best = dict(measured[1])
    assert_equal({k: v for k, v in tensors_of(index).items() if "tree_router" not in k},
                 {k: v for k, v in best.items() if "tree_router" not in k})  # fmt: skip
    assert events[-1].epoch == 4
    assert events[-1].n_epochs == 9


@pytest.mark.parametrize("averaged_value", [6.0, 2.0])
def test_averaged_weights_stay_only_where_they_measure_as_well(monkeypatch, averaged_value):
    training = replace(EARLY, stage1_epochs=0, stage2_epochs=3, patience=3)
    measured = with_metrics(monkeypatch, [1, 5, 4, averaged_value])
    index = fit_frozen(training, validation=frozen_points(20))
    assert len(measured) == 4
    assert_equal(tensors_of(index), measured[3] if averaged_value == 6.0 else measured[1])


def test_each_stage_chooses_by_itself(monkeypatch):
    training = replace(EARLY, stage1_epochs=2, stage2_epochs=2, patience=5, averaging_fraction=0.0)
    measured = with_metrics(monkeypatch, [9, 8, 3, 4])
    index = fit_frozen(training, validation=frozen_points(20))
    assert_equal(tensors_of(index), measured[3])


def test_the_encoder_is_restored_with_the_index(monkeypatch):
    texts, Y = text_points()
    seen = []
    left = [5.0, 1.0, 1.0]
    encoder = bow(texts)

    def fake(*_, **__):
        seen.append(encoder.bag.weight.detach().clone())
        return {"P@1": left.pop(0)}

    monkeypatch.setattr(building, "evaluate", fake)
    training = replace(EARLY, warm_epochs=0)
    fit_texts(encoder, training, (texts, Y), validation=text_points(20, seed=1))
    assert torch.equal(encoder.bag.weight, seen[0])
    assert not torch.equal(seen[0], seen[-1])


def test_without_a_metric_validation_changes_nothing():
    validation = frozen_points(40, seed=9)
    metrics = []
    watched = fit_frozen(validation=validation, progress=lambda e: metrics.append(e.metrics))
    assert_equal(tensors_of(watched), tensors_of(fit_frozen()))
    _, Y = frozen_points()
    last = evaluate(
        watched.search(validation[0], k=100), validation[1], propensities=label_propensities(Y)
    )
    assert [m for m in metrics if m][-1] == last


# -- what is refused ------------------------------------------------------------------------------


def test_a_metric_without_validation_is_refused():
    with pytest.raises(InputError, match="no validation points"):
        fit_frozen(EARLY)
    texts, Y = text_points(40)
    with pytest.raises(InputError, match="no validation points"):
        fit_texts(bow(texts), EARLY, (texts, Y))


def test_encoders_that_cannot_be_trained_are_refused(bert):
    texts, Y = text_points(40)
    with pytest.raises(InputError, match="'lsa' cannot be trained"):
        fit_texts(LSAEncoder(4).fit(texts), points=(texts, Y))
    with pytest.raises(InputError, match="unfreeze"):
        fit_texts(TransformerEncoder(bert).requires_grad_(False), points=(texts, Y))


def test_other_numbers_of_texts_and_labels_are_refused():
    texts, Y = text_points(40)
    with pytest.raises(InputError, match="40 rows"):
        fit_texts(bow(texts), points=(texts[:-1], Y))
    features = TfidfEncoder().fit(texts).encode(texts)[:-1]
    with pytest.raises(InputError, match="clustering_features: got 39 rows"):
        fit_texts(bow(texts), points=(texts, Y), clustering_features=features)


def test_a_loss_that_explodes_names_the_stage():
    X, Y = frozen_points()
    with pytest.raises(LearnedIndexError, match=r"step \d+ of stage 1"):
        fit_frozen(replace(QUICK, label_init_scale=1e39), (X, Y))


def test_batches_of_vectors_begin_at_a_cache_line_wherever_the_vectors_lie():
    # Products of matrices may differ in their last bit by where the operands begin.
    memory = np.arange(4_000, dtype=np.float32)
    for offset in range(16):
        vectors = memory[offset : offset + 3_600].reshape(300, 12)
        batch = FrozenVectors(vectors).batch(np.arange(1, 300, 2), seed=[0])
        assert batch.data_ptr() % 64 == 0 and batch.is_contiguous()
        np.testing.assert_array_equal(batch.numpy(), vectors[1::2])
