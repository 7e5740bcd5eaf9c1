"""Files of predictions: written and read again, those of others, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from conftest import tiny_dataset

from learned_index.data import LabelVocabulary
from learned_index.data.predictions.files import labels_file
from learned_index.data.predictions.reading import read_predictions
from learned_index.data.predictions.writing import PredictedBlock, write_predictions
from learned_index.errors import DataFormatError, InputError

TEST = tiny_dataset("test", 40, seed=2)
NAMED = replace(TEST, ids=[f"p{row}" for row in range(40)])
K = 6


def block(rows: slice = slice(0, 40), *, names: bool = False) -> PredictedBlock:
    """Answers of falling scores, some rows short, one empty."""
    rng = np.random.default_rng(0)
    ids = np.argsort(rng.random((40, 30)), axis=1)[:, :K].astype(np.int64)
    scores = np.sort(rng.random((40, K)).astype(np.float32), axis=1)[:, ::-1].copy()
    ids[3, 2:], ids[5] = -1, -1
    p = rng.random((40, K)).astype(np.float32)
    scores[ids < 0] = p[ids < 0] = -np.inf
    point_ids = [f"p{row}" for row in range(40)][rows] if names else None
    return PredictedBlock(ids[rows], scores[rows], p[rows], point_ids)


def parts() -> list[PredictedBlock]:
    return [block(slice(0, 16)), block(slice(16, 40))]


@pytest.mark.parametrize("ending", ["jsonl", "parquet", "txt", "npz"])
def test_what_is_written_is_read_again(ending: str, tmp_path: Path) -> None:
    if ending == "parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / f"p.{ending}"
    write_predictions(path, parts(), TEST.vocabulary, n_points=40)
    first = path.read_bytes()
    write_predictions(path, parts(), TEST.vocabulary, n_points=40)
    assert path.read_bytes() == first
    found, whole = read_predictions(path, TEST), block()
    assert found.keys == TEST.vocabulary.keys and found.probable
    np.testing.assert_array_equal(found.result.ids, whole.ids)
    expected = whole.probabilities if ending in ("jsonl", "parquet") else whole.scores
    np.testing.assert_array_equal(found.result.scores, expected)
    assert (found.n_unknown, found.n_other) == (0, 0)
    assert labels_file(path).is_file() == (ending in ("txt", "npz"))


def test_rows_belong_to_points_by_id(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    write_predictions(path, [block(names=True)], TEST.vocabulary, n_points=40)
    lines = path.read_text().splitlines()
    more = json.dumps({"id": "other", "labels": ["sorting"], "scores": [1], "probabilities": [1]})
    path.write_text("\n".join([more, *reversed(lines)]))
    found = read_predictions(path, NAMED)
    np.testing.assert_array_equal(found.result.ids, block().ids)
    assert found.n_other == 1
    path.write_text("\n".join(lines[1:]))
    with pytest.raises(InputError, match=r"no row for 1 of the 40 points.*'p0'"):
        read_predictions(path, NAMED)
    path.write_text("\n".join([*lines, lines[2]]))
    with pytest.raises(InputError, match="two rows for the point 'p2'"):
        read_predictions(path, NAMED)
    # Data without ids go by the order.
    with pytest.raises(InputError, match=r"41 rows, the test split 40"):
        read_predictions(path, TEST)


def test_files_of_others(tmp_path: Path) -> None:
    two = TEST.subset(np.arange(2))
    path = tmp_path / "p.jsonl"
    rows: list[Any] = [
        {"labels": ["Algebra", "music", "new"], "scores": [0.2, 3, 0.5]},
        {"results": [{"label": "Music", "key": "music", "score": 0.1}, {"label": "Sorting"}]},
    ]
    path.write_text("\n\n".join(map(json.dumps, rows)))
    found = read_predictions(path, two)
    ids = [two.vocabulary.id(name) for name in ("music", "algebra", "sorting")]
    assert found.result.ids.tolist() == [[ids[0], 30, ids[1]], [ids[0], ids[2], -1]]
    assert found.keys[30:] == ("new",) and found.n_unknown == 1 and not found.probable
    # Numbered by the data where no other names are told, or by a file.
    text = tmp_path / "p.txt"
    text.write_text("2 30\n3:0.5 0:0.9\n\n")
    found = read_predictions(text, two)
    assert found.result.ids.tolist() == [[0, 3], [-1, -1]]
    (tmp_path / "mine").write_text("music\tMusik\nnew\n")
    text.write_text("2 2\n0:0.5\n1:0.1\n")
    found = read_predictions(text, two, labels=tmp_path / "mine")
    assert found.result.ids.tolist() == [[ids[0]], [30]]
    sp.save_npz(tmp_path / "p.npz", sp.csr_matrix([[0, 0.5], [0.1, 0]]))
    found = read_predictions(tmp_path / "p.npz", two, labels=tmp_path / "mine")
    assert found.result.ids.tolist() == [[30], [ids[0]]]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.jsonl", '{"labels": ["a"]}\n{"scores": [1]}\n', ":2: no list of labels"),
        ("p.jsonl", '{"labels": ["a", "a"]}\n', "predicted twice"),
        ("p.jsonl", '{"labels": ["Algebra", "algebra"]}\n{"labels": []}\n', "predicted twice"),
        ("p.jsonl", '{"labels": ["a"], "scores": [1, 2]}\n', "1 labels and 2 scores"),
        ("p.jsonl", '{"labels": ["a"], "scores": [NaN]}\n', "NaN or infinity"),
        ("p.jsonl", '{"labels": ["a"], "scores": ["x"]}\n', "something else than numbers"),
        ("p.jsonl", '{"labels": [3.5]}\n', "a label is 3.5, expected its key or name"),
        ("p.jsonl", '{"results": {}}\n', "no list of objects"),
        ("p.jsonl", '{"labels": []}\n', "1 rows, the test split 2"),
        ("p.jsonl", "[1]\n", "one object a line"),
        ("p.txt", "2 7\n0:1\n\n", "7 columns, expected one for each of the 30 labels"),
        ("p.txt", "3 30\n0:1\n\n", "ends after 2 rows"),
        ("p.txt", "2 30\n0:1 0:2\n\n", "predicted twice"),
        ("p.txt", "2 30\n31:1\n\n", "out of range"),
        ("p.npz", "no zip", "cannot be read"),
        ("p.csv", "", "predictions are .jsonl"),
        ("q.jsonl", None, "missing"),
    ],
)
def test_what_follows_no_schema_is_refused(
    name: str, content: str | None, message: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    with pytest.raises((DataFormatError, InputError), match=message):
        read_predictions(path, TEST.subset(np.arange(2)))


def test_keys_are_left_out_where_they_are_the_names(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    found = PredictedBlock(np.array([[1, 0]]), np.array([[0.5, 0.1]], np.float32))
    write_predictions(path, [found], LabelVocabulary(["a", "b"]), n_points=1)
    assert path.read_text() == '{"labels": ["b", "a"], "scores": [0.5, 0.1]}\n'
