"""What a server counts, for Prometheus."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import numpy as np

from learned_index.system.extras import require

_SECONDS = (
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0,
)  # fmt: skip
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_TENTHS = tuple(n / 10 for n in range(1, 11))
N_REFERENCE = 1000
"""Answers that the drift of scores compares: the first of a version, and the latest."""
_LEAST_SHARE = 1e-4


class Metrics:
    """Counters and histograms of one process, or of all workers of a server together.

    Several workers add up through files, where ``PROMETHEUS_MULTIPROC_DIR`` says so.
    """

    def __init__(self) -> None:
        client: Any = require("prometheus_client")
        registry = client.CollectorRegistry()
        latest = {"registry": registry, "multiprocess_mode": "livemostrecent"}

        def histogram(name: str, what: str, labels: list[str], buckets: Any) -> Any:
            return client.Histogram(name, what, labels, registry=registry, buckets=buckets)

        def counter(name: str, what: str, labels: list[str]) -> Any:
            return client.Counter(name, what, labels, registry=registry)

        self.requests = counter("li_requests", "Requests answered.", ["route", "status"])
        self.seconds = histogram(
            "li_request_seconds", "From the request to its answer.", ["route"], _SECONDS
        )
        self.step = histogram(
            "li_step_seconds",
            "Of a batch: queue (a request's wait), encode, search, answer (names), explain.",
            ["step"],
            _SECONDS,
        )
        self.batch = histogram("li_batch_texts", "Texts that were searched together.", [], _TEXTS)
        self.queue = client.Gauge(
            "li_queue_texts", "Texts that wait.", registry=registry, multiprocess_mode="livesum"
        )
        self.refused = counter("li_refused", "Requests given up.", ["reason"])
        self.texts = counter("li_texts", "Texts searched.", ["model"])
        self.empty = counter("li_empty_answers", "Texts without an answer.", ["model"])
        self.top = histogram("li_top_score", "Score of the best label.", ["model"], _TENTHS)
        self.changes = counter("li_changes", "Changes saved.", ["model", "kind"])
        self.coverage = client.Gauge(
            "li_label_coverage",
            "Share of the labels that were answered since the version was loaded.",
            ["model"], **latest,
        )  # fmt: skip
        self.drift = client.Gauge(
            "li_score_drift",
            "Population stability index of the best scores: the latest 1,000 texts of a version "
            "against its first 1,000; above 0.2 something has changed.",
            ["model"], **latest,
        )  # fmt: skip
        self.version = client.Gauge(
            "li_model_loaded_timestamp_seconds", "When the version was loaded.", ["model"],
            **latest,
        )  # fmt: skip
        self._client, self._registry = client, registry
        self._drifts: dict[str, tuple[str, Drift]] = {}

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Observe the time of a step."""
        start = perf_counter()
        try:
            yield
        finally:
            self.step.labels(step).observe(perf_counter() - start)

    def answered(self, served: Any, ids_BK: np.ndarray, scores_BK: np.ndarray) -> None:
        """Count the answers of a batch.

        Args:
            served: The version that answered.
            ids_BK: int64, -1 at pads.
            scores_BK: float32, best first.
        """
        name = served.name
        found_B = (ids_BK >= 0).any(axis=1)
        self.texts.labels(name).inc(len(ids_BK))
        self.empty.labels(name).inc(int((~found_B).sum()))
        served.answered_L[ids_BK[ids_BK >= 0]] = True
        self.coverage.labels(name).set(float(served.answered_L.mean()))
        self.version.labels(name).set(served.loaded)
        version, drift = self._drifts.get(name, ("", Drift()))
        if version != served.version:
            drift = Drift()
            self._drifts[name] = served.version, drift
        top = self.top.labels(name)
        for score in scores_BK[found_B, 0].tolist():
            top.observe(score)
            drift.add(score)
        value = drift.value()
        if value is not None:
            self.drift.labels(name).set(value)

    def page(self) -> tuple[bytes, str]:
        """All of it as Prometheus reads it, and its content type."""
        registry = self._registry
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            registry = self._client.CollectorRegistry()
            require("prometheus_client.multiprocess").MultiProcessCollector(registry)
        return self._client.generate_latest(registry), str(self._client.CONTENT_TYPE_LATEST)


class Drift:
    """How far the latest scores are from the first ones: the population stability index.

    ``sum over ten bins of (latest - first) * ln(latest / first)``, each the share of scores in a
    bin of 0 to 1 that is a tenth wide.
    """

    def __init__(self) -> None:
        self._first = np.zeros(len(_TENTHS))
        self._latest = np.zeros(len(_TENTHS))
        self._window: deque[int] = deque()

    def add(self, score: float) -> None:
        """Take one more score, 0 to 1."""
        place = min(int(score * len(_TENTHS)), len(_TENTHS) - 1)
        if self._first.sum() < N_REFERENCE:
            self._first[place] += 1
            return
        self._window.append(place)
        self._latest[place] += 1
        if len(self._window) > N_REFERENCE:
            self._latest[self._window.popleft()] -= 1

    def value(self) -> float | None:
        """The index; None before there are scores enough for both."""
        if len(self._window) < N_REFERENCE:
            return None
        first, latest = (
            np.maximum(counts / counts.sum(), _LEAST_SHARE)
            for counts in (self._first, self._latest)
        )
        return float(((latest - first) * np.log(latest / first)).sum())
