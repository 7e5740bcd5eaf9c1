"""li search, evaluate, info: answers, metrics against a count by hand, refusals."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest
from children import forked
from cli_cases import QUICK, files, li, ok, refused
from conftest import tiny_dataset

from learned_index import ELIAS
from learned_index.cli import main
from learned_index.cli.search import read_labels
from learned_index.data import Dataset, LabelVocabulary, labels_from_lists, write_dataset
from learned_index.errors import DataFormatError
from learned_index.metrics import metric_names

# -- search ------------------------------------------------------------------------------------


def test_search_prints_names_and_scores(text_model: Path) -> None:
    text = ok("search", text_model, "bread oven flour knead", "rain wind", "-k", 2)
    first, second = text.strip().split("\n\n")
    assert first.splitlines()[0] == "bread oven flour knead"
    assert "Cooking" in first.splitlines()[1]
    assert len(first.splitlines()) == 3
    assert "Weather" in second


def test_search_json_is_what_the_api_says(text_model: Path) -> None:
    queries = ["piano melody", "", "größe sort list"]
    answers = json.loads(ok("search", text_model, *queries, "-k", 3, "--json"))
    assert [answer["query"] for answer in answers] == queries
    loaded = ELIAS.from_pretrained(text_model)
    expected = [
        [{"label": n, "key": loaded.vocabulary.keys[loaded.vocabulary.id(n)], "score": s}
         for n, s in row]
        for row in loaded.predict(queries, 3)
    ]  # fmt: skip
    assert [answer["results"] for answer in answers] == expected
    assert answers[1]["results"] == []


def test_search_explains(text_model: Path) -> None:
    question = "bread oven flour knead"
    text = ok("search", text_model, question, "", "-k", 2, "--explain")
    assert max(map(len, text.splitlines())) <= 79
    assert text.count("classifier ") == 2 and "an empty query has no answer" in text
    answers = json.loads(ok("search", text_model, question, "", "-k", 2, "--explain", "--json"))
    loaded = ELIAS.from_pretrained(text_model)
    expected = [
        why.to_dict() for why in loaded.explain(question, loaded.search([question], 2).ids[0])
    ]
    assert [found["why"] for found in answers[0]["results"]] == expected
    assert answers[1]["results"] == []


def test_search_reads_a_query_a_line(text_model: Path) -> None:
    lines = "rain wind\r\n\nsort list\u2028still the same line\nwind without end"
    text = ok("search", text_model, "-k", 1, "--json", stdin=lines.encode())
    answers = [json.loads(line) for line in text.rstrip("\n").split("\n")]
    queries = ["rain wind", "", "sort list\u2028still the same line", "wind without end"]
    assert [answer["query"] for answer in answers] == queries
    assert [len(answer["results"]) for answer in answers] == [1, 0, 1, 1]


def test_no_more_labels_are_asked_for_than_there_are(text_model: Path) -> None:
    model = ELIAS.from_pretrained(text_model)
    assert model.at_most(10**9) == model.n_labels and model.at_most(1) == 1
    # Rows of so much padding are refused by a search.
    found = model.predict(["rain wind", "sort list"], 10**9)
    assert found == model.predict(["rain wind", "sort list"], model.n_labels)
    (answer,) = json.loads(ok("search", text_model, "rain wind", "-k", 10**9, "--json"))
    assert [label["label"] for label in answer["results"]] == [name for name, _ in found[0]]


def test_lines_before_a_bad_one_are_answered(text_model: Path) -> None:
    sent = b"rain wind\nsort list\nbad \xff\nrain\n"
    done = li("search", text_model, "-k", 1, "--json", stdin=sent)
    assert [json.loads(line)["query"] for line in done.stdout.splitlines()] == [
        "rain wind", "sort list"
    ]  # fmt: skip
    assert done.exit_code == 2 and "line 3 of the input is not UTF-8" in done.stderr
    assert "iconv -f cp1252 -t utf-8" in done.stderr


def test_search_leaves_out_the_mark_of_a_file(text_model: Path) -> None:
    text = ok(
        "search", text_model, "-k", 1, "--json", stdin="\ufeffrain wind\nsort list\n".encode()
    )
    answers = [json.loads(line) for line in text.splitlines()]
    assert [answer["query"] for answer in answers] == ["rain wind", "sort list"]


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_list_of_labels_has_one_a_line(mark: str, tmp_path: Path) -> None:
    vocabulary = LabelVocabulary(["a", "b", "c"], ["Law\u2028and\x0corder", "Tax", "Tax"])
    path = tmp_path / "labels"
    path.write_bytes(f"{mark}Law\u2028and\x0corder\r\n\nTax\n c \n".encode())
    assert read_labels(path, vocabulary) == [0, 1, 2, 2]
    for content, message in ((b"a\nd\n", r":2: the model has no label 'd'"), (b"\xff\n", ":1: ")):
        path.write_bytes(content)
        with pytest.raises(DataFormatError, match=f"labels{message}"):
            read_labels(path, vocabulary)
    for wrong in (tmp_path, tmp_path / "nowhere", Path("/dev/zero")):
        with pytest.raises(DataFormatError, match=str(wrong)):
            read_labels(wrong, vocabulary)


def test_search_answers_a_line_as_soon_as_it_arrives(text_model: Path) -> None:
    their_queries, our_queries = os.pipe()
    our_answers, their_answers = os.pipe()

    def work() -> None:
        os.close(our_queries)  # else its queries never end
        for number, end in enumerate((their_queries, their_answers)):
            os.dup2(end, number)
        main(["search", str(text_model), "--json", "-k", "1"])

    with forked(work) as child:
        os.close(their_queries)
        os.close(their_answers)
        with os.fdopen(our_queries, "w", buffering=1) as queries, os.fdopen(our_answers) as answers:
            for query in ("rain wind", "piano melody"):
                queries.write(query + "\n")
                assert json.loads(answers.readline())["query"] == query
        _, errors = child.communicate(timeout=30)
        assert child.returncode == 0, errors


def test_search_says_that_an_empty_query_has_no_answer(text_model: Path) -> None:
    assert "no answer" in ok("search", text_model, "")
    assert ok("search", text_model, stdin=b"") == ""


def test_search_knobs_change_the_work_done(text_model: Path) -> None:
    narrow = json.loads(
        ok(
            "search",
            text_model,
            "rain",
            "--json",
            "-k",
            30,
            "--beam-width",
            1,
            "--shortlist-size",
            2,
        )
    )
    assert len(narrow[0]["results"]) <= 2


def test_search_refusals(text_model: Path, tmp_path: Path) -> None:
    assert "not a directory" in refused("search", tmp_path / "none", "x")
    assert "manifest.json is missing" in refused("search", tmp_path, "x")
    refused("search", text_model, "x", "-k", 0)
    refused("search", text_model, "x", "--beam-width", 0)
    assert "line 2" in refused("search", text_model, stdin=b"rain wind\n\xff\xfe\n")


def test_a_damaged_model_is_refused_by_every_command(
    text_model: Path, text_folder: Path, tmp_path: Path
) -> None:
    import shutil

    shutil.copytree(text_model, tmp_path / "m")
    path = tmp_path / "m" / "labels.txt"
    path.write_bytes(path.read_bytes()[:-10])
    for command in (["search", "m", "x"], ["info", "m"], ["evaluate", "m", "--data", text_folder]):
        arguments = [tmp_path / "m" if a == "m" else a for a in command]
        assert "labels.txt" in refused(*arguments)


# -- evaluate ----------------------------------------------------------------------------------


def test_evaluate_against_a_count_by_hand(text_model: Path, text_folder: Path) -> None:
    values = json.loads(ok("evaluate", text_model, "--data", text_folder, "--json"))
    assert list(values)[: len(metric_names())] == metric_names()
    assert values["n_points"] == 40
    test = tiny_dataset("test", 40, seed=2)
    found = ELIAS.from_pretrained(text_model).predict(test.texts, 100)
    truth = [set(test.label_names(row)) for row in range(40)]
    hits = [[name in truth[row] for name, _ in found[row]] for row in range(40)]
    assert values["P@1"] == pytest.approx(100 * np.mean([h[0] for h in hits]))
    assert values["P@5"] == pytest.approx(100 * np.mean([sum(h[:5]) / 5 for h in hits]))
    assert values["R@10"] == pytest.approx(100 * np.mean([sum(h[:10]) / 2 for h in hits]))
    table = ok("evaluate", text_model, "--data", text_folder)
    assert f"{values['nDCG@3']:.2f}" in table


def test_labels_are_matched_by_key_not_by_number(
    text_model: Path, text_folder: Path, tmp_path: Path
) -> None:
    test = tiny_dataset("test", 40, seed=2)
    order = np.random.default_rng(0).permutation(30)
    vocabulary = LabelVocabulary(
        [test.vocabulary.keys[i] for i in order], [test.vocabulary.texts[i] for i in order]
    )
    shuffled = dataclasses.replace(test, labels=test.labels[:, order], vocabulary=vocabulary)
    write_dataset(tmp_path / "data", [shuffled], format_name="text")
    values = json.loads(ok("evaluate", text_model, "--data", tmp_path / "data", "--json"))
    assert values == json.loads(ok("evaluate", text_model, "--data", text_folder, "--json"))


def test_labels_never_seen_in_training_are_misses(text_model: Path, tmp_path: Path) -> None:
    test = tiny_dataset("test", 40, seed=2)
    vocabulary = LabelVocabulary([*test.vocabulary.keys, "novelty"])
    rows = [[*test.labels[row].indices.tolist(), 30] for row in range(40)]
    labels = labels_from_lists(rows, 31)
    extended = dataclasses.replace(test, labels=labels, vocabulary=vocabulary)
    write_dataset(tmp_path / "data", [extended], format_name="text")
    values = json.loads(ok("evaluate", text_model, "--data", tmp_path / "data", "--json"))
    assert values["n_unseen_labels"] == 1
    assert values["R@100"] <= 100 * 2 / 3 + 1e-6
    assert values["P@1"] > 80


def test_evaluate_refusals(text_model: Path, text_folder: Path, tmp_path: Path) -> None:
    foreign = Dataset(
        split="test",
        texts=["a"],
        labels=labels_from_lists([[0]], 1),
        vocabulary=LabelVocabulary(["quite-another-label"]),
    )
    write_dataset(tmp_path / "foreign", [foreign], format_name="text")
    assert "no label in common" in refused("evaluate", text_model, "--data", tmp_path / "foreign")
    assert "no train split" in refused(
        "evaluate", text_model, "--data", tmp_path / "foreign", "--split", "train"
    )
    (tmp_path / "empty").mkdir()
    assert "is empty" in refused("evaluate", text_model, "--data", tmp_path / "empty")
    np.save(tmp_path / "v.npy", np.zeros((3, 4), np.float32))
    assert "3 vectors for 40" in refused(
        "evaluate", text_model, "--data", text_folder, "--vectors", tmp_path / "v.npy"
    )


def test_a_deep_index_is_trained_searched_and_told_by_info(
    text_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "m"
    deep = ["--hierarchy", "deep", "--n-clusters", 10, "--n-regions", 3, "--candidate-clusters", 6]
    ok("train-index", "--data", text_folder, "--out", out, *QUICK, *deep, "--beam-width", 2)
    told = json.loads(ok("info", out, "--json"))["hierarchy"]
    assert told["n_clusters"] == 10
    assert (told["n_regions"], told["candidate_clusters"]) == (3, 6)
    assert "n_regions: 3" in ok("info", out)
    found = ok("search", out, "matrix inverse eigenvalue basics")
    assert "algebra" in found
    assert "n_regions" in refused(
        "train-index", "--data", text_folder, "--out", tmp_path / "n", *QUICK,
        "--n-clusters", 4, "--n-regions", 5,
    )  # fmt: skip


def test_info_tells_what_is_in_the_model(text_model: Path) -> None:
    values = json.loads(ok("info", text_model, "--json"))
    assert (values["encoder"], values["n_labels"], values["n_training_points"]) == ("lsa", 30, 300)
    assert values["training"]["seed"] == 1
    assert values["disk_bytes"] == sum(len(content) for content in files(text_model).values())
    assert "n_labels: 30" in ok("info", text_model)


def test_errors_that_nobody_expected_name_the_way_to_the_traceback(
    text_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_args: object, **_kwargs: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(ELIAS, "from_pretrained", broken)
    result = li("search", text_model, "x")
    assert result.exit_code == 1
    assert "LI_TRACEBACK" in result.stderr
    assert "Traceback" not in result.output
    monkeypatch.setenv("LI_TRACEBACK", "1")
    assert isinstance(li("search", text_model, "x").exception, RuntimeError)


def test_each_query_has_its_own_filter(text_model: Path, tmp_path: Path) -> None:
    file, queries = tmp_path / "filters.jsonl", ["bread oven", "rain wind", "sort list"]
    file.write_text('{"deny": ["Cooking"]}\n\n{"allow": ["Weather", "Cooking"], "deny": []}\n')
    lines = "".join(f"{query}\n" for query in queries)
    found = [
        json.loads(line)
        for line in ok("search", text_model, "--json", "--filters", file, stdin=lines).splitlines()
    ]
    model = ELIAS.from_pretrained(text_model)
    deny, allow = [["Cooking"], None, None], [None, None, ["Weather", "Cooking"]]
    expected = model.search(queries, 10, allow=allow, deny=deny)
    for answer, ids in zip(found, expected.ids, strict=True):
        keys = [model.vocabulary.keys[label] for label in ids if label >= 0]
        assert [each["key"] for each in answer["results"]] == keys
    assert "Cooking" not in [each["label"] for each in found[0]["results"]]
    as_arguments = json.loads(ok("search", text_model, *queries, "--json", "--filters", file))
    assert as_arguments == found


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("\n", "fewer lines"),
        ("\n\n{}\n", "more filters than queries"),
        ('{"alow": []}\n\n', "filters:1: no filter"),
        ("\n[3]\n", "filters:2: no filter"),
        ("{\n\n", "filters:1: no JSON"),
        ('{"deny": ["Cookin"]}\n\n', "Cookin"),
    ],
)
def test_filters_that_do_not_fit_are_refused(
    text_model: Path, tmp_path: Path, content: str, message: str
) -> None:
    file = tmp_path / "filters"
    file.write_text(content)
    assert message in refused("search", text_model, "bread", "rain", "--json", "--filters", file)


def test_filters_for_each_query_exclude_those_for_all(text_model: Path, tmp_path: Path) -> None:
    file = tmp_path / "filters"
    file.write_text("\n")
    told = refused("search", text_model, "bread", "--filters", file, "--deny", file)
    assert "give one" in told
