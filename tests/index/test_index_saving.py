"""Saving and loading an index: equal answers, equal bytes, damage, a full disk."""

from __future__ import annotations

import errno
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from index_cases import QUICK, SMALL, planted

import learned_index.index.saving as saving
from learned_index import LearnedGraphIndex, persistence
from learned_index.errors import InputError, ModelFormatError


@pytest.fixture(scope="module")
def fitted():
    X, Y = planted()
    return LearnedGraphIndex(SMALL, training=QUICK).fit(X, Y)


@pytest.fixture
def queries():
    return planted(50, seed=1)[0]


def test_a_loaded_index_answers_the_same(fitted, queries, tmp_path):
    fitted.save_pretrained(tmp_path / "model")
    loaded = LearnedGraphIndex.from_pretrained(tmp_path / "model")
    for beam_width in (None, 1, 12):
        a, b = (i.search(queries, k=15, beam_width=beam_width) for i in (fitted, loaded))
        assert np.array_equal(a.ids, b.ids)
        assert np.array_equal(a.scores, b.scores)
    a, b = (i.fixed_tree().search(queries, k=15) for i in (fitted, loaded))
    assert np.array_equal(a.scores, b.scores)
    assert loaded.config == fitted.config
    assert loaded.training_config == fitted.training_config


def digest(directory: Path) -> str:
    files = sorted(p for p in directory.rglob("*") if p.is_file())
    assert files
    return hashlib.sha256(b"".join(p.name.encode() + p.read_bytes() for p in files)).hexdigest()


def test_a_fresh_process_with_the_same_seed_saves_the_same_bytes(tmp_path, with_threads):
    code = """
import sys; sys.path.insert(0, sys.argv[2])
import torch; torch.set_num_threads(2)
from index_cases import QUICK, SMALL, planted
from learned_index import LearnedGraphIndex
LearnedGraphIndex(SMALL, training=QUICK).fit(*planted(400)).save_pretrained(sys.argv[1])
"""
    with with_threads(2):  # here, after all that the tests before did
        fitted = LearnedGraphIndex(SMALL, training=QUICK).fit(*planted(400))
    fitted.save_pretrained(tmp_path / "b")
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a"), str(Path(__file__).parents[1])],
        check=True,
    )
    assert digest(tmp_path / "a") == digest(tmp_path / "b")


def edit_manifest(directory, **changes):
    path = directory / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def truncate(directory):
    path = directory / "index.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_byte(directory):
    path = directory / "index.safetensors"
    data = bytearray(path.read_bytes())
    data[-1000] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, "truncated"),
        (flip_a_byte, "checksum"),
        (lambda d: (d / "index.safetensors").unlink(), "missing"),
        (lambda d: (d / "manifest.json").unlink(), "missing"),
        (lambda d: (d / "manifest.json").write_text("{"), "not valid JSON"),
        (lambda d: (d / "manifest.json").write_text("[1]"), "not written by this package"),
        (lambda d: edit_manifest(d, kind="tree"), "holds a 'tree'"),
        (lambda d: edit_manifest(d, format_version=99), "upgrade"),
        (lambda d: edit_manifest(d, config={}), "does not hold a whole learned graph index"),
        (lambda d: edit_manifest(d, files={"../../etc/passwd": {}}), "outside the directory"),
    ],
)
def test_damaged_models_are_refused(fitted, tmp_path, damage, message):
    fitted.save_pretrained(tmp_path / "model")
    damage(tmp_path / "model")
    with pytest.raises(ModelFormatError, match=message):
        LearnedGraphIndex.from_pretrained(tmp_path / "model")


def test_label_ids_out_of_range_in_a_file_are_refused(fitted, tmp_path):
    directory = tmp_path / "model"
    fitted.save_pretrained(directory)
    arrays = persistence.load_arrays(directory / "index.safetensors")
    arrays["graph.edge_labels_CM"][0, 0] = 10**6
    persistence.save_arrays(directory / "index.safetensors", arrays)
    manifest = json.loads((directory / "manifest.json").read_text())
    persistence.write_manifest(directory, kind=LearnedGraphIndex.kind, config=manifest["config"])
    with pytest.raises(ModelFormatError, match="expected -1 to"):
        LearnedGraphIndex.from_pretrained(directory)


def test_a_directory_that_is_no_model_is_refused(tmp_path):
    with pytest.raises(ModelFormatError, match="missing"):
        LearnedGraphIndex.from_pretrained(tmp_path)
    with pytest.raises(ModelFormatError, match="not a directory"):
        LearnedGraphIndex.from_pretrained(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()]
)
def test_a_full_disk_or_an_interrupt_while_saving_loses_nothing(
    fitted, queries, tmp_path, monkeypatch, error
):
    directory = tmp_path / "model"
    fitted.save_pretrained(directory)
    before = digest(directory)

    def fail(path, arrays):
        path.write_bytes(b"half")
        raise error

    monkeypatch.setattr(saving, "save_arrays", fail)
    with pytest.raises(type(error)):
        fitted.save_pretrained(directory, overwrite=True)
    with pytest.raises(type(error)):
        fitted.save_pretrained(tmp_path / "other")
    assert digest(directory) == before
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_saving_does_not_overwrite_unasked(fitted, tmp_path):
    fitted.save_pretrained(tmp_path / "model")
    with pytest.raises(InputError, match="not empty"):
        fitted.save_pretrained(tmp_path / "model")
    fitted.save_pretrained(tmp_path / "model", overwrite=True)
