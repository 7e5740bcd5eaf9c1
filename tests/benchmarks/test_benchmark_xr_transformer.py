"""XR-Transformer as a peer: its commands, with a package of the same commands in its place."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import scipy.sparse as sp
from conftest import tiny_dataset

from benchmarks.peers import xr_transformer
from benchmarks.peers.data import Points, held_out
from benchmarks.peers.tuning import Tuner
from benchmarks.peers.xr_transformer import XRTransformer
from learned_index.comparison.features import WORDS
from learned_index.errors import InputError, LearnedIndexError

TRAIN = """
import argparse, json, pathlib
import numpy as np, scipy.sparse as sp
parser = argparse.ArgumentParser()
names = ["trn-text-path", "trn-feat-path", "trn-label-path", "model-dir", "model-shortcut"]
whole = ["truncate-length", "only-topk", "batch-gen-workers", "num-train-epochs", "seed"]
for name in names: parser.add_argument("--" + name, required=True)
for name in whole: parser.add_argument("--" + name, type=int)
parser.add_argument("--use-gpu", required=True)
given = parser.parse_args()
assert pathlib.Path(given.model_shortcut, "config.json").is_file()
if given.num_train_epochs == 0: raise SystemExit("no epoch, no network")
x, y = sp.load_npz(given.trn_feat_path), sp.load_npz(given.trn_label_path)
lines = pathlib.Path(given.trn_text_path).read_text().splitlines()
assert len(lines) == x.shape[0] == y.shape[0] and given.use_gpu == "false"
pathlib.Path(given.model_dir).mkdir()
np.save(given.model_dir + "/weights.npy", (x.T @ y).toarray())
"""
PREDICT = """
import argparse, pathlib
import numpy as np, scipy.sparse as sp
parser = argparse.ArgumentParser()
for name in ["text-path", "feat-path", "model-folder", "save-pred-path", "use-gpu"]:
    parser.add_argument("--" + name, required=True)
for name in ["only-topk", "batch-gen-workers", "beam-size"]:
    parser.add_argument("--" + name, type=int)
given = parser.parse_args()
x = sp.load_npz(given.feat_path)
assert len(pathlib.Path(given.text_path).read_text().splitlines()) == x.shape[0]
scores = x @ np.load(given.model_folder + "/weights.npy")
places = np.argsort(-scores, axis=1)[:, : given.beam_size]
rows = np.arange(len(scores)).repeat(places.shape[1])
found = (scores[rows, places.reshape(-1)] + 1e-3, (rows, places.reshape(-1)))
sp.save_npz(given.save_pred_path, sp.csr_matrix(found, shape=scores.shape))
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with the two commands: votes of words in place of a network."""
    commands = tmp_path / "packages" / "pecos" / "xmc" / "xtransformer"
    commands.mkdir(parents=True)
    for folder in (commands, commands.parent, commands.parent.parent):
        (folder / "__init__.py").touch()
    (commands / "train.py").write_text(TRAIN)
    (commands / "predict.py").write_text(PREDICT)
    network = tmp_path / "network"
    network.mkdir()
    (network / "config.json").write_text("{}")
    (network / "model.safetensors").write_bytes(b"weights")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "packages"))
    monkeypatch.setattr(xr_transformer, "_PACKAGES", ("numpy", "scipy"))
    return str(network)


def points():
    train, test = tiny_dataset("train", 120, seed=0), tiny_dataset("test", 40, seed=1)
    return Points([f"{t}\nnew line" for t in train.texts], train.labels, test.texts, test.labels)


def test_its_commands_are_given_what_they_ask_for(package, tmp_path):
    asked = points()
    system = XRTransformer(sys.executable, package, {"num_train_epochs": 2})
    grid = [{"beam_size": 5}, {"beam_size": 3}]
    (wide, narrow), seconds = system.answers(asked, grid, folder=tmp_path, threads=1)
    assert seconds > 0 and len(wide) == len(asked.queries)
    np.testing.assert_array_equal(wide[:, :3], narrow[:, :3])
    assert (wide[:, :5] >= 0).all() and (narrow[:, 3:] == -1).all()
    rows, queries = asked.features(WORDS)
    votes = (queries @ (rows.T @ asked.labels_NL)).toarray()
    best = np.take_along_axis(votes, wide[:, :5], axis=1)
    np.testing.assert_allclose(best, -np.sort(-votes, axis=1)[:, :5], rtol=1e-5)


def test_a_command_that_fails_says_why(package, tmp_path):
    system = XRTransformer(sys.executable, package, {"num_train_epochs": 0})
    with pytest.raises(LearnedIndexError, match="train command failed: no epoch, no network"):
        system.answers(points(), [{}], folder=tmp_path, threads=1)


def test_it_is_tuned_as_the_others_are(package, tmp_path, monkeypatch):
    from benchmarks.peers import grids

    trials = tuple(grids.Trial({"num_train_epochs": n}, {"beam_size": 5}) for n in (1, 2))
    monkeypatch.setitem(grids.GRIDS, "xr-transformer", trials)
    final = points()
    tuner = Tuner(
        out=tmp_path / "out", tuning=held_out(final), final=final, n_trials=2, n_seeds=2,
        select="P@5", threads=1, python={"xr-transformer": sys.executable},
        say=lambda text: None, transformer=package,
    )  # fmt: skip
    row = tuner.row("xr-transformer", "words")
    assert len(row.values) == 2 and set(row.facts["tried"]) == {t.title for t in trials}
    assert row.means()["P@1"] > 0
    with pytest.raises(InputError, match="its own vectors"):
        tuner.row("xr-transformer", "joined")


def test_what_cannot_be_run_is_told_before_anything_is_trained(package, tmp_path, monkeypatch):
    monkeypatch.setattr(xr_transformer, "_PACKAGES", ("numpy", "no-such-package"))
    with pytest.raises(InputError, match="has no no-such-package: it wants an environment"):
        XRTransformer(sys.executable, package, {}).environment()
    rows = Points(sp.eye(3, format="csr"), sp.eye(3, format="csr"), None, None)
    with pytest.raises(InputError, match="learns from texts"):
        XRTransformer(sys.executable, package, {}).answers(rows, [], folder=tmp_path, threads=1)
