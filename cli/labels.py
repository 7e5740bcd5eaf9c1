"""``li labels``: list, add, remove, merge and rename the labels of a saved model."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from learned_index.cli.shared.changes import finish, load, to_change, version_options
from learned_index.cli.shared.common import emit_json, json_option, threads_option, warn
from learned_index.cli.shared.help import PanelCommand
from learned_index.cli.shared.lines import say_columns
from learned_index.cli.shared.options import model_argument
from learned_index.errors import InputError

_NEW_LINE = '{"key": ..., "name": ..., "examples": [...]}'


@click.group()
def labels() -> None:
    """List, add, remove, merge and rename the labels of a saved model.

    No training. Ids and keys of labels never change; a changed model is written whole and takes its
    place in one step. Commands that change one model at the same time take turns.

    Example: li labels remove model "sold out" --out model-2
    """


@labels.command(
    "list",
    cls=PanelCommand,
    examples=("li labels list model | sort -t \"$(printf '\\t')\" -k 2 -n -r | head",),
)
@model_argument
@json_option
def list_labels(model: Path, as_json: bool) -> None:
    """Print key, training points and name of each label of MODEL.

    In columns on a terminal, where what does not fit is cut off; separated by tabs and whole
    elsewhere.
    """
    loaded = load(model)
    counts, names = loaded.label_counts, loaded.vocabulary
    rows = [
        {"key": key, "name": names.name(label), "training_points": None if counts is None
         else int(counts[label])}
        for label, key in enumerate(names.keys)
        if label not in loaded.removed_labels
    ]  # fmt: skip
    if as_json:
        emit_json(rows)
        return
    lines = [
        (row["key"], "" if row["training_points"] is None else f"{row['training_points']}",
         row["name"])
        for row in rows
    ]  # fmt: skip
    if sys.stdout.isatty():
        say_columns(("key", "training points", "name"), lines)
        return
    for line in lines:
        click.echo("\t".join(line))


@labels.command(
    "add",
    cls=PanelCommand,
    examples=('li labels add model tea --name "Tea" --example "green tea leaves"',),
)
@model_argument
@click.argument("key", required=False)
@click.option("--name", help="Name to show, where it is not the key.")
@click.option("--example", "examples", multiple=True, help="A text that has the label; again.")
@click.option(
    "--file",
    type=click.Path(path_type=Path),
    help='Lines {"key": ..., "name": ..., "examples": [...]}; name and examples may be missing.',
)
@version_options
@threads_option
def add(
    model: Path,
    key: str | None,
    name: str | None,
    examples: tuple[str, ...],
    file: Path | None,
    **written: Any,
) -> None:
    """Make a version of MODEL that answers the new label KEY too, learned from examples.

    Without an example the label is learned from its name alone. Known labels stay as they are.
    """
    if (key is None) == (file is None):
        raise InputError("expected KEY, or --file with a label a line, and one of both")
    if key is None and (name is not None or examples):
        raise InputError("--name and --example belong to KEY; with --file they stand in the file")
    if file is not None:
        new, names = _read_new(file)
    else:
        assert key is not None
        new, names = {key: list(examples)}, {} if name is None else {key: name}
    with to_change(model, written) as loaded:
        finish(loaded.add_labels(new, texts=names), "added", len(new), model, **written)


def _read_new(file: Path) -> tuple[dict[str, list[str]], dict[str, str]]:
    from learned_index.data.formats.lines import fail, iter_lines

    new: dict[str, list[str]] = {}
    names: dict[str, str] = {}
    for number, line in enumerate(iter_lines(file), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            fail(file, number, f"no JSON ({error}); expected {_NEW_LINE}")
        if not isinstance(row, dict) or not isinstance(row.get("key"), str):
            fail(file, number, f"no key; expected {_NEW_LINE}")
        strange = sorted(set(row) - {"key", "name", "examples"})
        if strange:
            fail(file, number, f"unknown field {strange[0]!r}; expected {_NEW_LINE}")
        if row["key"] in new:
            fail(file, number, f"the key {row['key']!r:.80} was used in an earlier line")
        new[row["key"]] = row.get("examples", [])
        if row.get("name") is not None:
            names[row["key"]] = row["name"]
    return new, names


@labels.command(
    "remove",
    cls=PanelCommand,
    examples=('li labels remove model "sold out" --out model-2',),
)
@model_argument
@click.argument("names", nargs=-1)
@click.option(
    "--file",
    type=click.Path(path_type=Path),
    help="Labels to remove, a key or name a line.",
)
@version_options
@threads_option
def remove(
    model: Path,
    names: tuple[str, ...],
    file: Path | None,
    **written: Any,
) -> None:
    """Make a version of MODEL that never answers the labels NAMES (keys or names)."""
    from learned_index.cli.search import read_labels

    with to_change(model, written) as loaded:
        gone = [int(label) for label in loaded.vocabulary.ids(names)]
        gone += [] if file is None else read_labels(file, loaded.vocabulary)
        if not gone:
            raise InputError("no label is named; give names or keys, or --file with one a line")
        finish(loaded.remove_labels(gone), "removed", len(set(gone)), model, **written)


@labels.command(
    "rename",
    cls=PanelCommand,
    examples=('li labels rename model "mobile phones" "smartphones"',),
)
@model_argument
@click.argument("old", required=False)
@click.argument("new", required=False)
@click.option(
    "--file",
    type=click.Path(path_type=Path),
    help="Lines OLD<TAB>NEW: key or name, and the new name.",
)
@version_options
@threads_option
def rename(
    model: Path,
    old: str | None,
    new: str | None,
    file: Path | None,
    **written: Any,
) -> None:
    """Make a version of MODEL in which the label OLD (key or name) is called NEW; its key stays."""
    names = _pairs(old, new, file, "OLD and NEW")
    with to_change(model, written) as loaded:
        renamed = loaded.rename_labels(names)
        finish(renamed, "renamed", len(names), model, **written)
        _tell_equal_names(renamed, names.values())


def _tell_equal_names(model: Any, names: Iterable[str]) -> None:
    """Say which of some names several labels have now."""
    called = Counter(
        model.vocabulary.name(label)
        for label in range(len(model.vocabulary))
        if label not in model.removed_labels
    )
    for name in dict.fromkeys(names):
        if called[name] > 1:
            warn(
                f"{called[name]} labels are called {name!r:.80} now; li labels merge makes one of "
                "them"
            )


@labels.command(
    "merge",
    cls=PanelCommand,
    examples=('li labels merge model "cell phones" "mobile phones"',),
)
@model_argument
@click.argument("gone", required=False)
@click.argument("kept", required=False)
@click.option(
    "--file",
    type=click.Path(path_type=Path),
    help="Lines GONE<TAB>KEPT: keys or names.",
)
@version_options
@threads_option
def merge(
    model: Path,
    gone: str | None,
    kept: str | None,
    file: Path | None,
    **written: Any,
) -> None:
    """Make a version of MODEL in which the label GONE (key or name) has become KEPT.

    KEPT is answered wherever one of both was; GONE is not answered any more.
    """
    targets = _pairs(gone, kept, file, "GONE and KEPT")
    with to_change(model, written) as loaded:
        finish(loaded.merge_labels(targets), "merged", len(targets), model, **written)


def _pairs(first: str | None, second: str | None, file: Path | None, what: str) -> dict[str, str]:
    """The two arguments, or the lines of a file."""
    if file is None and first is not None and second is not None:
        return {first: second}
    if file is None or first is not None:
        one, other = what.split(" and ")
        raise InputError(
            f"expected {what}, or --file with lines {one}<TAB>{other}, and one of both"
        )
    return _read_pairs(file, what)


def _read_pairs(file: Path, what: str) -> dict[str, str]:
    from learned_index.data.formats.lines import fail, iter_lines

    expected = "expected " + what.replace(" and ", "<TAB>")
    pairs: dict[str, str] = {}
    for number, line in enumerate(iter_lines(file), start=1):
        if not line.strip():
            continue
        first, tab, second = line.removesuffix("\r").partition("\t")
        if not tab or not second.strip():
            fail(file, number, expected)
        if first in pairs:
            fail(file, number, f"the label {first!r:.80} stands in an earlier line")
        pairs[first] = second
    return pairs
