"""A server that searches while labels come and go: each answer is that of one state or another."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest
from elias_cases import finally_ranked, queries

from learned_index import ELIAS

N_THREADS, N_CHANGES, K = 16, 6, 40
NEW = ["sort rain bread sort rain bread", "bread sort rain rain sort bread"]


@pytest.fixture(scope="module")
def model() -> ELIAS:
    return finally_ranked("trees")


def same(first: Any, second: Any) -> bool:
    return np.array_equal(first.ids, second.ids) and np.array_equal(first.scores, second.scores)


def changed(served: Any, number: int, asked: Any, *, whole: bool) -> Any:
    """The next state: a label more, or one of those that came before gone."""
    if number % 2:
        return served.remove_labels([served.n_labels - 1])
    if whole:
        return served.add_labels({f"new {number}": NEW})
    known = (asked[:4], [[0], [1], [2], [3]])
    return served.add_labels([asked[number : number + 2]], known=known)


@pytest.mark.parametrize("what", ["model", "compiled", "engine", "index"])
def test_every_answer_is_that_of_a_state(model: ELIAS, what: str) -> None:
    whole = what in ("model", "compiled")
    compiled = model.to_engine()
    first = {"model": model, "compiled": compiled, "engine": compiled.index, "index": model.index}
    state: Any = first[what]
    asked: Any = [*NEW, *queries(6)] if whole else model.encode([*NEW, *queries(30)])[0]
    tried = state
    for number in range(2):  # what has to be compiled is, before anybody waits for it
        tried = changed(tried, number, asked, whole=whole)
        tried.search(asked[:1], K)
    states, served, stop = [state], [state], threading.Event()
    answers: list[list[tuple[int, Any]]] = [[] for _ in range(N_THREADS)]
    failed: list[BaseException] = []

    def search(mine: list[tuple[int, Any]]) -> None:
        try:
            while True:
                last = stop.is_set()
                row = len(mine) % len(asked)
                mine.append((row, served[0].search(asked[row : row + 1], K)))
                if last:
                    return
                time.sleep(0.002)  # else 16 threads leave the changes no processor
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=search, args=(mine,)) for mine in answers]
    for thread in threads:
        thread.start()
    for number in range(N_CHANGES):
        state = changed(state, number, asked, whole=whole)
        states.append(state)
        served[0] = state  # the one thing that is shared, and it is swapped
    stop.set()
    for thread in threads:
        thread.join()
    assert failed == []
    expected = [
        [each.search(asked[row : row + 1], K) for row in range(len(asked))] for each in states
    ]
    assert not all(same(expected[0][row], expected[1][row]) for row in range(len(asked)))
    for mine in answers:
        assert mine
        at = 0  # states follow each other: no answer is of an earlier one than that before
        for row, answer in mine:
            fits = [n for n in range(at, len(states)) if same(answer, expected[n][row])]
            assert fits, "an answer that no state gives"
            at = fits[0]
