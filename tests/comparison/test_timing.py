"""How single queries and batches are timed."""

from __future__ import annotations

import numpy as np

from learned_index.system.timing import (
    batch_slices,
    batch_throughput,
    latency_summary,
    median_and_spread,
    single_latencies,
)


def test_single_queries_are_timed_one_by_one_after_a_warm_up():
    calls = []
    times = single_latencies(calls.append, [3, 4, 5], warmup=4, at_least=7, budget_s=0.0)
    assert len(times) == 7 and (times >= 0).all()
    assert calls == [3, 4, 5, 3, *[3, 4, 5, 3, 4, 5, 3]]
    summary = latency_summary(np.arange(101.0))
    assert summary == {"latency_ms_p50": 50.0, "latency_ms_p95": 95.0, "latency_ms_p99": 99.0}


def test_batches_cover_every_query_once():
    assert batch_slices(10, 4) == [slice(0, 4), slice(4, 8), slice(8, 10)]
    calls = []
    qps = batch_throughput(calls.append, batch_slices(10, 4), at_least_s=0.0)
    assert qps > 0 and calls == [slice(0, 4), slice(0, 4), slice(4, 8), slice(8, 10)]


def test_a_slow_method_searches_a_part_of_the_batches():
    calls = []
    batch_throughput(calls.append, batch_slices(100, 1), at_least_s=0.0, at_most_s=0.0)
    assert len(calls) == 2


def test_medians_and_their_spread():
    assert median_and_spread([3.0, 1.0, 2.0]) == (2.0, 1.0)
    assert median_and_spread([5.0]) == (5.0, 0.0)
