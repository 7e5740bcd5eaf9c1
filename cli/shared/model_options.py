"""What ``li train`` and ``li plan`` share: the options, and data and model made from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

from learned_index.cli.shared.options import config_options, given_values
from learned_index.elias.config import EliasConfig
from learned_index.elias.presets import model_configs, preset_encoder, preset_help, preset_names
from learned_index.index.config import IndexConfig, TrainingConfig
from learned_index.ranking import RankerConfig

if TYPE_CHECKING:
    from learned_index.data import DataFolder, Dataset
    from learned_index.elias import ELIAS

R = TypeVar("R")
DEFAULT_PRESET = "cpu"


def model_options(function: Callable[..., R]) -> Callable[..., R]:
    """Add --data, --preset, --encoder and every field of the configurations."""
    options = (
        click.option("--data", required=True, type=str, help="Data folder, or api-docs."),
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


@dataclass(frozen=True)
class Setup:
    """Data and the untrained model.

    Attributes:
        folder: The data folder.
        train: Its whole training split.
        model: The model, not fitted.
        preset: Name of the preset.
        encoder_spec: What ``--encoder`` says, or the preset.
        trained: Whether the encoder is trained with the index.
    """

    folder: DataFolder
    train: Dataset
    model: ELIAS
    preset: str
    encoder_spec: str
    trained: bool


def set_up(
    data: str,
    preset: str,
    encoder_spec: str | None,
    given: dict[str, dict[str, Any]],
    *,
    quiet: bool,
) -> Setup:
    """Read the training split and make the model that preset and options describe.

    Args:
        data: What ``--data`` says.
        preset: Name of a preset of ``li train``.
        encoder_spec: What ``--encoder`` says; None: the preset's.
        given: From :func:`given_sections`.
        quiet: Show no progress.

    Raises:
        InputError: Unknown data or encoder, or values that do not fit together.
    """
    from learned_index.cli.shared.sources import feature_count, make_encoder, resolve_data
    from learned_index.elias import ELIAS
    from learned_index.elias.points import is_trained

    folder = resolve_data(data, quiet=quiet)
    train = folder.read("train")
    if train.texts is None and train.ids is None:
        # Names that stored vectors are found by.
        train = replace(train, ids=[f"train {row}" for row in range(train.n_points)])
    configs = model_configs(preset, n_labels=train.n_labels, **given)
    spec = encoder_spec or preset_encoder(preset, n_features=feature_count(train))
    config = configs.model
    encoder = make_encoder(spec, has_texts=train.texts is not None, seed=configs.training.seed)
    model = ELIAS(
        encoder, configs.index, training=configs.training, ranker=configs.ranker, config=config
    )
    trained = is_trained(encoder, config.train_encoder)
    return Setup(folder, train, model, preset, spec, trained)
