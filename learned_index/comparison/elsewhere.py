"""Measure a method with the interpreter of another environment.

A package may want older versions of numpy or scipy than this one. Its environment needs numpy,
scipy, safetensors and that package, and neither this project nor torch: the sources here are
shown to it in a folder of links, so nothing else of this environment is in its way. It must be
Python 3.11 or newer.

The other process is told its job as JSON and answers in JSON lines: ``[done, total, text]``, or the
text of an error.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from learned_index.comparison.measure import Job, answer_job, listen
from learned_index.comparison.method import FROM_THE_MODEL, MethodSpec
from learned_index.comparison.settings import ComparisonSettings
from learned_index.errors import InputError
from learned_index.persistence import read_json, write_json
from learned_index.system.progress import Progress

_VERSIONS = """
import json, platform, sys
from importlib.metadata import distributions
found = {d.metadata["Name"].lower(): d.version for d in distributions()}
print(json.dumps({"python": platform.python_version(), **{n: found.get(n) for n in sys.argv[1:]}}))
"""


def versions_of(python: str, packages: Sequence[str]) -> dict[str, str | None]:
    """Return the versions of Python and of packages in another environment.

    Raises:
        InputError: The interpreter cannot be run.
    """
    try:
        done = subprocess.run(
            [python, "-c", _VERSIONS, *packages], capture_output=True, text=True, check=True
        )
        found: dict[str, str | None] = json.loads(done.stdout)
    except (OSError, subprocess.CalledProcessError, ValueError) as error:
        raise InputError(f"{python} is no Python that can be run ({error})") from None
    return found


def run_elsewhere(job: Job, progress: Progress) -> str | None:
    """Run the job with the interpreter of its specification; return what went wrong, or None."""
    spec = job.spec
    assert spec.python is not None
    if spec.inputs in FROM_THE_MODEL:
        return f"{spec.name} is built from the trained model and is measured in its environment"
    told = job.folder / f"job{job.number}.json"
    write_json(told, _as_json(job))
    # A file and no pipe: a pipe that nobody reads is full at some time, and stops the child.
    errors = job.folder / f"job{job.number}.stderr"
    environment = {**os.environ, "PYTHONPATH": str(sources(job.folder / "sources"))}
    command = [spec.python, "-m", "learned_index.comparison.elsewhere", str(told)]
    with errors.open("wb") as written:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=written,
                env=environment,
                cwd=job.folder,  # -m looks there first: not for a package that the user is in
                text=True,
                start_new_session=True,  # Ctrl-C is for us, who end it
            )
        except OSError as problem:
            return f"{spec.python} cannot be run: {problem.strerror}"
        try:
            assert process.stdout is not None
            answer = listen(map(json.loads, process.stdout), progress)
            process.wait()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    if answer is None and process.returncode != 0:
        lines = errors.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["-"]
        missing = re.fullmatch(r"ModuleNotFoundError: No module named '(\w+).*'", lines[-1])
        mend = f"; {spec.python} -m pip install {missing[1]}" if missing else ""
        code = process.returncode
        return f"{spec.python} ended with exit code {code}: {lines[-1]}{mend}"
    return answer


def sources(folder: Path) -> Path:
    """Make a folder in which ``learned_index`` can be found, and nothing else.

    Its folders may lie apart (in an editable installation ``baselines`` does), so links to them
    are put together.
    """
    package = folder / "learned_index"
    if not package.exists():
        package.mkdir(parents=True)
        for path in Path(__file__).parents[1].iterdir():
            if path.suffix == ".py" or (path / "__init__.py").exists():
                (package / path.name).symlink_to(path.resolve())
        baselines = package / "baselines"
        if not baselines.exists():
            found = importlib.import_module("learned_index.baselines").__path__[0]
            baselines.symlink_to(Path(found).resolve())
    return folder


def _as_json(job: Job) -> dict[str, Any]:
    adapter = job.spec.adapter
    return {
        "module": adapter.__module__,
        "class": adapter.__qualname__,
        "name": job.spec.name,
        "options": dict(job.spec.options),
        "number": job.number,
        "folder": str(job.folder.resolve()),
        "k": job.k,
        "threads": job.threads,
        "settings": job.settings.to_dict(),
        "grid": None if job.grid is None else [dict(each) for each in job.grid],
        "timed": job.timed,
    }


def _from_json(told: dict[str, Any]) -> Job:
    adapter = getattr(importlib.import_module(told["module"]), told["class"])
    return Job(
        spec=MethodSpec(name=told["name"], adapter=adapter, options=told["options"]),
        number=told["number"],
        folder=Path(told["folder"]),
        loader=None,
        k=told["k"],
        threads=told["threads"],
        settings=ComparisonSettings.from_dict(told["settings"]),
        grid=told["grid"],
        timed=told["timed"],
    )


def main(told: str, answers: IO[str]) -> None:
    """Measure what a file tells; answer in JSON lines."""

    answer_job(
        lambda: _from_json(read_json(Path(told))),
        lambda message: print(json.dumps(message), file=answers, flush=True),
    )


if __name__ == "__main__":
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a package prints must not stand between the lines
    main(sys.argv[1], lines)
