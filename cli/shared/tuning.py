"""Choose the knobs of a compiled model on data."""

from __future__ import annotations

from typing import Any

from learned_index.cli.shared.common import progress_bar
from learned_index.cli.shared.sources import model_vectors, resolve_data
from learned_index.data.dataset import SplitName
from learned_index.elias.model import ELIAS
from learned_index.errors import InputError
from learned_index.evaluation.truth import truth_of


def tune_on(
    model: ELIAS, data: str, *, split: SplitName, recall: float, k: int, quiet: bool
) -> dict[str, Any]:
    """Give a compiled model the cheapest knobs that reach a recall on a split.

    All engines of an ensemble take those of the first.

    Args:
        model: Compiled; its engines are replaced.
        data: What ``--tune`` says.
        split: The split.
        recall: Share of the exhaustive search's recall, above 0 and at most 1.
        k: Depth.
        quiet: Show no progress.

    Returns:
        The knobs and what was measured, JSON-able.

    Raises:
        InputError: The data have no such split, or the members have encoders of their own.
    """
    folder = resolve_data(data, quiet=quiet)
    if split not in folder.splits:
        raise InputError(
            f"the data have no {split} split to tune on, only {', '.join(folder.splits)}; "
            "give --split train, or data with a dev split"
        )
    dataset = folder.read(split)
    vectors = model_vectors(model, dataset, quiet=quiet)
    if vectors is None:
        raise InputError(
            "the members of this model have encoders of their own; set --beam-width and "
            "--shortlist-size instead of tuning"
        )
    truth = truth_of(model, dataset)
    engines = model.engines()
    with progress_bar("tuning", quiet=quiet):
        tuning = engines[0].tune(vectors, truth[:, : engines[0].n_labels], recall=recall, k=k)
    model.members = [engine.with_knobs(**tuning.knobs) for engine in engines]
    return {
        **tuning.knobs,
        "recall": tuning.recall,
        "exhaustive_recall": tuning.exhaustive_recall,
        "latency_us": tuning.latency_us,
        "split": split,
        "k": k,
        "points": tuning.points,
    }
