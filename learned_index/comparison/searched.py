"""The label classifiers that the methods of a comparison search: the index's, and others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from learned_index.comparison.data import ComparisonData
from learned_index.comparison.halves import split_queries
from learned_index.comparison.method import LabelClassifiers, MethodSpec
from learned_index.comparison.reference import Reference
from learned_index.comparison.settings import INDEX_CLASSIFIERS
from learned_index.comparison.workspace import Workspace, prepare
from learned_index.errors import InputError
from learned_index.metrics import canonical_truth


@dataclass(frozen=True)
class Searched:
    """Label classifiers as files, and the exact search over them.

    Attributes:
        workspace: Folder of items and queries; that of the index's holds training data, too.
        reference: What is found over them is measured against it.
    """

    workspace: Workspace
    reference: Reference


def check_classifiers(specs: Sequence[MethodSpec], others: Mapping[str, LabelClassifiers]) -> None:
    """Check that the classifiers which methods search are there.

    Args:
        specs: The methods.
        others: Classifiers beside the index's, by name.

    Raises:
        InputError: Some are not, or others are called as the index's are.
    """
    if INDEX_CLASSIFIERS in others:
        raise InputError(
            f"{INDEX_CLASSIFIERS!r} names the classifiers of the trained index; give others "
            "another name"
        )
    for spec in specs:
        if spec.classifiers not in (INDEX_CLASSIFIERS, *others):
            raise InputError(
                f"{spec.name} searches the label classifiers {spec.classifiers!r}, which are not "
                f"there; given are {', '.join((INDEX_CLASSIFIERS, *others))}"
            )


def prepared(
    folder: Path,
    specs: Sequence[MethodSpec],
    classifiers: Mapping[str, LabelClassifiers],
    data: ComparisonData,
    *,
    seed: int,
) -> dict[str, Searched]:
    """Write what the methods need, each set of classifiers into a folder of its own.

    Args:
        folder: Of the index's classifiers and all other data; the others' are in it.
        specs: The methods.
        classifiers: The index's and others, by name.
        data: Queries and training data.
        seed: Of the halves of the queries.

    Raises:
        InputError: Fewer than two queries, or classifiers that do not fit the data.
    """
    truth_NL = canonical_truth(data.truth_NL)
    halves = split_queries(truth_NL.shape[0], seed=seed)
    # A method over other classifiers needs nothing but, perhaps, training vectors as queries.
    vectors = ComparisonData(
        queries_ND=data.queries_ND,
        truth_NL=data.truth_NL,
        propensities=data.propensities,
        embeddings_ND=data.embeddings_ND,
    )
    searched = {}
    for number, (name, each) in enumerate(classifiers.items()):
        own = name == INDEX_CLASSIFIERS
        workspace = Workspace(folder if own else folder / f"classifiers{number}")
        workspace.folder.mkdir(exist_ok=True)
        queried = any(
            spec.inputs == "classifiers+queries" and spec.classifiers == name for spec in specs
        )
        prepare(workspace, each, data if own else vectors, with_training_queries=queried)
        reference = Reference(workspace, truth_NL, data.propensities, halves, data.filtered_NL)
        searched[name] = Searched(workspace, reference)
    return searched
