"""Triton kernels against plain torch; run by ``test_triton_kernels.py`` in a process of its own.

With ``TRITON_INTERPRET=1`` the kernels run in Triton's interpreter on the CPU, else on CUDA.
"""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from index_cases import small_index

from learned_index.errors import InputError
from learned_index.index.search import Knobs, search_in_torch
from learned_index.kernels.classify import score_labels
from learned_index.kernels.losses import both_losses
from learned_index.kernels.machine.dispatch import kernel_implementation
from learned_index.kernels.machine.segments import group_by_key
from learned_index.kernels.select.cuda import select_largest
from learned_index.kernels.update import RowAdamW, RowGradients
from learned_index.kernels.walk import explore, path_scores
from learned_index.training.optimisers import LabelClassifiers, Optimisers

DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"


def random_like(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


# -- selection ------------------------------------------------------------------------------------


def selection_by_hand(values, taken, K):
    """Positions of the largest values in order of position, the first among equal ones."""
    out = []
    for row, n in zip(values.tolist(), taken.tolist(), strict=True):
        live = [i for i, v in enumerate(row) if v >= 0]
        best = sorted(live, key=lambda i: (-row[i], i))[: K - n]
        out.append(sorted(best))
    return out


@pytest.mark.parametrize("N", [1, 37, 2500])
@pytest.mark.parametrize("K", [1, 8, 300])
def test_selection_keeps_the_largest_and_the_first_of_equal_ones(N, K):
    values = torch.rand(5, N, generator=torch.Generator().manual_seed(N * K))
    values[0] = (values[0] * 4).floor() / 4  # many ties
    values[1] = 1.0
    values[2][values[2] < 0.6] = -1.0
    values[3] = -1.0  # nothing reached
    values[4] *= torch.finfo(torch.float32).tiny * 3  # denormal numbers
    taken = torch.tensor([0, min(2, K), K, 0, 0])
    out = torch.full((5, K), -1, dtype=torch.int32)
    moved = out.to(DEVICE)
    select_largest(values.to(DEVICE), taken.to(DEVICE), moved)
    for b, want in enumerate(selection_by_hand(values, taken, K)):
        n = int(taken[b])
        got = moved[b].tolist()
        assert got[:n] == [-1] * n  # what stood there is untouched
        assert got[n : n + len(want)] == want
        assert got[n + len(want) :] == [-1] * (K - n - len(want))


def test_groups_hold_every_pair_once_and_no_pad():
    generator = torch.Generator().manual_seed(0)
    for n_keys, n_pairs in ((5, 40), (1000, 30), (3, 1), (7, 6)):
        keys = torch.randint(-1, n_keys, (n_pairs,), generator=generator)
        order, starts = group_by_key(keys.to(DEVICE), n_keys)
        assert len(starts) == min(n_keys, n_pairs) + 1
        seen = []
        for first, last in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
            pairs = order[first:last].tolist()
            assert pairs == sorted(pairs)
            assert len({int(keys[i]) for i in pairs}) <= 1
            seen.append((int(keys[pairs[0]]) if pairs else n_keys, pairs))
        assert sorted(i for _, pairs in seen for i in pairs) == (keys >= 0).nonzero()[:, 0].tolist()
        used = [key for key, pairs in seen if pairs]
        assert used == sorted(set(used))


# -- walk -----------------------------------------------------------------------------------------


def graph_case(seed, *, B=4, W=5, C=9, M=21, L=40, P=4, ties=False):
    generator = torch.Generator().manual_seed(seed)
    clusters = torch.stack([torch.randperm(C, generator=generator)[:W] for _ in range(B)])
    clusters[0, -1] = -1
    clusters[-1] = -1  # a query without clusters
    labels = torch.stack([torch.randperm(L, generator=generator)[:M] for _ in range(C)]).int()
    labels[2, 3:] = -1
    labels[4] = -1  # a cluster without labels
    positives = torch.stack([torch.randperm(L, generator=generator)[:P] for _ in range(B)])
    positives[1, 1:] = -1
    scores = torch.rand(B, W, generator=generator)
    weights = torch.rand(C, M, generator=generator)
    if ties:
        scores, weights = (scores * 3).ceil() / 4, (weights * 3).floor() / 4  # zeros too
    return tuple(t.to(DEVICE) for t in (clusters, scores, labels, weights, positives))


@pytest.mark.parametrize("size", [1, 3, 40, 64])
@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("ties", [False, True])
def test_walk_finds_what_plain_torch_finds(size, force, ties):
    clusters, scores, labels, weights, positives = graph_case(size, ties=ties)
    found, oracle = (
        explore(
            clusters, scores, labels, weights,
            n_labels=40, shortlist_size=size, positives_BP=positives if force else None,
            implementation=implementation,
        )
        for implementation in ("triton", "torch")
    )  # fmt: skip
    assert torch.equal(found.n_positives_B, oracle.n_positives_B)
    got, want = (path_scores(scores, weights, clusters, s, implementation="torch")
                 for s in (found, oracle))  # fmt: skip
    for b in range(len(clusters)):
        lead = int(found.n_positives_B[b])
        assert torch.equal(found.label_ids_BK[b, :lead], oracle.label_ids_BK[b, :lead])
        ids = found.label_ids_BK[b][found.label_ids_BK[b] >= 0].tolist()
        assert len(ids) == len(set(ids)) == int((oracle.label_ids_BK[b] >= 0).sum())
        assert found.label_ids_BK[b, len(ids) :].tolist() == [-1] * (size - len(ids))
        assert ids[lead:] == sorted(ids[lead:])  # as the scoring kernels like to read
        by_label = {int(label): n for n, label in enumerate(oracle.label_ids_BK[b])}
        for k, label in enumerate(ids):
            slot, edge = int(found.slots_BK[b, k]), int(found.edges_BK[b, k])
            assert int(labels[clusters[b, slot], edge]) == label
            if label in by_label:  # of equal paths both take the first
                other = by_label[label]
                assert (slot, edge) == (
                    int(oracle.slots_BK[b, other]), int(oracle.edges_BK[b, other])
                )  # fmt: skip
        same = torch.equal(got[b, lead:].sort().values, want[b, lead:].sort().values)
        assert same, "the kept labels have other scores"
    if size == 1 and force:
        assert (found.n_positives_B <= 1).all()


def use_blocks_of_16(monkeypatch, operation):
    """So that small cases need several blocks, as large ones do."""
    monkeypatch.setattr(f"learned_index.kernels.{operation}.cuda.block_of", lambda n, largest: 16)


def test_walk_in_blocks_and_turns_finds_the_same_and_leaves_nothing_behind(monkeypatch):
    from learned_index.kernels.walk import cuda as module

    clusters, scores, labels, weights, positives = graph_case(7, B=5, P=20)
    arguments = {"n_labels": 40, "shortlist_size": 6, "positives_BP": positives,
                 "implementation": "triton"}  # fmt: skip
    together = explore(clusters, scores, labels, weights, **arguments)
    assert int(together.n_positives_B.max()) > 3
    use_blocks_of_16(monkeypatch, "walk")
    monkeypatch.setattr(module, "_SCRATCH_BYTES", 2 * 8 * 53)  # two rows a turn
    in_turns = explore(clusters, scores, labels, weights, **arguments)
    for one, other in zip(together, in_turns, strict=True):
        assert (one is None) == (other is None)
        assert one is None or torch.equal(one, other)


def test_walk_ignores_paths_that_are_not_a_number():
    clusters, scores, labels, weights, _ = graph_case(3)
    weights[:, 0] = float("nan")
    found = explore(clusters, scores, labels, weights, n_labels=40, shortlist_size=40,
                    implementation="triton")  # fmt: skip
    assert not (found.edges_BK == 0)[found.label_ids_BK >= 0].any()
    assert (found.label_ids_BK >= 0).any()


# -- path scores ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("B", "W"), [(4, 5), (20, 18)])
def test_path_scores_and_gradients_equal_plain_torch(B, W, monkeypatch):
    use_blocks_of_16(monkeypatch, "walk")
    clusters, scores, labels, weights, positives = graph_case(1, B=B, W=W, C=20, M=7, L=70)
    clusters[1:-1], scores[1:-1] = clusters[1], scores[1]  # edges that the queries share
    shortlist = explore(clusters, scores, labels, weights, n_labels=70, shortlist_size=60,
                        positives_BP=positives, implementation="torch")  # fmt: skip
    upstream = random_like(len(clusters), 60, seed=2)
    results = []
    for implementation in ("triton", "torch"):
        leaves = [t.clone().requires_grad_() for t in (scores, weights)]
        out = path_scores(*leaves, clusters, shortlist, implementation=implementation)
        results.append([out, *torch.autograd.grad(out, leaves, upstream)])
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-6)


