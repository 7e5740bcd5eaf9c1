"""A peer's best setting on held-out training points, and its answers on the test points."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from benchmarks.peers.data import METRICS, Points
from benchmarks.peers.grids import MEMBERS, WITH_SEEDS, Trial, trials_for
from benchmarks.peers.systems import MethodSystem, System
from benchmarks.peers.xr_transformer import INSTALL, XRTransformer
from learned_index.baselines import methods
from learned_index.comparison.method import MethodSpec
from learned_index.errors import InputError
from learned_index.metrics import PointValues
from learned_index.persistence import atomic_file, scratch_directory
from learned_index.persistence.digest import digest
from learned_index.persistence.kept import KeptResults
from learned_index.types import Int64Array

SELECTIONS: dict[str, tuple[str, ...]] = {"P@5": ("P@5",), "mean": ("P@1", "P@5", "R@100")}
"""What a setting is chosen by: the mean of these."""


@dataclass
class Row:
    """A system of the table.

    Attributes:
        name: Of the system, with its features.
        setting: The chosen setting in words.
        values: Each metric point by point, of each run (seed).
        facts: What else is told: seconds of training, trials.
    """

    name: str
    setting: str
    values: list[dict[str, PointValues]]
    facts: dict[str, Any] = field(default_factory=dict)

    def means(self) -> dict[str, float]:
        """Return the metrics in percent, means over the runs."""
        return {m: float(np.mean([run[m].rate for run in self.values])) for m in METRICS}

    def of(self, metric: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return a metric's values, S x N, and its weights, N."""
        return (
            np.stack([run[metric].values_N for run in self.values]),
            self.values[0][metric].weights_N,
        )


