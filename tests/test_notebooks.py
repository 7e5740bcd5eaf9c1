"""The notebooks of examples/ run, and what they show is what they hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="needs nbformat (the extra dev)")
nbclient = pytest.importorskip("nbclient", reason="needs nbclient (the extra dev)")
pytest.importorskip("ipykernel", reason="needs ipykernel (the extra dev)")

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
NOTEBOOKS = sorted(path.name for path in EXAMPLES.glob("*.ipynb"))


def printed(notebook) -> str:
    return "".join(
        output.get("text") or output.get("data", {}).get("text/plain", "")
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    )


def executed(name: str, cwd: Path):
    notebook = nbformat.read(EXAMPLES / name, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=280, kernel_name="python3", resources={"metadata": {"path": str(cwd)}}
    )
    return client.execute()


def test_there_are_two() -> None:
    assert NOTEBOOKS == ["own_embeddings.ipynb", "texts_to_labels.ipynb"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_small_and_names_no_machine(name: str) -> None:
    path = EXAMPLES / name
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert path.stat().st_size < 20_000
    assert len(printed(notebook)) < 1_000
    for cell in notebook.cells:
        assert "execution" not in cell.metadata, "times of a run: clear the metadata"
        for output in cell.get("outputs", ()):
            assert output.output_type != "error" and output.get("name") != "stderr"
            assert not {*output.get("data", ())} - {"text/plain"}
    assert notebook.metadata.kernelspec.name == "python3"


def test_texts_to_labels_runs(tmp_path: Path) -> None:
    shown = printed(executed("texts_to_labels.ipynb", tmp_path))
    assert "greatest common divisor -> ['math'" in shown
    assert "more than two in three: True" in shown
    assert "'cooking'" in shown and shown.rstrip().endswith("math")


def test_own_embeddings_run_and_the_learned_index_finds_more(tmp_path: Path) -> None:
    shown = printed(executed("own_embeddings.ipynb", tmp_path))
    learned, graph = (float(found) for found in re.findall(r"([\d.]+) %", shown))
    assert learned > 80 and learned > graph + 4
