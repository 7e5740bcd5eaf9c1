"""``li inspect``: what a model knows of a cluster, or of a label."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from learned_index.cli.shared.common import emit_json, standard_options, use_threads
from learned_index.cli.shared.help import command
from learned_index.cli.shared.lines import named, say, say_items, say_rows
from learned_index.cli.shared.options import cache_option, model_argument, train_split_option
from learned_index.errors import InputError

if TYPE_CHECKING:
    from learned_index.data.vocabulary import LabelVocabulary
    from learned_index.evaluation.inspection import InspectedCluster, InspectedLabel
    from learned_index.evaluation.ranker_words import WordWeight


def parse_target(
    target: str | None,
    *,
    cluster: int | None,
    label: str | None,
    vocabulary: LabelVocabulary,
    n_clusters: int,
) -> int | str:
    """Tell what is asked for.

    Args:
        target: The number of a cluster, or the key or name of a label, where only one of them is
            meant by it.
        cluster: What ``--cluster`` says.
        label: What ``--label`` says.
        vocabulary: The model's labels.
        n_clusters: The model's clusters.

    Returns:
        The number of a cluster as an int, or a label as a string.

    Raises:
        InputError: None of the three is given, or several, or the target means nothing or both.
    """
    if sum(each is not None for each in (target, cluster, label)) != 1:
        raise InputError(
            "expected one cluster or one label: li inspect MODEL 17, --cluster 17, or "
            "--label 'a name'"
        )
    if cluster is not None:
        return cluster
    if label is not None:
        return label
    assert target is not None
    number = int(target) if target.isascii() and target.isdigit() and len(target) < 10 else None
    is_cluster, is_label = number is not None and number < n_clusters, target in vocabulary
    if is_cluster and is_label:
        raise InputError(
            f"{target} is the number of a cluster, and a label is called so: say --cluster "
            f"{target} or --label {target}"
        )
    if number is not None and not is_label and not is_cluster:
        raise InputError(
            f"{target} is no cluster (0 to {n_clusters - 1}), and no label is called so (of "
            f"{len(vocabulary)} labels)"
        )
    return number if is_cluster and number is not None else target


@command(
    examples=("li inspect model 17 --data my-data", "li inspect model 'Turbulent flow'"),
)
@model_argument
@click.argument("target", required=False, metavar="[CLUSTER|LABEL]")
@click.option("--cluster", type=click.IntRange(min=0), help="The cluster of this number.")
@click.option("--label", help="The label of this key or name.")
@click.option(
    "--member",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Which model of an ensemble, from 0.",
)
@click.option(
    "-k",
    "k",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    help="Labels, words and example texts; clusters of a label are shown all.",
)
@click.option(
    "--data", help="Data folder, or api-docs: shows texts whose best cluster it is (clusters only)."
)
@train_split_option
@cache_option
@standard_options
def inspect(
    model: Path,
    target: str | None,
    cluster: int | None,
    label: str | None,
    member: int,
    k: int,
    data: str | None,
    split: Any,
    cache: str | None,
    threads: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Show what the model in the directory MODEL knows of a cluster or of a label.

    Of a cluster: the labels it leads to, the words that weigh most in their classifiers, and with
    --data the points whose best cluster it is. Of a label: the clusters that lead to it, the words
    for and against it, labels with a like classifier, and how many training points have it.

    A whole number below the number of clusters is a cluster, anything else the key or name of a
    label. Where it could be both, say --cluster or --label.
    """
    from learned_index.cli.shared import sources
    from learned_index.elias.model import ELIAS
    from learned_index.evaluation import inspection

    use_threads(threads)
    loaded = ELIAS.from_pretrained(model)
    index = inspection.inspected_member(loaded, member)
    asked = parse_target(
        target,
        cluster=cluster,
        label=label,
        vocabulary=loaded.vocabulary,
        n_clusters=index.n_clusters,
    )
    if isinstance(asked, str):
        if data is not None:
            raise InputError("--data shows the points of a cluster; leave it out for a label")
        found_label = inspection.inspect_label(loaded, asked, member=member, k=k)
        if as_json:
            emit_json(found_label.to_dict())
        else:
            _show_label(found_label)
        return
    dataset = vectors = None
    if data is not None:
        dataset = sources.resolve_data(data, quiet=quiet).read(split)
        encoder = inspection.member_encoder(loaded, member)
        vectors = sources.encode_split(encoder, dataset, cache=cache, quiet=quiet)
    found = inspection.inspect_cluster(
        loaded, asked, member=member, k=k, dataset=dataset, vectors=vectors
    )
    if as_json:
        emit_json(found.to_dict())
    else:
        _show_cluster(found)


def _show_cluster(found: InspectedCluster) -> None:
    click.echo(f"cluster {found.cluster}")
    say(
        "edges",
        f"{found.n_edges:,} of weight {found.weight:.2f} in all; the strongest of "
        f"{found.n_strongest:,} labels",
    )
    say_rows("labels", [(f"{e.weight:.4f}", named(e.label, e.key)) for e in found.labels])
    _say_words("words", found.words)
    examples = found.examples
    if examples is None:
        return
    say(
        "points",
        f"best cluster of {examples.n_here:,} of the {examples.n_points:,} points of the "
        f"{examples.split} split",
    )
    for point in examples.points:
        text = f"point {point.row}" if point.text is None else point.text
        say_rows("", [(f"{point.score:.4f}", text)])
        say_rows("", [(" " * 6, f"has: {'; '.join(point.labels) or 'no label'}")])


def _show_label(found: InspectedLabel) -> None:
    click.echo(named(found.label, found.key))
    counts = [] if found.n_points is None else [f"{found.n_points:,} in training"]
    counts += [] if found.n_records is None else [f"{found.n_records:,} remembered"]
    if counts:
        say("points", ", ".join(counts))
    paths = [f"{edge.cluster} ({edge.weight:.4f})" for edge in found.clusters]
    say_items("clusters", paths or ["none: the index finds it for no query"])
    say("stage 1", f"cluster {found.stage1_cluster}")
    _say_words("words", found.positive)
    _say_words("against", found.negative)
    say_rows("nearest", [(f"{n.cosine:.4f}", named(n.label, n.key)) for n in found.nearest])


def _say_words(heading: str, words: list[WordWeight] | None) -> None:
    if words is not None:
        say_items(heading, [f"{word.term} {word.weight:+.2f}" for word in words] or ["none"])
