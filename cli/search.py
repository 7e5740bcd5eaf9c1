"""``li search``: texts in, label names and scores out."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, cast

import click

from learned_index.cli.shared.answers import print_heads, print_row
from learned_index.cli.shared.common import (
    emit_json,
    json_option,
    note,
    threads_option,
    use_threads,
)
from learned_index.cli.shared.help import command
from learned_index.cli.shared.lines import WIDTH, cut, named, say
from learned_index.cli.shared.options import knob_options, model_argument
from learned_index.cli.shared.threshold import threshold_option
from learned_index.data.formats.lines import fail, iter_lines
from learned_index.data.vocabulary import LabelVocabulary
from learned_index.errors import InputError

if TYPE_CHECKING:
    from learned_index.elias.model import ELIAS
    from learned_index.elias.parts import SearchOptions

READ_BYTES = 1 << 16
MOST_SHOWN = 5
"""Words, and kinds of evidence, that an explanation shows of each."""


def read_queries(stream: BinaryIO) -> Iterator[list[str]]:
    """Yield the lines of a stream in groups: all that have arrived, as soon as they arrive.

    So a long file is searched in large batches, and a person or a program that sends one line
    and waits gets the answer at once.

    Args:
        stream: Bytes; a line is one query in UTF-8. A byte-order mark at the start goes.

    Raises:
        InputError: Bytes that are not UTF-8.
    """
    read: Callable[[int], bytes] = getattr(stream, "read1", stream.read)
    rest = b""
    number = 0
    while chunk := read(READ_BYTES):
        *lines, rest = (rest + chunk).split(b"\n")
        good: list[str] = []
        for line in lines:
            number += 1
            try:
                good.append(_decode(line, number))
            except InputError:
                if good:  # they are answered before
                    yield good
                raise
        if good:
            yield good
    if rest:
        yield [_decode(rest, number + 1)]


def _decode(line: bytes, number: int) -> str:
    try:
        text = line.decode("utf-8").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise InputError(
            f"line {number} of the input is not UTF-8: {error.reason}; convert it, e.g. with "
            "iconv -f cp1252 -t utf-8"
        ) from None
    return text.removeprefix("\ufeff") if number == 1 else text


def read_labels(file: Path, vocabulary: LabelVocabulary) -> list[int]:
    """Read label keys or names, one a line, as ids.

    Raises:
        DataFormatError: The file cannot be read, or a line names no label.
    """
    by_name: dict[str, list[int]] = {}
    for label, key in enumerate(vocabulary.keys):
        for name in {key, vocabulary.name(label)}:
            by_name.setdefault(name, []).append(label)
    ids: list[int] = []
    for number, line in enumerate(map(str.strip, iter_lines(file)), start=1):
        if line and line not in by_name:
            guess = vocabulary.did_you_mean(line)
            fail(file, number, f"the model has no label {line!r:.80}{guess}")
        ids += by_name.get(line, [])
    return ids


class QueryFilters:
    """A file with a filter for each query, read as far as queries have come.

    Args:
        file: A line for each query: nothing, or ``{"allow": [...], "deny": [...]}``, either of
            which may be missing; keys or names of labels.
        vocabulary: The labels.
    """

    def __init__(self, file: Path, vocabulary: LabelVocabulary) -> None:
        self._file, self._vocabulary = file, vocabulary
        self._lines = enumerate(iter_lines(file), start=1)

    def take(self, n_queries: int) -> dict[str, Any]:
        """Filters of the next queries, as arguments of a search.

        Raises:
            DataFormatError: The file ends before, a line that is no filter, or names no label.
        """
        rows = [self._read(*line) for line in islice(self._lines, n_queries)]
        if len(rows) < n_queries:
            raise InputError(
                f"{self._file} has fewer lines than there are queries; give a line for each, empty "
                "where a query has no filter"
            )
        return {
            name: [row.get(name) for row in rows]
            for name in ("allow", "deny")
            if any(name in row for row in rows)
        }

    def end(self) -> None:
        """Refuse lines that no query has asked for."""
        number, line = next(self._lines, (0, ""))
        if line.strip():
            fail(self._file, number, "there are more filters than queries; give a line for each")

    def _read(self, number: int, line: str) -> dict[str, list[int]]:
        if not line.strip():
            return {}
        expected = 'expected {"allow": [labels], "deny": [labels]}, or an empty line'
        try:
            row = json.loads(line)
        except ValueError as error:
            fail(self._file, number, f"no JSON ({error}); {expected}")
        right = isinstance(row, dict) and set(row) <= {"allow", "deny"}
        names = [*row.values()] if right else []
        if not right or not all(isinstance(each, list) for each in names):
            fail(self._file, number, f"no filter; {expected}")
        try:
            return {name: self._vocabulary.ids(labels).tolist() for name, labels in row.items()}
        except InputError as error:
            fail(self._file, number, str(error))


Shown = Literal["auto", "probability", "ranking", "index", "all"]


def shown_columns(model: ELIAS, shown: Shown) -> list[str]:
    """Which numbers are told of an answer, by their names in the JSON."""
    if shown == "all":
        probable = ["probability"] * (model.calibrator_ is not None)
        return [*probable, "score", "index_p", *["ranker_q"] * (model.ranker_ is not None)]
    by_default = "score" if model.calibrator_ is None else "probability"
    return [by_default if shown == "auto" else "probability" if shown == "probability" else "score"]


def _found(
    model: ELIAS, texts: list[str], k: int, shown: Shown, threshold: Any, options: dict[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """Ids B x k, and numbers B x k by their names in the JSON."""
    from learned_index.elias.label_scores import part_scores
    from learned_index.elias.thresholds import scored_answers

    k = model.at_most(k)
    if shown in ("ranking", "index"):
        found = model.search(texts, k, score=shown, threshold=threshold, **options)
        return found.ids, {"score": found.scores}
    if shown == "probability" and model.calibrator_ is None:
        raise InputError(
            "this model was trained without calibration, so it has no probabilities; ask for "
            "--score ranking"
        )
    asked = cast("SearchOptions", options)
    found, probability = scored_answers(model, texts, k, threshold=threshold, options=asked)
    columns = {} if probability is None else {"probability": probability}
    columns["score"] = found.scores
    if shown == "all":
        knobs: SearchOptions = {
            "beam_width": options["beam_width"], "shortlist_size": options["shortlist_size"]
        }  # fmt: skip
        parts = part_scores(model, texts, found.ids, options=knobs)
        columns |= {name: each for name, each in parts._asdict().items() if each is not None}
    return found.ids, columns


def _answers(
    model: ELIAS,
    texts: list[str],
    k: int,
    shown: Shown,
    threshold: Any,
    options: dict[str, Any],
    *,
    explain: bool,
) -> list[dict[str, Any]]:
    from learned_index.elias.answers import explained, named_answers

    all_ids, columns = _found(model, texts, k, shown, threshold, options)
    named = named_answers(model, all_ids, **columns)
    if explain:
        for text, labels, ids in zip(texts, named, all_ids, strict=True):
            explained(model, text, labels, ids)
    return [{"query": text, "results": labels} for text, labels in zip(texts, named, strict=True)]


def _tell_that_it_compiles() -> None:
    note(
        "compiling the search for this processor, which takes up to a minute once; "
        "li warmup does it beforehand"
    )


def _tell_unknown(answers: list[dict[str, Any]]) -> None:
    """Say on standard error which texts found nothing because the model knows no word of them."""
    for answer in answers:
        if not answer["results"] and answer["query"].strip():
            text = answer["query"] if len(answer["query"]) <= 60 else answer["query"][:60] + "..."
            click.echo(f"no answer: the model knows no word of {text!r}", err=True)


def _print_answer(answer: dict[str, Any], columns: list[str], *, is_cut: bool) -> None:
    click.echo(cut(answer["query"], WIDTH) or "(empty line)")
    if not answer["results"]:
        why = "no label reaches the threshold" if is_cut else "no label found"
        click.echo(f"      {why if answer['query'].strip() else 'an empty query has no answer'}")
    elif len(columns) > 1:
        print_heads(columns)
    for rank, found in enumerate(answer["results"], start=1):
        values = {name: found[name] for name in columns}
        print_row(rank, named(found["label"], found["key"]), values)
        if "why" in found:
            for name, told in reasons(found["why"]):
                say(name, told, indent=" " * 6, width=9)
    click.echo()


def reasons(why: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Tell an explanation in a few lines: what speaks, and its part of the score."""
    shown = [f"{e['name']} {e['part']:+.2f}" for e in why["evidence"][:MOST_SHOWN]]
    rest = sum(e["part"] for e in why["evidence"][MOST_SHOWN:])
    total = why["constant"] + sum(e["part"] for e in why["evidence"])
    parts = [f"constant {why['constant']:+.2f}"] if why["constant"] else []
    parts += [*shown, *([f"the rest {rest:+.2f}"] if rest else [])]
    behind = f", times {why['scale']:.4f}" if why["scale"] != 1 else ""
    yield "score", f"{', '.join(parts)} = {why['form']} {total:+.2f}{behind}"
    for part in why["index"]:
        leads = [
            f"cluster {path['cluster']} ({path['score']:.2f} x {path['weight']:.2f})"
            for path in part["paths"][:2]
        ]
        more = len(part["paths"]) - len(leads)
        leads += [f"{more} more"] if more else []
        how = ", ".join(leads) or "no cluster of the beam leads there"
        yield "index", f"p {part['p']:.3f} by {how}; classifier {part['classifier']:.3f}"
    ranker = why["ranker"]
    if ranker is not None:
        words = [f"{word['term']} {word['part']:+.2f}" for word in ranker["words"][:MOST_SHOWN]]
        told = [*words, f"vector {ranker['vector']:+.2f}", f"bias {ranker['bias']:+.2f}"]
        yield "words", f"margin {ranker['margin']:+.2f}: {', '.join(told)}"
    spelled = why["spelled"]
    if spelled is not None and spelled["words"]:
        words = [f"{word['term']} {word['part']:+.2f}" for word in spelled["words"][:MOST_SHOWN]]
        yield "name", f"alike {spelled['likeness']:.2f}: {', '.join(words)}"
    records = why["records"]
    if records is not None:
        by_words, by_vectors = records["with_label_by_words"], records["with_label_by_vectors"]
        nearest = f"of the {records['n_asked']} nearest training points {by_words} by words and "
        yield "records", f"{nearest}{by_vectors} by vectors have the label"
    counts = [] if why["n_points"] is None else [f"{why['n_points']:,} training points"]
    probable = why["probability"]
    counts += [] if probable is None else [f"calibrated probability {probable:.3f}"]
    if counts:
        yield "label", ", ".join(counts)


