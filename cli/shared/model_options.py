"""The options of the trainings and of ``li plan``: data, preset, encoder, every parameter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from learned_index.cli.shared.options import combined, config_options, given_values
from learned_index.cli.shared.tables import data_option
from learned_index.config import Config
from learned_index.elias.config import EliasConfig
from learned_index.elias.presets import Command, preset_help, preset_names
from learned_index.index.config import IndexConfig, TrainingConfig
from learned_index.ranking.config import RankerConfig

SECTIONS: dict[str, tuple[type[Config], str]] = {
    "model": (EliasConfig, ""),
    "index": (IndexConfig, ""),
    "training": (TrainingConfig, ""),
    # Index and ranker have a seed each.
    "ranker": (RankerConfig, "ranker"),
}
"""The configurations of a model, and what stands before the names of their options."""


def source_options(command: Command, *, preset: str) -> Callable[[Any], Any]:
    """Make a decorator that adds --data, --preset (with this default) and --encoder."""
    return combined(
        data_option,
        click.option(
            "--preset",
            type=click.Choice(preset_names(command)),
            default=preset,
            show_default=True,
            help=preset_help(command),
        ),
        click.option(
            "--encoder",
            "encoder_spec",
            help="lsa, bow, minilm, a model name or path, a file of vectors ({split} in its name "
            "stands for train, dev, test), or several joined by +.  [default: the preset's]",
        ),
    )


model_options = combined(
    source_options("train", preset="cpu"),
    *(config_options(config, prefix=prefix) for config, prefix in SECTIONS.values()),
)
"""What describes a full model: data, preset, encoder and every field of the configurations."""
evaluate_test_option = click.option(
    "--evaluate-test", is_flag=True, help="Measure on the test split too, at the end."
)


def given_sections(parameters: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Collect what was given of each configuration; removes it from ``parameters``."""
    return {
        name: given_values(config, parameters, prefix=prefix)
        for name, (config, prefix) in SECTIONS.items()
    }
