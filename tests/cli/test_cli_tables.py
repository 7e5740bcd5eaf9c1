"""Every table fits into 80 columns, whatever it is told; --wide and the files have the rest."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cli_cases import ok
from rich.cells import cell_len
from rich.console import Console

from learned_index.cli.shared import analysis_tables, compare_tables, lines
from learned_index.cli.shared.common import NARROW, output_console, pairs_table
from learned_index.cli.shared.report import metrics_table
from learned_index.comparison import Comparison, metric_names
from learned_index.comparison.data import MEASUREMENTS
from learned_index.evaluation.analysis import GraphAnalysis, IndexAnalysis
from learned_index.evaluation.edges import EdgeDistribution, PartitionOverlap

LONG = "dismec:features=joined,ngrams=2,cost=4,[bold]positive_cost=12.5[/bold]@ova-with-a-long-name"


def drawn(*tables: Any, width: int = NARROW) -> list[str]:
    """The lines of tables on a console of so many columns."""
    console = Console(file=io.StringIO(), width=width, highlight=False)
    for table in tables:
        console.print(table)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def fits(found: list[str]) -> None:
    assert max(map(cell_len, found)) <= NARROW
    assert not any("…" in line for line in found), "a number was cut"


def comparison(n_classifiers: int = 1) -> Comparison:
    """Methods with long names, large numbers, and one that failed."""
    row = dict.fromkeys(MEASUREMENTS, 123456.789) | dict.fromkeys(metric_names(), 100.0)
    row |= {"neighbour_recall@100": 100.0, "query_arguments": {"ef_search": 4096, "rank": 128}}
    row |= {"reached_target": False, "error": None, "qps": 12_345_678.0}
    rows = [{**row, "method": name} for name in ("learned", "engine", LONG)]
    rows.append({**dict.fromkeys(row), "method": "scann:soar=1", "error": "no " * 80})
    costs = {
        f"{load}_{name}": value
        for load in ("single", "batch")
        for name, value in (
            ("ms", 1234.5678),
            ("spread", 1.5),
            ("times", 1234.5),
            ("recall", 99.99),
        )
    }
    arguments = {f"{load}_arguments": {"ef_search": 4096} for load in ("single", "batch")}
    operating = [
        {"target": target, "method": name, "best": 99.99, **costs, **arguments}
        for target in ("R@100 >= 84.33 (exact of a very long name of classifiers, and more of it)",
                       "exact 100 >= 99")
        for name in ("learned", LONG)
    ]  # fmt: skip
    names = [f"classifiers-{n}" for n in range(n_classifiers)]
    environment = {
        "exact": {name: {"R@100": 88.123} for name in names}, "n_labels": 12_345_678,
        "n_queries": 1_234_567, "batch_size": 4096, "threads": 64, "target_recall": 0.99,
        "best_recall": 99.99, "encode_ms": 12.34, "repeats": 3, "reference": LONG,
    }  # fmt: skip
    return Comparison(rows=rows, operating=operating, environment=environment)


@pytest.mark.parametrize("n_classifiers", [1, 3])
def test_the_comparison_fits(n_classifiers: int) -> None:
    result = comparison(n_classifiers)
    first = drawn(compare_tables.comparison_table(result))
    second = drawn(compare_tables.operating_table(result))
    fits(first)
    fits(second)
    for heading in ("P@1", "R@100", "p50 ms", "queries/s", "build s"):
        assert any(heading in line for line in first)
    assert any("failed" in line for line in first)
    assert "single ms" in "".join(second) and "batch ms" in "".join(second)
    # Names are folded and not cut, and their brackets are no markup.
    assert "[bold]positive_cost" in "".join("".join(first).split())


def test_the_wide_comparison_has_all_columns() -> None:
    result = comparison()
    found = "\n".join(drawn(compare_tables.comparison_table(result, wide=True), width=400))
    for heading, *_ in compare_tables.COLUMNS:
        assert heading in found
    assert "ef_search=4096" in found
    found = "\n".join(drawn(compare_tables.operating_table(result, wide=True), width=400))
    assert found.count("±%") == 2 and "recall" in found and "ef_search=4096" in found


def analysis(n_graphs: int) -> IndexAnalysis:
    spread = EdgeDistribution(
        *[{"n_edges": 123_456_789, "bin_edges": np.linspace(0, 1, 3), "bin_counts": np.ones(2),
           "mean": 0.123456, "share_at_1": 1.0, "quantiles": {0.05: 0.1, 0.5: 0.2, 0.95: 1.0},
           "edges_for_weight": {0.9: 1.0, 0.99: 1.0}}[name] for name in EdgeDistribution._fields]
    )  # fmt: skip
    overlap = PartitionOverlap(*[1.0] * len(PartitionOverlap._fields))
    graph = GraphAnalysis(
        clusters_per_label=[123.45] * 10,
        edges_per_label=[1234.56] * 10,
        overlap=overlap,
        distribution=spread,
        n_unreachable=1_234_567,
    )
    graphs = [replace(graph, clusters_per_label=[float(n)] * 10) for n in range(n_graphs)]
    return IndexAnalysis(
        k=100, edge_threshold=0.25, group_sizes=[1_234_567] * 10,
        group_counts=[(123_456, 1_234_567)] * 10, recall=[100.0] * 9 + [None],
        n_pairs=[123_456_789] * 10, n_pairs_untrained=0, graphs=graphs,
    )  # fmt: skip


@pytest.mark.parametrize("n_graphs", [1, 3, 8])
def test_the_analysis_fits(n_graphs: int) -> None:
    found = analysis(n_graphs)
    fits(drawn(analysis_tables.group_table(found, title="test: " + "long name " * 20)))
    tables = analysis_tables.edge_tables(found)
    shown = drawn(*tables)
    fits(shown)
    if n_graphs > 1:  # all models are there
        text = " ".join(shown)
        assert all(f"model {number}" in text for number in range(1, n_graphs + 1))


def test_an_ensemble_is_told_by_its_means_or_one_by_one() -> None:
    found = analysis(3)
    narrow = drawn(analysis_tables.group_table(found, title=""))
    assert any("1.00" in line and "Means" not in line for line in narrow)  # of 0, 1 and 2
    wide = drawn(analysis_tables.group_table(found, title="", wide=True), width=300)
    assert any("clusters 3" in line for line in wide)


def test_tables_of_a_training_fit() -> None:
    metrics = {f"validation of a long name {n}, ranker": dict.fromkeys(metric_names(), 100.0)
               for n in range(3)}  # fmt: skip
    fits(drawn(metrics_table(metrics)))
    fits(drawn(pairs_table("seconds " * 30, {"step " * 40: "12.3", "a": "/long/path" * 30})))


def test_a_pipe_gets_80_columns_and_wide_ones_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert output_console().width == NARROW
    assert output_console(wide=True).width > 200


def test_columns_of_labels_are_cut_at_the_width(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        ("key" * 30, "1,234,567", "a name " * 30),
        ("漢字" * 40, "1", "漢字 " * 60),
        ("", "", ""),
    ]
    lines.say_columns(("key", "training points", "name"), rows)
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 4 and max(map(cell_len, out)) <= lines.WIDTH
    assert all("…" in line for line in out[1:3])
    # Numbers stand below one another.
    assert (
        cell_len(out[1][: out[1].index("1,234,567")]) + 9 == cell_len(out[0].split("name")[0]) - 2
    )


def test_what_a_model_holds_fits(capsys: pytest.CaptureFixture[str]) -> None:
    from learned_index.cli.info import show

    show({"model": "a name " * 40, "kind": "elias", "none": None,
          "index": {"a": 1.23456789, "deep": {"text": "words and " * 40}}})  # fmt: skip
    out = capsys.readouterr().out.splitlines()
    assert max(map(len, out)) <= NARROW
    assert "none: none" in out and "  a: 1.23457" in out


def test_a_path_with_hyphens_stays_whole(capsys: pytest.CaptureFixture[str]) -> None:
    path = "/a-long-path/" + "-".join(["part"] * 12)
    lines.say("", f"some words before it and then {path} and words behind it", indent="", width=0)
    assert path in capsys.readouterr().out


def test_labels_in_a_pipe_are_tabs(text_model: Any) -> None:
    rows = [line.split("\t") for line in ok("labels", "list", text_model).splitlines()]
    assert len(rows) == 30 and all(len(row) == 3 for row in rows)
