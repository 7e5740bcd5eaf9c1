"""li report: one page with everything, whatever the data hold, and the figures behind it."""

from __future__ import annotations

import copy
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import report_cases
from cli_cases import ok, refused
from conftest import tiny_dataset

from learned_index import ELIAS
from learned_index.data import open_dataset
from learned_index.errors import InputError
from learned_index.evaluation.evaluate import evaluate
from learned_index.evaluation.report.measured import group_rows, measure
from learned_index.evaluation.report.page import page as whole_page
from learned_index.evaluation.significance import bootstrap_intervals, paired_bootstrap
from learned_index.metrics import PointValues

SECTIONS = ("data", "training", "metrics", "calibration", "frequency", "speed", "answers", "card")


class Page(HTMLParser):
    """Tags with their attributes, the text, and tags that were not closed."""

    VOID = ("meta", "img", "br", "link", "input", "hr")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.open = "", []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report_cases.make(tmp_path_factory.mktemp("report")).parent


@pytest.fixture(scope="module")
def page(root: Path) -> Page:
    return Page((root / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def told(root: Path) -> dict:
    return json.loads(
        ok("report", root / "model", "--data", root / "test", "--json", "--threads", 1,
           "--comparison", root, "--cache", "off")
    )  # fmt: skip


def test_the_page_has_all_sections_and_is_whole(page: Page) -> None:
    assert page.open == []
    assert [each["id"] for each in page.named("section")] == list(SECTIONS)
    links = [each["href"] for each in page.named("a")]
    assert links == [f"#{name}" for name in SECTIONS]
    # Frequencies, labels, loss, course, metrics, two of calibration, groups, comparison.
    assert len(page.named("svg")) == 9
    assert all(each["aria-label"] for each in page.named("svg"))


def test_a_band_without_answers_has_dashes(told: dict) -> None:
    contents = copy.deepcopy(told)
    quality = contents["calibration"]["quality"]
    band = next(name for name in quality if name != "all")
    quality[band] = {key: 0 for key in quality[band] if key.startswith("n@")}
    (row,) = re.findall(rf"<tr><td>{band}.*?</tr>", whole_page(contents))
    assert row.count("<td>–</td>") == 4


def test_nothing_of_the_data_is_markup(page: Page, root: Path) -> None:
    assert not page.named("script") and not page.named("img")
    assert not any(name.startswith("on") for _, each in page.tags for name in each)
    text = " ".join(page.text.split())
    assert report_cases.ATTACK in text and report_cases.ENTITIES in text
    assert "49" not in text.split("{{ 7 * 7 }}")[0][-200:]  # nothing of it was computed
    raw = (root / "report.html").read_text(encoding="utf-8")
    assert "<script" not in raw and "&lt;script&gt;" in raw


def test_nothing_comes_from_elsewhere(page: Page) -> None:
    for tag, attributes in page.tags:
        for name in ("src", "href", "xlink:href", "data", "action", "poster", "srcset"):
            value = attributes.get(name)
            assert value is None or value.startswith("#"), (tag, name, value)
    assert "url(" not in page.text and "@import" not in page.text
    (policy,) = [e["content"] for e in page.named("meta") if e.get("http-equiv")]
    assert policy is not None and policy.startswith("default-src 'none'")


def test_metrics_are_those_of_an_evaluation(root: Path, told: dict) -> None:
    model, data = ELIAS.from_pretrained(root / "model"), open_dataset(root / "test").read("test")
    expected = evaluate(model, data)
    for row in told["metrics"]:
        assert row["value"] == pytest.approx(expected[row["name"]])
        assert row["low"] <= row["value"] <= row["high"]
    index = evaluate(model, data, query={"score": "index"})
    assert {row["name"]: row["index"]["value"] for row in told["metrics"]} == pytest.approx(
        {row["name"]: index[row["name"]] for row in told["metrics"]}
    )
    assert told["calibration"]["quality"] == expected["calibration"]
    assert told["bands"] == expected["by_training_points"]
    assert told["points"]["n_labels_unseen"] == expected["n_unseen_labels"] == 1


def test_groups_are_those_of_the_plain_count(root: Path) -> None:
    model, data = ELIAS.from_pretrained(root / "model"), open_dataset(root / "test").read("test")
    measured = measure(model, data)
    rows = group_rows(measured, model.n_labels, k=5)
    order = np.lexsort((np.arange(model.n_labels), -measured.counts_L[: model.n_labels]))
    assert len(rows) == 10
    for row, members in zip(rows, np.array_split(order, 10), strict=True):
        pairs = [(n, label) for n in range(data.n_points) for label in members
                 if measured.truth_NL[n, label]]  # fmt: skip
        found = sum(label in measured.result.ids[n, :5] for n, label in pairs)
        assert row["n_pairs"] == len(pairs)
        assert (row["recall"] is None) == (not pairs)
        if pairs:
            assert row["recall"] == pytest.approx(100 * found / len(pairs))
            assert row["recall_low"] <= row["recall"] <= row["recall_high"]


def test_answers_are_those_of_the_model(root: Path, told: dict) -> None:
    model, data = ELIAS.from_pretrained(root / "model"), open_dataset(root / "test").read("test")
    examples = told["examples"]
    assert set(examples) == {"right", "wrong", "surest"}
    for kind, each in ((kind, each) for kind, some in examples.items() for each in some):
        found = model.predict_proba([data.texts[each["row"]]], k=5)[0]
        assert [(a["label"], pytest.approx(a["score"], abs=1e-5)) for a in each["answers"]] == found
        true = set(data.label_names(each["row"]))
        assert [a["is_true"] for a in each["answers"]] == [name in true for name, _ in found]
        assert each["answers"][0]["is_true"] == (kind == "right")
        missed = {label["label"] for label in each["missed"]}
        assert missed == true - {name for name, _ in found}
    surest = [each["answers"][0]["score"] for each in examples["surest"]]
    others = [each["answers"][0]["score"] for each in examples["wrong"]]
    assert surest == sorted(surest, reverse=True)
    assert not others or min(surest) >= max(others)
    rows = [each["row"] for some in examples.values() for each in some]
    assert len(set(rows)) == len(rows)


def test_a_label_that_was_never_trained_is_told(root: Path, page: Page) -> None:
    assert "1 labels of the split were never trained" in page.text


def test_the_comparison_is_told_with_what_failed(page: Page) -> None:
    text = " ".join(page.text.split())
    assert "1. learned" in text and "failed: not here" in text
    assert "40 queries" in text


def test_a_model_alone_is_reported_on_too(
    text_model: Path, text_folder: Path, tmp_path: Path
) -> None:
    """Without ranker, calibration, comparison, and the report of its training."""
    elsewhere = tmp_path / "elsewhere"
    ELIAS.from_pretrained(text_model).save_pretrained(elsewhere)
    ok("report", elsewhere, "--data", text_folder, "--out", tmp_path / "r.html", "--threads", 1,
       "--cache", "off", "--examples", 0)  # fmt: skip
    page = Page((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert [each["id"] for each in page.named("section")] == list(SECTIONS)
    assert "elsewhere.report.json" in page.text and "without calibration" in page.text
    assert "li compare --data" in page.text


def test_a_compiled_model_is_reported_on_too(root: Path, tmp_path: Path) -> None:
    ELIAS.from_pretrained(root / "model").to_engine().save_pretrained(tmp_path / "fast")
    ok("report", tmp_path / "fast", "--data", root / "test", "--out", tmp_path / "r.html",
       "--threads", 1, "--cache", "off")  # fmt: skip
    assert "compiled for search" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_unusable_input_is_one_line(root: Path, tmp_path: Path) -> None:
    begin = ("report", root / "model", "--data", root / "test")
    assert "--out" in refused(*begin)
    assert "exists" in refused(*begin, "--out", root / "report.html")
    assert "cannot be read" in refused(*begin, "--json", "--comparison", tmp_path / "nowhere.json")
    (tmp_path / "x.json").write_text("{")
    assert "is no JSON" in refused(*begin, "--json", "--training-report", tmp_path / "x.json")
    (tmp_path / "x.json").write_text("[1]")
    assert "no report" in refused(*begin, "--json", "--training-report", tmp_path / "x.json")
    (tmp_path / "x.json").write_text("{}")
    assert "has no rows" in refused(*begin, "--json", "--comparison", tmp_path / "x.json")


def test_a_training_report_of_other_shapes_is_left_out(root: Path, tmp_path: Path) -> None:
    for number, odd in enumerate(
        ({}, {"curves": 3, "step_seconds": [1]}, {"curves": [{"a": 1}, 2]})
    ):
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps(odd))
        found = ok("report", root / "model", "--data", root / "test", "--json", "--threads", 1,
                   "--training-report", path, "--cache", "off")  # fmt: skip
        assert json.loads(found)["training"] is None


# ---- intervals ---------------------------------------------------------------------------------


def test_intervals_are_those_of_the_plain_bootstrap() -> None:
    """The difference from a method that never scores, resample by resample."""
    rng = np.random.default_rng(0)
    weights = {"mean": np.ones(200), "ratio": rng.integers(0, 4, 200)}
    values = {name: PointValues(rng.random(200) * w, w) for name, w in weights.items()}
    found = bootstrap_intervals(values, n_resamples=4000, seed=1)
    for name, point in values.items():
        plain = paired_bootstrap(
            100 * point.values_N, np.zeros(200), weights=point.weights_N, n_resamples=4000, seed=2
        )
        width, (low, high) = plain.high - plain.low, found[name]
        assert abs(low - plain.low) < 0.08 * width and abs(high - plain.high) < 0.08 * width
        assert low < point.rate < high


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(3)
    covered = 0
    for number in range(200):
        hits = PointValues((rng.random(150) < 0.3).astype(float), np.ones(150))
        low, high = bootstrap_intervals({"P@1": hits}, n_resamples=300, seed=number)["P@1"]
        covered += low <= 30.0 <= high
    assert 178 <= covered <= 199


def test_intervals_of_other_points_are_refused() -> None:
    two, three = (PointValues(np.ones(n), np.ones(n)) for n in (2, 3))
    with pytest.raises(InputError):
        bootstrap_intervals({"P@1": two, "P@5": three})
    with pytest.raises(InputError, match="level"):
        bootstrap_intervals({"P@1": two}, level=1.5)


def test_a_split_without_points_is_refused(root: Path, tmp_path: Path) -> None:
    from learned_index.data import write_dataset

    empty = tiny_dataset("test", 0, seed=0)
    write_dataset(
        tmp_path / "empty", [tiny_dataset("train", 5, seed=0), empty], format_name="jsonl"
    )
    assert "no points" in refused("report", root / "model", "--data", tmp_path / "empty", "--json")
