"""Run systems one after another; keep what is there; a failure does not stop the others."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from learned_index.data import open_dataset
from learned_index.persistence import atomic_file, read_json, write_json
from learned_index.system.environment import describe_environment
from peers.catalogue import System
from peers.environments import ensure_environment, requirements
from peers.prepare import training_view
from peers.process import Outcome, last_lines, run_logged

RESULT_VERSION = 1
K = 100
"""Labels that every system returns for each query."""
BENCHMARKS = Path(__file__).parents[1]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What all systems have in common.

    Attributes:
        data: The data folder.
        out: Folder of the results.
        envs: Folder of the virtual environments.
        input: Description of the prepared input.
        threads: Threads of every system.
        cache: Folder of encoded texts for ours; None: encode anew, so that it is measured.
        time_limit_s: Time for one system; None: no limit.
    """

    data: Path
    out: Path
    envs: Path
    input: dict[str, Any]
    threads: int
    cache: Path | None = None
    time_limit_s: float | None = None

    def folder(self, system: System) -> Path:
        """Folder of one system's results."""
        return self.out / "systems" / system.name


def result_key(system: System, plan: Plan) -> str:
    """SHA-256 of everything that a result depends on but for the machine and the day."""
    config = {
        "version": RESULT_VERSION,
        "input": {k: plan.input[k] for k in ("version", "data_digest", "test_split", "features")},
        "module": system.module,
        "parameters": system.parameters,
        "packages": requirements(system.environment) if system.environment else None,
        "code": code_digest() if system.role == "ours" else None,
        "threads": plan.threads,
        "k": K,
    }
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def code_digest() -> str:
    """SHA-256 of the installed package's sources: a result of ours belongs to its code."""
    import learned_index
    import learned_index.cli
    import learned_index.encoders

    total = hashlib.sha256()
    for package in (learned_index, learned_index.cli, learned_index.encoders):
        for path in sorted(Path(package.__path__[0]).rglob("*.py")):
            total.update(path.read_bytes())
    return total.hexdigest()


def stored_result(system: System, plan: Plan) -> dict[str, Any] | None:
    """Return a result with whatever settings, or None."""
    path = plan.folder(system) / "result.json"
    return read_json(path) if path.is_file() else None


def run_system(
    system: System, plan: Plan, *, repeat_failed: bool, say: Callable[[str], None]
) -> dict[str, Any]:
    """Return the stored result of the same settings and data, or run the system and store one."""
    key = result_key(system, plan)
    found = stored_result(system, plan)
    if found and found["key"] == key and (found["status"] == "ok" or not repeat_failed):
        say(f"{system.name}: kept ({found['status']})")
        return found
    folder = plan.folder(system)
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log.txt"
    log.write_text("", encoding="utf-8")
    (folder / "result.json").unlink(missing_ok=True)
    say(f"{system.name}: running")
    environment = describe_environment()
    measurements: dict[str, Any] = {}
    try:
        if system.role == "ours":
            measurements, error = _run_ours(system, plan, key, log)
        else:
            measurements, error = _run_peer(system, plan, log)
    except (OSError, RuntimeError, ValueError) as problem:
        error = f"{type(problem).__name__}: {problem}"
    result = {
        "key": key,
        "system": system.name,
        "status": "failed" if error else "ok",
        "error": error,
        "log": last_lines(log) if error else [],
        "parameters": system.parameters,
        "threads": plan.threads,
        "measurements": measurements,
        "environment": environment,
    }
    with atomic_file(folder / "result.json") as temporary:
        write_json(temporary, result)
    say(f"{system.name}: {result['status']}{f' ({error})' if error else ''}")
    return result


def _run_peer(system: System, plan: Plan, log: Path) -> tuple[dict[str, Any], str | None]:
    folder = plan.folder(system)
    python: Path | str = sys.executable
    if system.environment:
        python = ensure_environment(system.environment, plan.envs)
    command = [
        *(str(python), "-m", f"peers.{system.module}"),
        *("--input", str(plan.out / "input"), "--out", str(folder)),
        *("--threads", str(plan.threads), "--k", str(K)),
        *("--parameters", json.dumps(system.parameters)),
    ]
    outcome = _run(command, plan, log)
    if outcome.error:
        return {}, outcome.error
    measured = read_json(folder / "measurements.json")
    measured["embed_s"] = plan.input["embed_train_s"]
    measured["peak_mb"] = outcome.peak_mb
    return measured, None


