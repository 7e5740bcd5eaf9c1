"""Everything that is known of a training before it begins."""

from __future__ import annotations

from typing import Any

import scipy.sparse as sp

from learned_index.elias.parts import EliasParts
from learned_index.elias.points import is_trained
from learned_index.errors import InputError
from learned_index.planning.plan import DataShape, Plan, make_plan
from learned_index.planning.timing import expected_seconds
from learned_index.system.memory import free_device_memory, free_memory, gigabytes

REMEDIES = (
    "reduce --n-models, --batch-size, --shortlist-size, --rerank-size or the encoder's dimension "
    "(lsa:128), leave out the ranker (--ranker none), or choose a smaller encoder"
)


def plan_training(model: EliasParts, points: Any, labels_NL: sp.csr_matrix) -> dict[str, Any]:
    """Plan a training, measure this machine, and put all figures together (JSON-able).

    Args:
        model: Not fitted.
        points: The training texts or feature rows.
        labels_NL: Their labels.
    """
    found, device, trained = _plan_of(model, points, labels_NL)
    why = _shortage(found, device)
    return {
        "trains_encoder": trained,
        "device": device,
        "n_points": found.shape.n_points,
        "n_labels": found.shape.n_labels,
        "terms_per_point": found.shape.terms,
        "n_terms": found.shape.n_terms,
        "dim": found.dim,
        "n_clusters": found.n_clusters,
        "edges_per_cluster": found.edges_per_cluster,
        "n_models": model.config.n_models,
        "parameters": found.parameters,
        "n_parameters": sum(found.parameters.values()),
        "memory_bytes": found.memory,
        "peak_bytes": found.peak_bytes,
        "free_bytes": free_memory(),
        "device_bytes": found.device_bytes,
        "free_device_bytes": free_device_memory(device),
        "disk_bytes": found.disk_bytes,
        "seconds": expected_seconds(model, found, points, trained=trained),
        "fits": why is None,
        "shortage": why,
    }


def refuse_what_cannot_fit(model: EliasParts, points: Any, labels_NL: sp.csr_matrix) -> None:
    """Refuse a training that will not fit into memory.

    Raises:
        InputError: It will not; says what to reduce.
    """
    found, device, _ = _plan_of(model, points, labels_NL)
    why = _shortage(found, device)
    if why is not None:
        raise InputError(f"{why}. --force trains all the same")


def _plan_of(model: EliasParts, points: Any, labels_NL: sp.csr_matrix) -> tuple[Plan, str, bool]:
    """The plan, the device of the training, and whether the encoder is trained too."""
    trained = is_trained(model.encoder, model.config.train_encoder)
    device = model.training_config.device
    if trained:
        device = str(getattr(model.encoder, "device", "cpu"))
    shape = DataShape.of(points, labels_NL)
    return make_plan(model, shape, trained=trained, device=device), device, trained


def _shortage(plan: Plan, device: str) -> str | None:
    """Say what does not fit into the memory that is free; None: everything does."""
    for what, need, free in (
        ("of memory", plan.peak_bytes, free_memory()),
        (f"on {device}", plan.device_bytes, free_device_memory(device)),
    ):
        if free is not None and need > free:
            return (
                f"training needs about {gigabytes(need)} {what}, {gigabytes(free)} are free: "
                + REMEDIES
            )
    return None
