"""``li reproduce``: the tables and figures of the paper, on any data set."""

from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.markup import escape
from rich.table import Table

from learned_index.cli.shared.common import (
    EXIT_FAILURE,
    emit_json,
    output_console,
    progress_bar,
    standard_options,
    use_threads,
)
from learned_index.cli.shared.help import command
from learned_index.cli.shared.options import cache_option, split_option
from learned_index.cli.shared.peers import interpreters_of, python_option, word_features
from learned_index.cli.shared.tables import DataSource, data_option
from learned_index.reproduction.catalogue import ALL, ITEMS, NOT_THE_PAPERS, NUMBERING, find_items

_NAMES = 30
"""Columns of the terminal for the names of rows, of which longer ones are folded."""


def list_items(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    """Print what can be made, and end."""
    if not asked or ctx.resilient_parsing:
        return
    width = max(len(item.name) for item in ITEMS)
    for item in ITEMS:
        click.echo(f"{item.name:<{width}}  {item.title}")
        click.echo(f"{'':<{width}}  {item.told} [{item.cost}]")
    click.echo("\n[seconds]: from the model alone. [minutes]: the split is searched.")
    click.echo("[trainings]: peers or other settings are trained; what is finished is kept.")
    click.echo(NUMBERING)
    ctx.exit()


@command(
    common=("list", "model_paths", "data", "out", "split", "max_queries", "threads"),
    examples=(
        "li reproduce --list",
        "li reproduce figure-4 --model model --data my-data --out paper",
    ),
)
@click.option(
    "--list",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=list_items,
    help="List the tables and figures.",
)
@click.argument("items", nargs=-1, required=True, metavar=f"ITEM...|{ALL}")
@click.option(
    "--model",
    "model_paths",
    required=True,
    multiple=True,
    type=click.Path(path_type=Path),
    help="Directory of a trained model; again for trainings with other seeds: intervals then "
    "cover both points and trainings.",
)
@data_option
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory of the tables and pictures. What is there of the same models and data is not "
    "made again.",
)
@split_option
@click.option(
    "--baselines",
    multiple=True,
    help="Peers of tables 1, 2, 6 and figure 5, as for li compare.  [default: trained-tree, "
    "overlap, slice, glas, ova, omikuji, pecos, tfidf-knn]",
)
@python_option
@click.option(
    "--encoder",
    "encoder_spec",
    help="Encoder that tables 3, 7, 8 and 9 train with.  [default: as the model's report says]",
)
@click.option(
    "--max-queries",
    type=click.IntRange(min=1),
    help="Measure on this many points, drawn at random with a fixed seed.  [default: all]",
)
@cache_option
@standard_options
def reproduce(
    items: tuple[str, ...],
    model_paths: tuple[Path, ...],
    data: DataSource,
    out: Path,
    split: Any,
    baselines: tuple[str, ...],
    interpreters: tuple[str, ...],
    encoder_spec: str | None,
    max_queries: int | None,
    cache: str | None,
    threads: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Make tables and figures of the ELIAS paper (NeurIPS 2022) from a model and its data.

    ITEM is a name of --list, such as figure-4, the beginning of several (table-7, figure), or all.
    Each gets its numbers as CSV and JSON; figures and most tables a picture as PNG and SVG, tables
    a page of Markdown. README.md in the directory shows everything that was made there.

    Peers are trained on the model's vectors or on words; tables 3, 7, 8 and 9 train the model's
    configuration anew. What is finished is kept in the directory: after Ctrl-C the same command
    goes on. An item that fails tells why, the others go on, and the exit code is 1.

    Figures of other data and encoders than the paper's are not the paper's.
    """
    from learned_index.cli.shared import output, sources
    from learned_index.cli.shared.ablation_data import encoded_data
    from learned_index.evaluation.compared import report_path, trained_encoder
    from learned_index.reproduction.answers import PEERS
    from learned_index.reproduction.making import make_items
    from learned_index.reproduction.study import Study
    from learned_index.system.extras import require

    wanted = find_items(items)
    require("matplotlib", extra="report")  # told now, not after the trainings
    n_threads = use_threads(threads)
    folder = sources.resolve_data(data, quiet=quiet)
    out.mkdir(parents=True, exist_ok=True)
    output.claim(out)
    failed: list[tuple[str, str]] = []
    found = []
    with progress_bar("reproducing", total=len(wanted), quiet=quiet) as bar:
        study = Study(
            model_paths=[*model_paths],
            folder=folder,
            data=str(data),
            split=split,
            out=out,
            encode=partial(sources.encode_split, cache=cache, quiet=True),
            word_features=partial(word_features, quiet=True),
            ablation_data=partial(encoded_data, cache=cache, quiet=True),
            encoder_spec=encoder_spec or trained_encoder(report_path(model_paths[0])),
            baselines=baselines or PEERS,
            python=interpreters_of(interpreters),
            max_queries=max_queries,
            threads=n_threads,
            say=lambda text: bar.update(info=text),
        )
        for number, result in enumerate(make_items(wanted, study), start=1):
            found.append(result)
            if not as_json:
                show(result, out)
            name = result["item"]
            failed += [(name, result["error"])] if "error" in result else []
            failed += [*result.get("failed", {}).items()]
            bar.update(completed=number)
    if as_json:
        emit_json(found)
    else:
        click.echo(f"all of it: {out / 'README.md'}. {NOT_THE_PAPERS}")
    for name, why in dict.fromkeys(failed):  # a peer that several items want is told once
        click.echo(f"{name} failed: {why}", err=True)
    if failed:
        raise click.exceptions.Exit(EXIT_FAILURE)


def show(result: dict[str, Any], out: Path) -> None:
    """Print a table, or where a picture is."""
    if "error" in result:
        return
    if result["item"].startswith("table"):
        from learned_index.reproduction.results import shown

        console = output_console()
        first, *rest = result["columns"]
        rows = [{name: shown(row.get(name)) for name in (first, *rest)} for row in result["rows"]]
        widths = [2 + max([len(name), *(len(row[name]) for row in rows)]) for name in rest]
        # Numbers are never cut: names fold, and what has no room stands in the file.
        room = console.width - min(_NAMES, max([len(first), *(len(row[first]) for row in rows)]))
        n_told = sum(1 for total in itertools.accumulate(widths) if total <= room)
        table = Table(title=f"{result['item']}: {result['title']}", title_justify="left", box=None)
        table.add_column(first, overflow="fold")
        for name in rest[:n_told]:
            table.add_column(name, justify="right", no_wrap=True)
        for row in rows:
            table.add_row(*(escape(row[name]) for name in (first, *rest[:n_told])))
        console.print(table)
        if left := rest[n_told:]:
            click.echo(f"in the CSV besides: {', '.join(left)}")
    names, before = ", ".join(result["files"]), "" if result["made"] else " (made before)"
    click.echo(f"{result['item']}: {result['title']}: {out}/{names}{before}")
