"""How long it takes to add labels to a trained model, its index and its engine, to remove some, and
to teach it one text.

    python -m benchmarks.label_change_times --model MODEL --data DIR --out results/times.json

MODEL is a whole model that is not compiled (``li train``); texts of the test split are the examples
of the new labels, 1 to 5 of each. Times are the least of some runs, after a first one of a few
labels, in which compiled code is made. Encoding is part of the times of whole models alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.whole_road import CLOCKS
from learned_index import ELIAS
from learned_index.cli.shared.common import (
    errors_as_lines,
    note,
    quiet_option,
    threads_option,
    use_threads,
)
from learned_index.data import open_dataset
from learned_index.errors import InputError
from learned_index.persistence import write_json
from learned_index.system.environment import describe_environment
from learned_index.system.timing import single_latencies

FEW = 5
"""Labels of the first run, which is not timed."""
MOST_EXAMPLES = 5


def least_seconds(work: Callable[[], Any], runs: int, clock: str = "wall") -> float:
    """The shortest of some runs: others at work on the machine only ever add to a time."""
    times, now = [], CLOCKS[clock]
    for _ in range(runs):
        start = now()
        work()
        times.append(now() - start)
    return min(times)


def new_labels(texts: list[str], n: int) -> dict[str, list[str]]:
    """So many labels with 1 to 5 of the texts each."""
    usable = [text for text in texts if text.strip()]
    return {
        f"new label {number}": [
            usable[(7 * number + place) % len(usable)]
            for place in range(1 + number % MOST_EXAMPLES)
        ]
        for number in range(n)
    }


def latency_us(engine: Any, queries: Any) -> float:
    """Median of single queries, microseconds; the best of three rounds."""
    rows = [queries[i : i + 1] for i in range(len(queries))]
    rounds = [
        single_latencies(engine.search, rows, warmup=50, at_least=len(rows), at_most=len(rows))
        for _ in range(3)
    ]
    return 1e3 * min(float(np.median(times_ms)) for times_ms in rounds)


def learned(model: ELIAS, text: str, label: str) -> None:
    """A correction, and the first answer after it."""
    model.learn(text, [label]).predict([text], 5)


def measured(
    model: ELIAS, texts: list[str], *, n: int, n_removed: int, runs: int, clock: str = "wall"
) -> list[Any]:
    """Rows of what was done, to what, and the seconds that it took."""
    if model.records_ is None:
        raise InputError("the model remembers no records; train it with --records yes")
    labels = new_labels(texts, n)
    # A name that the model knows: the first words of an example.
    names = {key: " ".join(own[0].split()[:4]) for key, own in labels.items()}
    encoded = model.encode([text for own in labels.values() for text in own])[0]
    examples = np.split(encoded, np.cumsum([len(own) for own in labels.values()])[:-1])
    _, unit_ND, known_NL = model.records_.points()
    known = (unit_ND * np.float32(np.linalg.norm(encoded, axis=1).mean()), known_NL)
    gone = np.arange(n_removed)
    compiled = model.to_engine()
    rows = []
    for what, part in (("index", model.members[0]), ("engine", compiled.members[0])):
        part.add_labels(examples[:FEW], known=known)
        add = least_seconds(partial(part.add_labels, examples, known=known), runs, clock)
        remove = least_seconds(partial(part.remove_labels, gone), runs, clock)
        rows += [(what, f"add {n}", add), (what, f"remove {n_removed}", remove)]
    engine = compiled.members[0]
    grown = engine.add_labels(examples, known=known)
    rows.append(("engine", "compact", least_seconds(grown.compact, runs, clock)))
    for what, whole in (("model", model), ("compiled model", compiled)):
        for some in (FEW, 1, n):  # the first is not timed
            few = {key: labels[key] for key in list(labels)[:some]}
            add = partial(whole.add_labels, few, texts={key: names[key] for key in few})
            seconds = least_seconds(add, 1 if some == FEW else runs, clock)
            rows += [] if some == FEW else [(what, f"add {some}", seconds)]
        remove = least_seconds(partial(whole.remove_labels, gone), runs, clock)
        rows.append((what, f"remove {n_removed}", remove))
    text = next(text for text in texts if text.strip())
    for work, label in (("learn one text", model.vocabulary.keys[0]), ("learn a new label", "new")):
        correct = partial(learned, model, text, label)
        correct()  # not timed
        rows.append(("model", work, least_seconds(correct, runs, clock)))
    for what, part in (("engine", engine), ("with segment", grown), ("compact", grown.compact())):
        rows.append((what, "search one vector", 1e-6 * latency_us(part, encoded[:1000])))
    return [{"what": what, "work": work, "seconds": seconds} for what, work, seconds in rows]


@click.command()
@click.option("--model", required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--data", required=True, help="Data folder, whose test texts are examples.")
@click.option("--labels", "n", type=click.IntRange(min=FEW + 1), default=1000, show_default=True)
@click.option("--removed", type=click.IntRange(min=1), default=10_000, show_default=True)
@click.option("--clock", type=click.Choice(list(CLOCKS)), default="wall", show_default=True)
@click.option("--runs", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False))
@threads_option
@quiet_option
@errors_as_lines()
def main(
    model: Path,
    data: str,
    n: int,
    removed: int,
    clock: str,
    runs: int,
    out: Path,
    threads: int | None,
    quiet: bool,
) -> None:
    """Time labels that join and go; print a Markdown table."""
    use_threads(threads)
    texts = list(open_dataset(data).read("test").texts or [])
    loaded = ELIAS.from_pretrained(model)
    note(f"{loaded.n_labels} labels", quiet=quiet)
    gone = min(removed, loaded.n_labels - 1)
    rows = measured(loaded, texts, n=n, n_removed=gone, runs=runs, clock=clock)
    write_json(
        out,
        {"model": str(model), "n_labels": loaded.n_labels, "n_records": len(loaded.records_ or ()),
         "clock": clock, "rows": rows, "environment": describe_environment()},
    )  # fmt: skip
    click.echo(f"| {loaded.n_labels} labels | | |\n|---|---|---|")
    for row in rows:
        seconds = row["seconds"]
        shown = f"{seconds:.2f} s" if seconds >= 1e-3 else f"{1e6 * seconds:.1f} µs"
        click.echo(f"| {row['what']} | {row['work']} | {shown} |")


if __name__ == "__main__":
    main()
