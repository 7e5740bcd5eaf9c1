"""li plan: the estimates against what trainings measure."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_cases import ok
from conftest import tiny_dataset
from elias_cases import fitted, new_model, train_data

from learned_index.encoders.lexical.bow import BagOfWordsEncoder
from learned_index.encoders.lexical.lsa import LSAEncoder
from learned_index.encoders.lexical.tfidf import TfidfEncoder
from learned_index.planning import summary as summary_module
from learned_index.planning.plan import DataShape, make_plan
from learned_index.system import memory as machine


def test_the_shape_of_the_data_is_that_of_its_tfidf() -> None:
    train = train_data()
    shape = DataShape.of(train.texts, train.labels)
    features = TfidfEncoder().fit(train.texts).encode(train.texts)
    assert (shape.n_points, shape.n_labels, shape.n_pairs) == (300, 30, 600)
    assert shape.n_terms == features.shape[1]
    assert shape.terms == pytest.approx(features.nnz / 300)
    rows = DataShape.of(features, train.labels)
    assert (rows.n_terms, rows.form) == (features.shape[1], "features")


def test_a_sample_stands_for_many_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    words = np.minimum(rng.zipf(1.3, size=(6000, 12)), 50_000)
    texts = [" ".join(f"w{word}" for word in row) for row in words]
    labels = tiny_dataset("train", 6000, seed=0).labels
    monkeypatch.setattr("learned_index.planning.plan._SAMPLE", 10**9)
    whole = DataShape.of(texts, labels)
    monkeypatch.setattr("learned_index.planning.plan._SAMPLE", 1500)
    sampled = DataShape.of(texts, labels)
    assert sampled.terms == pytest.approx(whole.terms, rel=0.05)
    assert 0.5 < sampled.n_terms / whole.n_terms < 2


@pytest.mark.parametrize("kind", ["lsa", "bow"])
@pytest.mark.parametrize("n_models", [1, 2])
def test_parameters_and_disk_of_a_trained_model(kind: str, n_models: int, tmp_path: Path) -> None:
    """Exact where the configuration decides, within a factor of 3 for the ranker's weights."""

    def encoder():
        return LSAEncoder(dim=16) if kind == "lsa" else BagOfWordsEncoder(dim=16)

    train = train_data()
    shape = DataShape.of(train.texts, train.labels)
    plan = make_plan(new_model(encoder(), n_models=n_models), shape, trained=kind == "bow")
    model = fitted(encoder(), n_models=n_models)
    index = model.index
    assert (plan.dim, plan.n_clusters) == (index.dim, index.n_clusters)
    assert plan.edges_per_cluster == index.graph.edge_labels_CM.shape[1]
    counts = plan.parameters
    assert counts["label classifiers"] == n_models * index.n_labels * (index.dim + 1)
    assert counts["router"] == n_models * 2 * index.router.weight_CD.numel()
    assert counts["edges"] == n_models * index.graph.edge_logits_CM.numel()
    assert counts["projection"] == n_models * index.projection.weight.numel()
    assert counts["ranker, dense"] == index.n_labels * (index.dim + 1)
    assert 1 / 3 < counts["ranker, sparse"] / model.ranker_.n_weights < 3
    copies = n_models if kind == "bow" else 1
    assert counts["encoder"] == copies * shape.n_terms * 16
    model.save_pretrained(tmp_path / "m")
    size = sum(p.stat().st_size for p in (tmp_path / "m").rglob("*") if p.is_file())
    assert plan.disk_bytes / size < 2
    # Manifests weigh more than numbers in a model this small.
    assert size / plan.disk_bytes < 5


