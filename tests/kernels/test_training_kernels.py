"""Compiled parts of a training step against plain versions, and the benchmark that times them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from test_kernels import dense_scores, random_graph, scoring_case

from learned_index.errors import InputError
from learned_index.kernels.beam import best_clusters, cluster_scores
from learned_index.kernels.classify import score_labels
from learned_index.kernels.classify.gathered import add_rows, dot_rows
from learned_index.kernels.edges import edge_weights
from learned_index.kernels.losses import both_losses, classification_loss, shortlist_loss
from learned_index.kernels.machine.exponential import fast_log
from learned_index.kernels.update import RowAdamW, RowGradients
from learned_index.kernels.walk import explore, path_scores
from learned_index.training.batches import dropout_mask

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import training_step
from on_cpu.floors import Rates, Work
from on_cpu.instance import synthetic_stage
from on_cpu.parts import PARTS, timed_step

SMALL = {"labels": 400, "dim": 40, "points": 300, "batch": 16}


def address(array):
    return np.uintp(array.ctypes.data)


@pytest.mark.parametrize("dim", [1, 15, 16, 32, 33, 96, 100, 200])
@pytest.mark.parametrize("n", [0, 1, 4, 7])
def test_products_with_gathered_rows_equal_numpy(dim, n):
    rng = np.random.default_rng(dim + n)
    table = rng.normal(size=(9, dim)).astype(np.float32)
    x, before = rng.normal(size=(2, dim)).astype(np.float32)
    rows = rng.integers(0, 9, size=max(n, 1)).astype(np.int32)
    weights = rng.normal(size=max(n, 1)).astype(np.float32)
    out = np.full(n + 4, 7.0, np.float32)
    stride = np.uintp(4 * dim)
    dot_rows(address(x), address(table), stride, address(rows), n, dim, out, address(x))
    wide = table.astype(np.float64)[rows[:n]]
    np.testing.assert_allclose(out[:n], wide @ x, rtol=1e-5, atol=1e-5)
    assert out[n + 3] == 7.0  # at most three places beyond the result are written
    total = np.append(before, np.float32(7.0))
    add_rows(address(table), stride, address(rows), address(weights), n, dim, address(total))
    np.testing.assert_allclose(total[:dim], before + weights[:n] @ wide, rtol=1e-5, atol=1e-5)
    assert total[dim] == 7.0


@pytest.mark.parametrize("dim", [33, 200])
@pytest.mark.parametrize("kind", ["returned", "collected"])
def test_gradients_over_several_blocks_of_labels_equal_the_dense_oracle(dim, kind, monkeypatch):
    import importlib

    monkeypatch.setattr(
        importlib.import_module("learned_index.kernels.classify.cpu"), "_BLOCK_FLOATS", 3 * dim
    )
    x, w, bias, ids, upstream = scoring_case(B=9, K=20, L=60, D=dim)
    collected = RowGradients(60, dim) if kind == "collected" else None
    z = score_labels(x, w, bias, ids, optimiser=collected)
    if collected is None:
        gradients = torch.autograd.grad(z, (x, w, bias), upstream)
    else:
        grad_x = torch.autograd.grad(z, (x,), upstream)
        gradients = (*grad_x, collected.weight_LD, collected.bias_L)
    doubles = [t.detach().double().requires_grad_() for t in (x, w, bias)]
    oracle = dense_scores(*doubles, ids)
    torch.testing.assert_close(z.double(), oracle, rtol=1e-5, atol=1e-5)
    expected = torch.autograd.grad(oracle, doubles, upstream.double())
    for got, want in zip(gradients, expected, strict=True):
        torch.testing.assert_close(got.double(), want, rtol=1e-4, atol=1e-5)


def test_the_fused_update_gives_the_same_bits_at_any_thread_count(with_threads):
    def run():
        x, w, bias, ids, upstream = scoring_case(B=40, K=60, L=500, D=40)
        rows = RowAdamW(500, 40, learning_rate=0.1, weight_decay=0.01)
        for _ in range(3):
            z = score_labels(x, w, bias, ids, optimiser=rows)
            (grad_x,) = torch.autograd.grad(z, (x,), upstream)
        return [z, grad_x, w, bias, *rows.moments]

    with with_threads(1):
        one = run()
    with with_threads(3):
        three = run()
    assert all(torch.equal(a, b) for a, b in zip(one, three, strict=True))


def test_tables_that_addresses_would_misread_are_refused():
    x, w, bias, ids, _ = scoring_case()
    with pytest.raises(InputError, match=r"weight_LD.*contiguous"):
        score_labels(x, w.detach().T.contiguous().T, bias, ids)
    with pytest.raises(InputError, match=r"x_BD is torch\.float64"):
        score_labels(x.double(), w, bias, ids)


def explored(seed):
    clusters, scores, edge_labels, weights, positives = random_graph(seed)
    shortlist = explore(
        clusters, scores, edge_labels, weights,
        n_labels=25, shortlist_size=24, positives_BP=positives, force_positives=True,
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
def test_path_scores_equal_plain_torch_at_any_thread_count(seed, with_threads):
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


def test_edge_weights_equal_plain_torch_with_pads_and_cut_weights():
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(6, 37, generator=generator)
    labels = torch.arange(6 * 37, dtype=torch.int32).view(6, 37).clone()
    labels[1, 20:], labels[4], labels[5, 0] = -1, -1, -1
    upstream = torch.randn(6, 37, generator=generator)

    def run(implementation):
        leaf = logits.clone().requires_grad_()
        out = edge_weights(leaf, labels, 8.0, implementation=implementation)
        return out.detach(), *torch.autograd.grad(out, leaf, upstream)

    (got, grad), (want, want_grad) = run("numba"), run("torch")
    assert (want == 1.0).any() and (want[4] == 0.0).all()
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(grad, want_grad, rtol=1e-4, atol=1e-5)
    assert (got[labels < 0] == 0.0).all()


@pytest.mark.parametrize("width", [1, 5, 64, 70, 100])
def test_the_best_clusters_are_those_of_topk(width):
    logits = torch.randn(7, 90, generator=torch.Generator().manual_seed(width))
    logits[2, 5:] = -torch.inf
    got, want = (best_clusters(logits, width, implementation=name) for name in ("numba", "torch"))
    assert got.shape == want.shape
    assert torch.equal(logits.gather(1, got), logits.gather(1, want))
    assert all(len(set(row)) == len(row) for row in got.tolist())


def test_columns_of_a_shortlist_ascend_after_its_positives_and_its_scores_are_the_paths():
    clusters, scores, edge_labels, weights, positives = random_graph(3)
    found = explore(
        clusters, scores, edge_labels, weights,
        n_labels=25, shortlist_size=12, positives_BP=positives, force_positives=True,
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
    arguments = {"n_labels": 25, "positives_BP": positives, "force_positives": True}
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


def test_known_path_scores_have_the_gradients_of_computed_ones():
    clusters, scores, weights, shortlist = explored(1)
    upstream = torch.randn(shortlist.path_BK.shape, generator=torch.Generator().manual_seed(1))

    def run(found):
        leaves = [scores.clone().requires_grad_(), weights.clone().requires_grad_()]
        out = path_scores(*leaves, clusters, shortlist, found_BK=found)
        return [out.detach(), *torch.autograd.grad(out, leaves, upstream)]

    known, computed = run(shortlist.path_BK), run(None)
    assert all(torch.equal(a, b) for a, b in zip(known, computed, strict=True))


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


def test_a_second_pass_back_through_the_losses_gives_the_same_gradients():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(5, 40, generator=generator).requires_grad_()
    y = torch.rand(5, 40, generator=generator).requires_grad_()
    n_positives, n_valid = torch.tensor([0, 2, 3, 1, 40]), torch.tensor([40, 30, 3, 1, 40])
    both = both_losses(z, y, n_positives, n_valid)
    loss = 0.7 * both[0] + 0.3 * both[1]
    first = [g.clone() for g in torch.autograd.grad(loss, (z, y), retain_graph=True)]
    second = torch.autograd.grad(loss, (z, y))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    k = torch.arange(40)[None, :]
    positive, valid = k < n_positives[:, None], k < n_valid[:, None]
    plain = 0.7 * classification_loss(z, y, positive, valid) + 0.3 * shortlist_loss(y, positive)
    for got, want in zip(first, torch.autograd.grad(plain, (z, y)), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.75])
def test_dropout_drops_its_share_of_every_lane_and_keeps_the_mean(rate):
    mask = dropout_mask(501, 203, rate, torch.Generator().manual_seed(3))
    assert mask.shape == (501, 203) and mask.dtype == torch.float32
    assert set(mask.unique().tolist()) <= {0.0, float(np.float32(1 / (1 - rate)))}
    flat = mask.reshape(-1)
    for lane in range(4):  # of a 64-bit draw
        dropped = float((flat[lane::4] == 0).double().mean())
        assert abs(dropped - rate) <= 4 * (rate * (1 - rate) / len(flat[lane::4])) ** 0.5
    again = dropout_mask(501, 203, rate, torch.Generator().manual_seed(3))
    assert torch.equal(mask, again)


def test_the_fast_logarithm_is_close():
    for x in np.concatenate([np.geomspace(1e-30, 1e30, 301), np.linspace(0.5, 2, 301)]):
        value = np.float32(x)
        assert fast_log(value) == pytest.approx(np.log(np.float64(value)), rel=2e-7, abs=1e-7)


def test_a_step_cut_into_parts_leaves_the_same_weights():
    stages = [synthetic_stage(**SMALL, shortlist_size=60, beam_width=4) for _ in range(2)]
    for _ in range(2):
        rows = stages[0].draw()
        whole = stages[0].step(rows)
        cut, clock, seen = timed_step(stages[1], rows)
        assert whole == cut
    assert set(clock.spent_ms) == set(PARTS)
    assert all(spent > 0 for spent in clock.spent_ms.values())
    assert seen.n_queries == SMALL["batch"] and 0 < seen.n_rows <= seen.n_pairs
    first, second = (stage.index.state_dict() for stage in stages)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_benchmark_writes_every_part_beside_its_floor(tmp_path, capsys):
    sizes = [f"--{name}={value}" for name, value in SMALL.items()]
    out = tmp_path / "new" / "step.json"
    arguments = [*sizes, "--shortlist=60", "--repeats=2", "--small", f"--out={out}"]
    assert training_step.main(arguments) == 0
    result = json.loads(out.read_text())
    assert [row["part"] for row in result["parts"]][:-1] == list(PARTS)
    assert result["floor_ms"] == pytest.approx(sum(row["floor_ms"] for row in result["parts"]))
    assert result["shape"]["labels"] == 400 and result["clock"] == "CPU"
    table = capsys.readouterr().out
    assert all(f"| {part} |" in table for part in PARTS)
    assert "| **step** |" in table


def test_a_floor_is_the_larger_of_bytes_and_arithmetic():
    rates = Rates(
        bytes_per_s=1e9, products_per_s=1e10, multiply_adds_per_s=1e9,
        near_multiply_adds_per_s=1e9,
    )  # fmt: skip
    assert Work(2e6).floor_ms(rates) == pytest.approx(2.0)
    assert Work(2e6, products=5e7).floor_ms(rates) == pytest.approx(5.0)
    assert Work(2e6, products=5e7, operations=1e6).floor_ms(rates) == pytest.approx(6.0)
