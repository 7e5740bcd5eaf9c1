"""``li evaluate``: metrics of a saved index on one split of a data folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from learned_index.cli.shared.common import (
    emit_json,
    note,
    standard_options,
    use_threads,
)
from learned_index.cli.shared.options import (
    knob_options,
    model_argument,
    propensity_option,
    split_option,
)
from learned_index.cli.shared.tables import DataSource, data_option


@click.command(epilog="Example: li evaluate model --data my-data --split test --json")
@model_argument
@data_option
@split_option
@click.option(
    "--vectors",
    type=click.Path(path_type=Path),
    help="File with the split's vectors (npy, npz, safetensors); nothing is encoded then.",
)
@propensity_option
@knob_options
@click.option(
    "--score",
    type=click.Choice(["ranking", "index"]),
    default="ranking",
    show_default=True,
    help="What orders the labels: the ranking score, or the index without the ranker.",
)
@standard_options
def evaluate(
    model: Path,
    data: DataSource,
    split: Any,
    vectors: Path | None,
    propensity: tuple[float, float],
    beam_width: int | None,
    shortlist_size: int | None,
    score: Any,
    threads: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Measure the model in the directory MODEL on a split of a data folder.

    All metrics are in percent: precision P, nDCG, propensity-scored precision PSP at 1, 3, 5 and
    recall R at 10, 20, 100. A point without labels counts as a miss in all but R. Labels of the
    split that the model was never trained on stay in the truth; their number is n_unseen_labels.
    Recall is also told apart for labels with more than three training points (seen), with one to
    three (few-shot) and with none (unseen), in percent of the (point, label) pairs.
    Pairs in the data's filter_labels_test.txt count neither as answers nor as truth.
    Data and model may number their labels differently: they are matched by key.

    Of a calibrated model also: the expected calibration error in percent and the Brier score of the
    best label and of the best five, by how often these labels were trained.
    """
    from learned_index.cli.shared import report, sources
    from learned_index.elias.model import ELIAS
    from learned_index.encoders.vector_files import read_vectors

    use_threads(threads)
    loaded = ELIAS.from_pretrained(model)
    dataset = sources.resolve_data(data, quiet=quiet).read(split)
    values = sources.evaluate_shown(
        loaded,
        dataset,
        vectors=None if vectors is None else read_vectors(vectors),
        propensity=propensity,
        query={"beam_width": beam_width, "shortlist_size": shortlist_size, "score": score},
        quiet=quiet,
    )
    if as_json:
        emit_json(values)
        return
    report.print_metrics(values, title=f"{split}: {values['n_points']} points, percent")
    if "n_filtered" in values:
        note(f"{values['n_filtered']} pairs count neither as answers nor as truth (filter_labels)")
    if values["n_unseen_labels"]:
        note(f"{values['n_unseen_labels']} labels of the {split} split were never trained")
