"""The examples of docs/inputs.md: files are written, commands run, what they print compared."""

from __future__ import annotations

import doctest
import re
import shlex
from pathlib import Path

import pytest
from cli_cases import ok

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("### ", "Texts and matrices that lie apart")
"""What begins an example, in a folder of its own."""
FENCE = re.compile(r"(?:^`([^`\n]+)`\n\n)?^```(\w*)\n(.*?)^```$", re.M | re.S)


def sections() -> dict[str, str]:
    text = (ROOT / "docs" / "inputs.md").read_text(encoding="utf-8")
    data = text[text.index("\n## Data\n") : text.index("\n## Texts in Python\n")]
    parts = re.split(rf"^(?={'|'.join(map(re.escape, PARTS))})", data, flags=re.M)[1:]
    return {part.splitlines()[0].removeprefix("### "): part for part in parts}


def test_all_schemas_have_examples() -> None:
    assert len(sections()) == 9
    assert all(FENCE.search(part) for part in sections().values())


@pytest.mark.parametrize("name", sections())
def test_an_example_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow")
    pytest.importorskip("rdflib")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    ran = 0
    for file, kind, content in FENCE.findall(sections()[name]):
        if kind == "console":
            for part in re.split(r"^\$ li ", content, flags=re.M)[1:]:
                command, _, expected = part.partition("\n")
                assert ok(*shlex.split(command)) == expected
                ran += 1
        elif kind == "python":
            test = doctest.DocTestParser().get_doctest(content, {}, name, None, 0)
            found = doctest.DocTestRunner(verbose=False).run(test)
            assert found.attempted and not found.failed
            ran += found.attempted
        else:
            assert file, f"a block without the name of its file in {name}"
            Path(file).parent.mkdir(exist_ok=True)
            Path(file).write_text(content, encoding="utf-8")
    assert ran
