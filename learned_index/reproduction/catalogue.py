"""The tables and figures of the ELIAS paper that can be made on any data set.

The paper: Gupta et al., "ELIAS: End-to-end Learning to Index and Search in Large Output Spaces",
NeurIPS 2022, arXiv 2210.08410. Its tables 4 and 5 are settings and sizes of its data sets:
``li train --list-configs`` and ``li data validate``. Figures that are not listed are drawings of
the method, or could not be looked up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from learned_index.errors import InputError
from learned_index.inputs.similar import did_you_mean

ALL = "all"
"""What stands for every item."""
Cost = Literal["seconds", "minutes", "trainings"]


@dataclass(frozen=True)
class Item:
    """A table or figure.

    Attributes:
        name: On the command line, such as ``"figure-5-left"``.
        title: What it shows, one line.
        maker: Module and function of this package that make it, ``"module:function"``.
        cost: ``"seconds"``: from the model alone; ``"minutes"``: searches of the split;
            ``"trainings"``: other methods, or other settings, are trained.
        told: What is done here, for the list and the file.
    """

    name: str
    title: str
    maker: str
    cost: Cost
    told: str

    @property
    def in_paper(self) -> str:
        """Which table or figure of the paper it is."""
        kind, number, *part = self.name.split("-")
        return f"{kind} {number}" + (f", {part[0]}" if part else "")

    @property
    def is_table(self) -> bool:
        """Whether it is a table of the paper."""
        return self.name.startswith("table")


ITEMS: tuple[Item, ...] = (
    Item(
        "table-1",
        "Precision of the model and its peers",
        "tables:table_1",
        "trainings",
        "P and PSP at 1, 3, 5 of the model, whole systems on words, and every idea of an index",
    ),
    Item(
        "table-2",
        "The ideas of an index on equal vectors",
        "tables:table_2",
        "trainings",
        "P@1, 3, 5 and R@10, 20, 100 of indexes trained in one budget, without any ranker",
    ),
    Item(
        "table-3",
        "What each part brings",
        "ablations:table_3",
        "trainings",
        "stage 1, + stage 2, + sparse ranker, + calibration, + ensemble of 3",
    ),
    Item(
        "table-6",
        "Time and size",
        "tables:table_6",
        "trainings",
        "training time, time of a query, size on disk, of the methods of table 1",
    ),
    Item(
        "table-7a",
        "Pruning edges by weight",
        "ablations:table_7a",
        "trainings",
        "the learned index with edges below a weight dropped, nothing trained again",
    ),
    Item(
        "table-7b",
        "Pruning to the strongest edges of a cluster",
        "ablations:table_7b",
        "trainings",
        "the learned index with so many edges of each cluster kept, nothing trained again",
    ),
    Item(
        "table-8",
        "What each part brings, all metrics",
        "ablations:table_8",
        "trainings",
        "the rows of table 3 with P, PSP and R at every depth",
    ),
    Item(
        "table-9a",
        "Weight lambda of the shortlist loss",
        "ablations:table_9a",
        "trainings",
        "both stages trained with other values of lambda",
    ),
    Item(
        "table-9b",
        "Edges M (the paper's kappa) of a cluster",
        "ablations:table_9b",
        "trainings",
        "both stages trained with other numbers of edges, multiples of L / C",
    ),
    Item(
        "figure-3",
        "Edge score distribution",
        "edges:figure_3",
        "seconds",
        "weights of the learned edges: by rank within their cluster, and how often each occurs",
    ),
    Item(
        "figure-4",
        "Scores of true labels by decile",
        "scores:figure_4",
        "minutes",
        "mean score that index and sparse ranker give true labels, by training frequency",
    ),
    Item(
        "figure-5-left",
        "Recall at every size of the answer",
        "recall:figure_5_left",
        "trainings",
        "R@k, k = 1 to 100, of stage 1, stage 2, the whole model, and peers",
    ),
    Item(
        "figure-5-right",
        "Recall by decile",
        "recall:figure_5_right",
        "trainings",
        "R@100 by training frequency, of the same methods",
    ),
    Item(
        "figure-7a",
        "Clusters of a label by decile",
        "edges:figure_7a",
        "seconds",
        "clusters that hold a label by an edge above the threshold, by training frequency",
    ),
    Item(
        "figure-7b",
        "Edges of stage 1 that remain, by decile",
        "edges:figure_7b",
        "seconds",
        "labels whose cluster of stage 1 still holds them, by training frequency",
    ),
    Item(
        "figure-8",
        "Training points of labels with several clusters",
        "maps:figure_8",
        "minutes",
        "t-SNE of the points' vectors, coloured by the cluster that they visit",
    ),
    Item(
        "figure-9",
        "Training points of labels with one cluster",
        "maps:figure_9",
        "minutes",
        "the same for labels that one cluster holds",
    ),
)
NUMBERING = (
    "Numbers follow the paper as far as it was at hand: which of its tables 1, 2, 7 and 9 and of "
    "its figures 5 and 7 shows which of these could not be looked up."
)
"""What is not known of :data:`ITEMS`."""
PAPERS_DATA = ("lf-amazontitles-131k", "amazon-670k", "wikipedia-500k", "amazon-3m")
"""Data sets of the paper, as their folders are called."""
NOT_THE_PAPERS = (
    "Figures of other data and other encoders than the paper's are not the paper's: where they "
    "differ they contradict nothing in it."
)
"""Stands beside everything that is made."""


def is_papers_data(data: str) -> bool:
    """Whether a folder is called as one of the paper's data sets is."""
    return Path(data).name.lower() in PAPERS_DATA


def find_items(names: Sequence[str]) -> list[Item]:
    """Return the items of some names, in the order of the paper, each once.

    Args:
        names: Names, ``"all"``, or the beginning of several (``"table-7"``, ``"figure"``).

    Raises:
        InputError: No item is called so; tells what might be meant.
    """
    known = {item.name: item for item in ITEMS}
    wanted = set()
    for name in names:
        plain = name.lower().replace("_", "-").replace(" ", "-")
        found = [each for each in known if each == plain or each.startswith(plain + "-")]
        found += [each for each in known if plain and each[:-1] == plain and each[-1] in "ab"]
        if plain == ALL:
            found = list(known)
        if not found:
            hint = did_you_mean(plain, known)
            raise InputError(
                f"nothing is called {name!r}{hint}; there are {', '.join(known)}, and {ALL}"
            )
        wanted |= set(found)
    return [item for item in ITEMS if item.name in wanted]
