"""What a peer with one setting is, whoever runs it; and those that are methods of li compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol, Self

from benchmarks.peers.data import Points
from learned_index.comparison.kept import package_versions
from learned_index.comparison.measure import Job
from learned_index.comparison.method import MethodSpec
from learned_index.comparison.processes import run_job
from learned_index.comparison.reference import DEPTH
from learned_index.comparison.settings import ComparisonSettings
from learned_index.errors import InputError, LearnedIndexError
from learned_index.types import Int64Array


class System(Protocol):
    """A peer with one setting."""

    def identity(self) -> list[Any]:
        """Its name and setting, for a digest."""

    def environment(self) -> list[Any]:
        """What else its answers depend on, for a digest: versions, files.

        Raises:
            InputError: Its interpreter cannot be run.
        """

    def seeded(self, seed: int) -> Self:
        """The same with another seed, where it takes one."""

    def answers(
        self, points: Points, grid: Sequence[Mapping[str, Any]], *, folder: Path, threads: int
    ) -> tuple[list[Int64Array], float]:
        """Train on the points and ask about the queries.

        Args:
            points: No query takes part in the training.
            grid: Query-time arguments of each asking.
            folder: An empty one, for files.
            threads: Of training and answers.

        Returns:
            The answers of each asking, Q x at most 100, -1 where there is none; and the seconds
            of the training.

        Raises:
            LearnedIndexError: It cannot be run on these points, or has failed.
        """


@dataclass(frozen=True)
class MethodSystem:
    """A method of ``li compare``.

    Attributes:
        spec: The method with its build arguments.
        isolate: Each training in a process of its own.
    """

    spec: MethodSpec
    isolate: bool = True

    def identity(self) -> list[Any]:
        """See :class:`System`."""
        return [self.spec.method, dict(self.spec.options)]

    def environment(self) -> list[Any]:
        """See :class:`System`."""
        return [package_versions(self.spec)]

    def seeded(self, seed: int) -> Self:
        """See :class:`System`."""
        if "seed" not in {field.name for field in fields(self.spec.adapter)}:
            return self
        return type(self)(self.spec.with_options(seed=seed), self.isolate)

    def answers(
        self, points: Points, grid: Sequence[Mapping[str, Any]], *, folder: Path, threads: int
    ) -> tuple[list[Int64Array], float]:
        """See :class:`System`."""
        wanted = self.spec.point_features
        assert wanted is not None
        if wanted.kind != "words" and points.vectors is None:
            raise InputError(f"the features {wanted.kind} need vectors; give --vectors")
        points.write(folder, wanted)
        job = Job(
            spec=self.spec,
            number=0,
            folder=folder,
            loader=None,
            k=DEPTH,
            threads=threads,
            settings=ComparisonSettings(),
            grid=[dict(query) for query in grid],
            timed=False,
        )
        report = run_job(job, isolate=self.isolate, progress=lambda *_: None)
        if "error" in report:
            raise LearnedIndexError(report["error"])
        return [job.ids(number) for number in range(len(grid))], float(report["build_s"])
