"""The example of a backend of Annif, run by Annif's own commands where Annif is installed."""

from __future__ import annotations

import importlib
import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import tiny_dataset
from document_cases import ROOT, blocks
from elias_cases import fitted, queries

from learned_index import ELIAS
from learned_index.data import Dataset
from learned_index.evaluation.evaluate import evaluate

FOLDER = ROOT / "examples" / "annif-backend"
PREFIX = "https://example.org/"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="needs the source checkout")


def test_page_and_readme_show_the_same_project() -> None:
    shown = [
        [text for _, _, text in blocks(path) if text.startswith("[learned-index]")]
        for path in (FOLDER / "README.md", ROOT / "docs" / "adapters" / "annif.md")
    ]
    assert shown[0] == shown[1] and len(shown[0]) == 1


@pytest.fixture(scope="module")
def model() -> ELIAS:
    return fitted()


@pytest.fixture(scope="module")
def annif(model: ELIAS, tmp_path_factory: pytest.TempPathFactory):
    """Annif's command, with the project of the README and the model's labels as vocabulary."""
    pytest.importorskip("annif", reason="needs Annif, in an environment of its own")
    folder = tmp_path_factory.mktemp("annif")
    patch = pytest.MonkeyPatch()
    patch.chdir(folder)
    patch.syspath_prepend(str(FOLDER))
    model.save_pretrained("my-model")
    (project,) = [
        text for _, _, text in blocks(FOLDER / "README.md") if text.startswith("[learned-index]")
    ]
    Path("projects.cfg").write_text(project)
    settings = importlib.import_module("annif.default_config").Config
    patch.setattr(settings, "DATADIR", str(folder / "data"))
    patch.setattr(settings, "PROJECTS_CONFIG_PATH", str(folder / "projects.cfg"))
    table = tomllib.loads((FOLDER / "pyproject.toml").read_text(encoding="utf-8"))
    ((name, place),) = table["project"]["entry-points"]["flask.commands"].items()
    module, _, attribute = place.partition(":")
    cli = importlib.import_module("annif.cli").cli
    # As Flask does with the entry points of an installed package.
    cli.add_command(getattr(importlib.import_module(module), attribute), name)

    def run(*words: str, text: str | None = None, code: int = 0) -> str:
        done = CliRunner().invoke(cli, list(words), input=text)
        assert done.exit_code == code, done.output
        return done.output

    told = CliRunner().invoke(cli, [name, "my-model", "--uri-prefix", PREFIX])
    Path("labels.tsv").write_text(told.stdout, encoding="utf-8")
    run("load-vocab", "labels", "--language", "en", "labels.tsv")
    yield run
    patch.undo()


def suggested(output: str) -> list[tuple[str, str, str]]:
    lines = [line.split("\t") for line in output.splitlines() if line.startswith("<")]
    return [(uri, name, score) for uri, name, score in lines]


def test_suggestions_are_those_of_the_model(annif, model: ELIAS) -> None:
    keys, names = model.vocabulary.keys, list(model.vocabulary)
    for text in queries(3):
        found = suggested(annif("suggest", "learned-index", "--limit", "5", text=text))
        result = model.search([text], 5)
        pairs = zip(result.ids[0], result.scores[0], strict=True)
        expected = {(f"<{PREFIX}{keys[i]}>", names[i], f"{score:.4f}") for i, score in pairs}
        assert set(found) == expected


def test_evaluation_equals_ours(annif, model: ELIAS) -> None:
    texts = queries(30)
    truth = fitted_labels(model, texts)
    keys = model.vocabulary.keys
    rows = [
        f"{text}\t" + " ".join(f"<{PREFIX}{keys[i]}>" for i in row.indices)
        for text, row in zip(texts, truth.labels, strict=True)
    ]
    Path("test.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    annif("eval", "learned-index", "--metrics-file", "figures.json", "test.tsv")
    told = json.loads(Path("figures.json").read_text())
    ours = evaluate(model, truth)
    for theirs, own in (("Precision@1", "P@1"), ("Precision@5", "P@5"), ("NDCG@5", "nDCG@5")):
        assert 100 * told[theirs] == pytest.approx(ours[own], abs=1e-3)


def fitted_labels(model: ELIAS, texts: list[str]) -> Dataset:
    """The texts of ``queries`` with their labels."""
    data = tiny_dataset("test", len(texts), seed=2)
    assert list(data.texts) == texts and data.n_labels == model.n_labels
    return data


def test_labels_that_the_vocabulary_lacks_take_no_places(annif, model: ELIAS) -> None:
    annif_learned = importlib.import_module("annif_learned_index.backend")
    registry = importlib.import_module("annif.registry")
    project = registry.AnnifRegistry(
        "projects.cfg", str(Path("data").absolute()), False
    ).get_project("learned-index")
    best = int(model.search([queries(1)[0]], 1).ids[0, 0])

    class Fewer:
        """The vocabulary without the best label."""

        def __init__(self, all_subjects) -> None:
            self.all = all_subjects

        def by_uri(self, uri: str, warnings: bool = True) -> int | None:
            if uri == PREFIX + model.vocabulary.keys[best]:
                return None
            return self.all.by_uri(uri, warnings)

        def __len__(self) -> int:
            return len(self.all)

        def __getitem__(self, subject: int):
            return self.all[subject]

    given = dict(project.config)
    subjects = project.subjects
    project._subject_index = Fewer(subjects)
    backend = annif_learned.LearnedIndexBackend("learned_index", given, project)
    document = importlib.import_module("annif.corpus").Document(text=queries(1)[0])
    (found,) = backend.suggest([document], {"limit": 3})
    assert len(found) == 3
    without = np.delete(np.arange(model.n_labels), best)
    expected = model.search([queries(1)[0]], 3, allow=without)
    keys = [model.vocabulary.keys[i] for i in expected.ids[0]]
    assert {each.subject_id for each in found} == {subjects.by_uri(PREFIX + key) for key in keys}


def test_what_cannot_be_is_said(annif) -> None:
    told = annif("train", "learned-index", "--cached", code=1)
    assert "trained by `li train`" in told
    assert "True" in annif("list-projects")
    shown = Path("projects.cfg").read_text()
    try:
        for change, message in (
            (("uri_prefix=https", "uri_prefix=ftp"), "has none of the model's labels"),
            (("model=my-model", "model=nothing"), "not trained"),
            (("model=my-model\n", ""), "model is not set"),
            (("limit=100", "score=best"), "expected one of ranking, probability, index"),
        ):
            Path("projects.cfg").write_text(shown.replace(*change))
            assert message in annif("suggest", "learned-index", text="bread", code=1), change
    finally:
        Path("projects.cfg").write_text(shown)


def test_the_web_service_knows_the_backend(annif) -> None:
    config = importlib.import_module("annif_learned_index.config")
    assert config.ProductionConfig.INITIALIZE_PROJECTS
    backends = importlib.import_module("annif.backend")
    assert backends.get_backend("learned_index").name == "learned_index"
