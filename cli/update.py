"""``li update``: a saved model learns from new points, without a new training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from learned_index.cli.shared.changes import finish, to_change, version_options
from learned_index.cli.shared.common import quiet_option, threads_option, use_threads, warn
from learned_index.cli.shared.help import command
from learned_index.cli.shared.options import model_argument, train_split_option
from learned_index.cli.shared.tables import DataSource, data_option


@command(
    common=(
        *("data", "table_text", "table_labels", "split", "out", "overwrite"),
        *("as_json", "quiet", "threads"),
    ),
    examples=("li update model --data this-week --out model-2",),
)
@model_argument
@data_option
@train_split_option
@version_options
@threads_option
@quiet_option
def update(
    model: Path,
    data: DataSource,
    split: Any,
    threads: int | None,
    quiet: bool,
    **written: Any,
) -> None:
    """Make a version of MODEL that has learned from the new points of a data folder.

    Seconds where a training takes minutes, and without the old data: the records that the model
    remembers protect what it learned (li train --keep-sample N keeps fewer of them). Labels are
    matched by key; those that the model lacks become new ones where a point has them. Once the
    records have doubled, the index is trained on all of them first, which takes longer. The encoder
    stays: train anew when much has been added, or begin with li train --keep-texts yes, and the
    update with which the texts have doubled trains all of the model anew. Commands that change one
    model at the same time take turns.
    """
    from learned_index.cli.shared import sources

    use_threads(threads)
    dataset = sources.resolve_data(data, quiet=quiet).read(split)
    with to_change(model, written) as loaded:
        points = sources.points_for(loaded.encoder, dataset)
        updated = loaded.update(points, dataset.labels, vocabulary=dataset.vocabulary)
        learned = updated.n_points - loaded.n_points
        new = updated.n_labels - loaded.n_labels
        finish(updated, "learned", learned, model, what="points", new_labels=new, **written)
    if learned < dataset.n_points:
        warn(
            f"{dataset.n_points - learned} points have no label, or no word that the model knows",
            quiet=quiet,
        )
