"""The wheel: what is in it, and what a stranger can import after installing it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.skipif(
    not (ROOT / "pyproject.toml").is_file(), reason="needs the source checkout"
)


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def folders_with_code() -> dict[str, Path]:
    """Import name -> folder, for every folder of the four source trees that holds a module."""
    mapped = project()["tool"]["setuptools"]["package-dir"]
    roots = {"learned_index": "learned_index", **mapped}
    found = {}
    for name, folder in roots.items():
        for module in (ROOT / folder).rglob("*.py"):
            inside = module.parent.relative_to(ROOT / folder)
            found[".".join((name, *inside.parts))] = module.parent
    return found


def test_the_list_of_packages_is_the_folders_that_exist() -> None:
    listed = project()["tool"]["setuptools"]["packages"]
    assert sorted(listed) == sorted(folders_with_code())
    assert len(set(listed)) == len(listed)


def test_every_package_folder_has_an_init() -> None:
    missing = [
        n for n, folder in folders_with_code().items() if not (folder / "__init__.py").exists()
    ]
    assert missing == []


def test_no_folder_is_installed_under_a_name_that_others_own() -> None:
    listed = project()["tool"]["setuptools"]["packages"]
    assert {name.partition(".")[0] for name in listed} == {"learned_index"}


def test_constraints_pin_every_direct_dependency() -> None:
    table = project()["project"]
    wanted = table["dependencies"] + table["optional-dependencies"]["dev"]
    names = {spec.partition(">")[0].strip() for spec in wanted}
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {line.partition("==")[0] for line in lines if "==" in line and line[0] != "#"}
    assert pinned == names


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy, so that nothing left over in build/ can slip into it."""
    source = tmp_path_factory.mktemp("source")
    settings = project()["tool"]["setuptools"]
    folders = {"learned_index", *settings["package-dir"].values()}
    ignore = shutil.ignore_patterns("__pycache__")
    for folder in folders:
        shutil.copytree(ROOT / folder, source / folder, ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--wheel-dir", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = out.glob("*.whl")
    return path


def test_wheel_holds_one_import_package_its_licence_and_the_type_marker(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert sorted(top for top in tops if not top.endswith(".dist-info")) == ["learned_index"]
    assert any(n.endswith("dist-info/licenses/LICENSE") for n in names)
    assert "learned_index/py.typed" in names
    modules = {n for n in names if n.endswith(".py")}
    expected = {
        "/".join((*name.split("."), module.name))
        for name, folder in folders_with_code().items()
        for module in folder.glob("*.py")
    }
    assert modules == expected


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty environment with the wheel in it; the dependencies come from this one.

    A path file adds this environment's site-packages. Path files that lie in there are not
    read again, so the editable install of the checkout stays out.
    """
    home = tmp_path_factory.mktemp("env")
    venv.EnvBuilder(with_pip=False, symlinks=True).create(home)
    python = home / "bin" / "python"
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    command += ["--no-deps", "--no-index", str(wheel)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (site,) = home.glob("lib/python*/site-packages")
    paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "dependencies.pth").write_text("\n".join(sorted(paths)) + "\n", encoding="utf-8")
    return home


def run(command: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


def test_only_our_package_is_importable(installed: Path, tmp_path: Path) -> None:
    code = (
        "import importlib.util as u, learned_index\n"
        "import learned_index.cli, learned_index.encoders, learned_index.baselines\n"
        "print(learned_index.__file__)\n"
        "print([n for n in ('cli','encoders','baselines','tests','benchmarks','examples','docs')"
        " if u.find_spec(n) is not None])\n"
    )
    done = run([str(installed / "bin" / "python"), "-c", code], tmp_path)
    assert done.returncode == 0, done.stderr
    where, others = done.stdout.splitlines()
    assert Path(where).is_relative_to(installed)
    assert others == "[]"


def test_li_help_and_version_work_in_the_installed_environment(
    installed: Path, tmp_path: Path
) -> None:
    done = run([str(installed / "bin" / "li"), "--help"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "train-index" in done.stdout
    done = run([str(installed / "bin" / "li"), "--version"], tmp_path)
    assert project()["project"]["version"] in done.stdout


def test_every_entry_point_can_be_loaded(installed: Path, tmp_path: Path) -> None:
    code = (
        "from importlib.metadata import entry_points\n"
        "for e in entry_points(group='learned_index.encoders'):\n"
        "    assert e.load().kind == e.name, e\n"
        "    print(e.name)\n"
    )
    done = run([str(installed / "bin" / "python"), "-c", code], tmp_path)
    assert done.returncode == 0, done.stderr
    declared = project()["project"]["entry-points"]["learned_index.encoders"]
    assert sorted(set(done.stdout.split())) == sorted(declared)
