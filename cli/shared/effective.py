"""What a training took for the options that it was not asked for, ``auto`` included."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from learned_index.cli.shared.model_options import SECTIONS
from learned_index.cli.shared.options import AUTO, joined
from learned_index.cli.shared.training import Setup
from learned_index.elias.label_texts import LEAST_SHARED
from learned_index.elias.model import ELIAS

NOT_USED = "not used"
"""What an option became that nothing of this model asks for."""


def effective_options(setup: Setup, model: ELIAS) -> dict[str, Any]:
    """Return every option of a configuration with the value that the training took.

    Args:
        setup: What was asked for.
        model: The trained model.

    Returns:
        Plain values by the names of the options. Of an ensemble those of its first index. What is
        still ``auto`` is decided anew in every batch or search, or cannot be told.
    """
    index = model.trained_members()[0]
    sections = {
        "model": model.config.to_dict() | _model_choices(setup, model),
        "index": index.config.to_dict() | _index_choices(model),
        "training": index.training_config.to_dict() | _training_choices(setup, model),
        "ranker": model.ranker_config.to_dict(),
    }
    found: dict[str, Any] = {"preset": setup.preset, "encoder": setup.encoder_spec}
    for section, values in sections.items():
        for name, value in values.items():
            option = joined(SECTIONS[section][1], name).replace("_", "-")
            found[option] = AUTO if value is None else value
    return found


def _model_choices(setup: Setup, model: ELIAS) -> dict[str, Any]:
    report, ranks = model.report_, model.ranker_ is not None
    calibration, final = report.get("calibration"), report.get("final_ranker")
    reads = report.get("label_texts_share_terms")
    on = reads is not None and (model.config.label_text == "on" or reads >= LEAST_SHARED)
    return {
        "train_encoder": "yes" if setup.trained else "no",
        "calibration": "none" if calibration is None else calibration["method"],
        "final_ranker": (final["method"] if final else "fixed") if ranks else NOT_USED,
        "records": "yes" if model.records_ is not None else "no",
        "label_text": "on" if on else "off",
        "keep_sample": model.config.keep_sample
        or ("all" if model.records_ is not None else NOT_USED),
    }


def _index_choices(model: ELIAS) -> dict[str, Any]:
    index = model.trained_members()[0]
    found: dict[str, Any] = {
        "n_clusters": index.n_clusters,
        "edges_per_cluster": int(index.graph.edge_labels_CM.shape[1]),
        "edge_scale": float(index.graph.scale),
        "hierarchy": "flat" if index.hierarchy is None else "deep",
    }
    deep = ("n_regions", "edges_per_region", "region_beam_width", "candidate_clusters")
    if index.hierarchy is None:
        return found | dict.fromkeys(deep, NOT_USED)
    shape = index.hierarchy.shape
    width = int(index.hierarchy.graph.edge_labels_CM.shape[1])
    sizes = (shape.n_regions, width, shape.region_beam_width, shape.n_candidates)
    return found | dict(zip(deep, sizes, strict=True))


def _training_choices(setup: Setup, model: ELIAS) -> dict[str, Any]:
    index = model.trained_members()[0]
    training = index.training_config
    found: dict[str, Any] = {}
    if training.training_shortlist_size is None:
        found["training_shortlist_size"] = index.config.shortlist_size
    if training.early_stopping_metric is None:
        found["early_stopping_metric"] = found["patience"] = NOT_USED
    if training.fixed_edges is None:
        found["fixed_edges"] = NOT_USED
    counts = model.label_counts
    if training.label_init_bias is None and counts is not None and model.n_points:
        per_point = float(np.sum(counts)) / model.n_points
        found["label_init_bias"] = round(math.log(per_point / len(counts)), 4)
    if not setup.trained:
        unused = ("warm_epochs", "encoder_learning_rate", "encoder_weight_decay", "precision")
        found |= dict.fromkeys(unused, NOT_USED)
    return found