@command(
    common=("k", "shown", "threshold", "allow", "deny", "filters", "explain", "as_json"),
    examples=(
        'li search model "solve a sparse linear system" -k 5',
        "li search model --json < queries.txt > answers.jsonl",
    ),
)
@model_argument
@click.argument("texts", nargs=-1)
@click.option("-k", "k", type=click.IntRange(min=1), default=10, show_default=True, help="Labels.")
@knob_options
@click.option(
    "--score",
    "--scores",
    "shown",
    type=click.Choice(["auto", "probability", "ranking", "index", "all"]),
    default="auto",
    show_default=True,
    help="What is shown of a label: its calibrated probability, or the ranking score, which orders "
    "the labels; auto: the probability where the model has one; all: both, the index's p and the "
    "ranker's margin q; index: order and score of the index alone.",
)
@threshold_option
@click.option(
    "--allow",
    type=click.Path(path_type=Path),
    help="File with the only labels to find, a key or name a line.",
)
@click.option(
    "--deny",
    type=click.Path(path_type=Path),
    help="File with labels not to find, a key or name a line.",
)
@click.option(
    "--filters",
    type=click.Path(path_type=Path),
    help='File with a line for each query: {"allow": [...], "deny": [...]}, or nothing.',
)
@click.option(
    "--explain",
    is_flag=True,
    help="Tell why: parts of the score, clusters, words, nearest training points.",
)
@threads_option
@json_option
def search(
    model: Path,
    texts: tuple[str, ...],
    k: int,
    beam_width: int | None,
    shortlist_size: int | None,
    shown: Shown,
    threshold: Any,
    allow: Path | None,
    deny: Path | None,
    filters: Path | None,
    explain: bool,
    threads: int | None,
    as_json: bool,
) -> None:
    """Find the K best labels for each TEXT with the model in the directory MODEL.

    Without TEXT, each line of standard input is a query. Labels come best first, in the order of
    the ranking score. The number behind a label is its calibrated probability where the model has
    one (li train), else its score. Fewer than K labels, or none for an empty query, is an answer
    and no error. A text without a word that the model knows has no answer either, which is said
    on standard error.

    With --json: a list of {"query", "results": [{"label", "key", "probability", "score"}]} for
    texts given as arguments; one such object a line for standard input. With --explain each result
    has "why", whose parts add up to the ranking score.
    """
    from learned_index.elias.model import ELIAS
    from learned_index.kernels.machine.compiling import watched

    use_threads(threads)
    loaded = ELIAS.from_pretrained(model)
    columns = shown_columns(loaded, shown)
    arguments: dict[str, Any] = {
        "beam_width": beam_width,
        "shortlist_size": shortlist_size,
    }
    for name, file in (("allow", allow), ("deny", deny)):
        if file is not None:
            arguments[name] = read_labels(file, loaded.vocabulary)
    each = None if filters is None else QueryFilters(filters, loaded.vocabulary)
    if each is not None and (allow is not None or deny is not None):
        raise InputError("--filters is for each query, --allow and --deny are for all; give one")
    if not texts and sys.stdin.isatty():
        note("one query a line; end with Ctrl-D")
    for lines in [list(texts)] if texts else read_queries(sys.stdin.buffer):
        own = {} if each is None else each.take(len(lines))
        with watched(_tell_that_it_compiles):
            asked = {**arguments, **own}
            answers = _answers(loaded, lines, k, shown, threshold, asked, explain=explain)
        if allow is None and deny is None and each is None and threshold is None:
            _tell_unknown(answers)
        if as_json and texts:
            if each is not None:
                each.end()
            emit_json(answers)
            return
        for answer in answers:
            if as_json:
                click.echo(json.dumps(answer, ensure_ascii=False))
            else:
                _print_answer(answer, columns, is_cut=threshold is not None)
        sys.stdout.flush()  # whoever sent one line waits for its answer
    if each is not None:
        each.end()