def test_more_of_everything_needs_more(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = DataShape(100_000, 50_000, 300_000, 40.0, 80_000, "texts", 70.0, 200_000)

    def need(shape=shape, trained=False, **config) -> int:
        encoder = BagOfWordsEncoder(dim=64) if trained else LSAEncoder(dim=64)
        return make_plan(new_model(encoder, **config), shape, trained=trained).peak_bytes

    base = need(rerank_size=100)
    assert base > 2**28
    assert need(rerank_size=200) > base
    assert need(rerank_size=100, n_models=3) > base
    assert need(rerank_size=100, ranker="none") < base
    large = DataShape(100_000, 5_000_000, 300_000, 40.0, 80_000, "texts", 70.0, 200_000)
    assert need(large, rerank_size=100) > 3 * 4 * 64 * 5_000_000


def test_the_command_tells_all_figures(text_folder: Path) -> None:
    arguments = ["plan", "--data", text_folder, "--encoder", "lsa:16", "--threads", 1]
    summary = json.loads(ok(*arguments, "--json"))
    assert summary["fits"] is True and summary["shortage"] is None
    assert summary["n_parameters"] == sum(summary["parameters"].values())
    assert summary["peak_bytes"] >= max(summary["memory_bytes"].values())
    times = summary["seconds"]
    assert times["total"] == pytest.approx(sum(s for n, s in times.items() if n != "total"))
    assert times["index"] > 0 and times["ranker"] > 0
    text = ok(*arguments)
    for word in ("parameters", "label classifiers", "expected time", "peak", "it fits"):
        assert word in text


def test_the_command_says_what_does_not_fit(
    text_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summary_module, "free_memory", lambda: 5000)
    arguments = ["plan", "--data", text_folder, "--encoder", "lsa:16", "--threads", 1]
    summary = json.loads(ok(*arguments, "--json"))
    assert summary["fits"] is False and "--n-models" in summary["shortage"]
    assert "it does not fit" in ok(*arguments)


def test_a_trained_bag_of_words_is_planned(text_folder: Path) -> None:
    arguments = ["plan", "--data", text_folder, "--preset", "bow", "--encoder", "bow:16"]
    summary = json.loads(ok(*arguments, "--threads", 1, "--json"))
    assert summary["trains_encoder"] is True
    assert summary["memory_bytes"]["encoder training"] > 0


def test_free_memory_is_the_smaller_of_machine_and_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = machine.free_memory()
    assert free is None or free > 2**20
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("400000\n")
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    assert machine.free_memory() == 600_000
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.free_memory() != 600_000
    assert machine.free_device_memory("cpu") is None


MEASURED = """
import json, resource, sys
import numpy as np, scipy.sparse as sp
from learned_index import IndexConfig, TrainingConfig
from learned_index import ELIAS, EliasConfig
from learned_index.system.memory import resident_bytes
from learned_index.planning.plan import DataShape, make_plan
from learned_index.encoders.lexical.lsa import LSAEncoder
rng = np.random.default_rng(0)
n, labels = 6000, int(sys.argv[1])
texts = [" ".join(f"w{w}" for w in rng.integers(0, 5000, 30)) for _ in range(n)]
truth = sp.csr_matrix((np.ones(2 * n, np.float32), rng.integers(0, labels, 2 * n),
                       np.arange(0, 2 * n + 1, 2)), shape=(n, labels))
truth.sum_duplicates()
truth.data[:] = 1
model = ELIAS(LSAEncoder(dim=int(sys.argv[2])), IndexConfig(shortlist_size=500),
              training=TrainingConfig(stage1_epochs=1, stage2_epochs=1),
              config=EliasConfig(calibration="none"))
plan = make_plan(model, DataShape.of(texts, truth), trained=False)
before = resident_bytes()
model.fit(texts, truth)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps([plan.peak_bytes, after - before]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the resident memory of Linux")
@pytest.mark.parametrize(("labels", "dim"), [(2000, 64), (40_000, 512)])
def test_the_memory_peak_is_met_within_a_factor_of_two(labels: int, dim: int) -> None:
    command = [sys.executable, "-c", MEASURED, str(labels), str(dim)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    planned, measured = json.loads(done.stdout)
    assert 0.5 < planned / measured < 2, (planned, measured)
