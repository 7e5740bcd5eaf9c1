"""li labels: lists, removals, renames, and what is refused."""

from __future__ import annotations

import json
import shutil
import signal
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from children import forked_li, killed_in_a_save
from cli_cases import files, li, ok, refused
from elias_cases import finally_ranked

from learned_index import ELIAS


@pytest.fixture()
def model(text_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(text_model, tmp_path / "model"))


@pytest.fixture(scope="module")
def ranked() -> ELIAS:
    """With a final ranker; saved and compiled it is a directory like any other."""
    return finally_ranked("linear")


def answers(model: Path, text: str) -> list[str]:
    (answer,) = json.loads(ok("search", model, text, "-k", 20, "--json"))
    return [found["label"] for found in answer["results"]]


def test_the_list_is_that_of_the_model(model: Path) -> None:
    loaded = ELIAS.from_pretrained(model)
    rows = [line.split("\t") for line in ok("labels", "list", model).splitlines()]
    assert [row[0] for row in rows] == list(loaded.vocabulary.keys)
    assert [int(row[1]) for row in rows] == loaded.label_counts.tolist()
    assert [row[2] for row in rows] == list(loaded.vocabulary)
    as_json = json.loads(ok("labels", "list", model, "--json"))
    assert [row["name"] for row in as_json] == list(loaded.vocabulary)


def test_removed_labels_are_gone_from_answers_and_list(model: Path) -> None:
    assert "Cooking" in answers(model, "bread oven flour")
    assert "removed 1 label:" in ok("labels", "remove", model, "Cooking")
    assert "Cooking" not in answers(model, "bread oven flour")
    assert "\tCooking\n" not in ok("labels", "list", model)
    assert "removed_labels: 1" in ok("info", model)


def test_a_new_version_leaves_the_old_one(model: Path, tmp_path: Path) -> None:
    before, out, names = files(model), tmp_path / "next", tmp_path / "gone.txt"
    names.write_text("Cooking\n\nWeather\n")
    told = json.loads(ok("labels", "remove", model, "--file", names, "--out", out, "--json"))
    assert told == {"model": str(out), "removed": 2}
    assert files(model) == before
    assert not {"Cooking", "Weather"} & set(answers(out, "bread rain"))
    assert "not empty" in refused("labels", "remove", model, "Cooking", "--out", out)
    ok("labels", "remove", model, "Cooking", "--out", out, "--overwrite")


def test_a_compiled_model_loses_labels_too(model: Path, tmp_path: Path) -> None:
    fast = tmp_path / "fast"
    ok("compile", model, "--out", fast)
    ok("labels", "remove", fast, "Cooking")
    assert "Cooking" not in answers(fast, "bread oven flour")
    assert answers(fast, "bread oven flour")


def test_renames_change_the_name_and_not_the_key(model: Path, tmp_path: Path) -> None:
    keys = ELIAS.from_pretrained(model).vocabulary.keys
    ok("labels", "rename", model, "Cooking", "Food")
    found = answers(model, "bread oven flour")
    assert "Food" in found and "Cooking" not in found
    table = tmp_path / "names.tsv"
    table.write_text("Food\tKitchen\nWeather\tClimate\n")
    assert "renamed 2 labels" in ok("labels", "rename", model, "--file", table)
    loaded = ELIAS.from_pretrained(model)
    assert {"Kitchen", "Climate"} <= set(loaded.vocabulary)
    assert loaded.vocabulary.keys == keys
    twice = li("labels", "rename", model, "Kitchen", "Climate", "--threads", 1)
    assert "renamed 1 label:" in twice.stdout
    assert "2 labels are called 'Climate' now; li labels merge" in twice.stderr


def test_merged_labels_become_one(model: Path, tmp_path: Path) -> None:
    ok("labels", "merge", model, "Cooking", "Weather")
    found = answers(model, "bread oven flour knead")
    assert "Cooking" not in found and "Weather" in found
    table = tmp_path / "pairs.tsv"
    table.write_text("cooking/history\tcooking/advanced\n")
    out = tmp_path / "next"
    told = json.loads(ok("labels", "merge", model, "--file", table, "--out", out, "--json"))
    assert told == {"model": str(out), "merged": 1}
    assert "removed_labels: 2" in ok("info", out)
    assert "expected GONE and KEPT" in refused("labels", "merge", model, "Cooking")
    assert "was removed" in refused("labels", "merge", model, "Cooking", "Weather")


