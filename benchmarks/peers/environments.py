"""A virtual environment for each peer that needs one, made when it is first wanted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from peers.process import last_lines, run_logged

REQUIREMENTS = Path(__file__).parent
_VERSIONS = (
    "import json, sys; from importlib.metadata import distributions as d;"
    "print(json.dumps({x.metadata['Name'].lower(): x.version for x in d()}))"
)


def requirements(name: str) -> dict[str, str]:
    """Return the pinned packages of an environment, name to version."""
    lines = (REQUIREMENTS / f"requirements-{name}.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    return dict(pin.split("==") for pin in pins)


def ensure_environment(name: str, folder: Path) -> Path:
    """Return the interpreter of an environment that has the pinned packages; make what is missing.

    Args:
        name: ``pecos`` or ``omikuji``.
        folder: Where environments are.

    Raises:
        RuntimeError: The packages cannot be installed; ends with pip's last lines.
    """
    python = folder / name / "bin" / "python"
    wanted = requirements(name)
    if python.exists() and wanted.items() <= _installed(python).items():
        return python
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"{name}.log"
    print(f"making the environment {folder / name}", flush=True)
    pins = [f"{package}=={version}" for package, version in wanted.items()]
    commands = [[str(python), "-m", "pip", "install", "--no-deps", *pins]]
    if not python.exists():
        commands.insert(0, [sys.executable, "-m", "venv", str(folder / name)])
    for command in commands:
        outcome = run_logged(command, log=log, threads=1)
        if outcome.error:
            text = "\n".join(last_lines(log))
            raise RuntimeError(f"{' '.join(command[:5])}: {outcome.error}\n{text}")
    return python


def _installed(python: Path) -> dict[str, str]:
    done = subprocess.run([str(python), "-c", _VERSIONS], capture_output=True, text=True)
    found: dict[str, str] = json.loads(done.stdout) if done.returncode == 0 else {}
    return found
