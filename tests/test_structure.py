"""The structure that docs/architecture.md promises: no circles, walks that lead somewhere."""

from __future__ import annotations

import ast
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TREES = {"learned_index": "", "encoders": "encoders/", "baselines": "baselines/", "cli": "cli/"}
pytestmark = pytest.mark.skipif(
    not (ROOT / "pyproject.toml").is_file(), reason="needs the source checkout"
)


@cache
def modules() -> dict[str, Path]:
    """Import name -> file."""
    found = {}
    for tree, inside in TREES.items():
        for path in (ROOT / tree).rglob("*.py"):
            name = "learned_index/" + inside + path.relative_to(ROOT / tree).as_posix()
            found[name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")] = path
    return found


def imported(path: Path) -> set[str]:
    """Modules of this package that a file imports at run time, in functions too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    types_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and id(node) not in types_only:
            for alias in node.names:
                for name in (f"{node.module}.{alias.name}", node.module):
                    if name in modules():
                        found.add(name)
                        break
    return {name for name in found if modules()[name] != path}


def circles() -> list[set[str]]:
    """Sets of modules that reach one another."""
    below = {name: imported(path) for name, path in modules().items()}
    # A package's __init__ only gathers names: who imports one means what it gathers.
    below = {
        name: {other for other in others if modules()[other].name != "__init__.py"}
        for name, others in below.items()
    }
    reached: dict[str, set[str]] = {}
    for name in below:
        seen, todo = set(), [name]
        while todo:
            for other in below[todo.pop()] - seen:
                seen.add(other)
                todo.append(other)
        reached[name] = seen
    return [{name} | reached[name] for name in below if name in reached[name]]


def test_there_are_no_circles_not_even_through_imports_inside_functions():
    assert circles() == []


def test_the_walks_of_the_documentation_lead_to_functions_that_exist():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    hops = re.findall(r"`([\w/]+\.py):(\w+)`", text)
    assert len(hops) > 25
    for file, function in hops:
        (path,) = [p for p in (ROOT / "learned_index" / file, ROOT / file) if p.is_file()]
        tree = ast.parse(path.read_text(encoding="utf-8"))
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
        defined = {node.name for node in ast.walk(tree) if isinstance(node, kinds)}
        assert function in defined, f"{file} has no {function}"


def test_rooms_that_the_documentation_names_exist():
    for page in ("architecture.md", "method.md"):
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        rooms = set(re.findall(r"`((?:\w+/)+(?:\w+\.py)?)[`:]", text))
        for room in rooms:
            places = [ROOT / room, ROOT / "learned_index" / room]
            assert any(place.exists() for place in places), f"{page} names {room}"


HEAVY = {"torch", "sklearn", "transformers", "sentence_transformers", "faiss", "matplotlib"}
SEARCHES = [
    "learned_index.elias.model",
    "learned_index.elias.warm_up",
    "learned_index.engine.search_engine",
    "learned_index.serving.app",
    "learned_index.cli.main",
]


def at_import(path: Path) -> tuple[set[str], set[str]]:
    """Modules of this package, and packages of others, that a file imports when it is imported."""
    ours, others = set(), set()
    todo = list(ast.parse(path.read_text(encoding="utf-8")).body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            todo += node.orelse
        elif isinstance(node, ast.Import):
            others |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names] + [node.module]
            ours |= {name for name in names if name in modules()}
            others.add(node.module.partition(".")[0])
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            todo += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]
    return ours, others


def test_searches_import_nothing_that_only_training_needs():
    """Whatever is on the road of a compiled model, its encoders included, is without torch."""
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    encoders = points["learned_index.search_encoders"].values()
    others = ("lexical.lsa", "lexical.tfidf", "lexical.feature_rows", "precomputed", "callable")
    todo = [*SEARCHES, *(value.partition(":")[0] for value in encoders)]
    todo += [f"learned_index.encoders.{name}" for name in others]
    assert len(all_imported(todo, without=HEAVY)) > 150


def test_the_parent_of_workers_imports_nothing_that_only_they_need():
    """It listens and starts them: a second less until the first answer, and 80 MB."""
    parent = [
        "learned_index.cli.serve",
        "learned_index.serving.server",
        "learned_index.serving.processes",
    ]
    found = all_imported(
        parent, without=HEAVY | {"fastapi", "numba", "pydantic", "prometheus_client"}
    )
    assert not {
        name for name in found if name.startswith(("learned_index.elias", "learned_index.kernels"))
    }


def all_imported(starts: list[str], *, without: set[str]) -> set[str]:
    """Modules of this package that some of it import, none of which imports these packages."""
    todo, way = list(starts), dict.fromkeys(starts, "")
    while todo:
        name = todo.pop()
        parents = {name.rpartition(".")[0]} & set(modules())
        ours, packages = at_import(modules()[name])
        assert not packages & without, f"{name} imports {packages & without}{way[name]}"
        for other in (ours | parents) - set(way):
            way[other] = f", which {name} imports{way[name]}"
            todo.append(other)
    return set(way)
