"""Two commits train the same bytes and give the same answers, on one machine.

    python -m benchmarks.same_bytes BASE [HEAD] [--data FOLDER] [--work FOLDER]

For each commit the package is laid out as the wheel has it, and its command line trains, compiles
and searches small models on one thread. Compared are all arrays of the models, found by path or, as
the layout of a model may change, by content; ``labels.txt``; and the answers. Manifests may differ.
What is not committed is not looked at. The exit code is 1 where something differs.
"""

from __future__ import annotations

import argparse
import configparser
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parents[1]
WORDS: dict[str, tuple[str, ...]] = {}
"""Command or option to its other spellings, tried in order where a commit's help lacks it."""
TRAINING = "--seed 0 --cache off --batch-size 64 --stage1-epochs 2 --stage2-epochs 3"
MODELS = {
    "index-flat": ("train-index", "--encoder lsa:32 --hierarchy flat --n-clusters 12"),
    "index-deep": ("train-index", "--encoder lsa:32 --hierarchy deep --n-clusters 16"),
    "model-lsa": ("train", "--encoder lsa:32 --n-clusters 12 --calibration tree"),
    "model-bow": ("train", "--encoder bow:32 --n-clusters 12 --calibration isotonic"),
}
"""Name: command and its own options, to which ``TRAINING`` is added."""
CHECK = """
import importlib.metadata, importlib.util, json, sys
import learned_index, learned_index.cli
found = {name: importlib.util.find_spec(name).origin for name in sys.argv[1:]}
found["the distribution"] = str(importlib.metadata.distribution("learned-index").locate_file(""))
found |= {m.__name__: m.__file__ for m in (learned_index, learned_index.cli)}
print(json.dumps(found))
"""
N_TEXTS, N_QUERIES = 1200, 20


# -- comparing -----------------------------------------------------------------------------------


@dataclass
class Comparison:
    """What was compared, and each difference in words, with its size where numbers differ."""

    n_compared: int = 0
    differences: list[str] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        """Whether something was compared and nothing differs."""
        return self.n_compared > 0 and not self.differences

    def row(self, command: str) -> tuple[str, str, str, str]:
        """Cells of the table."""
        first = "" if self.n_compared else "nothing to compare"
        if self.differences:
            more = len(self.differences) - 1
            first = self.differences[0] + (f" (and {more} more)" if more else "")
        return command, str(self.n_compared), "yes" if self.equal else "NO", first


def read_arrays(folder: Path) -> dict[str, np.ndarray]:
    """All tensors and arrays below a folder by path; ``labels.txt`` as its bytes."""
    found: dict[str, np.ndarray] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".safetensors":
            found |= {f"{name}:{key}": array for key, array in load_file(path).items()}
        elif path.suffix == ".npy":
            found[name] = np.load(path, allow_pickle=False)
        elif path.name == "labels.txt":
            found[name] = np.frombuffer(path.read_bytes(), np.uint8)
    return found


def digest(array: np.ndarray) -> str:
    """SHA-256 over type, shape and bytes."""
    total = hashlib.sha256(f"{array.dtype.str} {array.shape}".encode())
    total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


def difference(base: np.ndarray, head: np.ndarray) -> str:
    """What differs between two arrays; empty where the bytes are equal."""
    if (base.dtype, base.shape) != (head.dtype, head.shape):
        return f"{base.dtype}{list(base.shape)} became {head.dtype}{list(head.shape)}"
    if base.tobytes() == head.tobytes():
        return ""
    if base.dtype.kind not in "biuf":
        return "other bytes"
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.abs(base.astype(np.float64) - head.astype(np.float64))
    return f"max abs {np.nanmax(apart, initial=0.0):.3g}"


def compare_arrays(base: Mapping[str, np.ndarray], head: Mapping[str, np.ndarray]) -> Comparison:
    """Compare by path; what has no such path on the other side is looked for by content.

    Args:
        base: From :func:`read_arrays`.
        head: Of the other commit.
    """
    result = Comparison()
    for name in sorted(base.keys() & head.keys()):
        result.n_compared += 1
        if words := difference(base[name], head[name]):
            result.differences.append(f"{name}: {words}")
    moved: dict[str, list[str]] = defaultdict(list)
    for name in sorted(head.keys() - base.keys()):
        moved[digest(head[name])].append(name)
    for name in sorted(base.keys() - head.keys()):
        result.n_compared += 1
        if there := moved[digest(base[name])]:
            there.pop()
        else:
            result.differences.append(f"{name}: only in base")
    for name in sorted(name for names in moved.values() for name in names):
        result.n_compared += 1
        result.differences.append(f"{name}: only in head")
    return result


