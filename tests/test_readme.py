"""What the documents show must run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from children import ended

ROOT = Path(__file__).resolve().parent.parent


def python_blocks(path: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", path.read_text(encoding="utf-8"), re.M | re.S)


def run(code: str, folder: Path) -> None:
    """Run a whole program in a folder, with no name but its own."""

    def work() -> None:
        os.chdir(folder)
        exec(code, {"__name__": "__main__"})

    code_of_end, errors = ended(work)
    assert code_of_end == 0, errors


def test_the_readme_example_runs(tmp_path: Path) -> None:
    _, block, engine = python_blocks(ROOT / "README.md")
    code = block + "\nassert ids[:, 0].tolist() == [0, 1, 2], ids\n"
    code += engine + "\nassert ids[:3, 0].tolist() == [0, 1, 2], ids\n"
    code += "assert not np.isin(ids, [3, 8]).any()\n"
    run(code, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["my-index"]


def test_the_text_example_of_the_readme_runs(tmp_path: Path) -> None:
    block, *_ = python_blocks(ROOT / "README.md")
    code = block.replace("model.predict(", "found = model.predict(") + (
        "\nassert found[0][0][0] == '1', found\n"
        "assert 0 < model.predict_proba(['sort lists'], k=2)[0][0][1] < 1\n"
    )
    run(code, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["my-model"]


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_examples_are_ten_lines(number: int) -> None:
    block = python_blocks(ROOT / "README.md")[number]
    assert len([line for line in block.splitlines() if line.strip()]) <= 10


@pytest.mark.slow
def test_the_example_script_runs(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "examples" / "own_embeddings.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "-> bread" in done.stdout
    assert "-> salad" in done.stdout


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", *sorted(
    path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))])  # fmt: skip
def test_links_lead_somewhere(document: str) -> None:
    path = ROOT / document
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if "://" not in target and not target.startswith("#"):
            assert (path.parent / target.partition("#")[0]).exists(), target


def test_the_first_screen_is_short() -> None:
    """What it does, for whom, and the commands come before the first table."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    before = text[: text.index("\n|")].splitlines()
    assert len(before) <= 50
    assert "make demo" in before and any(line.startswith("li train ") for line in before)
