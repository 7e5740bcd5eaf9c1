"""From the start of a process to its first answer: time, memory, and the size of what is installed.

    python -m benchmarks.cold_start MODEL --python slim/bin/python --python full/bin/python

Each interpreter is asked for the same: the engine alone (a vector in, ten ids out), and the whole
compiled model (a text in, ten names out), in processes of their own. Run ``li warmup MODEL`` in
each environment first; a process that is not counted loads the files into the cache.
Times are of the clock, and of the processor (user and system, all threads), which others on the
machine disturb less. "Private" memory is what no other process that serves the model would share.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from learned_index.persistence import write_result
from learned_index.system.environment import cpu_model, load_average

QUESTION = "the influence of renewable energy on the stability of electric grids"
_SIZE = """
import json, os, sys
places = {path for path in sys.path if os.path.basename(path) == "site-packages"}
size = sum(
    os.path.getsize(os.path.join(folder, name))
    for place in places for folder, _, names in os.walk(place) for name in names
    if not os.path.islink(os.path.join(folder, name))
)
from importlib.metadata import distributions
print(json.dumps([size, sorted({d.metadata["Name"] for d in distributions()})]))
"""
_TOLD = """
import json, resource, sys
used = resource.getrusage(resource.RUSAGE_SELF)
kb = {}
for line in open("/proc/self/smaps_rollup"):
    name, _, rest = line.partition(":")
    if rest.split()[-1:] == ["kB"]:
        kb[name] = int(rest.split()[0])
print(json.dumps({
    "cpu_s": used.ru_utime + used.ru_stime,
    "resident_mb": kb["Rss"] / 1e3,
    "private_mb": kb["Anonymous"] / 1e3,
    "torch": "torch" in sys.modules,
}), flush=True)
"""
_ASKS = {
    "engine": """
import sys, numpy as np
from learned_index import SearchEngine
engine = SearchEngine.from_pretrained(sys.argv[1] + "/member_0/index")
ids = engine.search(np.ones((1, engine.dim), np.float32), 10).ids
""",
    "model": """
import sys
from learned_index import ELIAS
found = ELIAS.from_pretrained(sys.argv[1]).predict([sys.argv[2]], k=10)
""",
}


def installed(python: str) -> dict[str, Any]:
    """Bytes of an interpreter's site-packages, and the distributions that it finds."""
    command = [python, "-P", "-c", _SIZE]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    size, names = json.loads(done.stdout)
    return {"site_packages_mb": size / 1e6, "distributions": names}


def started(python: str, what: str, model: Path) -> dict[str, Any]:
    """One process: seconds until it has its first answer, and what it says of itself then."""
    # Not from the directory that this was called in, which may hold another version.
    command = [python, "-P", "-c", _ASKS[what] + _TOLD, str(model), QUESTION]
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        seconds = time.perf_counter() - start
    if process.returncode or not line:
        raise SystemExit(f"{python} cannot search the {what} of {model}")
    told: dict[str, Any] = json.loads(line)
    return {"seconds": seconds, **told}


def measured(python: str, what: str, model: Path, repeats: int) -> dict[str, Any]:
    """Medians over some processes, after one that is not counted."""
    started(python, what, model)
    rows = [started(python, what, model) for _ in range(repeats)]
    numbers = ("seconds", "cpu_s", "resident_mb", "private_mb")
    return {
        "what": what,
        **{name: statistics.median(row[name] for row in rows) for name in numbers},
        "fastest_s": min(row["seconds"] for row in rows),
        "torch": rows[0]["torch"],
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure each interpreter, print a table; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", type=Path, nargs="+", help="compiled models")
    parser.add_argument("--python", action="append", help="an interpreter; may be repeated")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, help="JSON file")
    chosen = parser.parse_args(arguments)
    if not Path("/proc/self/smaps_rollup").exists():
        parser.error("the memory of a process is read from /proc, which only Linux has")
    result: dict[str, Any] = {
        "cpu": cpu_model(), "cpus": os.cpu_count(), "load": load_average(), "rows": []
    }  # fmt: skip
    print(f"{result['cpu']}, {result['cpus']} CPUs, load {result['load']}")
    print(f"{'what':8}{'model':14}{'installed':>10}{'first answer':>14}{'CPU':>8}{'resident':>10}"
          f"{'private':>9}  interpreter")  # fmt: skip
    for python in chosen.python or [sys.executable]:
        environment = installed(python)
        for model in chosen.models:
            for what in _ASKS:
                row = measured(python, what, model, chosen.repeats)
                result["rows"].append({"python": python, "model": str(model), **environment, **row})
                print(
                    f"{what:8}{model.name:14}{environment['site_packages_mb']:7.0f} MB"
                    f"{row['seconds']:12.2f} s{row['cpu_s']:6.2f} s{row['resident_mb']:7.0f} MB"
                    f"{row['private_mb']:6.0f} MB  {python}"
                )
    if chosen.out is not None:
        write_result(chosen.out, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
