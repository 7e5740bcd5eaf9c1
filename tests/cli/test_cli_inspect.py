"""li inspect: what the functions say, on the screen and as JSON; clusters and labels told apart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_cases import ok, refused
from conftest import tiny_dataset
from elias_cases import fitted
from rich.cells import cell_len

from learned_index import ELIAS
from learned_index.cli.inspection import parse_target
from learned_index.cli.shared.lines import cut
from learned_index.data import LabelVocabulary, write_dataset
from learned_index.errors import InputError
from learned_index.evaluation.inspection import inspect_cluster, inspect_label

ARGUMENTS = ("--threads", 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data with a very long and a very wide text, a full ensemble and its compiled twin."""
    root = tmp_path_factory.mktemp("inspect")
    train = tiny_dataset("train", 300, seed=0)
    texts = [*train.texts]
    texts[0] = "bread oven " * 30
    texts[1] = "bread oven flour " + "漢字" * 60
    data = type(train)(split="train", labels=train.labels, vocabulary=train.vocabulary, texts=texts)
    write_dataset(root / "data", [data, tiny_dataset("test", 40, seed=2)], format_name="text")
    model = fitted(n_models=2)
    model.save_pretrained(root / "model")
    model.to_engine().save_pretrained(root / "fast")
    return root


def test_json_is_what_the_functions_say(folder: Path) -> None:
    model = ELIAS.from_pretrained(folder / "model")
    from learned_index.data import open_dataset

    for member in (0, 1):
        for cluster in range(model.index.n_clusters):
            given = ("--member", member, "-k", 4, "--json", *ARGUMENTS)
            printed = json.loads(ok("inspect", folder / "model", cluster, *given))
            assert printed == inspect_cluster(model, cluster, member=member, k=4).to_dict()
        printed = json.loads(ok("inspect", folder / "model", "cooking", *given))
        assert printed == inspect_label(model, "cooking", member=member, k=4).to_dict()
    for split, given in (("train", ()), ("test", ("--split", "test"))):
        dataset = open_dataset(folder / "data").read(split)
        printed = json.loads(
            ok("inspect", folder / "model", 2, "--data", folder / "data", *given, "--json",
               "--cache", "off", *ARGUMENTS)
        )  # fmt: skip
        assert printed == inspect_cluster(model, 2, dataset=dataset).to_dict()
        assert printed["examples"]["split"] == split


def test_the_screen_shows_it_in_80_columns(folder: Path) -> None:
    model = ELIAS.from_pretrained(folder / "model")
    texts = []
    for cluster in range(model.index.n_clusters):
        text = ok("inspect", folder / "model", cluster, "--data", folder / "data", "-k", 300,
                  "--cache", "off", *ARGUMENTS)  # fmt: skip
        found = inspect_cluster(model, cluster, k=300)
        assert text.startswith(f"cluster {cluster}\n")
        assert f"{found.n_edges} of weight {found.weight:.2f}" in text
        assert f"{found.labels[0].weight:.4f}  {found.labels[0].label}" in text
        assert f"{found.words[0].term} {found.words[0].weight:+.2f}" in text
        texts.append(text)
    assert sum(text.count("has: ") for text in texts) == 300
    assert "bread oven bread" in "".join(texts) and "…" in "".join(texts)
    for label in range(model.n_labels):
        found = inspect_label(model, label)
        text = ok("inspect", folder / "model", "--label", found.key, *ARGUMENTS)
        assert text.splitlines()[0].split("  ")[0] == found.label
        told = " ".join(text.split())
        for edge in found.clusters:
            assert f"{edge.cluster} ({edge.weight:.4f})" in told
        assert f"{found.n_points} in training" in told
        assert f"{found.nearest[0].cosine:.4f} {found.nearest[0].label}" in told
        texts.append(text)
    assert max(cell_len(line) for text in texts for line in text.splitlines()) <= 80


def test_words_of_another_member_and_of_none(folder: Path, text_model: Path) -> None:
    first, second = (
        ok("inspect", folder / "model", 0, "--member", member, *ARGUMENTS) for member in (0, 1)
    )
    assert first != second
    text = ok("inspect", text_model, "Cooking", *ARGUMENTS)
    assert "words" not in text and "remembered" not in text and "nearest" in text


NAMES = LabelVocabulary(["k1", "3", "99", "k4", "k5"], ["Algebra", "", "", "4", "²"])


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"target": "0"}, 0),
        ({"target": "7"}, 7),
        ({"target": "007"}, 7),
        ({"target": "99"}, "99"),
        ({"target": "²"}, "²"),
        ({"target": "Algebra"}, "Algebra"),
        ({"target": "no such label"}, "no such label"),
        ({"cluster": 3}, 3),
        ({"label": "3"}, "3"),
        ({"cluster": 4}, 4),
        ({"label": "4"}, "4"),
        ({"label": "0"}, "0"),
    ],
)
def test_a_number_is_a_cluster_where_no_label_is_called_so(given, meant) -> None:
    asked = {"target": None, "cluster": None, "label": None, **given}
    assert parse_target(**asked, vocabulary=NAMES, n_clusters=8) == meant


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"target": "3"}, "say --cluster 3 or --label 3"),
        ({"target": "4"}, "say --cluster 4 or --label 4"),
        ({"target": "8"}, "8 is no cluster .0 to 7., and no label"),
        ({}, "expected one cluster or one label"),
        ({"target": "0", "label": "k1"}, "expected one cluster or one label"),
        ({"cluster": 0, "label": "k1"}, "expected one cluster or one label"),
    ],
)
def test_what_could_be_both_or_is_neither_is_refused(given, said) -> None:
    asked = {"target": None, "cluster": None, "label": None, **given}
    with pytest.raises(InputError, match=said):
        parse_target(**asked, vocabulary=NAMES, n_clusters=8)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["model", "6"], "6 is no cluster (0 to 5)"),
        (["model", "--cluster", "6"], "cluster is 6, expected 0 to 5"),
        (["model", "Cookin"], "did you mean 'Cooking'"),
        (["model", "--label", "0"], "no label is called '0'"),
        (["model", "0", "--member", "2"], "member is 2, expected 0 to 1"),
        (["model", "Cooking", "--data", "anywhere"], "leave it out for a label"),
        (["model", "0", "--data", "nowhere"], "nowhere"),
        (["model"], "expected one cluster or one label"),
        (["fast", "0"], "use the model that it was compiled from"),
        (["fast", "Cooking"], "use the model that it was compiled from"),
        (["nowhere", "0"], "nowhere"),
    ],
)
def test_unusable_input_is_one_line(folder: Path, arguments: list[str], said: str) -> None:
    name, *rest = arguments
    assert said in refused("inspect", folder / name, *rest, *ARGUMENTS)


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("a  b\n c", 9, "a b c"),
        ("abcdef", 6, "abcdef"),
        ("abcdefg", 6, "abcde…"),
        ("abcd efg", 6, "abcd…"),
        ("漢字漢字", 8, "漢字漢字"),
        ("漢字漢字", 7, "漢字漢…"),
        ("red \x1b[31m", 20, "red ?[31m"),
    ],
)
def test_texts_are_cut_to_columns(text: str, width: int, shown: str) -> None:
    assert cut(text, width) == shown
    assert cell_len(shown) <= width