# -- label scores ---------------------------------------------------------------------------------


def scoring_case(seed=0, B=5, K=19, L=30, D=13, dtype=torch.float32):
    x = random_like(B, D, seed=seed).to(dtype)
    w = random_like(L, D, seed=seed + 1).to(dtype)
    bias = random_like(L, seed=seed + 2)
    generator = torch.Generator().manual_seed(seed)
    ids = torch.stack([torch.randperm(L, generator=generator)[:K] for _ in range(B)])
    ids[0, 5:] = -1
    ids[1, :] = -1
    upstream = random_like(B, K, seed=seed + 3).masked_fill(ids.to(DEVICE) < 0, 0.0)
    leaves = [t.requires_grad_() for t in (x, w, bias)]
    return (*leaves, ids.to(DEVICE), upstream)


def dense_scores(x, w, bias, ids):
    z = torch.einsum("bd,bkd->bk", x, w[ids.clamp(min=0)]) + bias[ids.clamp(min=0)]
    return z.masked_fill(ids < 0, 0.0)


@pytest.mark.parametrize(("B", "D", "K"), [(5, 1, 3), (20, 13, 19), (5, 300, 16)])
def test_label_scores_and_gradients_equal_the_dense_oracle(B, D, K):
    """20 queries: some labels have more pairs than a program adds at a time."""
    x, w, bias, ids, upstream = scoring_case(B=B, D=D, K=K)
    z = score_labels(x, w, bias, ids, implementation="triton")
    gradients = torch.autograd.grad(z, (x, w, bias), upstream)
    doubles = [t.detach().double().requires_grad_() for t in (x, w, bias)]
    oracle = dense_scores(*doubles, ids)
    expected = torch.autograd.grad(oracle, doubles, upstream.double())
    torch.testing.assert_close(z.double(), oracle, rtol=1e-5, atol=1e-5)
    for got, want in zip(gradients, expected, strict=True):
        torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=1e-5)


