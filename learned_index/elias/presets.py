"""Named sets of parameters for ``li train-index --preset`` and ``li train --preset``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, NotRequired, TypedDict

from learned_index.elias.config import EliasConfig
from learned_index.errors import InputError
from learned_index.index.config import IndexConfig, TrainingConfig
from learned_index.ranking.config import RankerConfig

MOST_FEATURES_AS_THEY_ARE = 512
Command = Literal["train-index", "train"]
Part = Literal["index", "training", "model", "ranker"]


class Preset(TypedDict):
    """What differs from the defaults of the configuration classes.

    ``by_labels`` holds (largest number of labels, more of the parts) in ascending order; the
    first entry that is large enough counts, None is any number.
    """

    command: Command
    help: str
    encoder: str
    index: NotRequired[dict[str, Any]]
    training: NotRequired[dict[str, Any]]
    model: NotRequired[dict[str, Any]]
    ranker: NotRequired[dict[str, Any]]
    by_labels: NotRequired[list[tuple[int | None, dict[Part, dict[str, Any]]]]]
    measured: NotRequired[dict[str, float]]
    """Percent on the test split of :data:`MEASURED_ON`, one seed."""
    labels_per_cluster: NotRequired[int]
    """C is the power of two nearest to L divided by this."""


MEASURED_ON = "36,354 library records with 21,264 subjects (l4s-en)"


def _measured(*values: float) -> dict[str, float]:
    return dict(zip(("P@1", "P@5", "R@100", "PSP@5"), values, strict=True))


def _epochs(**training: Any) -> dict[Part, dict[str, Any]]:
    return {"training": training}


def _of_student(*, texts: int, shortlist: int, help: str, measured: dict[str, float]) -> Preset:
    """A preset around a student of MiniLM that was taught by so many texts."""
    return {
        "command": "train",
        "help": help,
        "encoder": f"student:{texts}",
        "index": {"shortlist_size": shortlist},
        "training": {"encoder_learning_rate": 1e-3, "warm_epochs": 0},
        "model": {"ranker_shortlist": 50},
        "ranker": {"tolerance": 0.3, "weight_threshold": 0.1},
        # What makes many labels fast costs quality, and few labels are fast without it.
        "by_labels": [
            (
                2000,
                {
                    "index": {"shortlist_size": 2000},
                    "model": {"ranker_shortlist": 100},
                    "ranker": {"tolerance": 0.1, "weight_threshold": 0.05},
                },
            )
        ],
        "measured": measured,
    }


PRESETS: dict[str, Preset] = {
    "default": {
        "command": "train-index",
        "help": "both stages, frozen MiniLM vectors",
        "encoder": "minilm:128",
    },
    "wide": {
        "command": "train-index",
        "help": "wider beam, larger shortlist, half the rate for twice as long",
        "encoder": "minilm:128",
        "index": {"beam_width": 30, "shortlist_size": 3000},
        "training": {"stage1_epochs": 3, "stage2_epochs": 9, "learning_rate": 0.015},
    },
    "first-look": {
        "command": "train-index",
        "help": "a few epochs on LSA vectors only",
        "encoder": "lsa",
        "index": {"shortlist_size": 1000},
        "training": {"stage1_epochs": 2, "stage2_epochs": 2},
    },
    # Epochs, rates and no warm-up are chosen on held-out l4s-en records: more epochs, a second
    # clustering, or dropping words while training, cost R@100 there.
    "fast": _of_student(
        texts=3000,
        shortlist=500,
        help="a student of MiniLM trained with the index: minutes on a laptop",
        measured=_measured(54.9, 25.4, 84.8, 43.1),
    ),
    "cpu": _of_student(
        texts=12_000,
        shortlist=1000,
        help="the same, taught by four times as many texts, with longer shortlists",
        measured=_measured(53.9, 25.2, 84.8, 41.8),
    ),
    # Held-out l4s-en records, P@1 / P@5 / R@100: 59.1 / 27.4 / 89.4 with 64 tokens, and with 96
    # 59.5 / 27.5 / 89.9, for half as much encoding again. LSA beside it costs P@1 (the ranker sees
    # the words anyway).
    "accurate": {
        "command": "train",
        "help": "frozen MiniLM vectors: the better answers, the longer encoding",
        "encoder": "minilm:64",
        "measured": _measured(58.6, 26.9, 86.9, 46.3),
    },
    "bow": {
        "command": "train",
        "help": "a bag of words trained end to end with the index",
        "encoder": "bow",
        "model": {"train_encoder": "yes"},
    },
    "minilm": {
        "command": "train",
        "help": "MiniLM fine-tuned end to end: for a GPU, or small data",
        "encoder": "minilm",
        "training": {
            "batch_size": 256,
            "encoder_learning_rate": 1e-4,
            "gradient_clip": 1.0,
            "warm_epochs": 2,
            "stage1_epochs": 4,
            "stage2_epochs": 10,
        },
        "model": {"train_encoder": "yes"},
    },
    # The constants of ELIAS (Gupta et al., NeurIPS 2022, arXiv 2210.08410): alpha 10, beam 20,
    # K 2000, lambda 0.05, M = 10 L/C, edges that start uniform, C a power of two near L/64 (2048
    # for 131K labels, 8192 for 670K). Rates, epochs and batch are in the range of the paper's but
    # chosen here: more labels come with more points, so fewer epochs and lower rates.
    "bert": {
        "command": "train",
        "help": "BERT fine-tuned end to end with the paper's constants: for a GPU",
        "encoder": "hf:bert-base-uncased",
        "index": {
            "router_scale": 10.0,
            "beam_width": 20,
            "shortlist_size": 2000,
            "projection": "none",
        },
        "training": {
            "batch_size": 512,
            "learning_rate": 1e-2,
            "edge_learning_rate": 1e-2,
            "encoder_weight_decay": 0.01,
            "shortlist_loss_weight": 0.05,
            "edge_init": "uniform",
            "warmup_fraction": 0.1,
            "gradient_clip": 1.0,
            "stage1_epochs": 10,
        },
        "model": {"train_encoder": "yes", "validation_limit": 5000},
        "labels_per_cluster": 64,
        "by_labels": [
            (200_000, _epochs(encoder_learning_rate=1e-4, warm_epochs=10, stage2_epochs=40)),
            (
                1_000_000,
                _epochs(
                    encoder_learning_rate=5e-5,
                    warm_epochs=10,
                    stage2_epochs=40,
                    label_update_every=2,
                ),
            ),
            (
                None,
                _epochs(
                    encoder_learning_rate=2e-5,
                    warm_epochs=5,
                    stage2_epochs=30,
                    label_update_every=4,
                ),
            ),
        ],
    },
}
"""The presets by name; ``encoder`` is what ``--encoder`` would be."""


class ModelConfigs(NamedTuple):
    """Everything that configures an :class:`~learned_index.elias.ELIAS` model but the encoder."""

    index: IndexConfig  # type: ignore[assignment]  # hides tuple.index, which nobody needs
    training: TrainingConfig
    ranker: RankerConfig
    model: EliasConfig


def preset_names(command: Command) -> list[str]:
    """Return the names of the presets of one command."""
    return [name for name, preset in PRESETS.items() if preset["command"] == command]


def preset_help(command: Command) -> str:
    """Return one line that explains the presets of one command."""
    names = preset_names(command)
    return "; ".join(f"{name}: {PRESETS[name]['help']}" for name in names) + "."


def preset_quality(name: str) -> dict[str, dict[str, float]]:
    """What a preset measured, and beside it the most accurate one, by name; empty: not measured.

    What a preset costs in quality is the difference; on other data the figures are others.
    """
    if "measured" not in _find(name):
        return {}
    names = [name, *(["accurate"] if name != "accurate" else [])]
    return {each: dict(PRESETS[each]["measured"]) for each in names}


def preset_encoder(name: str, *, n_features: int | None) -> str:
    """Return what ``--encoder`` is by default: the preset's, or one for sparse features.

    Features are taken as they are where there are at most 512, else by an SVD.

    Args:
        name: A key of :data:`PRESETS`.
        n_features: Columns of sparse features; None: the points are texts.

    Raises:
        InputError: The preset trains a text encoder, and there are no texts.
    """
    preset = _find(name)
    if n_features is None:
        return preset["encoder"]
    if preset.get("model", {}).get("train_encoder") == "yes":
        raise InputError(
            f"preset {name!r} trains a text encoder, but the data have sparse features and no "
            "texts; use --preset accurate"
        )
    return "features" if n_features <= MOST_FEATURES_AS_THEY_ARE else "lsa"


def model_configs(
    name: str,
    *,
    n_labels: int,
    index: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    ranker: Mapping[str, Any] | None = None,
    model: Mapping[str, Any] | None = None,
) -> ModelConfigs:
    """Build the configurations of a preset for data of a size.

    Args:
        name: A key of :data:`PRESETS`.
        n_labels: Labels of the data.
        index: Values of :class:`IndexConfig` that take precedence over the preset's.
        training: Values of :class:`TrainingConfig` likewise.
        ranker: Values of :class:`RankerConfig` likewise.
        model: Values of :class:`EliasConfig` likewise.

    Raises:
        InputError: No such preset, or an unknown or unusable value.
    """
    preset = _find(name)
    by_labels = preset.get("by_labels", [])
    sized = [values for limit, values in by_labels if limit is None or n_labels <= limit]
    more = sized[0] if sized else {}

    def own(part: Part) -> dict[str, Any]:
        return {**preset.get(part, {}), **more.get(part, {})}

    own_index = own("index")
    if "labels_per_cluster" in preset:
        wanted = max(1.0, n_labels / preset["labels_per_cluster"])
        own_index["n_clusters"] = 2 ** round(math.log2(wanted))
    return ModelConfigs(
        IndexConfig.from_dict({**own_index, **(index or {})}),
        TrainingConfig.from_dict({**own("training"), **(training or {})}),
        RankerConfig.from_dict({**own("ranker"), **(ranker or {})}),
        EliasConfig.from_dict({**own("model"), **(model or {})}),
    )


def _find(name: str) -> Preset:
    if name not in PRESETS:
        raise InputError(f"no preset is called {name!r}; there are {', '.join(PRESETS)}")
    return PRESETS[name]
