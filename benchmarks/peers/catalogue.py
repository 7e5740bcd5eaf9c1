"""The systems that can be measured, with their settings."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class System:
    """One row of the table.

    Attributes:
        name: Name on the command line and of its folder.
        title: Name in the table.
        role: Ours, or a peer to compare with.
        module: Module below :mod:`peers` that measures it.
        environment: Name of its virtual environment; None: the project's own.
        parameters: What the module is given: settings of a peer, ``li train`` arguments of ours.
    """

    name: str
    title: str
    role: Literal["peer", "ours"] = "peer"
    module: str
    environment: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)


PEERS = {
    system.name: system
    for system in (
        System(
            name="pecos",
            title="PECOS XR-Linear, default",
            module="pecos_xrlinear",
            environment="pecos",
        ),
        System(
            name="omikuji-parabel",
            title="omikuji Parabel, 3 trees",
            module="omikuji_trees",
            environment="omikuji",
        ),
        System(
            name="knn",
            title="tf-idf kNN, 20 neighbours",
            module="tfidf_knn",
            parameters={"neighbours": 20},
        ),
        System(
            name="omikuji-bonsai",
            title="omikuji Bonsai, k 100, depth 3",
            module="omikuji_trees",
            environment="omikuji",
            parameters={"cluster_k": 100, "cluster_balanced": False, "max_depth": 3},
        ),
        System(
            name="pecos-tfn-man",
            title="PECOS, nrs 32, tfn+man",
            module="pecos_xrlinear",
            environment="pecos",
            parameters={"nr_splits": 32, "neg_mining_chain": "tfn+man"},
        ),
    )
}
"""The peers, cheap ones first."""
OURS = "ours"
"""Name that stands for all of ours on the command line."""


def our_system(name: str, arguments: str) -> System:
    """Return one of ours from ``--ours NAME=arguments``."""
    return System(
        name=f"{OURS}-{name}",
        title=f"ours: {name}",
        role="ours",
        module="ours",
        parameters={"arguments": shlex.split(arguments)},
    )
