"""Compiled kernels against plain oracles."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learned_index.kernels.classify import score_labels
from learned_index.kernels.machine.dense import rows_dot
from learned_index.kernels.machine.parallel import run_ranges, split_by_weight, split_evenly
from learned_index.kernels.select.cpu import keep_k_largest
from learned_index.kernels.update import RowAdamW
from learned_index.kernels.walk import explore


@given(
    values=st.lists(
        st.floats(0, 1, width=32) | st.sampled_from([0.0, 0.25, 1.0]), min_size=1, max_size=200
    ),
    data=st.data(),
)
@settings(max_examples=150, deadline=None)
def test_the_largest_are_kept_in_their_order_with_ties(values, data):
    array = np.array(values, np.float32)
    k = data.draw(st.integers(0, len(array) + 1))
    items = np.arange(len(array), dtype=np.int32)
    best = np.sort(np.argsort(-array, kind="stable")[:k])  # of equal values the first
    kept = array.copy()
    assert keep_k_largest(kept, items, len(array), k) == len(best)
    assert items[: len(best)].tolist() == best.tolist()
    assert kept[: len(best)].tolist() == array[best].tolist()


def random_graph(seed, *, B=6, W=4, C=9, M=7, L=25, P=3):
    rng = np.random.default_rng(seed)
    clusters = np.stack([rng.permutation(C)[:W] for _ in range(B)])
    clusters[0, -1] = -1
    edge_labels = np.stack([rng.permutation(L)[:M] for _ in range(C)]).astype(np.int32)
    edge_labels[2, 3:] = -1
    positives = np.stack([rng.permutation(L)[:P] for _ in range(B)])
    positives[1, 1:] = -1
    return (
        torch.from_numpy(clusters),
        torch.from_numpy(rng.random((B, W), np.float32)),
        torch.from_numpy(edge_labels),
        torch.from_numpy(rng.random((C, M), np.float32)),
        torch.from_numpy(positives),
    )


def paths_by_hand(clusters, scores, edge_labels, edge_weights):
    """Dictionaries label -> best path score, one per query, in plain Python."""
    out = []
    for row, s in zip(clusters.tolist(), scores, strict=True):
        best = {}
        for c, score in zip(row, s, strict=True):
            if c < 0:
                continue
            for label, weight in zip(edge_labels[c].tolist(), edge_weights[c], strict=True):
                if label >= 0:
                    best[label] = max(best.get(label, -1.0), float(score * weight))
        out.append(best)
    return out


@pytest.mark.parametrize("implementation", ["numba", "torch"])
@pytest.mark.parametrize("size", [3, 10, 25])
@pytest.mark.parametrize("force", [False, True])
def test_explore_keeps_the_best_paths(implementation, size, force):
    for seed in range(5):
        clusters, scores, edge_labels, edge_weights, positives = random_graph(seed)
        found = explore(
            clusters, scores, edge_labels, edge_weights,
            n_labels=25, shortlist_size=size, positives_BP=positives, force_positives=force,
            implementation=implementation,
        )  # fmt: skip
        oracle = paths_by_hand(clusters, scores, edge_labels, edge_weights)
        for b, best in enumerate(oracle):
            ids = found.label_ids_BK[b]
            n = int((ids >= 0).sum())
            assert n == min(size, len(best))
            assert (ids[n:] == -1).all()
            ids = ids[:n].tolist()
            assert len(set(ids)) == n
            lead = int(found.n_positives_B[b])
            reached = [p for p in positives[b].tolist() if p in best]
            assert ids[:lead] == (reached[:size] if force else [])
            rest = sorted((v for label, v in best.items() if label not in ids[:lead]), reverse=True)
            kept = sorted((best[label] for label in ids[lead:]), reverse=True)
            assert kept == pytest.approx(rest[: n - lead], abs=0)
            for k, label in enumerate(ids):  # the path returned gives the score
                slot, edge = int(found.slots_BK[b, k]), int(found.edges_BK[b, k])
                c = int(clusters[b, slot])
                assert int(edge_labels[c, edge]) == label
                assert float(scores[b, slot] * edge_weights[c, edge]) == best[label]


def test_explore_leaves_no_trace_of_a_query_in_the_next():
    clusters, scores, edge_labels, edge_weights, _ = random_graph(3)
    arguments = {"n_labels": 25, "shortlist_size": 5}
    together = explore(clusters, scores, edge_labels, edge_weights, **arguments)
    for b in range(len(clusters)):
        alone = explore(
            clusters[b : b + 1], scores[b : b + 1], edge_labels, edge_weights, **arguments
        )
        assert torch.equal(alone.label_ids_BK[0], together.label_ids_BK[b])


def scoring_case(seed=0, B=7, K=11, L=30, D=13):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(B, D, generator=generator, requires_grad=True)
    w = torch.randn(L, D, generator=generator, requires_grad=True)
    bias = torch.randn(L, generator=generator, requires_grad=True)
    ids = torch.stack([torch.randperm(L, generator=generator)[:K] for _ in range(B)])
    ids[0, 5:] = -1
    upstream = torch.randn(B, K, generator=generator).masked_fill(ids < 0, 0.0)
    return x, w, bias, ids, upstream


def dense_scores(x, w, bias, ids):
    """Gather and einsum in float64: what the kernels must compute."""
    z = torch.einsum("bd,bkd->bk", x, w[ids.clamp(min=0)]) + bias[ids.clamp(min=0)]
    return z.masked_fill(ids < 0, 0.0)


@pytest.mark.parametrize("implementation", ["numba", "torch"])
@pytest.mark.parametrize("block", [7, 65536])
def test_label_scores_and_gradients_equal_the_dense_oracle(implementation, block):
    x, w, bias, ids, upstream = scoring_case()
    z = score_labels(x, w, bias, ids, implementation=implementation, block=block)
    gradients = torch.autograd.grad(z, (x, w, bias), upstream)
    doubles = [t.detach().double().requires_grad_() for t in (x, w, bias)]
    oracle = dense_scores(*doubles, ids)
    expected = torch.autograd.grad(oracle, doubles, upstream.double())
    torch.testing.assert_close(z.double(), oracle, rtol=1e-5, atol=1e-5)
    for got, want in zip(gradients, expected, strict=True):
        torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=1e-5)


def test_the_dense_oracle_has_the_gradients_of_finite_differences():
    x, w, bias, ids, _ = scoring_case(B=3, K=4, L=6, D=5)
    doubles = [t.detach().double().requires_grad_() for t in (x, w, bias)]
    assert torch.autograd.gradcheck(lambda *t: dense_scores(*t, ids), doubles)


def test_fused_update_equals_torch_adamw_where_every_row_is_touched():
    x, w, bias, _, _ = scoring_case()
    L = len(w)
    ids = torch.arange(L).expand(len(x), L).contiguous()
    reference_w, reference_bias = (t.detach().clone().requires_grad_() for t in (w, bias))
    reference = torch.optim.AdamW(
        [
            {"params": [reference_w], "weight_decay": 0.1},
            {"params": [reference_bias], "weight_decay": 0.0},
        ],
        lr=0.05,
    )
    fused = RowAdamW(L, w.shape[1], learning_rate=0.05, weight_decay=0.1)
    for step in range(4):
        upstream = torch.randn(len(x), L, generator=torch.Generator().manual_seed(step))
        z = score_labels(x, w, bias, ids, optimiser=fused)
        (grad_x,) = torch.autograd.grad(z, (x,), upstream)
        reference.zero_grad()
        x_copy = x.detach().clone().requires_grad_()
        (x_copy @ reference_w.T + reference_bias).backward(upstream)
        torch.testing.assert_close(grad_x, x_copy.grad, rtol=1e-4, atol=1e-4)
        reference.step()
        torch.testing.assert_close(w, reference_w, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(bias, reference_bias, rtol=1e-4, atol=1e-5)


def test_fused_update_leaves_rows_alone_that_no_query_shortlists():
    x, w, bias, _, _ = scoring_case()
    ids = torch.zeros((len(x), 1), dtype=torch.long)
    before = w.detach().clone()
    fused = RowAdamW(len(w), w.shape[1], learning_rate=0.1, weight_decay=0.5)
    z = score_labels(x, w, bias, ids, optimiser=fused)
    torch.autograd.grad(z, (x,), torch.ones_like(z))
    assert not torch.equal(w[0], before[0])
    assert torch.equal(w[1:], before[1:])


def test_optimiser_state_continues_bit_equal():
    def steps(optimiser, w, bias, n, start):
        x, _, _, ids, _ = scoring_case()
        for step in range(start, start + n):
            upstream = torch.randn(ids.shape, generator=torch.Generator().manual_seed(step))
            z = score_labels(x, w, bias, ids, optimiser=optimiser)
            torch.autograd.grad(z, (x,), upstream)

    _, w, bias, _, _ = scoring_case()
    unbroken = RowAdamW(30, 13, learning_rate=0.1)
    w2, bias2 = w.detach().clone().requires_grad_(), bias.detach().clone().requires_grad_()
    steps(unbroken, w, bias, 6, 0)
    first = RowAdamW(30, 13, learning_rate=0.1)
    steps(first, w2, bias2, 3, 0)
    second = RowAdamW(30, 13, learning_rate=0.1)
    second.load_state_dict(first.state_dict())
    steps(second, w2, bias2, 3, 3)
    assert torch.equal(w, w2)
    assert torch.equal(bias, bias2)


def test_scoring_gives_the_same_bits_at_any_thread_count(with_threads):
    def run():
        x, w, bias, ids, upstream = scoring_case(B=40, K=60, L=500, D=24)
        z = score_labels(x, w, bias, ids)
        return [z, *torch.autograd.grad(z, (x, w, bias), upstream)]

    with with_threads(1):
        one = run()
    with with_threads(3):
        three = run()
    assert all(torch.equal(a, b) for a, b in zip(one, three, strict=True))


def test_rows_dot_is_a_product():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(5000, 33)).astype(np.float32)
    vector = rng.normal(size=33).astype(np.float32)
    np.testing.assert_allclose(
        rows_dot(rows, vector), rows.astype(np.float64) @ vector, rtol=1e-4, atol=1e-4
    )


@given(n=st.integers(0, 50), parts=st.integers(1, 9))
@settings(deadline=None)
def test_ranges_cover_everything_once(n, parts):
    ranges = split_evenly(n, parts)
    assert [i for a, b in ranges for i in range(a, b)] == list(range(n))
    weights = np.random.default_rng(n).integers(0, 5, size=n)
    by_weight = split_by_weight(np.concatenate([[0], np.cumsum(weights)]), parts)
    assert [i for a, b in by_weight for i in range(a, b)] == list(range(n))


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_every_range_is_done_once_before_the_call_returns(n_threads):
    done = np.zeros(200, np.int64)

    def add(part, start, stop):
        assert (start, stop) == (2 * part, 2 * part + 2)
        done[start:stop] += 1

    run_ranges(split_evenly(200, 100), add, n_threads=n_threads)
    assert (done == 1).all()


def test_no_range_is_begun_after_an_error():
    begun = []

    def fail(part, start, stop):
        begun.append(part)
        raise ZeroDivisionError(str(part))

    with pytest.raises(ZeroDivisionError):
        run_ranges(split_evenly(1000, 1000), fail, n_threads=2)
    assert len(begun) <= 2


def test_an_error_in_a_worker_reaches_the_caller():
    def fail(part, start, stop):
        raise ZeroDivisionError(str(part))

    with pytest.raises(ZeroDivisionError):
        run_ranges([(0, 1), (1, 2)], fail, n_threads=2)
