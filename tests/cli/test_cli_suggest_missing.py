"""li suggest-missing: what the function says, on the screen, as JSON and as a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_cases import ok, refused
from conftest import tiny_dataset
from elias_cases import fitted
from rich.cells import cell_len

from learned_index import ELIAS
from learned_index.data import Dataset, labels_from_lists, open_dataset, write_dataset
from learned_index.evaluation.missing import suggest_missing

OPTIONS = ("--cache", "off", "--threads", 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Splits whose points have lost their second label; point 1 of the test split has none."""
    root = tmp_path_factory.mktemp("missing")
    splits = []
    for split, n in (("train", 120), ("test", 60)):
        whole = tiny_dataset(split, n, seed=4)
        rows = [whole.labels[row].indices[:1].tolist() for row in range(n)]
        texts = list(whole.texts)
        if split == "test":
            rows[1], texts[2] = [], "   "
            texts[3] = texts[3] + " sun" * 60
        labels = labels_from_lists(rows, whole.n_labels)
        splits.append(Dataset(split=split, labels=labels, vocabulary=whole.vocabulary, texts=texts))
    write_dataset(root / "data", splits, format_name="text")
    model = fitted()
    model.save_pretrained(root / "model")
    model.to_engine().save_pretrained(root / "fast")
    return root


def run(folder: Path, *arguments: object, model: str = "model") -> str:
    return ok("suggest-missing", folder / model, "--data", folder / "data", *OPTIONS, *arguments)


@pytest.mark.parametrize("kind", ["model", "fast"])
def test_json_is_what_the_function_says(folder: Path, kind: str) -> None:
    model, data = ELIAS.from_pretrained(folder / kind), open_dataset(folder / "data")
    for split, options in (("train", {}), ("test", {"threshold": 0.2, "limit": 7, "k": 3})):
        given = [text for name, value in options.items() for text in (f"--{name}", value)]
        given = ["-k" if each == "--k" else each for each in given]
        if split != "train":
            given += ["--split", split]
        printed = json.loads(run(folder, *given, "--json", model=kind))
        assert (printed.pop("model"), printed.pop("data")) == (
            str(folder / kind), str(folder / "data"),
        )  # fmt: skip
        expected = suggest_missing(model, data.read(split), **options).to_dict()
        assert printed == expected
        assert printed["suggestions"]


def test_the_screen_shows_the_first_in_80_columns(folder: Path) -> None:
    model, data = ELIAS.from_pretrained(folder / "model"), open_dataset(folder / "data")
    found = suggest_missing(model, data.read("test"), threshold=0.1)
    assert len(found.suggestions) > 20
    text = run(folder, "--split", "test", "--threshold", 0.1)
    lines = text.splitlines()
    assert max(map(cell_len, lines)) <= 80
    assert text.count("  point ") == text.count("  has: ") == 20
    for number, suggestion in enumerate(found.suggestions[:20]):
        first, second, third = lines[3 * number : 3 * number + 3]
        assert first.startswith(f"{suggestion.probability:.4f}  {suggestion.label}")
        assert second.strip().startswith(f"point {suggestion.row}: {suggestion.text[:30]}")
        assert third.strip() == f"has: {'; '.join(suggestion.labels)}"
    assert lines[60:] == [
        "60 points of the test split",
        f"labels missing at probability 0.1 or more: {found.n_found} (20 shown), of "
        f"{found.n_points_found} points",
        "points without labels, left out: 1",
        "points without an answer (blank, unknown words): 1",
    ]
    few = run(folder, "--split", "test", "--threshold", 0.1, "--limit", 2)
    assert few.splitlines()[:6] == lines[:6] and "(2 shown)" in few


def test_the_file_holds_all_and_is_not_replaced(folder: Path, tmp_path: Path) -> None:
    model, data = ELIAS.from_pretrained(folder / "model"), open_dataset(folder / "data")
    out = tmp_path / "found" / "missing.jsonl"
    text = run(folder, "--split", "test", "--threshold", 0.1, "--out", out)
    found = suggest_missing(model, data.read("test"), threshold=0.1)
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert rows == [suggestion.to_dict() for suggestion in found.suggestions]
    assert f"written: {out}, {len(rows)} suggestions" in text and "has:" not in text
    assert [path.name for path in out.parent.iterdir()] == ["missing.jsonl"]
    before = out.read_bytes()
    line = refused("suggest-missing", folder / "model", "--data", folder / "data", "--out", out)
    assert "exists; choose another name" in line and out.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--split", "dev"], "has no dev split"),
        (["--threshold", "2"], "0<=x<=1"),
        (["--limit", "0"], "x>=1"),
        (["--data", "nowhere"], "nowhere"),
    ],
)
def test_unusable_input_is_one_line(
    folder: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    out = tmp_path / "missing.jsonl"
    given = ("--data", folder / "data", "--out", out, *OPTIONS, *arguments)
    assert said in refused("suggest-missing", folder / "model", *given)
    assert list(tmp_path.iterdir()) == []


def test_a_model_without_calibration_is_refused_before_the_data_are_read(text_model: Path) -> None:
    line = refused("suggest-missing", text_model, "--data", "nowhere")
    assert "without calibration" in line
