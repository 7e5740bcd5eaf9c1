"""The wheel: what is in it, and what a stranger can import after installing it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import numpy as np
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
    extras = table["optional-dependencies"]
    wanted = [*table["dependencies"], *extras["dev"]]
    for name in extras.keys() - {"gpu", "rivals"}:  # packages that this machine need not have
        wanted += extras[name]
    wanted = [
        re.sub(r"\[.*\]", "", spec) for spec in wanted if not spec.startswith("learned-index[")
    ]
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
    shipped = {f"learned_index/cli/configs/{p.name}" for p in (ROOT / "cli/configs").iterdir()}
    assert shipped == {name for name in names if name.endswith(".yaml")} and len(shipped) == 4
    page = {name.rpartition("/")[2] for name in names if "/serving/page/" in name}
    assert page == {"__init__.py", "index.html", "page.css", "page.js"}
    modules = {n for n in names if n.endswith(".py")}
    expected = {
        "/".join((*name.split("."), module.name))
        for name, folder in folders_with_code().items()
        for module in folder.glob("*.py")
    }
    assert modules == expected


def test_wheel_holds_the_data_files_that_lie_beside_the_code(wheel: Path) -> None:
    """What is not listed under package-data would be missing where the package is installed."""
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    expected = {
        "/".join((*package.split("."), file.relative_to(folder).as_posix()))
        for package, folder in folders_with_code().items()
        for file in folder.rglob("*")
        if file.is_file() and file.suffix not in (".py", ".pyc", ".nbi", ".nbc")
    }
    assert {name for name in names if not name.endswith(".py")} == expected
    assert "learned_index/py.typed" in expected


def test_the_version_stands_in_one_place(wheel: Path) -> None:
    import learned_index

    assert "version" not in project()["project"]
    assert project()["tool"]["setuptools"]["dynamic"]["version"] == {
        "attr": "learned_index.__version__"
    }
    assert wheel.name.split("-")[1] == learned_index.__version__
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.findall(r"^## \[(\d[^\]]*)\] - \d{4}-\d\d-\d\d$", text, re.M)
    assert released[0] == learned_index.__version__, "the newest section of CHANGELOG.md"
    assert text.index("## [Unreleased]") < text.index(f"## [{released[0]}]")


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
    import learned_index

    done = run([str(installed / "bin" / "li"), "--help"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "train-index" in done.stdout
    done = run([str(installed / "bin" / "li"), "--version"], tmp_path)
    assert learned_index.__version__ in done.stdout


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


def test_all_holds_every_extra_that_the_main_job_needs() -> None:
    extras = project()["project"]["optional-dependencies"]
    assert extras["all"] == ["learned-index[train,text,minilm,onnx,compare,report,data,serve]"]
    assert "learned-index[all]" in extras["dev"]


SERVE = """
import importlib.abc, sys
class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {refused}:
            raise ImportError(name + " is not among the core dependencies")
sys.meta_path.insert(0, Refuse())
import numpy as np
from learned_index import SearchEngine
engine = SearchEngine.from_pretrained(sys.argv[1])
rows = np.load(sys.argv[2])
result = engine.search(rows, 5, deny=[0])
np.savez(sys.argv[3], ids=result.ids, scores=result.scores)
engine.restrict(allow=[1, 2, 3]).search(rows[0], 2)
"""
NOT_CORE = (
    *("torch", "sklearn", "transformers", "sentence_transformers", "faiss", "matplotlib"),
    *("yaml", "fastapi", "uvicorn", "prometheus_client"),
)


def test_an_engine_is_served_with_the_core_dependencies(tmp_path: Path) -> None:
    from index_cases import QUICK, SMALL, planted

    from learned_index import LearnedGraphIndex

    vectors, labels = planted()[:2]
    engine = LearnedGraphIndex(SMALL, training=QUICK).fit(vectors, labels).to_engine()
    engine.save_pretrained(tmp_path / "engine")
    rows = np.ascontiguousarray(vectors[:20], dtype=np.float32)
    np.save(tmp_path / "rows.npy", rows)
    code = SERVE.replace("{refused}", repr(NOT_CORE))
    names = [str(tmp_path / name) for name in ("engine", "rows.npy", "out.npz")]
    done = run([sys.executable, "-c", code, *names], tmp_path)
    assert done.returncode == 0, done.stderr
    expected = engine.search(rows, 5, deny=[0])
    with np.load(tmp_path / "out.npz") as found:
        np.testing.assert_array_equal(found["ids"], expected.ids)
        np.testing.assert_array_equal(found["scores"], expected.scores)


HELP = """
import json, sys
from learned_index.cli import main
from learned_index.cli.main import COMMANDS
imported = {}
for command in COMMANDS:
    try: main([command, "--help"])
    except SystemExit: pass
    imported[command] = [name for name in {refused} if name in sys.modules]
print(json.dumps(imported))
"""


def test_help_needs_no_heavy_package(tmp_path: Path) -> None:
    """That keeps it under half a second, on any machine."""
    code = HELP.replace("{refused}", repr((*NOT_CORE, "numba")))
    done = run([sys.executable, "-c", code], tmp_path)
    assert done.returncode == 0, done.stderr
    imported = json.loads(done.stdout.splitlines()[-1])
    assert done.stdout.count("Usage:") == len(imported) > 15
    assert not any(imported.values()), imported


@pytest.mark.slow
def test_types_are_seen_in_an_editable_install(tmp_path: Path) -> None:
    """In strict mode: the folders lie elsewhere than their import names say."""
    home = tmp_path / "env"
    venv.EnvBuilder(with_pip=False, symlinks=True).create(home)
    source = tmp_path / "source"
    settings = project()["tool"]["setuptools"]
    for folder in {"learned_index", *settings["package-dir"].values()}:
        shutil.copytree(ROOT / folder, source / folder)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "pip", "--python", str(home / "bin" / "python"), "install"]
    # The empty environment has no setuptools: pip fetches it for the build.
    command += ["--quiet", "--no-deps", "--config-settings", "editable_mode=strict"]
    command += ["-e", str(source)]
    done = run(command, tmp_path)
    assert done.returncode == 0, done.stderr
    code = (
        "from learned_index import LearnedGraphIndex\n"
        "from learned_index.encoders.lexical.lsa import LSAEncoder\n"
        "LearnedGraphIndex().search(k='three')\n"
        "wrong: int = LSAEncoder(dim=3).fit(['a'])\n"
    )
    (tmp_path / "use.py").write_text(code, encoding="utf-8")
    check = [sys.executable, "-m", "mypy", "--python-executable", str(home / "bin" / "python")]
    done = run([*check, "--ignore-missing-imports", "use.py"], tmp_path)
    assert 'incompatible type "str"; expected "int"' in done.stdout, done.stdout
    assert "LSAEncoder" in done.stdout
