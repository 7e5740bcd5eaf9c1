"""The tables of the paper on any data: build-up, sweeps of lambda and M, pruning.

Every measurement is kept under the digest of its data and configuration, so tables share what they
have in common and a run that was cut off goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from learned_index.elias.prediction import Score
from learned_index.errors import InputError, LearnedIndexError
from learned_index.index.build.partition import default_n_clusters
from learned_index.index.config import IndexConfig, TrainingConfig
from learned_index.index.graph import Keep
from learned_index.inputs.points import n_rows
from learned_index.reproduction.measurements import Measurement
from learned_index.reproduction.shared_training import STEPS, WIDTH, SharedTraining, Step
from learned_index.types import SearchResult

ALL_EDGES = "all edges"
"""Name of the row before any pruning."""
Row = dict[str, Any]
"""``table``, ``row``, ``value`` (of a sweep, or None), ``metrics``, ``seconds``, ``details``,
``error`` (None, or why there is no measurement)."""


class Ablation(SharedTraining):
    """Trains and measures the rows of the tables; its configuration is what they vary.

    Example:
        >>> ablation = Ablation(data=data, encoder=encoder, configs=configs)  # doctest: +SKIP
        >>> ablation.build_up(["stage1", "stage2"])[1]["metrics"]["P@1"]  # doctest: +SKIP
        41.2
    """

    # -- the build-up table ---------------------------------------------------------------------

    def build_up(self, steps: Sequence[Step] = STEPS, *, n_models: int = 3) -> list[Row]:
        """Stage 1, + stage 2, + ranker, + calibration, + ensemble.

        Args:
            steps: Rows wanted; they come in the order of :data:`STEPS`.
            n_models: Models of the ensemble.

        Returns:
            A row each. Seconds are those of all training up to the row. Calibration and ensemble
            are ordered by the calibrated probability, the others by the ranking score.
        """
        unknown = sorted(set(steps) - set(STEPS))
        if unknown:
            raise InputError(f"unknown steps {unknown}; known: {', '.join(STEPS)}")
        names: dict[Step, str] = {
            "stage1": "stage 1",
            "stage2": "+ stage 2",
            "ranker": "+ ranker",
            "calibration": "+ calibration",
            "ensemble": f"+ ensemble of {n_models}",
        }
        rows = []
        for step in STEPS:
            if step in steps:
                value = n_models if step == "ensemble" else None
                make = self._maker(step, n_models)
                rows.append(_row("build-up", names[step], value, make))
        return rows

    def _maker(self, step: Step, n_models: int) -> Callable[[], Measurement]:
        if step in ("stage1", "stage2"):
            return partial(self.stage, step)
        if step == "ensemble":
            return partial(self._ensemble, n_models)
        return partial(self._ranked, step)

    def _ranked(self, step: Step) -> Measurement:
        config = replace(self.configs.model, ranker="sparse")
        what = {"ranker": self.configs.ranker.to_dict(), "model": config.to_dict()}
        describe = {name: self.describe(step=name, **what) for name in ("ranker", "calibration")}
        found = self.store.get(describe[step])
        if found is not None:
            return found
        trained = self.train(keep=True)
        told = self._told("ranker")
        model = self._elias(config, trained)
        model.fit(self.data.points, self.data.labels_NL, embeddings=trained.vectors, progress=told)
        seconds = model.report_["seconds"]
        calibration = float(seconds.get("calibration", 0.0))
        before = trained.seconds + _sum(seconds) - calibration
        queries = {"vectors": trained.query_vectors}
        ranked = model.search(self.data.queries, WIDTH, **queries)
        metrics = self.measure(ranked)
        details = {"n_weights": (model.report_["ranker"] or {}).get("n_weights")}
        made = {"ranker": Measurement(metrics=metrics, seconds=before, details=details)}
        if model.calibrator_ is not None:
            result = model.search(self.data.queries, WIDTH, score="probability", **queries)
            report = {k: v for k, v in model.report_["calibration"].items() if _is_plain(v)}
            made["calibration"] = Measurement(
                metrics=self.measure(_by_score(result)),
                seconds=before + calibration,
                details=report,
            )
        for name, measurement in made.items():
            self.store.put(describe[name], measurement)
        if step not in made:
            raise InputError(
                "the model has no calibration: no training point could be held out, or "
                "calibration is 'none'"
            )
        return made[step]

    def _ensemble(self, n_models: int) -> Measurement:
        config = replace(self.configs.model, n_models=n_models)
        description = self.describe(
            step="ensemble", ranker=self.configs.ranker.to_dict(), model=config.to_dict()
        )
        found = self.store.get(description)
        if found is not None:
            return found
        told = self._told(f"ensemble of {n_models}")
        model = self._elias(config)
        data = self.data
        embeddings = None if self.trains_encoder else data.vectors_ND
        model.fit(data.points, data.labels_NL, embeddings=embeddings, progress=told)
        vectors = None if self.trains_encoder else data.query_vectors
        score: Score = "ranking" if model.calibrator_ is None else "probability"
        result = model.search(data.queries, WIDTH, vectors=vectors, score=score)
        made = Measurement(
            metrics=self.measure(_by_score(result)),
            seconds=_sum(model.report_["seconds"]),
            details={"n_models": n_models, "ordered_by": score},
        )
        self.store.put(description, made)
        return made

    # -- sweeps ---------------------------------------------------------------------------------

    def sweep_lambda(self, values: Sequence[float]) -> list[Row]:
        """Both stages with other weights lambda of the shortlist loss, each trained anew."""
        rows = []
        for value in values:
            training = replace(self.configs.training, shortlist_loss_weight=value)
            make = partial(self._varied, training=training)
            rows.append(_row("lambda", f"lambda {value:g}", value, make))
        return rows

    def sweep_edges(self, factors: Sequence[float]) -> list[Row]:
        """Both stages with other numbers M of edges per cluster: ``factor * L / C``."""
        L = self.data.labels_NL.shape[1]
        C = self.configs.index.n_clusters or default_n_clusters(L)
        rows = []
        for factor in factors:
            wanted = max(1, round(factor * L / C))
            M = min(L, wanted)
            config = replace(self.configs.index, edges_per_cluster=M)
            make = partial(self._varied, index=config)
            told = f"= {M}" if wanted <= L else f"= {wanted}, all {L}"
            rows.append(_row("edges", f"M = {factor:g} L/C {told}", factor, make))
        return rows

    def _varied(
        self, *, index: IndexConfig | None = None, training: TrainingConfig | None = None
    ) -> Measurement:
        configs = self.configs
        if index is not None:
            configs = configs._replace(index=index)
        if training is not None:
            configs = configs._replace(training=training)
        other = replace(self, configs=configs)
        other.store = self.store
        step: Step = "stage1" if configs.training.stage2_epochs == 0 else "stage2"
        return other.stage(step, keep=False)

    # -- pruning --------------------------------------------------------------------------------

    def prune(
        self,
        *,
        thresholds: Sequence[float] = (),
        top_ks: Sequence[int] = (),
        keep: Keep = "reachable",
    ) -> list[Row]:
        """The trained index with fewer edges, nothing trained again.

        Args:
            thresholds: Least weights of an edge.
            top_ks: Edges kept of each cluster.
            keep: See :meth:`LearnedGraphIndex.prune`.

        Returns:
            For each way of pruning that is asked for, a row of the whole index (its value is
            None) and one for each value.
        """
        rows = []
        for kind, values in (("threshold", thresholds), ("top_k", top_ks)):
            table = f"prune-{kind.replace('_', '-')}"
            if values:
                rows.append(_row(table, ALL_EDGES, None, partial(self._pruned, {}, keep)))
            for value in values:
                name = f"weight from {value:g}" if kind == "threshold" else f"{value} a cluster"
                make = partial(self._pruned, {kind: value}, keep)
                rows.append(_row(table, name, value, make))
        return rows

    def _pruned(self, how: Mapping[str, Any], keep: Keep) -> Measurement:
        description = self.describe(step="prune", keep=keep, **how)
        found = self.store.get(description)
        if found is not None:
            return found
        trained = self.train(keep=True)
        self._told("pruning")
        index = trained.index.prune(keep=keep, **(how or {"threshold": 0.0}))
        report = index.graph.pruning
        assert report is not None
        index.search(trained.query_vectors[:1], WIDTH)  # arrays are made by the first search
        start = time.perf_counter()
        result = index.search(trained.query_vectors, WIDTH)
        search = time.perf_counter() - start
        made = Measurement(
            metrics=self.measure(result),
            seconds=trained.seconds,
            details={
                "edges_share": 1.0 - report.dropped_share,
                "weight_share": report.weight_share,
                "n_unreachable": report.n_unreachable,
                "n_rescued": report.n_rescued,
                "edges": report.width,
                "search_ms": 1000.0 * search / max(1, n_rows(self.data.queries)),
            },
        )
        self.store.put(description, made)
        return made

    # -- others ---------------------------------------------------------------------------------

    def external(
        self,
        table: str,
        name: str,
        settings: Mapping[str, Any],
        run: Callable[[], tuple[SearchResult, float, dict[str, Any]]],
    ) -> Row:
        """A row that somebody else trains, e.g. one-vs-all.

        Args:
            table: Which table the row belongs to.
            name: Name of the row.
            settings: What it depends on beside data, encoder and training configuration.
            run: Trains, and returns answers to the queries (at least 100 wide), the seconds of
                the training, and plain details.
        """

        def make() -> Measurement:
            description = self.describe(step=name, settings=dict(settings))
            found = self.store.get(description)
            if found is not None:
                return found
            self._told(name)
            result, seconds, details = run()
            metrics = self.measure(result)
            made = Measurement(metrics=metrics, seconds=seconds, details=details)
            self.store.put(description, made)
            return made

        return _row(table, name, None, make)


def _row(table: str, name: str, value: float | None, make: Callable[[], Measurement]) -> Row:
    row: Row = {"table": table, "row": name, "value": value, "error": None}
    try:
        measurement = make()
    except LearnedIndexError as error:
        text = " ".join(str(error).split())
        return {**row, "metrics": {}, "seconds": None, "details": {}, "error": text}
    return {
        **row,
        "metrics": dict(measurement.metrics),
        "seconds": measurement.seconds,
        "details": dict(measurement.details),
    }


def _by_score(result: SearchResult) -> SearchResult:
    """The same labels, ordered by their scores; equal ones stay in their order."""
    order = np.argsort(-result.scores, axis=1, kind="stable")
    return SearchResult(
        np.take_along_axis(result.ids, order, axis=1),
        np.take_along_axis(result.scores, order, axis=1),
    )


def _sum(seconds: Mapping[str, float]) -> float:
    """All steps of a training but the measuring."""
    return float(sum(value for name, value in seconds.items() if name != "validation"))


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | bool | int | float)
