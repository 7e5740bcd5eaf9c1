"""``li evaluate``: metrics of models and of saved predictions on one split of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from learned_index.cli.shared.common import (
    emit_json,
    progress_bar,
    standard_options,
    use_threads,
    warn,
)
from learned_index.cli.shared.help import command
from learned_index.cli.shared.options import knob_options, propensity_option, split_option
from learned_index.cli.shared.tables import DataSource, data_option
from learned_index.errors import InputError

if TYPE_CHECKING:
    from learned_index.data import DataFolder, Dataset
    from learned_index.evaluation.answers import Answers

RESAMPLES = 2000
"""Of intervals and tests: the ends of an interval differ by less than a tenth of its width."""


@command(
    common=("data", "split", "predictions", "intervals", "as_json"),
    examples=(
        "li evaluate model --data my-data --intervals",
        "li evaluate old-model new-model --data my-data",
        "li evaluate --predictions mine.jsonl --data my-data",
    ),
)
@click.argument("models", nargs=-1, metavar="[MODEL [MODEL]]", type=click.Path(path_type=Path))
@data_option
@split_option
@click.option(
    "--predictions",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Measure saved predictions in the place of a model: JSON lines, Parquet, sparse text, "
    ".npz (docs/inputs.md); again, or with a MODEL: compare.",
)
@click.option(
    "--prediction-labels",
    type=click.Path(path_type=Path),
    help="File that names the labels numbered in predictions, KEY<TAB>TEXT a line.  "
    "[default: PREDICTIONS.labels.txt, or the data's numbers]",
)
@click.option("--intervals", is_flag=True, help="Show the 95 % bootstrap interval of each metric.")
@click.option(
    "--resamples",
    type=click.IntRange(min=100),
    default=RESAMPLES,
    show_default=True,
    help="Draws of intervals and tests.",
)
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
    models: tuple[Path, ...],
    data: DataSource,
    split: Any,
    predictions: tuple[Path, ...],
    prediction_labels: Path | None,
    intervals: bool,
    resamples: int,
    vectors: Path | None,
    propensity: tuple[float, float],
    beam_width: int | None,
    shortlist_size: int | None,
    score: Any,
    threads: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Measure the model in the directory MODEL, or saved predictions, on a split of a data set.

    All metrics are in percent: precision P, nDCG, propensity-scored precision PSP and F1 (micro and
    macro) at 1, 3, 5 and recall R at 10, 20, 100; P, PSP and R also of labels with many, some and
    few training points (head, torso, tail). A point without labels counts as a miss in all but R.
    Of a calibrated model also F1 of the answers from a probability on, and how good the
    probabilities are. Labels that the model was never trained on stay in the truth; their number is
    n_unseen_labels. Recall is also told apart for labels with more than three training points
    (seen), with one to three (few-shot) and with none (unseen), in percent of the (point, label)
    pairs. Pairs in the data's filter_labels_test.txt count neither as answers nor as truth.
    Data and model may number their labels differently: they are matched by key.

    Two models, or predictions, are compared point by point: each metric of both, the difference
    with its interval, and a test of significance. Frequency and propensities are those of the
    training points of the first.
    """
    from learned_index.cli.shared import evaluation_tables, sources
    from learned_index.evaluation.evaluate import compare_answers, measured_values

    contenders = [*models, *predictions]
    if len(contenders) not in (1, 2):
        raise InputError(
            f"got {len(contenders)} models and predictions; expected one to measure or two to "
            "compare: li evaluate MODEL, li evaluate MODEL MODEL, --predictions FILE"
        )
    if vectors is not None and len(models) != 1:
        raise InputError("--vectors belongs to one model; leave it out")
    use_threads(threads)
    folder = sources.resolve_data(data, quiet=quiet)
    dataset = folder.read(split)
    query = {"beam_width": beam_width, "shortlist_size": shortlist_size, "score": score}
    answers = [_of_model(path, dataset, vectors, query, quiet=quiet) for path in models]
    answers += [_of_file(path, dataset, folder, prediction_labels) for path in predictions]
    if len(answers) == 2:
        a, b = map(str, contenders)
        with progress_bar("comparing", quiet=quiet):
            compared = compare_answers(*answers, propensity=propensity, n_resamples=resamples)
        if as_json:
            emit_json({"a": a, "b": b, "split": split, **compared})
            return
        click.echo(f"A  {a}\nB  {b}\n")
        title = f"{split}: {compared['n_points']} points"
        evaluation_tables.print_comparison(compared, title=title)
        return
    n_resamples = resamples if intervals else 0
    values = measured_values(answers[0], propensity=propensity, n_resamples=n_resamples)
    if as_json:
        emit_json(values)
        return
    title = f"{split}: {values['n_points']} points, percent"
    evaluation_tables.print_evaluation(values, title=title)
    if "n_filtered" in values:
        warn(f"{values['n_filtered']} pairs count neither as answers nor as truth (filter_labels)")
    if values["n_unseen_labels"]:
        warn(f"{values['n_unseen_labels']} labels of the {split} split were never trained")


def _of_model(
    path: Path, dataset: Dataset, vectors: Path | None, query: Any, *, quiet: bool
) -> Answers:
    from learned_index.cli.shared.sources import answers_shown
    from learned_index.elias.model import ELIAS
    from learned_index.encoders.vector_files import read_vectors

    given = None if vectors is None else read_vectors(vectors)
    return answers_shown(
        ELIAS.from_pretrained(path), dataset, vectors=given, query=query, quiet=quiet
    )


def _of_file(path: Path, dataset: Dataset, folder: DataFolder, labels: Path | None) -> Answers:
    from learned_index.data.predictions.reading import read_predictions
    from learned_index.evaluation.answers import DEPTH, predicted_answers

    found = read_predictions(path, dataset, labels=labels)
    train = None
    if "train" in folder.splits:
        train = dataset if dataset.split == "train" else folder.read("train")
    answers = predicted_answers(found, dataset, train=train)
    width = found.result.ids.shape[1]
    if width < DEPTH:
        warn(f"{path} has at most {width} labels a point; R@{DEPTH} counts no others")
    if found.n_unknown:
        warn(f"{path} names {found.n_unknown} labels that the data do not know: all wrong")
    if found.n_other:
        warn(f"{path} has {found.n_other} rows for points that the split has not got")
    if train is None:
        warn("there is no train split, so nothing is told by frequency and PSP is P")
    return answers
