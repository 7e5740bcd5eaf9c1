"""The options of the trainings and of ``li plan``: data, preset, encoder, every parameter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from learned_index.cli.shared.help import panel
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
_PANELS = {"model": "Model", "index": "Index", "training": "Training", "ranker": "Ranker"}
"""Heading of the options of each configuration, but for these fields:"""
_PANEL_OF_FIELD = {
    **dict.fromkeys(("ranker", "final_ranker", "records", "keep_sample", "refit"), "Ranker"),
    **dict.fromkeys(("rerank_size", "ranker_shortlist"), "Ranker"),
    **dict.fromkeys(("calibration", "validation_fraction", "validation_limit"), "Calibration"),
    **dict.fromkeys(("train_encoder", "encoder_learning_rate", "warm_epochs"), "Encoder"),
    **dict.fromkeys(("encoder_weight_decay", "precision"), "Encoder"),
    "clustering_features": "Index",
    "device": "Machine",
}


def section_options(*names: str) -> Callable[[Any], Any]:
    """Make a decorator that adds the options of some of :data:`SECTIONS`, in panels."""

    def options_of(section: str) -> Callable[[Any], Any]:
        config, prefix = SECTIONS[section]

        def panel_of(field: str) -> str:
            return _PANEL_OF_FIELD.get(field, _PANELS[section])

        return config_options(config, prefix=prefix, panel_of=panel_of)

    return combined(*map(options_of, names))


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
    section_options(*SECTIONS),
)
"""What describes a full model: data, preset, encoder and every field of the configurations."""
track_option = panel(
    "Output",
    click.option(
        "--track",
        "track",
        multiple=True,
        metavar="tensorboard:DIR|mlflow[:URI]|wandb[:PROJECT]",
        help="Log losses, metrics and results there too; may be given again.",
    ),
)
evaluate_test_option = click.option(
    "--evaluate-test", is_flag=True, help="Measure on the test split too, at the end."
)


def given_sections(parameters: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Collect what was given of each configuration; removes it from ``parameters``."""
    return {
        name: given_values(config, parameters, prefix=prefix)
        for name, (config, prefix) in SECTIONS.items()
    }