def test_label_scores_have_the_gradients_of_finite_differences():
    x, w, bias, ids, upstream = scoring_case(B=3, K=4, L=6, D=5)

    def value():
        with torch.no_grad():
            z = score_labels(x, w, bias, ids, implementation="triton")
        return float((z.double() * upstream.double()).sum())

    z = score_labels(x, w, bias, ids, implementation="triton")
    gradients = torch.autograd.grad(z, (x, w, bias), upstream)
    for leaf, gradient in zip((x, w, bias), gradients, strict=True):
        for i in range(0, leaf.numel(), 4):
            entry = leaf.detach().reshape(-1)[i : i + 1]
            before = entry.clone()
            entry.copy_(before + 0.01)
            up = value()
            entry.copy_(before - 0.01)
            down = value()
            entry.copy_(before)
            difference = (up - down) / 0.02  # exact but for rounding: z is linear in each
            assert difference == pytest.approx(float(gradient.reshape(-1)[i]), abs=2e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_rows_are_added_up_in_float32(dtype):
    x, w, bias, ids, upstream = scoring_case(D=200, dtype=dtype)
    z = score_labels(x, w, bias, ids, implementation="triton")
    doubles = [t.detach().double().requires_grad_() for t in (x, w, bias)]
    oracle = dense_scores(*doubles, ids)
    assert z.dtype == torch.float32
    torch.testing.assert_close(z.double(), oracle, rtol=1e-5, atol=1e-4)
    gradients = torch.autograd.grad(z, (x, w, bias), upstream)
    expected = torch.autograd.grad(oracle, doubles, upstream.double())
    tolerance = 2 * torch.finfo(dtype).eps
    for got, want in zip(gradients, expected, strict=True):
        torch.testing.assert_close(got.double(), want, rtol=tolerance, atol=tolerance)


def test_label_scores_need_no_gradient_where_none_is_wanted():
    x, w, bias, ids, upstream = scoring_case()
    z = score_labels(x, w.detach(), bias.detach(), ids, implementation="triton")
    (alone,) = torch.autograd.grad(z, (x,), upstream)
    z = score_labels(x, w, bias, ids, implementation="triton")
    together = torch.autograd.grad(z, (x, w, bias), upstream)[0]
    assert torch.equal(alone, together)


# -- optimiser ------------------------------------------------------------------------------------


def state_of(optimiser, w, bias):
    return [w.detach().cpu(), bias.detach().cpu(), *(m.cpu() for m in optimiser.moments)]


@pytest.mark.parametrize("fused", [True, False])
def test_updates_equal_those_of_plain_torch(fused):
    states, gradients = [], []
    for implementation in ("triton", "torch"):
        x, w, bias, ids, _ = scoring_case(D=21, K=9)
        optimiser = RowAdamW(30, 21, learning_rate=0.05, weight_decay=0.3, device=DEVICE)
        in_backward = fused and implementation == "triton"
        for step in range(3):
            ids = ids.roll(step, 0)
            upstream = random_like(*ids.shape, seed=step).masked_fill(ids < 0, 0.0)
            collected = RowGradients(30, 21, device=DEVICE)
            z = score_labels(x, w, bias, ids, implementation=implementation,
                             optimiser=optimiser if in_backward else collected)  # fmt: skip
            gradients.append(torch.autograd.grad(z, (x,), upstream)[0])
            if not in_backward:
                rows, weight_UD, bias_U = collected.take()
                optimiser.step(w, bias, weight_UD, bias_U, rows, implementation=implementation)
        assert optimiser.steps == 3
        states.append(state_of(optimiser, w, bias))
    for got, want in zip(*states, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
    for got, want in zip(gradients[:3], gradients[3:], strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)


def test_fused_update_leaves_rows_alone_that_no_query_shortlists():
    x, w, bias, _, _ = scoring_case()
    ids = torch.full((len(x), 3), -1, device=DEVICE)
    ids[:, 1] = 4
    before = [w.detach().clone(), bias.detach().clone()]
    optimiser = RowAdamW(30, 13, learning_rate=0.1, weight_decay=0.5, device=DEVICE)
    z = score_labels(x, w, bias, ids, optimiser=optimiser, implementation="triton")
    torch.autograd.grad(z, (x,), torch.ones_like(z))
    rest = torch.arange(30, device=DEVICE) != 4
    for now, was in zip((w, bias), before, strict=True):
        assert not torch.equal(now[4], was[4])
        assert torch.equal(now[rest], was[rest])
    assert all(not bool(moment[rest].any()) for moment in optimiser.moments)


def test_tables_that_are_not_in_c_order_are_refused_where_they_would_be_changed():
    x, w, bias, ids, upstream = scoring_case()
    turned = w.detach().T.contiguous().T.requires_grad_()
    z = score_labels(x, turned, bias, ids, implementation="triton")
    torch.testing.assert_close(z, score_labels(x, w, bias, ids, implementation="torch"))
    optimiser = RowAdamW(30, 13, learning_rate=0.1, device=DEVICE)
    z = score_labels(x, turned, bias, ids, optimiser=optimiser, implementation="triton")
    with pytest.raises(InputError, match=r"strides \(1, 30\)"):
        torch.autograd.grad(z, (x,), upstream)


def test_equal_steps_give_equal_bits():
    def run():
        x, w, bias, ids, upstream = scoring_case(B=12, K=25, D=40)
        optimiser = RowAdamW(30, 40, learning_rate=0.1, device=DEVICE)
        z = score_labels(x, w, bias, ids, optimiser=optimiser, implementation="triton")
        grad_x = torch.autograd.grad(z, (x,), upstream)[0]
        return [z.detach(), grad_x, *state_of(optimiser, w, bias)]

    assert all(torch.equal(a, b) for a, b in zip(run(), run(), strict=True))


# -- losses ---------------------------------------------------------------------------------------


def loss_case(K=70):
    logits = random_like(4, K, seed=0) * 8
    logits[0, :4] = torch.tensor([60.0, -60.0, 0.0, 60.0])
    paths = torch.rand(4, K, generator=torch.Generator().manual_seed(1)).to(DEVICE)
    paths[0, 3] = 1.0  # p -> 1
    paths[1, 1] = 1e-9
    n_positives = torch.tensor([2, 3, 0, 0], device=DEVICE)
    n_valid = torch.tensor([K, 40, 5, 0], device=DEVICE)
    return logits, paths, n_positives, n_valid


@pytest.mark.parametrize("weights", [(1.0, 0.0), (0.0, 1.0), (0.7, 0.05)])
def test_losses_and_gradients_equal_plain_torch(weights, monkeypatch):
    use_blocks_of_16(monkeypatch, "losses")
    logits, paths, n_positives, n_valid = loss_case()
    results = []
    for implementation in ("triton", "torch"):
        leaves = [t.clone().requires_grad_() for t in (logits, paths)]
        both = both_losses(*leaves, n_positives, n_valid, implementation=implementation)
        loss = weights[0] * both[0] + weights[1] * both[1]
        results.append([*both, *torch.autograd.grad(loss, leaves)])
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want, rtol=2e-5, atol=1e-6)


# -- the index ------------------------------------------------------------------------------------


def moved_index(routing):
    index, x, Y = small_index(routing=routing)
    return index.to(DEVICE), x.to(DEVICE), Y


@pytest.mark.parametrize("routing", ["flat", "all", "candidates"])
def test_a_training_step_has_the_gradients_of_plain_torch(routing):
    index, x, Y = moved_index(routing)
    results = []
    for implementation in ("triton", "torch"):
        index.zero_grad()
        with kernel_implementation(implementation):
            output = index(x, Y)
            output.loss.backward()
        losses = [output.classification_loss, output.shortlist_loss]
        results.append([t.detach() for t in losses] + [p.grad for p in index.parameters()])
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


def test_some_steps_with_the_fused_update_train_as_plain_torch_does():
    parameters = []
    for implementation in ("triton", "torch"):
        index, x, Y = moved_index("flat")
        with kernel_implementation(implementation):
            labels = LabelClassifiers(
                index.label_weight_LD, index.label_bias_L,
                RowAdamW(24, 6, learning_rate=0.02, weight_decay=0.1, device=DEVICE), peak=0.02,
            )  # fmt: skip
            group = {"params": [index.router.weight_CD, index.graph.edge_logits_CM], "lr": 0.02}
            optimisers = Optimisers([group], labels=labels)
            fused = isinstance(optimisers.row_optimiser, RowAdamW)
            assert fused == (implementation == "triton")
            for _ in range(2):  # the second uses the moments of the first
                optimisers.zero_grad()
                index(x, Y, row_optimiser=optimisers.row_optimiser).loss.backward()
                optimisers.step(last=False)
        assert index.label_weight_LD.grad is None
        parameters.append([p.detach() for p in index.parameters()])
    for got, want in zip(*parameters, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("routing", ["flat", "all"])
@pytest.mark.parametrize("size", [4, 24])
def test_search_gives_the_answers_of_plain_torch(routing, size):
    index, _, _ = moved_index(routing)
    queries = np.random.default_rng(5).normal(size=(5, 6)).astype(np.float32)
    for width in (1, 5):
        fast, slow = (
            search_in_torch(index, queries, Knobs(6, width, size),
                             implementation=implementation)
            for implementation in ("triton", "torch")
        )  # fmt: skip
        np.testing.assert_allclose(fast.scores, slow.scores, rtol=1e-5, atol=1e-7)
        assert (fast.ids == slow.ids).mean() > 0.97  # the rest: ties within rounding
        short = fast.ids == -1
        assert np.array_equal(short, np.isneginf(fast.scores))
        assert short.any() == (size == 4)  # 4 labels are scored, 6 asked for
