"""What the compared methods get: items with the projection folded in, exact neighbours."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from compare_cases import DIM, FakeModel, make_data

from learned_index.comparison.reference import exact_neighbours
from learned_index.comparison.workspace import (
    Workspace,
    affine_map,
    prepare,
)


@pytest.mark.parametrize("curved", [False, True])
def test_the_projection_is_folded_into_the_items(tmp_path, curved):
    """A projection that is not affine is done beforehand."""
    model, data = FakeModel(curved=curved), make_data()
    workspace = Workspace(tmp_path)
    prepare(workspace, model, data, with_training_queries=True)
    items = workspace.load("items")
    for name, rows in (("lifted", data.queries_ND), ("train_lifted", data.embeddings_ND)):
        lifted = workspace.load(name)
        expected = np.tanh(rows) if curved else rows
        dim = expected.shape[1]
        np.testing.assert_array_equal(lifted[:, :dim], expected)
        np.testing.assert_array_equal(lifted[:, dim], 1)
        assert lifted.shape[1] == items.shape[1] and lifted.shape[1] % 32 == 0
        assert not lifted[:, dim + 1 :].any() and not items[:, dim + 1 :].any()
        np.testing.assert_allclose(
            lifted @ items.T, model.project(rows) @ model.weights.T + model.bias,
            rtol=1e-3, atol=1e-4,
        )  # fmt: skip


def test_an_offset_of_the_projection_goes_into_the_bias(tmp_path):
    model = FakeModel()
    model.project = lambda queries: np.asarray(queries) @ (model.matrix + 1) + np.arange(DIM) / 9
    queries = make_data().queries_ND
    workspace = Workspace(tmp_path)
    prepare(workspace, model, make_data())
    np.testing.assert_allclose(
        workspace.load("lifted") @ workspace.load("items").T,
        model.project(queries) @ model.weights.T + model.bias,
        rtol=1e-3, atol=1e-3,
    )  # fmt: skip


def test_without_a_projection_the_items_are_the_classifiers(tmp_path):
    model = FakeModel()
    model.matrix[:] = 0
    workspace = Workspace(tmp_path)
    prepare(workspace, model, make_data())
    items, dim = workspace.load("items"), model.weights.shape[1]
    np.testing.assert_array_equal(items[:, :dim], model.weights)
    np.testing.assert_array_equal(items[:, dim], model.bias)


def test_affine_maps_are_recognised():
    generator = np.random.default_rng(0)
    matrix, offset = generator.standard_normal((4, 6)), generator.standard_normal(6)
    queries = generator.standard_normal((9, 4)).astype(np.float32)

    def project(x):
        return torch.from_numpy(np.asarray(x @ matrix + offset, dtype=np.float32))

    found = affine_map(project, queries, project(queries).numpy())
    assert found is not None
    np.testing.assert_allclose(found[0], matrix, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[1], offset, rtol=1e-4, atol=1e-5)
    assert affine_map(np.tanh, queries, np.tanh(queries)) is None


def test_exact_neighbours_equal_a_sort():
    generator = np.random.default_rng(0)
    items = generator.standard_normal((40, 5)).astype(np.float32)
    queries = generator.standard_normal((30, 5)).astype(np.float32)
    ids, scores = exact_neighbours(queries, items, 7, block_floats=120)
    np.testing.assert_array_equal(ids, np.argsort(-(queries @ items.T), axis=1)[:, :7])
    np.testing.assert_allclose(scores, -np.sort(-(queries @ items.T), axis=1)[:, :7], rtol=1e-5)
    assert exact_neighbours(queries, items, 100)[0].shape == (30, 40)
