"""A table or figure that was made: its numbers, its files, and the page that lists all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from learned_index.persistence import atomic_file, read_json, write_csv, write_json
from learned_index.persistence.files import json_ready
from learned_index.plotting import FORMATS
from learned_index.reproduction.catalogue import ITEMS, NOT_THE_PAPERS, NUMBERING, Item
from learned_index.reproduction.study import Study
from learned_index.system.environment import describe_environment

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Made:
    """What an item's maker returns.

    Attributes:
        rows: The numbers, a row each, of plain values: the CSV file.
        columns: Columns that the table on the screen and in Markdown shows; None: all of the rows.
        draw: Draws the picture into the files; None where there is none.
        caption: How the numbers were made, in sentences.
        failed: What could not be measured: name -> why.
    """

    rows: list[Row]
    columns: Sequence[str] | None = None
    draw: Callable[[Sequence[Path]], None] | None = None
    caption: str = ""
    failed: dict[str, str] = field(default_factory=dict)


def files_of(item: Item, out: Path, *, drawn: bool) -> list[Path]:
    """Return the files of an item: JSON first, CSV, then pictures or Markdown."""
    suffixes = ["json", "csv", *(FORMATS if drawn else ()), *(["md"] if item.is_table else [])]
    return [out / f"{item.name}.{suffix}" for suffix in suffixes]


def write_result(item: Item, made: Made, study: Study, *, key: str) -> dict[str, Any]:
    """Write the files of an item, the JSON file last: where it is, all are.

    Returns:
        What the JSON file holds.
    """
    drawn = made.draw is not None
    paths = files_of(item, study.out, drawn=drawn)
    rows: list[Row] = json_ready(made.rows)
    columns = list(made.columns or dict.fromkeys(name for row in rows for name in row))
    write_csv(paths[1], rows)
    if made.draw is not None:
        made.draw([path for path in paths if path.suffix.removeprefix(".") in FORMATS])
    result = {
        "item": item.name,
        "paper": f"ELIAS (NeurIPS 2022), {item.in_paper}",
        "title": item.title,
        "caption": made.caption,
        "note": NOT_THE_PAPERS,
        "data": study.data,
        "split": study.split,
        "n_points": len(study.rows),
        "n_labels": study.model.n_labels,
        "models": [str(path) for path in study.model_paths],
        "encoder": study.encoder_spec,
        "threads": study.threads,
        "columns": columns,
        "rows": rows,
        "failed": made.failed,
        "files": [path.name for path in paths],
        "environment": describe_environment(),
        "key": key,
    }
    if item.is_table:
        with atomic_file(study.out / f"{item.name}.md") as temporary:
            temporary.write_text(markdown(result), encoding="utf-8")
    with atomic_file(paths[0]) as temporary:
        write_json(temporary, result)
    return result


def found_result(item: Item, out: Path, *, key: str) -> dict[str, Any] | None:
    """Return what an earlier run made of the same data, models and settings; None: nothing whole.

    What failed there is tried again.
    """
    path = out / f"{item.name}.json"
    if not path.is_file():
        return None
    try:
        result: dict[str, Any] = read_json(path)
        whole = all((out / str(name)).is_file() for name in result["files"])
        return result if whole and result["key"] == key and not result["failed"] else None
    except (KeyError, TypeError, ValueError):
        return None


def shown(value: Any) -> str:
    """A cell of a table."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.2f}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def markdown(result: dict[str, Any]) -> str:
    """Return an item as Markdown: title, table, how it was made."""
    columns = result["columns"]
    lines = [
        f"**{result['title']}** ({result['paper']}; {result['data']}, {result['split']} split)",
        "",
        f"| {' | '.join(columns)} |",
        "|---" * len(columns) + "|",
    ]
    for row in result["rows"]:
        lines.append(f"| {' | '.join(shown(row.get(name)) for name in columns)} |")
    lines += ["", f"{result['caption']} {result['note']}"]
    lines += [f"- {name}: {why}" for name, why in result["failed"].items()]
    return "\n".join(lines) + "\n"


def write_page(out: Path) -> Path:
    """Write ``README.md``: everything that was made in the folder, in the order of the paper."""
    lines = ["# Tables and figures of the ELIAS paper", "", NOT_THE_PAPERS, NUMBERING, ""]
    for item in ITEMS:
        path = out / f"{item.name}.json"
        if not path.is_file():
            continue
        result = read_json(path)
        lines += [f"## {item.in_paper[0].upper()}{item.in_paper[1:]}: {item.title}", ""]
        files = [str(name) for name in result["files"]]
        if f"{item.name}.png" in files:
            lines += [f"![{item.title}]({item.name}.png)", ""]
        if item.is_table:
            lines += [(out / f"{item.name}.md").read_text(encoding="utf-8")]
        else:
            lines += [result["caption"], ""]
        lines += ["Files: " + ", ".join(f"[{name}]({name})" for name in files), ""]
    path = out / "README.md"
    with atomic_file(path) as temporary:
        temporary.write_text("\n".join(lines), encoding="utf-8")
    return path
