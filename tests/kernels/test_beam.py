"""The beam and its scores against plain torch (equations 2 and 3)."""

from __future__ import annotations

import pytest
import torch

from learned_index.kernels.beam import best_clusters, cluster_scores


@pytest.mark.parametrize("width", [1, 5, 64, 70, 100])
def test_the_best_clusters_are_those_of_topk(width):
    logits = torch.randn(7, 90, generator=torch.Generator().manual_seed(width))
    logits[2, 5:] = -torch.inf
    got, want = (best_clusters(logits, width, implementation=name) for name in ("numba", "torch"))
    assert got.shape == want.shape
    assert torch.equal(logits.gather(1, got), logits.gather(1, want))
    assert all(len(set(row)) == len(row) for row in got.tolist())


@pytest.mark.parametrize("width", [1, 4, 30])
def test_the_beam_takes_in_the_teachers_clusters_once(width, with_threads):
    generator = torch.Generator().manual_seed(width)
    logits = torch.randn(9, 30, generator=generator)
    logits[3] = logits[3].round()  # ties
    teacher = torch.randint(-1, 30, (9, 5), generator=generator)
    teacher[1] = -1
    want = best_clusters(logits, width, teacher, implementation="torch")
    with with_threads(1):
        got = best_clusters(logits, width, teacher, implementation="numba")
    with with_threads(3):
        assert torch.equal(got, best_clusters(logits, width, teacher, implementation="numba"))
    for row, other, forced, of_row in zip(
        got.tolist(), want.tolist(), teacher.tolist(), logits, strict=True
    ):
        assert of_row[row[:width]].tolist() == of_row[other[:width]].tolist()
        used = [cluster for cluster in row if cluster >= 0]
        assert len(set(used)) == len(used)
        assert set(used) == set(row[:width]) | {cluster for cluster in forced if cluster >= 0}
        assert -1 not in row[: len(used)]
    assert (got[:, -1] >= 0).any()


def test_scores_of_some_clusters_equal_plain_torch_where_some_are_cut(with_threads):
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(7, 33, generator=generator)
    logits[2, 20:] = -torch.inf
    clusters = torch.stack([torch.randperm(20, generator=generator)[:6] for _ in range(7)])
    clusters[4, 3:] = -1
    upstream = torch.randn(7, 6, generator=generator)

    def run(implementation):
        leaf = logits.clone().requires_grad_()
        out = cluster_scores(leaf, clusters, 8.0, implementation=implementation)
        return out.detach(), *torch.autograd.grad(out, leaf, upstream)

    with with_threads(3):
        got, grad = run("numba")
    want, want_grad = run("torch")
    assert (want == 1.0).any() and ((want > 0) & (want < 1)).any()
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(grad, want_grad, rtol=1e-4, atol=1e-5)
