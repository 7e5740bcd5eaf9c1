"""benchmarks/same_bytes.py: what counts as equal, moved, different; how a commit is laid out."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from learned_index.data import open_dataset

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def same_bytes():
    path = ROOT / "benchmarks" / "same_bytes.py"
    spec = importlib.util.spec_from_file_location("same_bytes_benchmark", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look it up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def model(folder: Path, **changed: np.ndarray) -> Path:
    arrays = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros(2, np.float32)}
    (folder / "part").mkdir(parents=True)
    save_file(arrays | changed, folder / "part" / "a.safetensors")
    np.save(folder / "codes.npy", np.arange(4, dtype=np.int8))
    (folder / "labels.txt").write_text("one\ntwo\n", encoding="utf-8")
    (folder / "manifest.json").write_text(str(folder), encoding="utf-8")
    return folder


def compared(same_bytes, base: Path, head: Path):
    return same_bytes.compare_arrays(same_bytes.read_arrays(base), same_bytes.read_arrays(head))


def test_equal_arrays_are_equal_whatever_the_manifests_say(same_bytes, tmp_path):
    result = compared(same_bytes, model(tmp_path / "a"), model(tmp_path / "b"))
    assert result.equal and result.n_compared == 4
    assert result.row("train m") == ("train m", "4", "yes", "")


def test_a_difference_is_named_with_its_size(same_bytes, tmp_path):
    b = np.array([0.0, 0.25], np.float32)
    result = compared(same_bytes, model(tmp_path / "a"), model(tmp_path / "b", b=b))
    assert not result.equal
    assert result.differences == ["part/a.safetensors:b: max abs 0.25"]


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (np.zeros(2, np.float64), "float32[2] became float64[2]"),
        (np.zeros(3, np.float32), "float32[2] became float32[3]"),
        (np.array([0.0, -0.0], np.float32), "max abs 0"),
        (np.array([0.0, np.inf], np.float32), "max abs inf"),
        (np.zeros(2, np.float32), ""),
    ],
)
def test_types_shapes_and_bits_are_compared(same_bytes, head, words):
    assert same_bytes.difference(np.zeros(2, np.float32), head) == words


def test_what_moved_is_found_by_content_and_the_rest_is_told(same_bytes, tmp_path):
    base, head = model(tmp_path / "a"), model(tmp_path / "b")
    (head / "part").rename(head / "elsewhere")
    (head / "labels.txt").rename(head / "part_labels.txt")
    result = compared(same_bytes, base, head)
    assert result.differences == ["labels.txt: only in base"]
    np.save(head / "more.npy", np.ones(3))
    assert "more.npy: only in head" in compared(same_bytes, base, head).differences


def test_each_moved_array_stands_for_one(same_bytes):
    one = np.ones(3)
    result = same_bytes.compare_arrays({"a": one, "b": one}, {"c": one})
    assert result.differences == ["b: only in base"] and result.n_compared == 2


def test_nothing_to_compare_is_not_equal(same_bytes):
    assert not same_bytes.compare_arrays({}, {}).equal
    assert same_bytes.compare_answers([], []).row("search m")[2] == "NO"


def test_answers_are_compared_by_names_and_scores(same_bytes):
    def answers(label="x", score=0.5, query="q"):
        return [{"query": query, "results": [{"label": label, "key": "k", "score": score}]}]

    compare = same_bytes.compare_answers
    assert compare(answers(), answers()).equal
    assert compare(answers(), answers(label="y")).differences == ["'q': other labels"]
    assert compare(answers(), answers(score=0.25)).differences == ["'q': max abs 0.25"]
    assert compare(answers(), answers(query="r")).differences == ["'q': the query became 'r'"]
    assert compare(answers(), []).differences == ["1 answers became 0"]


def test_the_data_are_what_the_package_reads(same_bytes, tmp_path):
    same_bytes.write_data(tmp_path / "data", n_texts=60)
    folder = open_dataset(tmp_path / "data")
    assert folder.splits == ("train", "test")
    train, queries = folder.read("train"), same_bytes.read_queries(tmp_path / "data")
    assert train.n_points == 40 and train.n_labels == 128
    assert train.labels.nnz == 80
    assert queries == list(folder.read("test").texts)


def test_a_tree_is_imported_in_the_place_of_what_is_installed(same_bytes, tmp_path):
    same_bytes.lay_out(ROOT, tmp_path / "tree")
    found = same_bytes.Package(tmp_path / "tree", tmp_path / "numba")
    found.check()
    (metadata,) = (tmp_path / "tree").glob("learned_index-*.dist-info")
    points = (metadata / "entry_points.txt").read_text()
    assert "lsa = learned_index.encoders.lexical.lsa:LSAEncoder" in points


def test_a_missing_module_is_not_taken_from_what_is_installed(same_bytes, tmp_path):
    (tmp_path / "tree" / "learned_index").mkdir(parents=True)
    (tmp_path / "tree" / "learned_index" / "__init__.py").touch()
    with pytest.raises(SystemExit):
        same_bytes.Package(tmp_path / "tree", tmp_path / "numba").check()


def test_the_first_spelling_that_a_command_has_is_taken(same_bytes, tmp_path, monkeypatch):
    monkeypatch.setitem(same_bytes.WORDS, "--stage1-epochs", ("--tree-epochs",))
    found = same_bytes.Package(tmp_path, tmp_path)
    found._help["train"] = {"--tree-epochs", "--out"}
    assert found.word("--stage1-epochs", command="train") == "--tree-epochs"
    with pytest.raises(SystemExit, match="li train has none of --stage2-epochs"):
        found.word("--stage2-epochs", command="train")