def test_new_labels_come_from_examples_or_names(model: Path, ranked: ELIAS, tmp_path: Path) -> None:
    assert "remembered training records" in refused("labels", "add", model, "tea")
    model = tmp_path / "whole"
    ranked.save_pretrained(model)
    ok("labels", "add", model, "tea", "--name", "Tea", "--example", "flour rain piano flour rain")
    assert "Tea" in answers(model, "flour rain piano")
    table = tmp_path / "new.jsonl"
    table.write_text('{"key": "ovens", "examples": ["oven oven bread"]}\n\n{"key": "rain"}\n')
    assert "added 2 labels" in ok("labels", "add", model, "--file", table)
    assert {"ovens", "rain"} <= set(ELIAS.from_pretrained(model).vocabulary)


def test_a_compiled_model_gets_new_labels_and_is_compiled_again(
    ranked: ELIAS, tmp_path: Path
) -> None:
    model, fast, again = (tmp_path / name for name in ("whole", "fast", "again"))
    ranked.save_pretrained(model)
    ok("compile", model, "--out", fast)
    assert "compiled" in refused("compile", fast, "--out", again)
    ok("labels", "add", fast, "tea", "--name", "Tea", "--example", "flour rain piano flour rain")
    found = answers(fast, "flour rain piano")
    assert "Tea" in found
    assert list((fast / "member_0" / "index" / "segment").iterdir())
    assert "--precision" in refused("compile", fast, "--out", again, "--precision", "float16")
    ok("compile", fast, "--out", again)
    assert not (again / "member_0" / "index" / "segment").exists()
    assert answers(again, "flour rain piano") == found
    assert "n_new_labels: 1" in ok("info", fast)
    ok("labels", "merge", fast, "Tea", "Cooking")
    assert "Tea" not in answers(fast, "flour rain piano")
    assert "Cooking" in answers(fast, "flour rain piano")


def test_two_processes_that_change_one_model_take_turns(ranked: ELIAS, tmp_path: Path) -> None:
    model = tmp_path / "model"
    ranked.save_pretrained(model)
    keys = [f"tea {number}" for number in range(2)]
    with ExitStack() as stack:
        running = [
            stack.enter_context(forked_li("labels", "add", model, key, "--example", "flour rain"))
            for key in keys
        ]
        for process in running:
            _, error = process.communicate(timeout=120)
            assert process.returncode == 0, error
    assert set(keys) <= set(ELIAS.from_pretrained(model).vocabulary.keys)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.skipif(sys.platform == "win32", reason="kills by a signal")
@pytest.mark.parametrize(
    ("name", "part"),
    [("_fsync_tree", True), ("_fsync_tree", False), ("exchange", False), ("_remove", False)],
)
@pytest.mark.parametrize("change", ["add", "remove"])
def test_a_killed_change_leaves_the_old_model_or_the_new_one(
    model: Path, ranked: ELIAS, tmp_path: Path, change: str, name: str, part: bool
) -> None:
    if change == "add":
        ranked.to_engine().save_pretrained(model, overwrite=True)
    arguments = ["labels", change, str(model), "bread rain" if change == "add" else "Cooking"]
    before = ELIAS.from_pretrained(model)
    code, errors = killed_in_a_save(arguments, step=name, part=part, parent=tmp_path)
    assert code == -signal.SIGKILL, errors
    assert len(list(tmp_path.iterdir())) > 1, "the kill came too late"
    after = ELIAS.from_pretrained(model)
    is_new = name == "_remove"  # of the old one, which is when the new one has taken its place
    assert (after.n_labels > before.n_labels, len(after.removed_labels)) == (
        is_new and change == "add",
        int(is_new and change == "remove"),
    )
    if not is_new:
        ok(*arguments)
    assert answers(model, "bread oven")
    ok("labels", "rename", model, "Weather", "Climate")
    assert [path.name for path in tmp_path.iterdir()] == [model.name]


def test_refusals_change_nothing(model: Path, tmp_path: Path) -> None:
    before = files(model)
    bad = tmp_path / "bad.tsv"
    bad.write_text("Cooking\tFood\nWeather\n")
    assert "no label is named" in refused("labels", "remove", model)
    assert "did you mean 'Cooking'" in refused("labels", "remove", model, "Cookin")
    assert "expected OLD and NEW" in refused("labels", "rename", model, "Cooking")
    assert "bad.tsv:2" in refused("labels", "rename", model, "--file", bad)
    bad.write_text("Cooking\tFood\nCooking\tMeals\n")
    assert "earlier line" in refused("labels", "rename", model, "--file", bad)
    assert files(model) == before
    missing = tmp_path / "folder" / "typo"
    assert "is not a directory" in refused("labels", "rename", missing, "Cooking", "Food")
    assert not missing.parent.exists()
