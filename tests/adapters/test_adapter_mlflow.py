"""Models in MLflow: what is kept, what comes back, what a pyfunc model answers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from document_cases import ROOT, blocks
from elias_cases import fitted, queries

from learned_index.elias.model import ELIAS
from learned_index.errors import InputError

pytest.importorskip("mlflow", reason="mlflow is not installed: the extra mlflow")
pandas = pytest.importorskip("pandas", reason="pandas is not installed: the extra mlflow")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import mlflow  # noqa: E402

from learned_index.adapters import mlflow as adapter  # noqa: E402

TEXTS = [*queries(12), ""]


@pytest.fixture(scope="module")
def model() -> ELIAS:
    return fitted(records="yes")


@pytest.fixture(scope="module")
def saved(model: ELIAS, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mlflow") / "saved"
    adapter.save_model(model, path, metadata={"of": "tests"})
    return path


@pytest.fixture(scope="module")
def pyfunc(saved: Path) -> Any:
    return mlflow.pyfunc.load_model(str(saved))


def test_the_model_itself_comes_back(model: ELIAS, saved: Path, tmp_path: Path) -> None:
    again = adapter.load_model(str(saved))
    found, expected = again.search(TEXTS, 5), model.search(TEXTS, 5)
    assert found.ids.tobytes() == expected.ids.tobytes()
    assert found.scores.tobytes() == expected.scores.tobytes()
    by_path = tmp_path / "by-path"
    model.save_pretrained(tmp_path / "model")
    adapter.save_model(tmp_path / "model", by_path)
    assert adapter.load_model(str(by_path)).search(TEXTS, 5).ids.tobytes() == found.ids.tobytes()


def test_nothing_that_is_kept_is_a_pickle(saved: Path) -> None:
    names = {path.name for path in saved.rglob("*") if path.is_file()}
    assert {"MLmodel", "requirements.txt", "manifest.json"} <= names
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".cloudpickle"))]
    requirements = (saved / "requirements.txt").read_text()
    assert requirements.startswith("learned-index[mlflow]==")


@pytest.mark.parametrize("kind", ["list", "array", "table", "one column"])
def test_a_pyfunc_model_answers_as_the_model(model: ELIAS, pyfunc: Any, kind: str) -> None:
    given: Any = {
        "list": TEXTS,
        "array": np.array(TEXTS, object),
        "table": pandas.DataFrame({"text": TEXTS}, index=range(3, 3 + len(TEXTS))),
        "one column": pandas.DataFrame({"text": TEXTS}),
    }[kind]
    table = pyfunc.predict(given, params={"k": 4})
    expected, p = model.search(TEXTS, 4), model.predict_proba(TEXTS, k=4)
    assert list(table.columns) == ["labels", "keys", "scores", "probabilities"]
    for row in range(len(TEXTS)):
        inside = expected.ids[row] >= 0
        assert table["labels"].iloc[row] == model.vocabulary.names(expected.ids[row][inside])
        np.testing.assert_array_equal(table["scores"].iloc[row], expected.scores[row][inside])
        pairs = list(zip(table["labels"].iloc[row], table["probabilities"].iloc[row], strict=True))
        assert sorted(pairs) == sorted(p[row])
    assert table["labels"].iloc[-1] == []  # an empty text has no answer
    if kind == "table":
        assert list(table.index) == list(given.index)


def test_parameters_have_defaults_and_limits(model: ELIAS, pyfunc: Any) -> None:
    table = pyfunc.predict(TEXTS)
    assert max(map(len, table["labels"])) == min(10, model.n_labels)
    some = pyfunc.predict(TEXTS, params={"k": 10, "threshold": 0.5})
    assert 0 < sum(map(len, some["labels"])) < sum(map(len, table["labels"]))
    assert all(p >= 0.5 for row in some["probabilities"] for p in row)


def test_logged_models_load_by_their_address(model: ELIAS, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "runs").as_uri())
    with mlflow.start_run():
        info = adapter.log_model(model, name="labels", input_example=TEXTS[:2])
    assert adapter.FLAVOR in info.flavors and info.signature is not None
    again = adapter.load_model(info.model_uri)
    assert again.search(TEXTS, 3).ids.tobytes() == model.search(TEXTS, 3).ids.tobytes()
    assert len(mlflow.pyfunc.load_model(info.model_uri).predict(TEXTS)) == len(TEXTS)


def test_what_cannot_be_done_is_told(saved: Path, model: ELIAS, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="exists already"):
        adapter.save_model(model, saved)
    wrapped = adapter.PyfuncModel(model)
    for given, why in (("one text", "write"), (7, "expected texts"),
                       (pandas.DataFrame({"a": ["x"], "b": ["y"]}), "'text'")):  # fmt: skip
        with pytest.raises(InputError, match=why):
            wrapped.predict(given)
    with pytest.raises(InputError, match="k and threshold"):
        wrapped.predict(TEXTS, {"top": 3})
    (tmp_path / "other").mkdir()
    mlflow.models.Model(flavors={"sklearn": {}}).save(str(tmp_path / "other" / "MLmodel"))
    with pytest.raises(InputError, match="sklearn"):
        adapter.load_model(str(tmp_path / "other"))


def test_the_code_of_the_page_runs(model: ELIAS, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "runs").as_uri())
    model.save_pretrained("my-model")
    names: dict[str, Any] = {}
    for _, language, code in blocks(ROOT / "docs" / "adapters" / "mlflow.md"):
        if language == "python":
            exec(code, names)
    assert len(names["table"]) == 1 and isinstance(names["model"], ELIAS)
