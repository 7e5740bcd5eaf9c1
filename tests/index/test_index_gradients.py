"""The whole forward pass against a dense float64 oracle, with gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from index_cases import small_index

from learned_index.index.search import Knobs, search_in_torch


def dense_oracle(index, x, Y, parameters, *, shares=None):
    """Equations 1 to 7 with loops over queries and paths, in float64, differentiable.

    Shares: what the regions should reach; without a gradient, so finite differences must fix them.
    """
    shares = {} if shares is None else shares
    config, weight = index.config, index.training_config.shortlist_loss_weight
    x = x.double() * index.input_scale.double()
    if "projection.weight" in parameters:
        x = x + x @ parameters["projection.weight"].T
    labels = index.graph.edge_labels_CM
    e = edge_weights(index.graph, parameters["graph.edge_logits_CM"])
    strongest = strongest_rows(labels, e)
    logits = x @ parameters["router.weight_CD"].T
    regional = 0.0
    if index.hierarchy is not None:
        positives = [sorted({strongest[p] for p in Y[b].indices.tolist()}) for b in range(len(x))]
        candidates = candidates_of(index, x, positives, parameters)
        if index.training_config.cluster_softmax == "candidates":
            outside = torch.ones_like(logits, dtype=torch.bool)
            for b, kept in enumerate(candidates):
                outside[b, kept] = False
            logits = logits.masked_fill(outside, float("-inf"))
    s = torch.clamp(config.router_scale * torch.softmax(logits, 1), max=1)
    classification = shortlisting = 0.0
    for b in range(len(x)):
        positives = Y[b].indices.tolist()
        beam = set(s[b].topk(config.beam_width).indices.tolist())
        beam = {c for c in beam if logits[b, c] > float("-inf")}
        teacher = {strongest[p] for p in positives}
        beam |= teacher
        if index.hierarchy is not None:
            own = {c: 1.0 if c in teacher else float(s[b, c].detach()) for c in beam}
            share = shares.setdefault(b, own)
            forced = teacher if index.training_config.cluster_softmax == "candidates" else beam
            u = region_paths(index, x[b], forced, parameters)
            for c in sorted(beam):
                regional -= share[c] / sum(share.values()) * torch.log(u[c])
        paths = {}
        for c in sorted(beam):
            for m, label in enumerate(labels[c].tolist()):
                if label >= 0:
                    path = s[b, c] * e[c, m]
                    if label not in paths or path > paths[label]:
                        paths[label] = path
        ranked = sorted(paths, key=lambda label: -float(paths[label]))
        kept = [p for p in positives if p in paths]
        kept += [label for label in ranked if label not in kept][
            : config.shortlist_size - len(kept)
        ]
        for label in kept:
            z = parameters["label_weight_LD"][label] @ x[b] + parameters["label_bias_L"][label]
            p = paths[label] * torch.sigmoid(z)
            classification -= torch.log(p) if label in positives else torch.log(1 - p)
        for p in positives:
            if p in paths:
                shortlisting -= torch.log(paths[p])
    weighted = index.training_config.region_loss_weight * regional
    return (classification + weight * shortlisting + weighted) / len(x)


def edge_weights(graph, logits):
    logits = logits.masked_fill(graph.edge_labels_CM < 0, float("-inf"))
    return torch.clamp(graph.scale * torch.softmax(logits, 1), max=1)


def strongest_rows(targets, e):
    """Target to the row with its strongest edge."""
    best = {}
    for row in range(len(targets)):
        for m, target in enumerate(targets[row].tolist()):
            weight = float(e[row, m].detach())
            if target >= 0 and weight > best.get(target, (-1.0, 0))[0]:
                best[target] = (weight, row)
    return {target: row for target, (_, row) in best.items()}


def region_paths(index, x, forced, parameters):
    """Cluster to its best path over the beam's regions and those that ``forced`` needs."""
    hierarchy = index.hierarchy
    regions = parameters["hierarchy.router.weight_CD"]
    logits = regions @ x
    g = torch.clamp(index.config.region_scale * torch.softmax(logits, 0), max=1)
    targets = hierarchy.graph.edge_labels_CM
    e = edge_weights(hierarchy.graph, parameters["hierarchy.graph.edge_logits_CM"])
    strongest = strongest_rows(targets, e)
    beam = set(logits.topk(hierarchy.W0).indices.tolist()) | {strongest[c] for c in forced}
    paths = {}
    for s in sorted(beam):
        for m, c in enumerate(targets[s].tolist()):
            path = g[s] * e[s, m]
            if c >= 0 and (c not in paths or path > paths[c]):
                paths[c] = path
    return paths


