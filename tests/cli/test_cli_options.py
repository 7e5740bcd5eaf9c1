"""The group li: help without heavy imports, options made from the configurations."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import click
import pytest
from cli_cases import ok, refused
from click.testing import CliRunner

from learned_index import IndexConfig, TrainingConfig
from learned_index.cli.main import COMMANDS
from learned_index.cli.shared.options import config_options, given_values


def help_of(*words: str, without: tuple[str, ...]) -> str:
    """The help of a command in a fresh process, which must not import some packages."""
    code = (
        "import sys\nfrom learned_index.cli import main\n"
        f"try:\n    main({[*words, '--help']})\nexcept SystemExit as end:\n"
        "    assert end.code == 0\n"
        f"heavy = [m for m in {without} if m in sys.modules]\nassert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_help_of_the_group_imports_no_command_and_is_quick() -> None:
    heavy = ("torch", "numba", "faiss", "sklearn", "transformers", "matplotlib")
    text = help_of(without=heavy)
    assert all(name in text for name in COMMANDS)


def test_help_of_the_import_imports_nothing_heavy() -> None:
    heavy = ("torch", "numba", "sklearn", "pyarrow", "rdflib", "pandas")
    assert "--dry-run" in help_of("data", "import", without=heavy)


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_help_with_an_example(name: str) -> None:
    text = ok(name, "--help")
    assert "Example" in text
    assert f"li {name}" in text


def test_unknown_command_names_the_known_ones() -> None:
    assert "train-index" in refused("train-idx")


def test_options_are_the_fields_of_the_configurations() -> None:
    from learned_index.cli.train_index import train_index

    names = [parameter.name for parameter in train_index.params]
    assert len(names) == len(set(names))
    for config in (IndexConfig, TrainingConfig):
        for field in dataclasses.fields(config):
            option = next(p for p in train_index.params if p.name == field.name)
            assert field.metadata["help"] in option.help


def test_generated_options_convert_and_report_only_what_was_given() -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Config:
        size: int | None = dataclasses.field(default=3, metadata={"help": "a size"})
        rate: float = dataclasses.field(default=0.5, metadata={"help": "a rate"})
        mode: str = dataclasses.field(default="x", metadata={"help": "a mode"})

    Config.__annotations__ = {"size": int | None, "rate": float, "mode": str}
    seen = {}

    @click.command()
    @config_options(Config)
    def command(**parameters: object) -> None:
        seen.update(given_values(Config, parameters))

    assert CliRunner().invoke(command, ["--size", "auto", "--rate", "2"]).exit_code == 0
    assert seen == {"size": None, "rate": 2.0}
    assert CliRunner().invoke(command, ["--size", "big"]).exit_code == 2
