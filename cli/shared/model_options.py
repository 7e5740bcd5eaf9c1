"""The options of ``li train`` and ``li plan``: data, preset, encoder, every parameter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from learned_index.cli.shared.options import config_options, data_option, given_values
from learned_index.elias.config import EliasConfig
from learned_index.elias.presets import preset_help, preset_names
from learned_index.index.config import IndexConfig, TrainingConfig
from learned_index.ranking.config import RankerConfig

R = TypeVar("R")
DEFAULT_PRESET = "cpu"


def model_options(function: Callable[..., R]) -> Callable[..., R]:
    """Add --data, --preset, --encoder and every field of the configurations."""
    options = (
        data_option,
        click.option(
            "--preset",
            type=click.Choice(preset_names("train")),
            default=DEFAULT_PRESET,
            show_default=True,
            help=preset_help("train"),
        ),
        click.option(
            "--encoder",
            "encoder_spec",
            default=None,
            help="lsa, bow, minilm, a model name or path, a file of vectors, or several joined by "
            "+; see li train-index.  [default: the preset's]",
        ),
        config_options(EliasConfig),
        config_options(IndexConfig),
        config_options(TrainingConfig),
        config_options(RankerConfig, prefix="ranker"),
    )
    for option in reversed(options):
        function = option(function)
    return function


def given_sections(parameters: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Collect what was given of each configuration; removes it from ``parameters``."""
    return {
        "model": given_values(EliasConfig, parameters),
        "index": given_values(IndexConfig, parameters),
        "training": given_values(TrainingConfig, parameters),
        "ranker": given_values(RankerConfig, parameters, prefix="ranker"),
    }
