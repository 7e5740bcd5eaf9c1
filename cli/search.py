"""``li search``: texts in, label names and scores out."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import click

from learned_index.cli.shared.common import (
    emit_json,
    json_option,
    note,
    threads_option,
    use_threads,
)
from learned_index.cli.shared.options import knob_options, model_argument
from learned_index.data.formats.lines import fail, iter_lines
from learned_index.data.vocabulary import LabelVocabulary
from learned_index.errors import InputError

READ_BYTES = 1 << 16


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
        if lines:
            yield [_decode(line, number + i + 1) for i, line in enumerate(lines)]
            number += len(lines)
    if rest:
        yield [_decode(rest, number + 1)]


def _decode(line: bytes, number: int) -> str:
    try:
        text = line.decode("utf-8").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise InputError(f"line {number} of the input is not UTF-8: {error.reason}") from None
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
            fail(file, number, f"the model has no label {line!r:.80}")
        ids += by_name.get(line, [])
    return ids


def _answers(
    model: Any, texts: list[str], k: int, arguments: dict[str, Any]
) -> list[dict[str, Any]]:
    result = model.search(texts, k, **arguments)
    names, keys = model.vocabulary, model.vocabulary.keys
    return [
        {
            "query": text,
            "results": [
                {"label": names.name(int(label)), "key": keys[int(label)], "score": float(score)}
                for label, score in zip(ids, scores, strict=True)
                if label >= 0
            ],
        }
        for text, ids, scores in zip(texts, result.ids, result.scores, strict=True)
    ]


def _tell_unknown(answers: list[dict[str, Any]]) -> None:
    """Say on standard error which texts found nothing because the model knows no word of them."""
    for answer in answers:
        if not answer["results"] and answer["query"].strip():
            text = answer["query"] if len(answer["query"]) <= 60 else answer["query"][:60] + "..."
            click.echo(f"no answer: the model knows no word of {text!r}", err=True)


def _print_answer(answer: dict[str, Any]) -> None:
    click.echo(answer["query"] or "(empty line)")
    if not answer["results"]:
        why = "no label found" if answer["query"].strip() else "an empty query has no answer"
        click.echo(f"      {why}")
    for rank, found in enumerate(answer["results"], start=1):
        key = f"  ({found['key']})" if found["key"] != found["label"] else ""
        click.echo(f"{rank:4d}  {found['score']:.4f}  {found['label']}{key}")
    click.echo()


@click.command(
    epilog='Example: li search model "solve a sparse linear system" -k 5'
    "    Many queries: li search model --json < queries.txt > answers.jsonl"
)
@model_argument
@click.argument("texts", nargs=-1)
@click.option("-k", "k", type=click.IntRange(min=1), default=10, show_default=True, help="Labels.")
@knob_options
@click.option(
    "--score",
    type=click.Choice(["ranking", "probability", "index"]),
    default="ranking",
    show_default=True,
    help="The ranking score, its calibrated probability in the same order, or the index alone.",
)
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
@threads_option
@json_option
def search(
    model: Path,
    texts: tuple[str, ...],
    k: int,
    beam_width: int | None,
    shortlist_size: int | None,
    score: str,
    allow: Path | None,
    deny: Path | None,
    threads: int | None,
    as_json: bool,
) -> None:
    """Find the K best labels for each TEXT with the model in the directory MODEL.

    Without TEXT, each line of standard input is a query. Scores are in 0 to 1, best first: the
    probability in an index of li train-index, the ranking score in a model of li train.
    Fewer than K labels, or none for an empty query, is an answer and no error. A text without a
    word that the model knows has no answer either, which is said on standard error.

    With --json: a list of {"query", "results": [{"label", "key", "score"}]} for texts given
    as arguments; one such object a line for standard input.
    """
    from learned_index.elias.model import ELIAS

    use_threads(threads)
    loaded = ELIAS.from_pretrained(model)
    arguments: dict[str, Any] = {
        "beam_width": beam_width,
        "shortlist_size": shortlist_size,
        "score": score,
    }
    for name, file in (("allow", allow), ("deny", deny)):
        if file is not None:
            arguments[name] = read_labels(file, loaded.vocabulary)
    if not texts and sys.stdin.isatty():
        note("one query a line; end with Ctrl-D")
    for lines in [list(texts)] if texts else read_queries(sys.stdin.buffer):
        answers = _answers(loaded, lines, k, arguments)
        if allow is None and deny is None:
            _tell_unknown(answers)
        if as_json and texts:
            emit_json(answers)
            return
        for answer in answers:
            if as_json:
                click.echo(json.dumps(answer, ensure_ascii=False))
            else:
                _print_answer(answer)
        sys.stdout.flush()  # whoever sent one line waits for its answer
