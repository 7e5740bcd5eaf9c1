"""Named sets of parameters for ``li train-index --preset`` and :func:`preset_configs`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from learned_index.errors import InputError
from learned_index.graph.config import IndexConfig, TrainingConfig


class Preset(TypedDict):
    """What differs from the defaults of the two configuration classes."""

    help: str
    encoder: str
    index: dict[str, Any]
    training: dict[str, Any]


PRESETS: dict[str, Preset] = {
    "default": {
        "help": "both stages, frozen LSA and MiniLM vectors",
        "encoder": "lsa+minilm",
        "index": {},
        "training": {},
    },
    "fast": {
        "help": "a few epochs on LSA vectors only: for a first look",
        "encoder": "lsa",
        "index": {"shortlist_size": 1000},
        "training": {"stage1_epochs": 2, "stage2_epochs": 2},
    },
    "accurate": {
        "help": "wider beam, larger shortlist, half the rate for twice as long",
        "encoder": "lsa+minilm",
        "index": {"beam_width": 30, "shortlist_size": 3000},
        "training": {"stage1_epochs": 3, "stage2_epochs": 9, "learning_rate": 0.015},
    },
}
"""The presets by name; ``encoder`` is what ``--encoder`` would be."""


def preset_configs(
    name: str,
    *,
    index: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
) -> tuple[IndexConfig, TrainingConfig]:
    """Build the configurations of a preset.

    Args:
        name: A key of :data:`PRESETS`.
        index: Values of :class:`IndexConfig` that take precedence over the preset's.
        training: Values of :class:`TrainingConfig` that take precedence over the preset's.

    Raises:
        InputError: No such preset, or an unknown or unusable value.
    """
    if name not in PRESETS:
        raise InputError(f"no preset is called {name!r}; there are {', '.join(PRESETS)}")
    preset = PRESETS[name]
    return (
        IndexConfig.from_dict({**preset["index"], **(index or {})}),
        TrainingConfig.from_dict({**preset["training"], **(training or {})}),
    )
