import json

import pytest
from click.testing import CliRunner

from learned_index.cli.main import main


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "set"
    path.mkdir()
    (path / "labels.txt").write_text("a\tA\nb\tB\n")
    (path / "train_texts.txt").write_text("first text\nsecond [bold]text\n")
    (path / "train_labels.txt").write_text("0\n0 1\n")
    return path


def li(*arguments):
    result = CliRunner().invoke(main, ["data", *map(str, arguments)])
    assert "Traceback" not in result.output
    return result


def test_validate(folder):
    result = li("validate", folder)
    assert result.exit_code == 0
    assert "labels used" in result.stdout and "no errors, no warnings" in result.stdout
    report = json.loads(li("validate", folder, "--json").stdout)
    assert report["ok"] and report["splits"][0]["points"] == 2


def test_validate_of_bad_data_ends_with_2(folder, tmp_path):
    (folder / "train_labels.txt").write_text("0\n0 9\n")
    result = li("validate", folder)
    assert result.exit_code == 2
    assert "train_labels.txt:2: label id 9 is out of range" in result.stdout
    result = li("validate", folder, "--json")
    assert result.exit_code == 2 and json.loads(result.stdout)["ok"] is False
    (tmp_path / "empty").mkdir()
    result = li("validate", tmp_path / "empty")
    assert result.exit_code == 2 and "is empty; expected a data folder" in result.stdout


def test_convert(folder, tmp_path):
    result = li("convert", folder, tmp_path / "out", "--to", "jsonl", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {
        "path": str(tmp_path / "out"), "format": "jsonl", "splits": ["train"], "n_labels": 2,
    }  # fmt: skip
    line = (tmp_path / "out" / "train.jsonl").read_text().splitlines()[1]
    assert json.loads(line) == {"text": "second [bold]text", "labels": ["A", "B"]}
    result = li("convert", folder, tmp_path / "out", "--to", "npz", "--features", "tfidf")
    assert result.exit_code == 2 and "exists" in result.stderr
    result = li(
        "convert", folder, tmp_path / "out", "--to", "npz", "--features", "tfidf", "--force"
    )
    assert result.exit_code == 0
    assert (tmp_path / "out" / "train_X.npz").exists()
    assert not (tmp_path / "out" / "train.jsonl").exists()


def test_convert_texts_without_features_says_how(folder, tmp_path):
    result = li("convert", folder, tmp_path / "out", "--to", "xmc")
    assert result.exit_code == 2 and "--features tfidf" in result.stderr
    assert not (tmp_path / "out").exists()


def test_split(folder, tmp_path):
    out = tmp_path / "out"
    # The second text is the only one of label B, so only the first can be held out.
    result = li("split", folder, out, "--size", "1", "--json")
    assert result.exit_code == 0 and json.loads(result.stdout)["splits"] == ["train", "test"]
    assert (out / "train_texts.txt").read_text() == "second [bold]text\n"
    assert (out / "test_texts.txt").read_text() == "first text\n"
    assert (out / "test_labels.txt").read_text() == "0\n"
    result = li("split", out, tmp_path / "again", "--size", "1")
    assert result.exit_code == 2 and "has a test split already" in result.stderr
    result = li("split", out, tmp_path / "again", "--size", "1", "--as", "dev")
    assert result.exit_code == 2 and "1 points to hold out of 1;" in result.stderr
    result = li("split", folder, out, "--size", "2", "--force")
    assert result.exit_code == 2 and "2 points to hold out of 2;" in result.stderr
    (folder / "train_labels.txt").write_text("0\n1\n")
    result = li("split", folder, out, "--size", "1", "--force")
    assert result.exit_code == 2 and "whose only point it is" in result.stderr
    assert (out / "test_texts.txt").read_text() == "first text\n"  # nothing was lost


def test_build_api_docs(tmp_path):
    out = tmp_path / "docs"
    result = li("build", "api-docs", "--out", out, "--package", "threadpoolctl")
    assert (result.exit_code, result.stdout) == (0, f"{out}\n")
    assert (out / "train_texts.txt").stat().st_size > 100
    result = li("build", "api-docs", "--out", out, "--package", "click")
    assert result.exit_code == 2 and "other package versions" in result.stderr
    result = li("build", "api-docs", "--out", out, "--package", "click", "--force", "--json")
    assert result.exit_code == 0 and json.loads(result.stdout)["format"] == "text"
    result = li("build", "api-docs", "--package", "nonsense")
    assert result.exit_code == 2 and "unknown packages" in result.stderr


@pytest.mark.parametrize(
    "command", [[], ["build"], ["build", "api-docs"], ["validate"], ["convert"], ["split"]]
)
def test_help_has_an_example(command):
    result = li(*command, "--help")
    assert result.exit_code == 0
    assert "Example: li data" in result.stdout or "Examples:\n  li data" in result.stdout
