"""An index that learns from new points: edges and steps against plain loops, and what stays."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from index_cases import QUICK, SMALL, planted, small_index

from learned_index import LearnedGraphIndex
from learned_index.errors import InputError
from learned_index.index.updating import Labelled, with_new_points


@pytest.fixture(scope="module")
def index() -> LearnedGraphIndex:
    return LearnedGraphIndex(SMALL, training=QUICK).fit(*planted())


def edge_weights(index: LearnedGraphIndex):
    labels, weights = index.graph.arrays()
    dense = np.zeros((index.n_clusters, index.n_labels))
    for c, place in np.argwhere(labels >= 0):
        dense[c, labels[c, place]] = weights[c, place]
    return dense


@pytest.mark.parametrize("routing", ["flat", "all"])
def test_edges_are_those_of_equation_23(routing: str) -> None:
    index, _, _ = small_index(routing=routing)
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(30, 6)).astype(np.float32), rng.random((30, 24)) < 0.1
    y[:, 3] = True
    old_x, old_y = rng.normal(size=(20, 6)).astype(np.float32), rng.random((20, 24)) < 0.1
    old_y[:, 4] = True
    counts = rng.integers(0, 9, 24)
    new, kept = (
        Labelled(a, sp.csr_matrix(b.astype(np.float32))) for a, b in ((x, y), (old_x, old_y))
    )
    learned = with_new_points(index, new, kept, counts_L=counts, rate=0.0)

    def visits(points):
        scores, clusters = index.beam(
            index.projected(torch.from_numpy(points)), index.config.beam_width
        )
        out = np.zeros((len(points), index.n_clusters))
        for row in range(len(points)):
            for score, cluster in zip(scores[row].tolist(), clusters[row].tolist(), strict=True):
                if cluster >= 0:
                    out[row, cluster] += score
        return out

    asked = visits(x).T @ y
    every = asked.sum(axis=1) + (visits(old_x).T @ old_y).sum(axis=1) * counts.sum() / old_y.sum()
    wanted = np.minimum(1, index.graph.scale * asked / np.maximum(every, 1e-30)[:, None])
    wanted = np.maximum(wanted, edge_weights(index))
    np.testing.assert_allclose(edge_weights(learned), wanted, atol=1e-6)
    assert (edge_weights(learned) > edge_weights(index) + 1e-3).any()
    np.testing.assert_array_equal(learned.label_classifiers()[0], index.label_classifiers()[0])


def test_a_step_follows_the_gradient_of_the_classification_loss() -> None:
    index, _, _ = small_index()
    rng = np.random.default_rng(6)
    x = rng.normal(size=(12, 6)).astype(np.float32)
    y = sp.csr_matrix((rng.random((12, 24)) < 0.15).astype(np.float32))
    y[:, 2] = 1
    learned = with_new_points(index, Labelled(x, y), epochs=1, rate=0.3)
    routed = learned.clone(graph=learned.graph)
    for name in ("label_weight_LD", "label_bias_L"):
        start = getattr(index, name).detach().clone().requires_grad_()
        setattr(routed, name, torch.nn.Parameter(start))
    w, b = routed.label_weight_LD, routed.label_bias_L
    projected = routed.projected(torch.from_numpy(x)).detach()
    scores, clusters = routed.beam(projected, routed.config.beam_width)
    edges, total = torch.from_numpy(edge_weights(routed)).float(), torch.zeros(())
    for row in range(len(x)):
        path = (scores[row][:, None] * edges[clusters[row]]).max(dim=0).values
        truth = torch.from_numpy(y[row].toarray()[0])
        found = torch.nonzero((truth > 0) & (path > 0)).ravel().tolist()
        rest = [i for i in torch.argsort(-path, stable=True).tolist() if i not in found]
        found += rest[: routed.config.shortlist_size - len(found)]
        found = [i for i in found if path[i] > 0]
        p = path[found] * torch.sigmoid(w[found] @ projected[row] + b[found])
        t = truth[found]
        total = total - (t * torch.log(p) + (1 - t) * torch.log(1 - p)).sum()
    total.backward()
    weight_LD, bias_L = learned.label_classifiers()
    np.testing.assert_allclose(weight_LD, (w - 0.3 * w.grad).detach().numpy(), atol=2e-4)
    np.testing.assert_allclose(bias_L, (b - 0.3 * b.grad).detach().numpy(), atol=2e-4)


def precision(index: LearnedGraphIndex, x, y) -> float:
    return float(y[np.arange(len(x)), index.search(x, 1).ids[:, 0]].mean())


def test_an_index_learns_from_new_points_most_of_what_a_training_would() -> None:
    x, y = planted(1500, seed=1)
    queries, truth = planted(600, seed=3)

    def trained(n: int) -> LearnedGraphIndex:
        return LearnedGraphIndex(SMALL, training=QUICK).fit(x[:n], y[:n])

    some, all_of_them = trained(400), trained(1500)
    learned = some.update(x[400:], y[400:], known=(x[:400], y[:400]))
    before, after, most = (precision(i, queries, truth) for i in (some, learned, all_of_them))
    assert after - before > 0.5 * (most - before) > 0.05


def test_the_old_index_answers_as_before(index: LearnedGraphIndex) -> None:
    x, y = planted(50, seed=4)
    before, gradient = index.search(x, 10), index.router.weight_CD.grad.clone()
    learned = index.update(x, y)
    after = index.search(x, 10)
    np.testing.assert_array_equal(after.ids, before.ids)
    np.testing.assert_array_equal(after.scores, before.scores)
    assert learned.router.weight_CD is index.router.weight_CD
    assert torch.equal(index.router.weight_CD.grad, gradient)
    assert learned.label_weight_LD is not index.label_weight_LD


def test_a_learned_index_is_saved_compiled_and_learns_again(index, tmp_path) -> None:
    x, y = planted(50, seed=4)
    learned = index.update(x, y).update(x, y)
    learned.save_pretrained(tmp_path / "index")
    loaded = LearnedGraphIndex.from_pretrained(tmp_path / "index")
    found, expected = loaded.search(x, 10), learned.search(x, 10)
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.scores, expected.scores)
    assert (learned.to_engine().search(x, 1).ids == expected.ids[:, :1]).mean() > 0.95


def test_points_that_do_not_fit_are_refused(index: LearnedGraphIndex) -> None:
    x, y = planted(5, seed=4)
    with pytest.raises(InputError, match="dimension"):
        index.update(x[:, :3], y)
    with pytest.raises(InputError, match="labels"):
        index.update(x, y[:, :7])
    with pytest.raises(InputError, match="expected a pair"):
        index.update(x, y, known=x)
