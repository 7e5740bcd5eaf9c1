"""Every command of docs/tutorial.md is run, in its order."""

from __future__ import annotations

import csv
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from cli_cases import QUICK, ok
from document_cases import ROOT, blocks, commands

PAGE = ROOT / "docs" / "tutorial.md"
FASTER = [*QUICK[2:], "--split-seed", "0"]


def every_sixth_row(table: Path) -> None:
    with table.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows[::6]])


def run(line: str, *more: str) -> str:
    """A command of the page in this process, where compiled kernels are at hand."""
    before, pipe, after = line.partition(" | li ")
    if not pipe:
        assert line.startswith("li ")
        return ok(*shlex.split(line)[1:], *more)
    word, text = shlex.split(before)
    assert word == "printf"
    return ok(*shlex.split(after), *more, stdin=text.replace("\\n", "\n"))


def answers_of(output: str) -> dict[str, list[str]]:
    """Query -> its labels, as li search prints them."""
    parts = [part.splitlines() for part in output.strip().split("\n\n")]
    return {query: [line.split()[1] for line in labels] for query, *labels in parts}


@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_from_a_csv_to_answers(
    whole: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Quick: a sixth of the rows, three epochs. Whole: as the page says it, with its answers."""
    pytest.importorskip("pyarrow", reason="reads tables: the extra data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LEARNED_INDEX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "80")
    done = []
    for file, kind, content in blocks(PAGE):
        if file:
            Path(file).write_text(content, encoding="utf-8")
        elif kind == "python":
            exec(compile(content, str(PAGE), "exec"), names := {})
            assert names["model"].predict_proba(["read a zip archive"], k=2)[0]
        for command in commands(content) if kind == "console" else ():
            if command.line.startswith("python "):
                program = [sys.executable, *shlex.split(command.line)[1:]]
                subprocess.run(program, check=True, cwd=tmp_path)
                assert Path("library.csv").stat().st_size > 100_000
                if not whole:
                    every_sixth_row(Path("library.csv"))
                continue
            name = command.line.split("li ", 1)[1].split()[0]
            output = run(command.line, *(FASTER if name == "train" and not whole else ()))
            done.append(name)
            if name == "data":
                assert "labels   labels: '|' between them" in output
                assert output.splitlines()[-1] == command.shown.splitlines()[-1]
            elif name == "evaluate":
                (found,) = re.findall(r"^P@1 +([\d.]+)", output, re.M)
                assert float(found) > (75 if whole else 20)
            elif "--json" in command.line:
                answers = [json.loads(line) for line in output.splitlines()]
                shown = re.findall(r'"query": "([^"]+)".*?"label": "(\w+)"', command.shown)
                assert [answer["query"] for answer in answers] == [query for query, _ in shown]
                if whole:
                    first_two = [[r["label"] for r in answer["results"]] for answer in answers]
                    assert all(name in two for (_, name), two in zip(shown, first_two, strict=True))
            elif name == "search":
                expected, found = answers_of(command.shown), answers_of(output)
                assert len(expected) == 3 and [*found] == [*expected]
                assert all(len(labels) == 3 for labels in found.values())
                if whole:  # another Python has other docstrings
                    assert all(expected[query][0] in found[query][:2] for query in expected)
    assert done == ["data", "train", "search", "evaluate", "compile", "search"]
    assert Path("my-model").is_dir() and Path("fast").is_dir()
