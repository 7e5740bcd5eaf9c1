"""Sparse feature rows as points: their encoders, and ELIAS on them."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from elias_cases import QUICK, train_data

from learned_index.elias.config import EliasConfig
from learned_index.elias.model import ELIAS
from learned_index.encoders.lexical.feature_rows import DenseFeatureRowsEncoder, FeatureRowsEncoder
from learned_index.encoders.lexical.lsa import FeatureSvdEncoder
from learned_index.encoders.lexical.tfidf import TfidfEncoder
from learned_index.errors import InputError, NotFittedError


def feature_data() -> tuple[sp.csr_matrix, sp.csr_matrix]:
    train = train_data()
    rows = TfidfEncoder(sublinear_tf=False).fit(train.texts).encode(train.texts)
    return sp.csr_matrix(rows * 3, dtype=np.float32), train.labels


def test_feature_rows_are_points_too(tmp_path) -> None:
    rows, labels = feature_data()
    model = ELIAS(
        FeatureSvdEncoder(dim=16), training=QUICK, config=EliasConfig(validation_fraction=0.1)
    ).fit(rows, labels)
    assert model.features.kind == "feature-rows"
    result = model.search(rows[:40], 2)
    hits = [set(result.ids[r]) & set(labels[r].indices) for r in range(40)]
    assert np.mean([bool(h) for h in hits]) > 0.9
    model.save_pretrained(tmp_path / "m")
    again = ELIAS.from_pretrained(tmp_path / "m").search(rows[:40], 2)
    assert again.scores.tobytes() == result.scores.tobytes()


@pytest.mark.parametrize("weighting", ["idf", "none"])
def test_feature_rows_against_dense_arithmetic(weighting: str, tmp_path) -> None:
    rows, _ = feature_data()
    rows = sp.vstack([rows[:20], sp.csr_matrix((1, rows.shape[1]), dtype=np.float32)], "csr")
    encoder = FeatureRowsEncoder(weighting=weighting).fit(rows)
    dense = rows.toarray().astype(np.float64)
    if weighting == "idf":
        dense = dense * (np.log(22 / (1 + (dense != 0).sum(axis=0))) + 1)
    norm = np.linalg.norm(dense, axis=1, keepdims=True)
    expected = dense / np.where(norm > 0, norm, 1)
    np.testing.assert_allclose(encoder.encode(rows).toarray(), expected, atol=1e-6)
    one = encoder.encode(rows[3:4]).toarray()
    assert one.tobytes() == encoder.encode(rows)[3:4].toarray().tobytes()
    encoder.save_pretrained(tmp_path / "e")
    again = FeatureRowsEncoder.from_pretrained(tmp_path / "e")
    assert (again.encode(rows) != encoder.encode(rows)).nnz == 0
    assert again.fingerprint() == encoder.fingerprint()
    with pytest.raises(InputError, match="features, expected"):
        encoder.encode(rows[:, :5])
    width = rows.shape[1]
    wide = sp.hstack([rows, rows[:, :2]], "csr")
    with pytest.raises(
        InputError, match=rf"of {width + 2} .* {width} .*leave out features {width}"
    ):
        encoder.encode(wide)
    with pytest.raises(InputError, match=rf"of 5 features, expected {width} .*declare {width}"):
        FeatureSvdEncoder(dim=2).fit(rows).encode(rows[:, :5])
    with pytest.raises(InputError, match="cannot encode texts"):
        encoder.encode(["text"])
    with pytest.raises(NotFittedError):
        FeatureRowsEncoder().encode(rows)


def test_dense_feature_rows_are_the_sparse_ones(tmp_path) -> None:
    rows = sp.random(30, 12, density=0.3, format="csr", random_state=0, dtype=np.float32)
    dense = DenseFeatureRowsEncoder().fit(rows)
    sparse = FeatureRowsEncoder(weighting="none").fit(rows)
    np.testing.assert_array_equal(dense.encode(rows), sparse.encode(rows).toarray())
    (tmp_path / "e").mkdir()
    dense.save_pretrained(tmp_path / "e")
    again = DenseFeatureRowsEncoder.from_pretrained(tmp_path / "e")
    np.testing.assert_array_equal(again.encode(rows), dense.encode(rows))
    with pytest.raises(InputError, match="at most 8192"):
        DenseFeatureRowsEncoder().fit(sp.csr_matrix((3, 9000), dtype=np.float32))