def compare_answers(base: Sequence[Any], head: Sequence[Any]) -> Comparison:
    """Compare what ``li search --json`` printed: queries, names, scores."""
    result = Comparison()
    if len(base) != len(head):
        result.differences.append(f"{len(base)} answers became {len(head)}")
    for one, other in zip(base, head, strict=False):
        result.n_compared += 1
        place = f"{one['query'][:30]!r}"
        names = [[found["label"] for found in answer["results"]] for answer in (one, other)]
        scores = [[found["score"] for found in answer["results"]] for answer in (one, other)]
        if one["query"] != other["query"]:
            result.differences.append(f"{place}: the query became {other['query'][:30]!r}")
        elif names[0] != names[1]:
            result.differences.append(f"{place}: other labels")
        elif words := difference(*(np.asarray(row, np.float64) for row in scores)):
            result.differences.append(f"{place}: {words}")
    return result


# -- a commit's package --------------------------------------------------------------------------


def git(*arguments: str) -> str:
    """Run git in this repository and return its output."""
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@contextmanager
def worktree(commit: str) -> Iterator[Path]:
    """The files of a commit, while the block runs."""
    with tempfile.TemporaryDirectory(prefix="same-bytes-") as folder:
        path = Path(folder) / "worktree"
        git("worktree", "add", "--quiet", "--detach", str(path), commit)
        try:
            yield path
        finally:
            git("worktree", "remove", "--force", str(path))


def lay_out(source: Path, target: Path) -> None:
    """Copy the package as the wheel has it, with metadata: encoders are found by entry points."""
    project = tomllib.loads((source / "pyproject.toml").read_text(encoding="utf-8"))
    mapped: dict[str, str] = project["tool"]["setuptools"].get("package-dir", {})
    ignore = shutil.ignore_patterns("__pycache__")
    roots = {"learned_index": mapped.get("learned_index", "learned_index"), **mapped}
    for name, folder in sorted(roots.items()):
        if name:
            place = target.joinpath(*name.split("."))
            shutil.copytree(source / folder, place, ignore=ignore, dirs_exist_ok=True)
    version = project["project"].get("version", "0")
    metadata = target / f"learned_index-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: learned-index\nVersion: {version}\n", encoding="utf-8"
    )
    points = configparser.ConfigParser(delimiters=("=",))
    points.optionxform = str  # type: ignore[assignment,method-assign]
    points.read_dict(project["project"].get("entry-points", {}))
    with (metadata / "entry_points.txt").open("w", encoding="utf-8") as file:
        points.write(file)


@dataclass
class Package:
    """The command line of one commit.

    Attributes:
        tree: Where the package lies.
        numba: Folder of its compiled kernels.
    """

    tree: Path
    numba: Path
    _help: dict[str, set[str]] = field(default_factory=dict)

    def python(self, *arguments: str, cwd: Path | None = None) -> str:
        """Run this interpreter on the commit's package and return standard output."""
        environment = {
            **os.environ,
            "PYTHONPATH": str(self.tree),
            "PYTHONSAFEPATH": "1",
            "PYTHONHASHSEED": "0",
            "NUMBA_CACHE_DIR": str(self.numba),
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "200",
        }
        command = [sys.executable, *arguments]
        done = subprocess.run(
            command, check=False, capture_output=True, encoding="utf-8", env=environment, cwd=cwd
        )
        if done.returncode:
            sys.exit(f"failed: {' '.join(arguments)}\n{done.stderr.strip()[-2000:]}")
        return done.stdout

    def check(self) -> None:
        """Exit unless every package, and the metadata, come from :attr:`tree`."""
        packages = sorted(
            ".".join(path.parent.relative_to(self.tree).parts)
            for path in self.tree.rglob("__init__.py")
        )
        found = json.loads(self.python("-c", CHECK, *packages))
        for name, place in found.items():
            if not Path(place).resolve().is_relative_to(self.tree.resolve()):
                sys.exit(f"{name} would come from {place}, not from {self.tree}")

    def word(self, name: str, *, command: str | None = None) -> str:
        """How this commit spells a command, or an option of a command."""
        key = command or ""
        if key not in self._help:
            asked = [key] if key else []
            text = self.python("-m", "learned_index.cli", *asked, "--help")
            self._help[key] = set(text.replace(",", " ").split())
        spellings = (name, *WORDS.get(name, ()))
        for spelling in spellings:
            if spelling in self._help[key]:
                return spelling
        sys.exit(f"li {key} has none of {', '.join(spellings)}; add its spelling to WORDS")

    def li(self, name: str, *arguments: str, options: str) -> str:
        """Run a command, with options as ``WORDS`` and the newest commit spell them."""
        command = self.word(name)
        words = [
            self.word(word, command=command) if word.startswith("--") else word
            for word in options.split()
        ]
        return self.python("-m", "learned_index.cli", command, *words, *arguments)


