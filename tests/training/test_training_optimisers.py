"""Optimisers: the lazy AdamW in all its forms, clipping, groups, sparse tables."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from training_cases import (
    QUICK,
    SMALL,
    bow,
    fit_frozen,
    fit_texts,
    frozen_points,
    tensors_of,
    text_points,
)

from learned_index import LearnedGraphIndex, TrainingConfig
from learned_index.errors import InputError
from learned_index.index.graph import ClusterLabelGraph
from learned_index.kernels import edges
from learned_index.kernels.classify import score_labels
from learned_index.kernels.update import RowAdamW, RowGradients
from learned_index.training.optimisers import LabelClassifiers, Optimisers, encoder_groups
from learned_index.training.selection import BestEpoch


def random_rows(seed, L=20, U=7, D=5):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randperm(L, generator=generator)[:U].sort().values
    return (
        rows,
        torch.randn(U, D, generator=generator),
        torch.randn(U, generator=generator),
    )


def start(L=20, D=5):
    generator = torch.Generator().manual_seed(99)
    return torch.randn(L, D, generator=generator), torch.randn(L, generator=generator)


def test_torch_row_steps_equal_compiled_ones():
    results = []
    for implementation in ("numba", "torch"):
        w, b = start()
        optimiser = RowAdamW(20, 5, learning_rate=0.1, weight_decay=0.2)
        for seed in range(5):
            rows, gw, gb = random_rows(seed)
            optimiser.step(w, b, gw, gb, rows, implementation=implementation)
        results.append([w, b, *optimiser.moments])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_row_steps_on_all_rows_equal_torch_adamw():
    w, b = start()
    reference = [t.clone().requires_grad_() for t in (w, b)]
    adamw = torch.optim.AdamW(
        [
            {"params": reference[:1], "weight_decay": 0.2},
            {"params": reference[1:], "weight_decay": 0.0},
        ],
        lr=0.1,
    )
    optimiser = RowAdamW(20, 5, learning_rate=0.1, weight_decay=0.2)
    for seed in range(5):
        rows, gw, gb = random_rows(seed, U=20)
        optimiser.step(w, b, gw, gb, rows)
        reference[0].grad, reference[1].grad = gw, gb
        adamw.step()
    torch.testing.assert_close(w, reference[0].detach(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(b, reference[1].detach(), rtol=1e-5, atol=1e-5)


def test_row_steps_leave_other_rows_and_their_moments_alone():
    w, b = start()
    before = w.clone()
    optimiser = RowAdamW(20, 5, learning_rate=0.1, weight_decay=0.9)
    rows, gw, gb = random_rows(0)
    optimiser.step(w, b, gw, gb, rows)
    others = torch.ones(20, dtype=torch.bool)
    others[rows] = False
    assert torch.equal(w[others], before[others])
    assert not optimiser.moments[0][others].any()
    assert (w[rows] != before[rows]).any(1).all()


@pytest.mark.parametrize("implementation", ["numba", "torch"])
def test_collected_gradients_are_the_sums_of_the_ordinary_ones(implementation, monkeypatch):
    monkeypatch.setattr("learned_index.kernels.classify.plain.BLOCK", 7)  # of 20 labels
    generator = torch.Generator().manual_seed(0)
    w, b = (t.requires_grad_() for t in start())
    collected = RowGradients(20, 5)
    sums = [torch.zeros_like(w), torch.zeros_like(b)]
    touched = set()
    for _ in range(3):
        x = torch.randn(4, 5, generator=generator, requires_grad=True)
        ids = torch.stack([torch.randperm(12, generator=generator)[:6] for _ in range(4)])
        ids[0, 5] = -1
        touched |= set(ids.flatten().tolist()) - {-1}
        upstream = torch.randn(4, 6, generator=generator) * (ids >= 0)
        plain = score_labels(x, w, b, ids, implementation=implementation)
        gx, *gradients = torch.autograd.grad(plain, (x, w, b), upstream)
        for total, gradient in zip(sums, gradients, strict=True):
            total += gradient
        z = score_labels(x, w, b, ids, optimiser=collected, implementation=implementation)
        assert torch.equal(z, plain)
        assert torch.equal(torch.autograd.grad(z, (x,), upstream)[0], gx)
    rows, gw, gb = collected.take()
    assert rows.tolist() == sorted(touched)
    torch.testing.assert_close(gw, sums[0][rows], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gb, sums[1][rows], rtol=1e-5, atol=1e-6)
    assert not collected.weight_LD.any()
    assert not collected.bias_L.any()
    assert not collected.take()[0].numel()


def test_the_fused_optimiser_is_refused_where_it_cannot_work():
    w, b = start()
    with pytest.raises(InputError, match="RowGradients"):
        score_labels(
            torch.zeros(1, 5), w, b, torch.zeros(1, 1, dtype=torch.long),
            optimiser=RowAdamW(20, 5, learning_rate=0.1), implementation="torch",
        )  # fmt: skip


def unfused(monkeypatch):
    """Make Optimisers collect gradients also where they could be fused."""
    original = Optimisers.__init__

    def init(self, *arguments, **options):
        original(self, *arguments, **options)
        weight = options["labels"].weight_LD
        self._gradients = RowGradients(*weight.shape)

    monkeypatch.setattr(Optimisers, "__init__", init)


def test_a_whole_training_without_the_fused_update_gives_the_same_bits(monkeypatch):
    fused = tensors_of(fit_frozen())
    unfused(monkeypatch)
    collected = tensors_of(fit_frozen())
    for name, tensor in fused.items():
        torch.testing.assert_close(collected[name], tensor, rtol=1e-6, atol=1e-6, msg=name)


def test_label_updates_wait_for_k_steps_and_the_end_of_the_epoch(monkeypatch):
    taken = []
    original = RowAdamW.step
    monkeypatch.setattr(
        RowAdamW, "step", lambda self, *a, **o: (taken.append(len(a[4])), original(self, *a, **o))
    )
    # 200 points in batches of 32: 7 steps an epoch, updates after 3, 6 and 7.
    fit_frozen(replace(QUICK, label_update_every=3, stage2_epochs=0))
    assert len(taken) == 2 * 3


def test_a_late_label_update_takes_the_mean_of_the_gradients():
    w, b = (nn.Parameter(t) for t in start())
    rows = RowAdamW(20, 5, learning_rate=0.1)
    other = nn.Parameter(torch.zeros(1))
    optimisers = Optimisers(
        [{"params": [other], "lr": 0.1}],
        labels=LabelClassifiers(w, b, rows, peak=0.1, every=2),
    )
    sink = optimisers.row_optimiser
    before = w.detach().clone()
    gradients = [torch.full((5,), 1.0), torch.full((5,), 4.0)]
    for step, gradient in enumerate(gradients):
        optimisers.zero_grad()
        sink.weight_LD[3] += gradient
        sink.touched_L[3] = True
        optimisers.step(last=False)
        assert optimisers.is_settled == (step == 1)
        assert torch.equal(w[3], before[3]) == (step == 0)
    torch.testing.assert_close(rows.moments[0][3], torch.full((5,), 0.1 * 2.5))


def test_clipping_bounds_the_norm_of_all_gradients_together():
    w, b = (nn.Parameter(t) for t in start())
    big, small = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(2))
    table = nn.Parameter(torch.zeros(6, 2))
    seen = []

    def step(clip):
        optimisers = Optimisers(
            [{"params": [big, small], "lr": 0.1, "weight_decay": 0.0}],
            tables=[{"params": [table], "lr": 0.1, "weight_decay": 0.0}],
            labels=LabelClassifiers(w, b, RowAdamW(20, 5, learning_rate=0.1), peak=0.1),
            clip=clip,
        )
        big.grad, small.grad = torch.full((3,), 30.0), torch.full((2,), 0.4)
        table.grad = torch.sparse_coo_tensor(
            [[1, 4, 4]], torch.full((3, 2), 2.0), (6, 2), check_invariants=True
        )
        optimisers.step(last=False)
        moments = optimisers._tables[0][1].moments[0]
        seen.append((big.grad.clone(), small.grad.clone(), moments / 0.1))

    step(0.0)
    step(1.5)
    free, clipped = seen
    norm = torch.cat([part.flatten() for part in free]).norm()
    for a, b_ in zip(free, clipped, strict=True):
        torch.testing.assert_close(b_, a * 1.5 / norm, rtol=1e-4, atol=1e-6)
    assert float(free[2][4, 0]) == pytest.approx(4.0)  # both of its entries
    assert torch.equal(table[0], torch.zeros(2))


def test_norm_gains_and_biases_are_not_decayed():
    network = nn.Sequential(nn.Embedding(4, 3), nn.Linear(3, 3), nn.LayerNorm(3))
    groups, tables = encoder_groups(network, learning_rate=None, weight_decay=0.3)
    assert not tables
    decay = {id(p): g["weight_decay"] for g in groups for p in g["params"]}
    assert len(decay) == len(list(network.parameters()))
    assert {n: decay[id(p)] for n, p in network.named_parameters()} == {
        "0.weight": 0.3, "1.weight": 0.3, "1.bias": 0.0, "2.weight": 0.0, "2.bias": 0.0,
    }  # fmt: skip
    assert {g["lr"] for g in groups} == {1e-4}


def test_frozen_parameters_stay_out_and_tied_ones_come_once():
    network = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    network[1].weight = network[0].weight
    network.append(nn.Linear(3, 3).requires_grad_(False))
    groups, _ = encoder_groups(network, learning_rate=0.5, weight_decay=0.0)
    assert [len(g["params"]) for g in groups] == [1]
    assert groups[0]["lr"] == 0.5


def test_a_sparse_table_is_updated_where_a_batch_touches_it():
    texts, Y = text_points()
    encoder = bow([*texts, "onlyhere onlyhere"], gradient="sparse", min_df=1)
    row = encoder._tfidf.terms_.index("onlyhere")
    before = encoder.bag.weight.detach().clone()
    fit_texts(encoder, QUICK, (texts, Y))
    after = encoder.bag.weight.detach()
    assert torch.equal(after[row], before[row])
    changed = (after != before).any(1)
    changed[row] = True
    assert changed.all()


def test_dense_and_sparse_tables_learn_the_same_where_every_row_is_touched():
    texts, Y = text_points(64)
    one_batch = replace(QUICK, batch_size=64, encoder_weight_decay=0.0, stage2_epochs=1)
    tables = []
    for gradient in ("dense", "sparse"):
        encoder = bow(texts, gradient=gradient)
        fit_texts(encoder, one_batch, (texts, Y))
        tables.append(encoder.bag.weight.detach())
    torch.testing.assert_close(*tables, rtol=1e-3, atol=1e-4)


def test_state_of_other_parameters_is_refused():
    w, b = (nn.Parameter(t) for t in start())

    def make(size):
        optimisers = Optimisers(
            [{"params": [nn.Parameter(torch.ones(size))], "lr": 0.1}],
            labels=LabelClassifiers(w, b, RowAdamW(20, 5, learning_rate=0.1), peak=0.1),
        )
        optimisers._parameters[0].grad = torch.ones(size)
        optimisers.step(last=True)
        return optimisers

    with pytest.raises((KeyError, RuntimeError)):
        make(4).load(make(3).state())


def test_strongest_cluster_in_torch_equals_the_compiled_one():
    rng = np.random.default_rng(0)
    labels = np.stack([rng.permutation(30)[:8] for _ in range(6)])
    labels[2, 5:] = -1
    weights = torch.from_numpy(rng.integers(1, 4, size=(6, 8)).astype(np.float32))  # many ties
    graph = ClusterLabelGraph(torch.from_numpy(labels), 31)
    plain = edges.plain.strongest_clusters(graph.edge_labels_CM, weights, graph.n_labels)
    assert torch.equal(plain, graph.strongest_cluster(weights))


def test_best_epoch_keeps_and_restores():
    p = torch.zeros(2)
    best = BestEpoch("P@1", 2, [p])
    for step, value in enumerate([1.0, 3.0, 3.0, 2.0]):
        assert not best.is_over
        p.fill_(step)
        best.update(value)
    assert best.is_over
    again = BestEpoch("P@1", 2, [p])
    again.load(best.state())
    assert (again.value, again.epochs_since) == (3.0, 2)
    again.restore()
    assert p.tolist() == [1.0, 1.0]
    with pytest.raises(InputError, match="R@10"):
        best.of({"R@10": 3.0})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("label_update_every", 0),
        ("patience", 0),
        ("gradient_clip", -1.0),
        ("encoder_learning_rate", -1.0),
        ("warm_epochs", -1),
        ("precision", "float16"),
        ("early_stopping_metric", "accuracy"),
    ],
)
def test_unusable_settings_are_refused(name, value):
    with pytest.raises(InputError, match=name):
        TrainingConfig(**{name: value})


def test_an_unknown_device_is_refused():
    X, Y = frozen_points()
    index = LearnedGraphIndex(SMALL, training=replace(QUICK, device="cuda:77"))
    with pytest.raises(InputError, match="cuda:77"):
        index.fit(X, Y)
