"""The walk against paths found by hand and against plain torch (equation 5)."""

from __future__ import annotations

import pytest
import torch
from kernel_cases import paths_by_hand, random_graph

from learned_index.kernels.walk import explore, path_scores


@pytest.mark.parametrize("implementation", ["numba", "torch"])
@pytest.mark.parametrize("size", [3, 10, 25])
@pytest.mark.parametrize("force", [False, True])
def test_explore_keeps_the_best_paths(implementation, size, force):
    for seed in range(5):
        clusters, scores, edge_labels, edge_weights, positives = random_graph(seed)
        found = explore(
            clusters, scores, edge_labels, edge_weights,
            n_labels=25, shortlist_size=size, positives_BP=positives if force else None,
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


def test_columns_of_a_shortlist_ascend_after_its_positives_and_its_scores_are_the_paths():
    clusters, scores, edge_labels, weights, positives = random_graph(3)
    found = explore(
        clusters, scores, edge_labels, weights,
        n_labels=25, shortlist_size=12, positives_BP=positives,
    )  # fmt: skip
    again = path_scores(scores, weights, clusters, found)
    assert torch.equal(found.path_BK, again)
    assert torch.equal(found.n_valid_B, (found.label_ids_BK >= 0).sum(dim=1))
    for ids, n_pos, n in zip(
        found.label_ids_BK.tolist(), found.n_positives_B.tolist(), found.n_valid_B.tolist(),
        strict=True,
    ):  # fmt: skip
        assert ids[n_pos:n] == sorted(set(ids[n_pos:n]) - set(ids[:n_pos]))
        assert all(label == -1 for label in ids[n:])


def test_of_equal_paths_exactly_k_enter_a_shortlist():
    clusters, scores, edge_labels, weights, positives = random_graph(4)
    arguments = {"n_labels": 25, "positives_BP": positives}
    for size in (1, 2, 5, 9):
        found = explore(
            clusters, torch.ones_like(scores), edge_labels, (4 * weights).round() / 4,
            shortlist_size=size, **arguments,
        )  # fmt: skip
        oracle = explore(
            clusters, torch.ones_like(scores), edge_labels, (4 * weights).round() / 4,
            shortlist_size=size, **arguments, implementation="torch",
        )  # fmt: skip
        best = path_scores(torch.ones_like(scores), (4 * weights).round() / 4, clusters, oracle)
        assert torch.equal(found.n_valid_B, oracle.n_valid_B)
        assert torch.equal(found.path_BK.sort(dim=1).values, best.sort(dim=1).values)


def explored(seed):
    clusters, scores, edge_labels, weights, positives = random_graph(seed)
    shortlist = explore(
        clusters, scores, edge_labels, weights,
        n_labels=25, shortlist_size=24, positives_BP=positives,
    )  # fmt: skip
    assert (shortlist.label_ids_BK < 0).any()
    return clusters, scores, weights, shortlist


def path_gradients(case, implementation):
    clusters, scores, weights, shortlist = case
    leaves = [scores.clone().requires_grad_(), weights.clone().requires_grad_()]
    out = path_scores(*leaves, clusters, shortlist, implementation=implementation)
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    return [out.detach(), *torch.autograd.grad(out, leaves, upstream)]


@pytest.mark.parametrize("seed", range(4))
def test_path_scores_equal_plain_torch_at_any_current_threads(seed, with_threads):
    case = explored(seed)
    want = path_gradients(case, "torch")
    with with_threads(1):
        one = path_gradients(case, "numba")
    with with_threads(3):
        three = path_gradients(case, "numba")
    assert torch.equal(one[0], want[0])
    for a, b, c in zip(one, three, want, strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(a, c, rtol=1e-5, atol=1e-6)


def test_known_path_scores_have_the_gradients_of_computed_ones():
    clusters, scores, weights, shortlist = explored(1)
    upstream = torch.randn(shortlist.path_BK.shape, generator=torch.Generator().manual_seed(1))

    def run(found):
        leaves = [scores.clone().requires_grad_(), weights.clone().requires_grad_()]
        out = path_scores(*leaves, clusters, shortlist, found_BK=found)
        return [out.detach(), *torch.autograd.grad(out, leaves, upstream)]

    known, computed = run(shortlist.path_BK), run(None)
    assert all(torch.equal(a, b) for a, b in zip(known, computed, strict=True))