def _run_ours(system: System, plan: Plan, key: str, log: Path) -> tuple[dict[str, Any], str | None]:
    """Train unless the model of the same key is there, then measure.

    An interrupted training of the same key goes on; its times are then those of the last part.
    """
    folder = plan.folder(system)
    model, trained = folder / "model", folder / "trained.json"
    limit = plan.time_limit_s
    if not (trained.is_file() and read_json(trained)["key"] == key):
        trained.unlink(missing_ok=True)
        shutil.rmtree(model, ignore_errors=True)
        begun, state = folder / "training.key", folder / "model.checkpoint"
        resume = begun.is_file() and begun.read_text() == key and state.is_dir()
        if not resume:
            shutil.rmtree(state, ignore_errors=True)
        begun.write_text(key)
        data = training_view(
            open_dataset(plan.data), plan.input["test_split"], plan.out / "training-data"
        )
        command = [
            *(sys.executable, "-m", "learned_index.cli", "train"),
            *("--data", str(data), "--out", str(model), "--threads", str(plan.threads), "--json"),
            *(["--resume"] if resume else []),
            *system.parameters["arguments"],
        ]
        outcome = _run(command, plan, log, stdout=folder / "train.stdout")
        if outcome.error:
            return {}, f"li train: {outcome.error}"
        summary = json.loads((folder / "train.stdout").read_text(encoding="utf-8"))
        write_json(
            trained,
            {
                "key": key,
                "summary": summary,
                "wall_s": outcome.wall_s,
                "cpu_s": outcome.cpu_s,
                "peak_mb": outcome.peak_mb,
            },
        )
        limit = None if limit is None else max(limit - outcome.wall_s, 1.0)
    command = [
        *(sys.executable, "-m", "peers.ours", "--data", str(plan.data)),
        *("--split", plan.input["test_split"], "--model", str(model), "--out", str(folder)),
        *("--threads", str(plan.threads), "--k", str(K)),
    ]
    outcome = _run(command, plan, log, time_limit_s=limit)
    if outcome.error:
        return {}, f"measuring: {outcome.error}"
    measured = read_json(folder / "measurements.json")
    return {**measured, **_training_costs(read_json(trained), measured, plan, outcome)}, None


def _training_costs(
    trained: dict[str, Any], measured: dict[str, Any], plan: Plan, outcome: Outcome
) -> dict[str, Any]:
    """Split the time of ``li train`` into embedding and the rest.

    Vectors from a cache cost nothing, so with one the embedding is estimated from the measured
    cost of encoding a query.
    """
    summary = trained["summary"]
    # Frozen encoders encode before the training, trained ones within it.
    embed_s = summary["encode_seconds"] + summary["step_seconds"].get("encoding", 0.0)
    costs = {
        "train_s": trained["wall_s"] - embed_s,
        "train_cpu_s": trained["cpu_s"],
        "total_s": trained["wall_s"],
        "embed_s": embed_s,
        "peak_mb": max(outcome.peak_mb, trained["peak_mb"]),
        "resumed": summary["resumed"],
        "train_summary": summary,
    }
    if plan.cache is not None:
        costs["embed_s"] = measured["encode_ms"] * plan.input["n_train"] / 1e3
        costs["estimated"] = ["embed s"]
    return costs


def _run(
    command: list[str],
    plan: Plan,
    log: Path,
    *,
    stdout: Path | None = None,
    time_limit_s: float | None = None,
) -> Outcome:
    return run_logged(
        command,
        log=log,
        threads=plan.threads,
        environment={
            "PYTHONPATH": str(BENCHMARKS),
            "LEARNED_INDEX_CACHE": str(plan.cache.resolve()) if plan.cache else "off",
        },
        stdout=stdout,
        time_limit_s=time_limit_s if time_limit_s is not None else plan.time_limit_s,
    )
