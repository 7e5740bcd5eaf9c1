"""A coarse guard against slow search: ratios to a fixed computation in the same process.

The reference is one float32 product of all label vectors with the query, which is what any exact
search must do at least. Both are timed in turn, several rounds, and the best round of each counts:
whatever else runs on the machine slows both or neither. The bounds are generous; a failure means
that search became several times slower, not that the machine was busy.
"""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from synthetic import asymmetric_instance

from learned_index import IndexConfig, LearnedGraphIndex, TrainingConfig
from learned_index.system.threads import limit_threads

pytestmark = pytest.mark.performance

N_LABELS, DIM, K = 20_000, 128, 100
ROUNDS, CALLS = 12, 40


@pytest.fixture(scope="module")
def setting():
    """An index over synthetic labels, built from counts: as fast as a trained one."""
    instance = asymmetric_instance(N_LABELS, DIM, n_queries=200, seed=0)
    with limit_threads(1):
        index = LearnedGraphIndex(IndexConfig(hierarchy="flat"), training=TrainingConfig(seed=0))
        index.build_partition(instance.vectors_ND, instance.labels_NL)
        index.build_graph(instance.vectors_ND, instance.labels_NL)
    with torch.no_grad():
        index.label_weight_LD.copy_(torch.from_numpy(instance.label_weights_LD))
        index.label_bias_L.copy_(torch.from_numpy(instance.label_bias_L))
    return index.eval(), instance


def best_medians(first, second, queries):
    """Seconds a call of both, the best median over the rounds."""
    rows = [queries[i : i + 1] for i in range(len(queries))]
    best = [np.inf, np.inf]
    for function in (first, second):
        for row in rows[:5]:  # compiled, and in the cache
            function(row)
    for number in range(ROUNDS):
        for place, function in enumerate((first, second)):
            times = []
            for call in range(CALLS):
                row = rows[(number * CALLS + call) % len(rows)]
                start = time.perf_counter()
                function(row)
                times.append(time.perf_counter() - start)
            best[place] = min(best[place], float(np.median(times)))
    return best


def ratio_to_product(search, instance):
    weights = instance.label_weights_LD
    with limit_threads(1):
        searched, product = best_medians(
            search, lambda row: weights @ row[0], instance.test_vectors_QD
        )
    return searched / product


def test_the_engine_takes_less_than_one_product(setting):
    index, instance = setting
    engine = index.to_engine()
    assert ratio_to_product(lambda row: engine.search(row, K), instance) < 0.8


def test_the_index_itself_takes_few_products(setting):
    index, instance = setting
    assert ratio_to_product(lambda row: index.search(row, K), instance) < 4


def test_a_batch_costs_no_more_than_its_queries_alone(setting):
    index, instance = setting
    engine = index.to_engine()
    queries = instance.test_vectors_QD
    best = {1: np.inf, len(queries): np.inf}
    with limit_threads(1):
        for _ in range(ROUNDS):
            for size in best:
                start = time.perf_counter()
                for i in range(0, len(queries), size):
                    engine.search(queries[i : i + size], K)
                best[size] = min(best[size], time.perf_counter() - start)
    assert best[len(queries)] < 1.2 * best[1]