def candidates_of(index, x, positives, parameters):
    """The clusters scored for each query: the teacher's, then those with the best paths."""
    size = max(index.hierarchy.K0, max(map(len, positives)))
    out = []
    for b, named in enumerate(positives):
        paths = region_paths(index, x[b], named, parameters)
        others = sorted(set(paths) - set(named), key=lambda c, p=paths: -float(p[c].detach()))
        out.append([*named, *others[: size - len(named)]])
    return out


@pytest.mark.parametrize("routing", ["flat", "all", "candidates"])
@pytest.mark.parametrize("projection", ["residual", "none"])
def test_loss_and_all_gradients_equal_the_dense_oracle(projection, routing):
    for seed in range(3):
        index, x, Y = small_index(projection=projection, routing=routing, seed=seed)
        x.requires_grad_()
        loss = index(x, Y).loss
        names = [name for name, _ in index.named_parameters()]
        got = torch.autograd.grad(loss, [x, *index.parameters()])
        doubles = {n: p.detach().double().requires_grad_() for n, p in index.named_parameters()}
        x_double = x.detach().double().requires_grad_()
        oracle = dense_oracle(index, x_double, Y, doubles)
        want = torch.autograd.grad(oracle, [x_double, *doubles.values()])
        assert float(loss.detach()) == pytest.approx(float(oracle.detach()), rel=1e-5)
        for name, a, b in zip(["x", *names], got, want, strict=True):
            assert b.abs().sum() > 0, name
            torch.testing.assert_close(
                a.double(), b, rtol=2e-4, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}"
            )


@pytest.mark.parametrize("routing", ["flat", "all", "candidates"])
def test_the_oracle_has_the_gradients_of_finite_differences(routing):
    index, x, Y = small_index(routing=routing)
    names = [name for name, _ in index.named_parameters()]
    values = [p.detach().double().requires_grad_() for p in index.parameters()]
    shares = {}

    def f(*parameters):
        named = dict(zip(names, parameters, strict=True))
        return dense_oracle(index, x[:3], Y[:3], named, shares=shares)

    assert torch.autograd.gradcheck(f, values, eps=1e-7, atol=1e-4)


def test_positives_are_taken_as_tensor_matrix_or_lists():
    index, x, Y = small_index()
    lists = [Y[b].indices.tolist() for b in range(len(x))]
    padded = torch.full((len(x), max(map(len, lists))), -1)
    for b, row in enumerate(lists):
        padded[b, : len(row)] = torch.tensor(row)
    losses = [float(index(x, form).loss.detach()) for form in (Y, lists, padded)]
    assert losses[0] == losses[1] == losses[2]


def test_every_positive_is_reached_in_training():
    index, x, Y = small_index(shortlist_size=3)
    output = index(x, Y)
    assert int(output.positive_BK.sum()) == sum(min(3, Y[b].nnz) for b in range(len(x)))


@pytest.mark.parametrize("projection", ["residual", "none"])
@pytest.mark.parametrize("size", [4, 9, 24])
@pytest.mark.parametrize("routing", ["flat", "all"])
def test_compiled_search_equals_plain_torch_search(projection, size, routing):
    index, _, _ = small_index(projection=projection, routing=routing)
    queries = np.random.default_rng(5).normal(size=(40, 6)).astype(np.float32)
    for width in (1, 3, 5):
        fast = index.search(queries, k=6, beam_width=width, shortlist_size=size)
        slow = search_in_torch(index, queries, Knobs(6, width, size))
        np.testing.assert_allclose(fast.scores, slow.scores, rtol=1e-4, atol=1e-6)
        assert (fast.ids == slow.ids).mean() > 0.97  # the rest: ties within rounding


def test_equal_scores_come_in_ascending_order_of_id():
    index, _, _ = small_index()
    with torch.no_grad():
        index.label_weight_LD.zero_()
        index.label_bias_L.fill_(0.5)
        index.graph.edge_logits_CM.zero_()
    index.parameters_changed()
    queries = np.random.default_rng(5).normal(size=(5, 6)).astype(np.float32)
    slow = search_in_torch(index, queries, Knobs(24, 5, 24))
    for ids, scores in zip(slow.ids, slow.scores, strict=True):
        found = ids[ids >= 0]
        assert len(set(found.tolist())) == len(found) > 10
        assert sorted(zip(-scores[ids >= 0], found, strict=True)) == list(
            zip(-scores[ids >= 0], found, strict=True)
        )
        assert len(set(scores[ids >= 0].tolist())) < len(found)  # there are equal ones
    np.testing.assert_array_equal(
        slow.ids, index.search(queries, 24, beam_width=5, shortlist_size=24).ids
    )
