"""What every method answers to the points of a split, at one setting each, kept on disk.

A method has the setting of its best quality, none of which is chosen on the points that are
measured: what was trained here is searched as it was trained, a graph over labels looks at twice as
many as a shortlist holds, and a whole system has its own default.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from learned_index.baselines import parse_baselines
from learned_index.comparison.kept import package_versions
from learned_index.comparison.measure import Job
from learned_index.comparison.method import FROM_THE_MODEL, Method, MethodSpec
from learned_index.comparison.processes import run_job
from learned_index.comparison.reference import DEPTH
from learned_index.comparison.searched import prepared
from learned_index.comparison.settings import INDEX_CLASSIFIERS, ComparisonSettings
from learned_index.errors import InputError
from learned_index.evaluation.compared import SavedModel, as_trained, comparison_data
from learned_index.metrics import most_of_a_point, without_pairs
from learned_index.persistence import atomic_file, scratch_directory
from learned_index.persistence.digest import bytes_digest, digest
from learned_index.persistence.kept import KeptResults, plain_name
from learned_index.reproduction.study import Study
from learned_index.types import Int64Array, SearchResult

STAGE_1, STAGE_2, WHOLE = "trained-graph:stage2_epochs=0", "learned", "model"
"""Methods of ``li compare`` that are the model's own stages."""
TITLES = {
    STAGE_1: "ELIAS, stage 1",
    STAGE_2: "ELIAS, stage 2",
    WHOLE: "whole model",
    "trained-tree": "fixed tree",
    "overlap": "Overlap-XMC",
    "slice": "Slice",
    "glas": "GLaS",
    "ova": "one-vs-all",
    "omikuji": "omikuji (Parabel)",
    "pecos": "PECOS XR-Linear",
    "tfidf-knn": "tf-idf kNN",
    "dismec": "DiSMEC",
    "knn": "vector kNN",
}
"""Names in tables and pictures, of the methods that have one."""
PEERS = ("trained-tree", "overlap", "slice", "glas", "ova", "omikuji", "pecos", "tfidf-knn")
"""Methods beside the model unless others are named."""


@dataclass(frozen=True, kw_only=True)
class Answered:
    """The answers of a method.

    Attributes:
        name: As ``li compare`` knows it.
        ids: For each training the labels found, N x 100, best first, padded with -1; empty where
            it failed.
        facts: Seconds to build, milliseconds of a query, bytes on disk, of each training.
        error: Why there are none.
    """

    name: str
    ids: list[Int64Array]
    facts: list[dict[str, Any]]
    error: str | None = None

    @property
    def title(self) -> str:
        """Name for people."""
        return TITLES.get(self.name, self.name)

    @property
    def is_index(self) -> bool:
        """Whether it is an index over vectors, without ranker and without words."""
        (spec,) = parse_baselines(self.name)
        return spec.inputs in ("index", "training")

    def fact(self, name: str) -> float | None:
        """Mean of a fact over the trainings; None where it is not known."""
        known = [facts[name] for facts in self.facts if facts.get(name) is not None]
        return float(np.mean(known)) if known else None


def failures(found: Iterable[Answered]) -> dict[str, str]:
    """Why there are no answers, by the title of each method that has none."""
    return {each.title: each.error for each in found if each.error is not None}


def best_setting(method: Method) -> dict[str, Any]:
    """Return the knobs of a method's best quality, which no query was asked for.

    An index has the beam and the shortlist that it was trained with, a whole system its defaults.
    """
    if "ef_search" not in method.arguments:
        return {}
    # Twice as many as the shortlist holds, so that little is lost to the search of the graph.
    return {"ef_search": 2 * max(DEPTH, getattr(method, "shortlist_size", DEPTH))}


def answers(study: Study) -> list[Answered]:
    """Return the answers of the model's stages and of its peers, measured now or before."""
    specs = parse_baselines([STAGE_1, STAGE_2, WHOLE, *study.baselines], python=study.python)
    runs = [_runs(spec, study) for spec in specs]
    todo = [run for each in runs for run in each if run.find() is None]
    for number, path in enumerate(study.model_paths):
        _measure([run for run in todo if run.number == number], study, path, number)
    return [_answered(spec, each) for spec, each in zip(specs, runs, strict=True)]