@dataclass
class Tuner:
    """Runs the peers; finished trials and rows are kept and not run again.

    Attributes:
        out: Folder for what is kept.
        tuning: Nine tenths of the training points, asked about the others.
        final: All training points, asked about the test points.
        n_trials: Settings tried for each peer and kind of features.
        n_seeds: Trainings with the chosen setting, of peers that differ between trainings.
        select: What a setting is chosen by, a key of :data:`SELECTIONS`.
        threads: Threads for training and answers.
        python: Interpreters of other environments, by peer.
        transformer: What XR-Transformer fine-tunes, a folder or ``"minilm"``.
        say: Told what is done.
        isolate: Each training in a process of its own.
    """

    out: Path
    tuning: Points
    final: Points
    n_trials: int
    n_seeds: int
    select: str
    threads: int
    python: dict[str, str]
    say: Callable[[str], None]
    isolate: bool = True
    transformer: str = "minilm"

    def __post_init__(self) -> None:
        self._trials, self._rows = KeptResults(self.out / "trials"), KeptResults(self.out / "rows")
        self._digests = self.tuning.digest(), self.final.digest()

    def row(self, peer: str, features: str) -> Row:
        """Tune a peer on features of a kind, and measure it on the test points.

        Raises:
            LearnedIndexError: The peer cannot be run.
        """
        has_texts = not sp.issparse(self.final.train)
        trials = trials_for(peer, features, self.n_trials, has_texts=has_texts)
        scores = self._tried(peer, features, trials)
        best = max(range(len(trials)), key=lambda number: scores[number])
        chosen, title = trials[best], f"{peer}, {features}"
        runs, seconds = [], []
        for seed in range(self.n_seeds if peer in WITH_SEEDS else 1):
            values, build_s = self._measured(peer, features, chosen, seed)
            runs.append(values)
            seconds.append(build_s)
        facts = {
            "build_s": float(np.mean(seconds)),
            "tried": {t.title: s for t, s in zip(trials, scores, strict=True)},
        }
        return Row(title, chosen.title, runs, facts)

    def _system(self, peer: str, features: str, options: dict[str, Any]) -> System:
        if peer == XRTransformer.method:
            if features != "words":
                raise InputError("xr-transformer makes its own vectors; ask for --features words")
            if peer not in self.python:
                raise InputError(f"xr-transformer needs an interpreter: {INSTALL}")
            return XRTransformer(self.python[peer], self.transformer, options)
        spec = MethodSpec(
            name=peer,
            adapter=methods()[MEMBERS[peer]],
            options={**options, "features": features},
            python=self.python.get(peer),
        )
        return MethodSystem(spec, self.isolate)

    def _key(self, data: str, system: System, query: dict[str, Any], *more: Any) -> str:
        return digest([data, *system.identity(), query, *system.environment(), *more])

    def _tried(self, peer: str, features: str, trials: Sequence[Trial]) -> list[float]:
        """Return what each setting reaches on the held-out points."""
        found: dict[int, dict[str, float]] = {}
        keys = []
        for number, trial in enumerate(trials):
            system = self._system(peer, features, trial.options)
            keys.append(self._key(self._digests[0], system, trial.query))
            kept = self._trials.find(f"{peer} {features} {trial.title}", keys[-1])
            if isinstance(kept, dict):
                found[number] = kept
        missing = [number for number in range(len(trials)) if number not in found]
        # One training answers for all query-time settings.
        for _, group in itertools.groupby(
            sorted(missing, key=lambda n: repr(trials[n].options)), lambda n: trials[n].options
        ):
            numbers = list(group)
            system = self._system(peer, features, trials[numbers[0]].options)
            answers, _ = self._answers(self.tuning, system, [trials[n].query for n in numbers])
            for number, ids in zip(numbers, answers, strict=True):
                values = {name: v.rate for name, v in self.tuning.values(ids).items()}
                name = f"{peer} {features} {trials[number].title}"
                self._trials.keep(name, keys[number], values)
                found[number] = values
                self.say(f"{name}: P@1 {values['P@1']:.2f} P@5 {values['P@5']:.2f}")
        wanted = SELECTIONS[self.select]
        return [float(np.mean([found[n][m] for m in wanted])) for n in range(len(trials))]

    def _measured(
        self, peer: str, features: str, trial: Trial, seed: int
    ) -> tuple[dict[str, PointValues], float]:
        """Return the values of a training on all training points, and its seconds."""
        system = self._system(peer, features, trial.options).seeded(seed)
        key = self._key(self._digests[1], system, trial.query, seed)

        def run() -> tuple[Int64Array, dict[str, Any]]:
            (ids,), seconds = self._answers(self.final, system, [trial.query])
            return ids, {"build_s": seconds}

        values, facts = self.kept_values(f"{peer} {features} {seed}", key, run)
        return values, float(facts["build_s"])

    def kept_values(
        self, name: str, key: str, run: Callable[[], tuple[Int64Array, dict[str, Any]]]
    ) -> tuple[dict[str, PointValues], dict[str, Any]]:
        """Return the values of answers on the test points, from an earlier run where there are any.

        Args:
            name: Of the system and the run.
            key: Digest of all that the answers depend on.
            run: Returns the ids, and facts to keep.
        """
        kept = self._rows.find(name, key)
        file = self.out / "values" / f"{digest([name, key])[:16]}.npz"
        if isinstance(kept, dict) and file.is_file():
            with np.load(file, allow_pickle=False) as arrays:
                values = {m: PointValues(arrays[m], arrays[f"weights {m}"]) for m in METRICS}
            return values, kept["facts"]
        ids, facts = run()
        values = self.final.values(ids)
        with atomic_file(file) as temporary, temporary.open("wb") as written:
            arrays = {m: values[m].values_N for m in METRICS}
            weights = {f"weights {m}": values[m].weights_N for m in METRICS}
            np.savez_compressed(written, **arrays, **weights)
        self._rows.keep(name, key, {"facts": facts, "file": file.name})
        self.say(f"{name}, test: P@1 {values['P@1'].rate:.2f} P@5 {values['P@5'].rate:.2f}")
        return values, facts

    def _answers(
        self, points: Points, system: System, grid: Sequence[dict[str, Any]]
    ) -> tuple[list[Int64Array], float]:
        """Train a peer and return its answers at each query-time setting, and its seconds."""
        with scratch_directory(self.out, "peers") as folder:
            return system.answers(points, grid, folder=folder, threads=self.threads)