def package(reference: str, work: Path) -> Package:
    """The package of a commit, laid out once; its compiled kernels are kept with it."""
    commit = git("rev-parse", "--verify", f"{reference}^{{commit}}")
    home = work / commit[:16]
    tree = home / "tree"
    if not tree.is_dir():
        home.mkdir(parents=True, exist_ok=True)
        with worktree(commit) as source, tempfile.TemporaryDirectory(dir=home) as folder:
            lay_out(source, Path(folder) / "tree")
            (Path(folder) / "tree").rename(tree)
    found = Package(tree, home / "numba")
    found.check()
    return found


# -- what is run ---------------------------------------------------------------------------------


def write_data(folder: Path, *, n_texts: int = N_TEXTS, seed: int = 0) -> None:
    """A data folder in the text format, written without either commit's code.

    Each label has words of its own, and its topic's; a text has the words of two labels of a topic.
    """
    folder.mkdir(parents=True)
    draw = random.Random(seed)
    topics, per_topic = 16, 8
    names = [f"topic{t}/label{i}" for t in range(topics) for i in range(per_topic)]
    texts, labels = [], []
    for _ in range(n_texts):
        topic = draw.randrange(topics)
        ids = sorted(topic * per_topic + i for i in draw.sample(range(per_topic), 2))
        words = [f"word{label}x{draw.randrange(6)}" for label in ids for _ in range(4)]
        words += [f"common{topic}x{draw.randrange(10)}" for _ in range(4)]
        draw.shuffle(words)
        texts.append(" ".join(words))
        labels.append(" ".join(map(str, ids)))
    for split, rows in (("train", slice(N_QUERIES, None)), ("test", slice(N_QUERIES))):
        for kind, lines in (("texts", texts), ("labels", labels)):
            content = "".join(f"{line}\n" for line in lines[rows])
            (folder / f"{split}_{kind}.txt").write_text(content, encoding="utf-8", newline="\n")
    content = "".join(f"{name}\t{name}\n" for name in names)
    (folder / "labels.txt").write_text(content, encoding="utf-8", newline="\n")


def read_queries(folder: Path) -> list[str]:
    """Some texts of the folder, of its test split where there is one."""
    for split in ("test", "dev", "train"):
        path = folder / f"{split}_texts.txt"
        if path.is_file():
            lines = path.read_text(encoding="utf-8").split("\n")
            # A text that begins with a hyphen would be taken for an option.
            return [line for line in lines if line.strip() and line[0] != "-"][:N_QUERIES]
    sys.exit(f"{folder} has no texts; give a data folder in the text format")


def run(found: Package, data: Path, out: Path, *, threads: int) -> dict[str, Any]:
    """Run all steps with one commit.

    Returns:
        Command to the folder of its model, or to its answers.
    """
    done: dict[str, Any] = {}
    queries, common = read_queries(data), f"--threads {threads}"
    for name, (command, own) in MODELS.items():
        model, compiled = out / name, out / f"{name}-compiled"
        print(f"  {name}", file=sys.stderr, flush=True)
        places = ("--data", str(data), "--out", str(model))
        found.li(command, *places, options=f"{own} {TRAINING} {common}")
        done[f"{command} {name}"] = model
        found.li("compile", str(model), "--out", str(compiled), options=common)
        done[f"compile {name}"] = compiled
        for searched in (model, compiled):
            text = found.li("search", str(searched), *queries, options=f"--json {common}")
            done[f"search {searched.name}"] = json.loads(text)
    return done


def print_table(rows: Sequence[tuple[str, ...]]) -> None:
    """Columns as wide as their widest cell."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


def main() -> None:
    """Train with both commits, compare, print; the exit code is 1 where something differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("base", help="a commit")
    parser.add_argument("head", nargs="?", default="HEAD", help="another one; default: HEAD")
    parser.add_argument("--data", type=Path, help="folder in the text format; default: synthetic")
    parser.add_argument("--threads", type=int, default=1, help="threads of every command")
    parser.add_argument(
        "--work",
        type=Path,
        default=Path(tempfile.gettempdir()) / "learned-index-same-bytes",
        help="folder that keeps packages and compiled kernels of commits; default: %(default)s",
    )
    arguments = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory(prefix="same-bytes-") as folder:
        data = Path(folder) / "data"
        if arguments.data is None:
            write_data(data)
        else:
            data = arguments.data.resolve()
        for side in ("base", "head"):
            reference = getattr(arguments, side)
            print(f"{side}: {reference}", file=sys.stderr, flush=True)
            found = package(reference, arguments.work.resolve())
            results.append(run(found, data, Path(folder) / side, threads=arguments.threads))
        rows, equal = [("command", "compared", "equal", "first difference")], True
        for command, base in results[0].items():
            head = results[1][command]
            if isinstance(base, Path):
                compared = compare_arrays(read_arrays(base), read_arrays(head))
            else:
                compared = compare_answers(base, head)
            rows.append(compared.row(command))
            equal &= compared.equal
    print_table(rows)
    sys.exit(not equal)


if __name__ == "__main__":
    main()