@dataclass(eq=False)
class _Run:
    """One training of a method.

    Attributes:
        spec: With its seed.
        number: Of the training, which is that of the model beside it.
        folder: Where answers are kept.
        key: Digest of all that they depend on; empty where its package cannot be asked.
        error: Why it failed, once it has.
    """

    spec: MethodSpec
    number: int
    folder: Path
    key: str
    error: str | None = None

    @property
    def _file(self) -> Path:
        return self.folder / f"{plain_name(f'{self.spec.name} {self.number}')}.npz"

    def find(self) -> tuple[Int64Array, dict[str, Any]] | None:
        """Return ids and facts of an earlier run under the same conditions."""
        store = KeptResults(self.folder)
        facts = store.find(f"{self.spec.name} {self.number}", self.key) if self.key else None
        if not isinstance(facts, dict) or not self._file.is_file():
            return None
        with np.load(self._file, allow_pickle=False) as kept:
            return np.asarray(kept["ids"], dtype=np.int64), facts

    def keep(self, ids: Int64Array, facts: dict[str, Any]) -> None:
        """Keep ids and facts, the ids first."""
        with atomic_file(self._file) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, ids=ids.astype(np.int32))
        KeptResults(self.folder).keep(f"{self.spec.name} {self.number}", self.key, facts)


def _runs(spec: MethodSpec, study: Study) -> list[_Run]:
    """The trainings of a method: as many as there are models, if its seed changes anything."""
    own = spec.inputs in FROM_THE_MODEL
    seeded = any(each.name == "seed" for each in fields(spec.adapter))
    folder = study.out / "kept" / "answers"
    found = []
    for number in range(study.n_seeds if own or seeded else 1):
        one = as_trained(spec, study.models[number])
        try:
            versions = package_versions(spec)
        except InputError as error:
            return [_Run(one, number, folder, "", " ".join(str(error).split()))]
        options = sorted((name, repr(value)) for name, value in one.options.items())
        code = bytes_digest([Path(__file__).read_bytes()])
        key = digest([spec.name, options, study.key, versions, study.threads, code])
        found.append(_Run(one, number, folder, key))
    return found


def _measure(runs: Sequence[_Run], study: Study, path: Path, number: int) -> None:
    """Train and ask the methods that go with one model."""
    runs = [run for run in runs if run.error is None]
    if not runs:
        return
    specs = [run.spec for run in runs]
    study.say("points and features of the methods")
    data = comparison_data(
        study.models[number],
        study.folder,
        study.split,
        specs,
        encode=study.encode,
        word_features=study.word_features,
        max_queries=study.max_queries,
    )
    loader = SavedModel(path)
    study.out.mkdir(parents=True, exist_ok=True)
    with scratch_directory(study.out, "answers") as folder:
        searched = prepared(folder, specs, {INDEX_CLASSIFIERS: loader()}, data, seed=0)
        workspace = searched[INDEX_CLASSIFIERS].workspace
        for place, run in enumerate(runs):
            title = TITLES.get(run.spec.name, run.spec.name)
            job = Job(
                spec=run.spec,
                number=place,
                folder=workspace.folder,
                loader=loader,
                k=DEPTH + most_of_a_point(study.filtered),
                threads=study.threads,
                settings=ComparisonSettings(repeats=1),
                grid=[best_setting(run.spec.create())],
            )

            def tell(done: float, total: float, text: str = "", title: str = title) -> None:
                study.say(f"{title}: {text}" if text else title)

            report = run_job(job, isolate=study.isolate, progress=tell)
            if "error" in report:
                run.error = str(report["error"])
                continue
            ids = _without(job.ids(0), study)
            facts = {name: report[name] for name in ("build_s", "peak_rss_mb", "disk_bytes")}
            run.keep(ids, facts | report["settings"][0])


def _without(ids_NK: Int64Array, study: Study) -> Int64Array:
    """The first 100 answers that count."""
    if study.filtered is not None:
        scores = np.zeros(ids_NK.shape, np.float32)
        ids_NK = without_pairs(SearchResult(ids_NK, scores), study.filtered).ids
    return ids_NK[:, :DEPTH]


def _answered(spec: MethodSpec, runs: Sequence[_Run]) -> Answered:
    found = [run.find() for run in runs]
    missing = [run for run, each in zip(runs, found, strict=True) if each is None]
    if missing:
        error = missing[0].error or "its answers could not be read again"
        return Answered(name=spec.name, ids=[], facts=[], error=error)
    known = [each for each in found if each is not None]
    return Answered(
        name=spec.name, ids=[ids for ids, _ in known], facts=[facts for _, facts in known]
    )
