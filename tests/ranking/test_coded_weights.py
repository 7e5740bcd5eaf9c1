"""Classifiers of bytes against what their floats give in a plain product."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from learned_index.errors import InputError, ModelFormatError
from learned_index.ranking import coded_weights
from learned_index.ranking.config import RankerConfig
from learned_index.ranking.sparse_ranker import SparseRanker
from learned_index.system.threads import limit_threads

N, V, D, L, K = 90, 300, 70, 40, 11
SCALE = 0.5


@pytest.fixture(scope="module")
def x() -> tuple[sp.csr_matrix, Any]:
    rng = np.random.default_rng(0)
    sparse = sp.random(N, V, density=0.2, random_state=1, dtype=np.float32, format="csr")
    dense = rng.normal(size=(N, D)).astype(np.float32)
    dense[3] = 0  # a text of unknown words
    return sparse, dense


@pytest.fixture(scope="module")
def ids() -> Any:
    rng = np.random.default_rng(1)
    found = np.stack([rng.permutation(L)[:K] for _ in range(N)]).astype(np.int64)
    found[::5, -3:] = -1
    return found


@pytest.fixture(scope="module")
def floats(x, ids) -> SparseRanker:
    rng = np.random.default_rng(2)
    chosen = rng.random((N, L)) < 0.1
    chosen[:, 7] = False  # a label without points
    labels = sp.csr_matrix(chosen.astype(np.float32))
    return SparseRanker(RankerConfig(dense_scale=SCALE)).fit(*x, labels, ids)


def rounded(rows: Any) -> Any:
    """Rows as the kernel sees them: the largest entry of each is 127 units."""
    unit = np.abs(rows).max(axis=1, keepdims=True) / np.float32(127)
    return np.rint(rows / np.where(unit > 0, unit, 1)) * unit


def plain(ranker: SparseRanker, x: Any, ids: Any) -> Any:
    sparse, dense = x
    weights = ranker._fitted()
    every = sparse @ ranker.sparse_weights().T.toarray() + weights.bias_L
    every = every + rounded(dense * np.float32(SCALE)) @ weights.weight_LD.T
    return np.where(ids >= 0, np.take_along_axis(every, np.maximum(ids, 0), axis=1), 0)


def test_margins_are_those_of_a_plain_product(floats, x, ids) -> None:
    coded = floats.to_int8()
    margins = coded.score(*x, ids)
    np.testing.assert_allclose(margins, plain(coded, x, ids), atol=2e-5)
    np.testing.assert_allclose(margins, floats.score(*x, ids), atol=0.05)
    assert not np.array_equal(margins, floats.score(*x, ids))
    assert (margins[ids < 0] == 0).all()


def test_no_weight_is_off_by_more_than_half_a_unit(floats) -> None:
    coded = floats.to_int8()
    before, after = floats.sparse_weights().toarray(), coded.sparse_weights().toarray()
    unit_L = np.abs(before).max(axis=1, keepdims=True) / 127
    assert (np.abs(before - after) <= 0.51 * unit_L).all()
    before, after = floats._fitted().weight_LD, coded._fitted().weight_LD
    unit_L = np.abs(before).max(axis=1, keepdims=True) / 127
    assert (np.abs(before - after) <= 0.51 * unit_L).all()
    assert (coded.precision, floats.precision) == ("int8", "float32")
    assert coded.nbytes < floats.nbytes
    assert (coded.n_labels, coded.n_weights) == (floats.n_labels, floats.n_weights)


def test_batches_and_threads_change_nothing(floats, x, ids) -> None:
    coded = floats.to_int8()
    every = coded.score(*x, ids)
    for row in range(0, N, 7):
        alone = coded.score(x[0][row], x[1][row : row + 1], ids[row : row + 1])
        assert np.array_equal(alone[0], every[row])
    with limit_threads(2):
        assert np.array_equal(coded.score(*x, ids), every)


def test_a_saved_one_answers_the_same(floats, x, ids, tmp_path: Path) -> None:
    for ranker, version in ((floats, 1), (floats.to_int8(), 2)):
        folder = tmp_path / str(version)
        ranker.save_pretrained(folder)
        assert json.loads((folder / "manifest.json").read_text())["format_version"] == version
        loaded = SparseRanker.from_pretrained(folder)
        assert loaded.precision == ranker.precision
        assert np.array_equal(loaded.score(*x, ids), ranker.score(*x, ids))


def test_labels_that_stay_keep_their_bits(floats, x, ids) -> None:
    coded = floats.to_int8()
    others = np.array([5, 9, 2, 7])
    taken = coded.with_labels_taken(others)
    assert taken.precision == "int8"
    asked = np.tile(np.arange(4), (N, 1))
    assert np.array_equal(taken.score(*x, asked), coded.score(*x, others[asked]))
    new = sp.csr_matrix(np.arange(N)[:, None] % 9 == 0, dtype=np.float32)
    more = coded.with_labels(*x, new, sp.csr_matrix(np.ones((N, 1), np.float32)))
    assert (more.n_labels, more.precision) == (L + 1, "int8")
    assert np.array_equal(more.score(*x, ids), coded.score(*x, ids))


def test_further_features_weigh_nothing(floats, x, ids) -> None:
    rng = np.random.default_rng(0)
    more = sp.csr_matrix(rng.random((N, 3)).astype(np.float32))
    wider = sp.hstack([x[0], more], format="csr")
    for ranker in (floats, floats.to_int8()):
        longer = ranker.with_more_features(x[0].shape[1] + 3)
        assert longer.n_features_ == ranker.n_features_ + 3 == wider.shape[1]
        assert longer.precision == ranker.precision
        assert np.array_equal(longer.score(wider, x[1], ids), ranker.score(*x, ids))


def test_a_margin_is_explained(floats, x) -> None:
    coded = floats.to_int8()
    for label in (0, 7, 13):
        parts = coded.explain(x[0][5], x[1][5:6], label)
        margin = coded.score(x[0][5], x[1][5:6], np.array([[label]]))[0, 0]
        assert parts.parts.sum() + parts.dense + parts.bias == pytest.approx(margin, abs=0.02)
        weighed = coded.sparse_weights()[label].indices
        assert parts.terms.tolist() == sorted(set(weighed) & set(x[0][5].indices))


def test_labels_beyond_24_bits_stay_floats(floats, monkeypatch) -> None:
    monkeypatch.setattr("learned_index.ranking.sparse_ranker.MOST_LABELS", L - 1)
    assert floats.to_int8() is floats
    assert coded_weights.MOST_LABELS == 2**24


def test_bad_input_is_refused(floats, x, ids) -> None:
    coded = floats.to_int8()
    with pytest.raises(InputError, match="shortlisted ids"):
        coded.score(*x, np.where(ids == 4, L, ids))
    with pytest.raises(InputError, match="NaN"):
        coded.score(x[0], np.where(x[1] == x[1][8, 2], np.nan, x[1]), ids)
    assert np.isfinite(coded.score(*x, ids)).all()


DAMAGE = {
    "a label beyond": ("term_weights", lambda a: a | np.uint32(L << 8)),
    "offsets beyond": ("term_indptr", lambda a: a + 1),
    "an endless scale": ("dense_scales_L", lambda a: a + np.inf),
    "a negative scale": ("sparse_scales_L", lambda a: a - 1e3),
    "no number": ("bias_L", lambda a: a * np.nan),
    "too few labels": ("codes_LP", lambda a: a[:-1].copy()),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_file_is_refused(floats, tmp_path: Path, name: str) -> None:
    field, change = DAMAGE[name]
    coded = floats.to_int8()
    coded._coded = coded._coded._replace(**{field: change(getattr(coded._coded, field))})
    coded.save_pretrained(tmp_path / "ranker")
    with pytest.raises(ModelFormatError, match=field.removesuffix("_LP")):
        SparseRanker.from_pretrained(tmp_path / "ranker")
