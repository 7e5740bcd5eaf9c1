"""``li data import``, and tables as ``--data``."""

from __future__ import annotations

import csv
import json

import pytest
from cli_cases import li, ok, refused

pytest.importorskip("pyarrow")


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "articles.csv"
    words = ("steel bridge load", "tax law court", "forest bird nest")
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["key", "title", "abstract", "categories"])
        for n in range(60):
            names = ("engineering", "law", "biology|animals")[n % 3]
            writer.writerow([f"p{n}", f"{words[n % 3]} {n}", "x" * 200, names])
        writer.writerow(["p60", "", "", "law"])
    return path


def test_a_preview_writes_nothing_and_fits_80_columns(table, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    told = ok("data", "import", table, "--separator", "|", "--dry-run")
    assert max(map(len, told.splitlines())) < 80
    assert "title                text?" in told and "categories           labels?" in told
    assert "'|' between them; 4 different" in told and "labels   biology, animals" in told
    assert "dropped 1 row: no text (row 61)" in told and "nothing was written" in told
    assert [path.name for path in table.parent.iterdir()] == ["articles.csv"]
    found = json.loads(ok("data", "import", table, "--separator", "|", "--dry-run", "--json"))
    assert found["rows"] == 61 and found["labels"] == 4 and len(found["points"]) == 3
    told = ok("data", "import", table, "--text", "title", "--labels", "key", "--dry-run")
    assert "title                text " in told and "key                  labels, id?" in told


def test_import_says_what_it_did(table, tmp_path):
    out = tmp_path / "out"
    arguments = ["data", "import", table, "--separator", "|", "--out", out]
    result = li(*arguments, "--test-share", "0.1", "--seed", "1")
    assert result.exit_code == 0
    assert result.stdout == f"{out}: 61 rows, 60 points (54 train, 6 test), 4 labels\n"
    assert result.stderr == f"{table}: dropped 1 row: no text (row 61)\n"
    assert "exists and is not empty" in refused(*arguments)
    told = json.loads(ok(*arguments, "--force", "--json"))
    assert told["kept"] == {"train": 60} and told["splits"] == ["train"]
    assert "4 labels" in ok("data", "validate", out)


def test_import_says_what_it_needs(table, tmp_path):
    assert "--out FOLDER is missing" in refused("data", "import", table)
    out = ["--out", tmp_path / "out"]
    line = refused("data", "import", table, *out)
    assert "20 of the first 61 cells of 'categories' hold '|'" in line
    assert "--separator '|'" in line
    line = refused("data", "import", table, "--labels", "category", "--separator", "|", *out)
    assert "did you mean 'categories'?" in line
    assert "no column" not in refused("data", "import", tmp_path / "none.csv", *out)
    assert not (tmp_path / "out").exists()
    assert "api-docs is no table" in refused("plan", "--data", "api-docs", "--text", "title")


def test_a_table_is_data_of_every_command(table, tmp_path):
    data = ["--data", table, "--separator", "|", "--test-share", "0.2"]
    quick = ["--encoder", "lsa:8", "--cache", "off", "--threads", "1"]
    epochs = ["--stage1-epochs", "2", "--stage2-epochs", "2"]
    model = tmp_path / "model"
    ok("train-index", *data, "--out", model, *quick, *epochs)
    found = json.loads(ok("evaluate", model, *data, "--json", "--propensity", "0.6,2.6"))
    assert found["n_points"] == 12
    same = json.loads(ok("evaluate", model, *data, "--json", "--propensity", "amazon-670k"))
    assert same["PSP@1"] == found["PSP@1"]
    other = json.loads(ok("evaluate", model, *data, "--split", "train", "--json"))
    assert other["n_points"] == 48
    assert "law" in ok("search", model, "tax court", "-k", "1")
    line = refused("evaluate", model, *data, "--propensity", "nonsense")
    assert "expected A,B as 0.55,1.5, or one of" in line
    line = refused("evaluate", model, *data, "--split", "dev", "-q")
    assert "has no dev split; it has train, test (a column" in line


def test_a_missing_package_is_named(table, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.csv", None)
    line = refused("data", "import", table, "--dry-run", "--separator", "|", code=1)
    assert "pip install 'learned-index[data]'" in line
