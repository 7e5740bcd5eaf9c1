"""The files for containers, as far as they can be looked at without building one."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import tomllib
import venv
from pathlib import Path

import pytest
from click.testing import CliRunner

from learned_index import ELIAS
from learned_index.cli import main
from learned_index.cli.serve import read_token

ROOT = Path(__file__).resolve().parent.parent.parent
pytestmark = pytest.mark.skipif(
    not (ROOT / "Dockerfile").is_file(), reason="needs the source checkout"
)


def dockerfile() -> str:
    return (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", "")


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_image_has_all_that_the_package_is_built_of() -> None:
    copied = re.findall(r"^COPY (?!--)(.*) \S+$", dockerfile(), re.MULTILINE)
    names = {name for line in copied for name in line.split()}
    table = project()
    needed = {"learned_index", *table["tool"]["setuptools"]["package-dir"].values()}
    needed |= {"pyproject.toml", "constraints.txt", table["project"]["readme"]}
    needed |= set(table["project"]["license-files"])
    assert needed <= names
    assert all((ROOT / name).exists() for name in names)
    passed = (ROOT / ".dockerignore").read_text().split()
    assert {"!" + name for name in names} <= set(passed)


def test_the_extras_of_the_image_exist() -> None:
    (extras,) = re.findall(r"^ARG EXTRAS=(\S+)$", dockerfile(), re.MULTILINE)
    known = project()["project"]["optional-dependencies"]
    assert set(extras.split(",")) <= set(known)
    assert "serve" in extras.split(",")


def options_of(words: list[str]) -> set[str]:
    return {word for word in words if word.startswith("--")}


def test_the_commands_of_the_files_are_ones_that_li_takes() -> None:
    told = CliRunner().invoke(main, ["serve", "--help-all"]).output
    compose = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    (entry,) = re.findall(r"^ENTRYPOINT \[(.*)\]$", dockerfile(), re.MULTILINE)
    (command,) = re.findall(r"^CMD \[(.*)\]$", dockerfile(), re.MULTILINE)
    (given,) = re.findall(r'^    command: \[("--watch.*)\]$', compose, re.MULTILINE)
    assert re.findall(r'"(\S+?)"', entry)[:2] == ["li", "serve"]
    for line in (entry, command, given):
        for option in options_of(re.findall(r'"(\S+?)"', line)):
            assert f"  {option} " in told
    assert "LI_SERVE_TOKEN" in compose and "LI_SERVE_TOKEN" in told


def test_the_server_in_a_container_is_nobody_and_writes_to_one_place() -> None:
    text = dockerfile()
    (user,) = re.findall(r"^USER (\d+)$", text, re.MULTILINE)
    assert int(user) > 0 and f"--uid {user}" in text
    assert text.index("USER ") < text.index("ENTRYPOINT")
    assert "NUMBA_CACHE_DIR=/cache" in text and "VOLUME /cache" in text
    compose = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    for line in ("read_only: true", "cap_drop: [ALL]", "no-new-privileges:true"):
        assert line in compose
    assert all("127.0.0.1:" in line for line in re.findall(r"ports: (\[.*\])", compose))


def test_an_empty_token_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """As compose hands it in where none is set."""
    monkeypatch.setenv("LI_SERVE_TOKEN", "")
    assert read_token(None) is None
    monkeypatch.setenv("LI_SERVE_TOKEN", "a token of sixteen".replace(" ", "-"))
    assert read_token(None) == "a-token-of-sixteen"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_what_the_image_runs_works_in_a_fresh_environment(
    tmp_path: Path, calibrated_model: Path
) -> None:
    """Its pip command, of what it copies, and a compiled model: without torch."""
    source = tmp_path / "source"
    source.mkdir()
    for line in re.findall(r"^COPY (?!--)(.*) \S+$", dockerfile(), re.MULTILINE):
        for name in line.split():
            path = ROOT / name
            copy = shutil.copytree if path.is_dir() else shutil.copy
            copy(path, source / name)
    (command,) = re.findall(r"^RUN python -m venv (\S+) && \1/bin/(pip .*)$", dockerfile(), re.M)
    home = tmp_path / "venv"
    venv.EnvBuilder(with_pip=True, symlinks=True).create(home)
    (extras,) = re.findall(r"^ARG EXTRAS=(\S+)$", dockerfile(), re.MULTILINE)
    words = shlex.split(command[1].replace("${EXTRAS}", extras))
    done = subprocess.run(
        [str(home / "bin" / words[0]), *words[1:]], cwd=source, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    python = str(home / "bin" / "python")
    done = subprocess.run([python, "-c", "import torch"], cwd=tmp_path, capture_output=True)
    assert done.returncode == 1
    ELIAS.from_pretrained(calibrated_model).to_engine().save_pretrained(tmp_path / "fast")
    for arguments, code, told in (
        (["serve", "--help"], 0, "--watch"),
        (["serve", "nothing"], 2, "nothing is not a directory"),
        (["serve", str(calibrated_model)], 1, "pip install 'learned-index[train]'"),
        (["search", str(tmp_path / "fast"), "bread oven salt"], 0, "Cooking"),
    ):
        li = [str(home / "bin" / "li"), *arguments]
        done = subprocess.run(li, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == code, done.stderr
        assert told in done.stdout + done.stderr
    web = "from learned_index.serving import web; assert len(web.router.routes) == 3"
    subprocess.run([python, "-c", web], cwd=tmp_path, check=True)
