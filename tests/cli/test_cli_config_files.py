"""--config: options in a file, as on the command line; what a training writes back."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
import yaml
from cli_cases import QUICK, files, ok, refused

from learned_index.cli.shared.config_files import config_path, converted, read_entries
from learned_index.cli.shared.model_options import given_sections
from learned_index.cli.shared.shipped_configs import shipped_configs, shipped_files
from learned_index.cli.train import train
from learned_index.cli.train_index import train_index
from learned_index.elias.presets import PRESETS, model_configs
from learned_index.errors import InputError


def read(text: str, command: click.Command = train) -> dict[str, object]:
    """The parameters that a file gives a command."""
    return converted(read_entries(text, name="f.yaml"), click.Context(command), name="f.yaml")


def test_values_are_what_their_texts_are_on_the_command_line() -> None:
    text = (
        "--beam-width: 7\nlearning_rate: 2e-2  # YAML reads a text\ntrain-encoder: yes\n"
        "label-text: off\nn-clusters: auto\nevaluate-test: true\nranker-seed: 3\n"
        "text: [title, abstract]\nlabels: 'tags'\ndata: 1000\nout: m\n"
    )
    assert read(text) == {
        "beam_width": 7, "learning_rate": 0.02, "train_encoder": "yes", "label_text": "off",
        "n_clusters": "auto", "evaluate_test": True, "ranker_seed": 3,
        "table_text": ("title", "abstract"), "table_labels": ("tags",), "data": "1000",
        "out": Path("m"),
    }  # fmt: skip
    assert read("") == read("# nothing\n") == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("beam-width: x", "f.yaml, line 1: beam-width: 'x' is not a valid integer"),
        ("seed: 1\n\nbeam-widht: 3", "line 3: li train has no option 'beam-widht'; did you mean"),
        ("seed: 1\nbeam-width: 0", "f.yaml, line 2: beam_width is 0, expected at least 1"),
        ("learning-rate: -1", "f.yaml, line 1: learning_rate is -1.0, expected"),
        ("preset: fats", "f.yaml, line 1: preset: 'fats' is not one of"),
        ("seed: 1\nseed: 2", "f.yaml, line 2: seed stands in line 1 already"),
        ("seed:", "f.yaml, line 1: seed has no value"),
        ("seed: {a: 1}", "f.yaml, line 1: seed holds a mapping"),
        ("text: [[a]]", "f.yaml, line 1: text holds a list within a list"),
        ("- a", "f.yaml, line 1: expected lines 'option: value'"),
        ("fast", "f.yaml, line 1: expected lines 'option: value'"),
        ("a: b: c", "f.yaml, line 1: this is no YAML"),
        ("[a]: 1", "f.yaml, line 1: expected the name of an option"),
        ("config: other", "f.yaml, line 1: config belongs on the command line"),
        ("[" * 5000, "expected lines 'option: value'|this is no YAML"),
        ("overwrite: maybe", "f.yaml, line 1: overwrite: 'maybe' is not a valid boolean"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_line(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read(text)
    assert any(part in str(caught.value) for part in message.split("|")), caught.value


def test_an_option_of_another_command_is_refused() -> None:
    with pytest.raises(InputError, match="li train-index has no option 'final-ranker'"):
        read("final-ranker: trees", train_index)


def test_python_objects_of_yaml_are_never_made() -> None:
    with pytest.raises(InputError, match="not a valid integer"):
        read("seed: !!python/object/apply:os.getpid []".replace("[]", "'1x'"))


@pytest.mark.parametrize("name", sorted(shipped_files()))
def test_shipped_files_are_read_by_the_command_and_fit_together(name: str) -> None:
    found = read(shipped_files()[name])
    assert found["preset"] == "bert" and found["beam_width"] == 20
    given = given_sections(dict(found))
    configs = model_configs("bert", n_labels=3_000_000, **given)
    assert configs.index.n_clusters == found["n_clusters"] and configs.index.edge_scale == 150
    assert configs.training.dropout == 0.5 and configs.training.shortlist_loss_weight == 0.05
    assert configs.model.calibration == "tree" and configs.model.train_encoder == "yes"
    assert configs.model.records == "no" and configs.model.label_text == "off"
    # Each figure says where it comes from.
    for line in shipped_files()[name].splitlines():
        if line and not line.startswith(("#", "preset", "ranker:", "n-models", "records", "refit")):
            assert line.endswith(("[paper]", "[run]", "[near]", "[ours]")) or any(
                line.startswith(plain) for plain in ("final-ranker", "label-text")
            ), line


def test_presets_and_files_are_listed_and_shown() -> None:
    listed = ok("train", "--list-configs")
    for name in shipped_configs("train"):
        assert name in listed
    assert "amazon-670k" in listed and "fast" in listed
    assert "amazon-670k" not in ok("train-index", "--list-configs")
    assert ok("train", "--show-config", "Amazon-670K") == shipped_files()["amazon-670k"]
    shown = ok("train", "--show-config", "bert")
    assert read(shown) == {"preset": "bert"}
    # What is set there stands in it, ready to be changed.
    opened = "\n".join(line.lstrip("# ") for line in shown.splitlines() if ": " in line[:40])
    assert f"edge-init: {PRESETS['bert']['training']['edge_init']}" in opened
    assert "did you mean 'amazon-3m'" in refused("train", "--config", "amazon-3")
    assert "got the file" in refused("train", "--show-config", "x.yaml")


def test_the_command_line_wins_and_the_options_are_written_back(
    text_folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        f"data: {text_folder}\nseed: 5\nbeam-width: 3\nencoder: lsa:8\nevaluate-test: false\n"
        "clustering-features: none\n"
    )
    out = tmp_path / "model"
    quick = [each for each in QUICK if each not in ("--encoder", "lsa")]
    ok("train-index", "--config", file, "--out", out, "--beam-width", 2, *quick)
    written = yaml.safe_load(config_path(out).read_text())
    became = written.pop("became")
    assert written["beam-width"] == 2 and written["seed"] == 5 and written["encoder"] == "lsa:8"
    assert written["data"] == str(text_folder) and written["out"] == str(out)
    assert became["beam-width"] == 2 and became["learning-rate"] == 0.02  # the default
    assert became["hierarchy"] == "flat" and became["n-clusters"] == 1
    assert became["calibration"] == "none" and became["train-encoder"] == "no"
    assert became["n-regions"] == "not used"
    # The file trains the same model again.
    again = tmp_path / "again"
    ok("train-index", "--config", config_path(out), "--out", again)
    assert files(again) == files(out)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    assert "No such file" in refused("train", "--config", tmp_path / "none.yaml")
    assert "is a folder" in refused("train", "--config", f"{tmp_path}/")
    (tmp_path / "b.yaml").write_bytes(b"\x00\x01")
    assert "is no text of options" in refused("train", "--config", tmp_path / "b.yaml")
