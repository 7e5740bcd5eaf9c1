"""Train and measure other systems and ours on the same data, and show where ours is ahead.

    python benchmarks/systems.py --data DIR --out RESULTS_DIR

Every system runs in a process of its own, with the same number of threads, and the peers in
environments of their own. Finished systems are kept: the same command goes on where it stopped.
See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from peers import table
from peers.catalogue import OURS, PEERS, System, our_system
from peers.measure import Plan, result_key, run_system, stored_result
from peers.prepare import prepare

from learned_index.errors import LearnedIndexError
from learned_index.metrics import evaluate, label_propensities
from learned_index.persistence import atomic_file, write_json
from learned_index.system.environment import describe_environment

PROPENSITY_A, PROPENSITY_B = 0.55, 1.5


def main(argv: list[str] | None = None) -> int:
    """Run the comparison; 1 when a system failed, 2 when the arguments or the data are wrong."""
    arguments = _parser().parse_args(argv)
    try:
        systems = chosen_systems(arguments.systems, arguments.ours, preset=arguments.preset)
        description = prepare(
            arguments.data,
            arguments.out / "input",
            test_split=arguments.test_split,
            weights=arguments.weights,
        )
    except LearnedIndexError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 2
    plan = Plan(
        data=arguments.data,
        out=arguments.out,
        envs=arguments.envs or arguments.out / "envs",
        input=description,
        threads=arguments.threads,
        cache=arguments.cache,
        time_limit_s=arguments.time_limit,
    )
    results: dict[str, dict[str, Any]] = {}
    for system in systems:
        if arguments.table_only:
            found = stored_result(system, plan)
            if found is None:
                continue
            if found["key"] != result_key(system, plan):
                print(f"{system.name}: a result of other settings, data or code")
            results[system.name] = found
        else:
            results[system.name] = run_system(
                system,
                plan,
                repeat_failed=arguments.repeat_failed,
                say=lambda text: print(text, flush=True),
            )
            if results[system.name]["status"] == "failed":
                print("\n".join(f"    {line}" for line in results[system.name]["log"]))
    rows = make_rows([s for s in systems if s.name in results], results, plan)
    print("\n" + write_tables(rows, results, plan))
    return int(any(row["status"] == "failed" for row in rows))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, type=Path, help="data folder")
    parser.add_argument("--out", required=True, type=Path, help="results, one folder per data set")
    parser.add_argument(
        "--systems",
        default=",".join([OURS, *PEERS]),
        help=f"some of {OURS},{','.join(PEERS)}, run in this order; default: all",
    )
    parser.add_argument(
        "--ours",
        action="append",
        metavar="NAME=ARGUMENTS",
        help="one of ours, as the arguments of li train; may be given several times; default: "
        "NAME=--preset NAME of --preset",
    )
    parser.add_argument("--preset", default="cpu", help="preset of ours without --ours")
    parser.add_argument("--test-split", choices=["test", "dev"], default="test")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--weights",
        choices=["none", "idf"],
        default="none",
        help="column weights of features that the data bring; their rows always get length 1",
    )
    parser.add_argument("--envs", type=Path, help="virtual environments; default: OUT/envs")
    parser.add_argument(
        "--cache",
        type=Path,
        help="encoded texts of ours; without it each run encodes, and the time is measured",
    )
    parser.add_argument("--time-limit", type=float, metavar="SECONDS", help="for each system")
    parser.add_argument("--repeat-failed", action="store_true", help="try failed systems again")
    parser.add_argument(
        "--table-only", action="store_true", help="run nothing; tables of the results there are"
    )
    return parser


def chosen_systems(names: str, ours: list[str] | None, *, preset: str) -> list[System]:
    """Return the systems of ``--systems`` in order; ours are those of ``--ours``.

    Raises:
        LearnedIndexError: An unknown or repeated name.
    """
    chosen: list[System] = []
    for name in names.split(","):
        if name == OURS:
            for text in ours or [f"{preset}=--preset {preset}"]:
                ours_name, equals, arguments = text.partition("=")
                if not equals or not ours_name.replace("-", "").replace("_", "").isalnum():
                    raise LearnedIndexError(
                        f"--ours {text!r} is not NAME=ARGUMENTS with a name of letters, digits, - "
                        'and _; for example --ours "three=--preset cpu --n-models 3"'
                    )
                chosen.append(our_system(ours_name, arguments))
        elif name in PEERS:
            chosen.append(PEERS[name])
        else:
            known = ", ".join([OURS, *PEERS])
            raise LearnedIndexError(f"--systems names {name!r}; expected some of {known}")
    repeated = {s.name for s in chosen if [c.name for c in chosen].count(s.name) > 1}
    if repeated:
        raise LearnedIndexError(f"{', '.join(sorted(repeated))} is named twice")
    return chosen


def make_rows(
    systems: list[System], results: dict[str, dict[str, Any]], plan: Plan
) -> list[table.Row]:
    """Compute the metrics of all stored lists with one function and add the costs."""
    truth = sp.load_npz(plan.out / "input" / "test_y.npz")
    propensities = label_propensities(
        sp.load_npz(plan.out / "input" / "train_y.npz"), a=PROPENSITY_A, b=PROPENSITY_B
    )
    rows: list[table.Row] = []
    for system in systems:
        result = results[system.name]
        row: table.Row = {
            "system": system.name,
            "title": system.title,
            "role": system.role,
            "status": result["status"],
            "error": result["error"],
        }
        if result["status"] == "ok":
            with np.load(plan.folder(system) / "top.npz") as stored:
                metrics = evaluate(stored["ids"], truth, propensities=propensities)
            row.update({column.key: metrics[column.key] for column in table.METRICS})
            row.update(costs(result["measurements"]))
        rows.append(row)
    return rows


def costs(measured: dict[str, Any]) -> dict[str, Any]:
    """Return the cost columns of one result."""
    return {
        "embed s": measured["embed_s"],
        "train s": measured["train_s"],
        "train CPU s": measured["train_cpu_s"],
        "batch ms": measured["batch_ms"],
        "single ms": measured["single_ms"],
        "model MB": measured["model_bytes"] / 2**20,
        "peak MB": measured["peak_mb"],
        "estimated": measured.get("estimated", []),
    }


def write_tables(rows: list[table.Row], results: dict[str, dict[str, Any]], plan: Plan) -> str:
    """Write ``table.md``, ``table.csv`` and ``table.json``; return the text of the first."""
    about = plan.input
    features = ", ".join(f"{key} {value}" for key, value in sorted(about["features"].items()))
    text = (
        f"{plan.data.name}, {about['test_split']} split: {about['n_train']} training and "
        f"{about['n_test']} test points, {about['n_labels']} labels; peers' features: "
        f"{about['n_features']} columns ({features}); {plan.threads} threads.\n\n"
        + table.markdown(rows)
    )
    value = {
        "data": plan.data.name,
        "input": {key: item for key, item in about.items() if key != "data"},
        "threads": plan.threads,
        "propensity": {"A": PROPENSITY_A, "B": PROPENSITY_B},
        "rows": rows,
        "best_peer": table.best_peers(rows),
        "ours_against_best_peer": table.compare_with_best(rows),
        "results": results,
        "environment": describe_environment(),
    }
    for name, content in (("table.md", text), ("table.csv", table.csv_text(rows))):
        with atomic_file(plan.out / name) as temporary:
            temporary.write_text(content, encoding="utf-8")
    with atomic_file(plan.out / "table.json") as temporary:
        write_json(temporary, value)
    return text


if __name__ == "__main__":
    # Ended from outside, it takes the system that is running with it, as after Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
