"""Saved models that a stranger has changed: each loader refuses them with ModelFormatError."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from elias_cases import finally_ranked
from encoder_models import sample_texts
from saving_cases import sign

from learned_index import (
    ELIAS,
    IndexConfig,
    LabelVocabulary,
    LearnedGraphIndex,
    SearchEngine,
    TrainingConfig,
)
from learned_index.encoders import BagOfWordsEncoder, LSAEncoder, TfidfEncoder, load_encoder
from learned_index.encoders.concatenated import ConcatenatedEncoder
from learned_index.errors import (
    InputError,
    MissingExtraError,
    ModelFormatError,
    TrainingInterrupted,
)
from learned_index.index.opening import open_index
from learned_index.persistence import load_arrays, read_json, save_arrays
from learned_index.ranking.calibration import Calibrator
from learned_index.ranking.final_ranker import FinalRanker
from learned_index.ranking.records import Records
from learned_index.ranking.sparse_ranker import SparseRanker
from learned_index.training.checkpoint import CheckpointOptions

QUICK = TrainingConfig(stage1_epochs=1, stage2_epochs=1, batch_size=16)
TEXTS = sample_texts(60)
LABELS = [[number % 6] for number in range(60)]


def fit_with(checkpoint: CheckpointOptions) -> LearnedGraphIndex:
    vectors = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    index = LearnedGraphIndex(IndexConfig(n_clusters=3), training=QUICK)
    return index.fit(vectors, LABELS, checkpoint=checkpoint)


def resume(directory: Path) -> None:
    fit_with(CheckpointOptions(directory))


LOADERS: dict[str, Callable[[Path], Any]] = {
    "index": lambda folder: LearnedGraphIndex.from_pretrained(folder),
    "engine": lambda folder: SearchEngine.from_pretrained(folder),
    "either index": open_index,
    "without ranker": ELIAS.from_pretrained,
    "elias": ELIAS.from_pretrained,
    "ranker": SparseRanker.from_pretrained,
    "calibrator": Calibrator.from_pretrained,
    "final ranker": FinalRanker.from_pretrained,
    "records": Records.from_pretrained,
    "lsa": load_encoder,
    "tfidf": TfidfEncoder.from_pretrained,
    "bow": load_encoder,
    "joined": load_encoder,
    "checkpoint": lambda folder: resume(folder.parent),
}
ROOTS = [*LOADERS]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One saved object for each loader, under its name."""
    root = tmp_path_factory.mktemp("saved")
    lsa, bow = LSAEncoder(8).fit(TEXTS), BagOfWordsEncoder(8).fit(TEXTS)
    vectors = lsa.encode(TEXTS)
    index = LearnedGraphIndex(IndexConfig(n_clusters=3), training=QUICK).fit(vectors, LABELS)
    index.save_pretrained(root / "index")
    index.to_engine().save_pretrained(root / "engine")
    shutil.copytree(root / "engine", root / "either index")
    parts = ELIAS.from_parts(
        lsa, index, LabelVocabulary.numbered(6), label_counts=np.full(6, 10), n_points=60
    )
    parts.save_pretrained(root / "without ranker")
    finally_ranked().save_pretrained(root / "elias")
    shutil.copytree(root / "elias" / "records", root / "records")
    shutil.copytree(root / "elias" / "final_ranker", root / "final ranker")
    shutil.copytree(root / "elias" / "ranker", root / "ranker")
    shutil.copytree(root / "elias" / "calibrator", root / "calibrator")
    lsa.save_pretrained(root / "lsa")
    TfidfEncoder().fit(TEXTS).save_pretrained(root / "tfidf")
    bow.save_pretrained(root / "bow")
    ConcatenatedEncoder([lsa, bow]).save_pretrained(root / "joined")
    asked = iter([False] * 3 + [True] * 1000)
    options = CheckpointOptions(root / "checkpoints", stop=lambda: next(asked))
    with pytest.raises(TrainingInterrupted):
        fit_with(options)
    (state,) = (root / "checkpoints").iterdir()
    state.rename(root / "checkpoint")
    return root


def copied(saved: Path, kind: str, tmp_path: Path) -> Path:
    name = "state-1" if kind == "checkpoint" else "model"
    (tmp_path / "copy").mkdir(parents=True)
    return Path(shutil.copytree(saved / kind, tmp_path / "copy" / name))


def edit(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "manifest.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


def text(content: str | bytes) -> Callable[[Path], None]:
    raw = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / "manifest.json").write_bytes(raw) and None


def first_file(change: Callable[[Path], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        names = sorted(json.loads((folder / "manifest.json").read_text())["files"])
        change(folder / names[0])

    return damage


def facts(**values: Any) -> Callable[[Path], None]:
    """Say something of the size or the checksum of the first file that no file can have."""

    def damage(folder: Path) -> None:
        path = folder / "manifest.json"
        manifest = json.loads(path.read_text())
        manifest["files"][sorted(manifest["files"])[0]].update(values)
        path.write_text(json.dumps(manifest))

    return damage


def added(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / "manifest.json"
        manifest = json.loads(path.read_text())
        manifest["files"][name] = {"bytes": 0, "sha256": hashlib.sha256(b"").hexdigest()}
        path.write_text(json.dumps(manifest))

    return damage


def replaced_by_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def replaced_by_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def moved_outside(path: Path) -> None:
    outside = path.parent.parent.parent / "outside"
    shutil.move(path, outside)
    path.symlink_to(outside)


def unnamed(folder: Path) -> None:
    """The last file would still be read, but nothing vouches for it."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    names = [n for n in sorted(manifest["files"]) if not n.endswith("manifest.json")]
    del manifest["files"][names[-1]]
    path.write_text(json.dumps(manifest))


def on_manifest(change: Callable[[Path], object]) -> Callable[[Path], None]:
    return lambda folder: change(folder / "manifest.json") and None


DAMAGES: dict[str, Callable[[Path], None]] = {
    "no JSON": text("{"),
    "not UTF-8": text(b"\xff\xfe"),
    "empty": text(""),
    "a list": text("[]"),
    "a list of lists": text("[" * 100_000),
    "objects in objects": text('{"a":' * 100_000),
    "a long number": text('{"format_version": ' + "9" * 5000 + "}"),
    "NaN": edit(format_version=float("nan")),
    "infinity": edit(format_version=float("inf")),
    "1e999": text('{"format_version": 1e999}'),
    "a key twice": text('{"kind": "a", "kind": "b"}'),
    "half a surrogate pair": edit(kind="\ud800"),
    "kind null": edit(kind=None),
    "kind list": edit(kind=["index"]),
    "version true": edit(format_version=True),
    "version 0": edit(format_version=0),
    "version -1": edit(format_version=-1),
    "version 1.0": edit(format_version=1.0),
    "version text": edit(format_version="1"),
    "version of the future": edit(format_version=10**9),
    "config list": edit(config=[]),
    "config null": edit(config=None),
    "config empty": edit(config={"a": {}}),
    "files list": edit(files=[]),
    "files text": edit(files="all"),
    "files of numbers": edit(files={"a": 1}),
    "files of lists": edit(files={"a": []}),
    "no facts": edit(files={"a": {}}),
    "no files": edit(files={}),
    "very many files": edit(files={str(number): {} for number in range(100_001)}),
    "size true": facts(bytes=True),
    "size float": facts(bytes=1.5),
    "size negative": facts(bytes=-1),
    "size too large": facts(bytes=2**62),
    "checksum null": facts(sha256=None),
    "checksum short": facts(sha256="ab"),
    "absolute name": added("/etc/hostname"),
    "name upwards": added("a/../../b"),
    "name with NUL": added("a\0b"),
    "name with backslash": added("a\\b"),
    "name with drive": added("C:b"),
    "name twice over": added("./manifest.json"),
    "empty name": added(""),
    "long name": added("n" * 5000),
    "itself": added("manifest.json"),
    "manifest a folder": on_manifest(replaced_by_a_folder),
    "manifest a pipe": on_manifest(replaced_by_a_pipe),
    "manifest outside": on_manifest(lambda path: (path.unlink(), path.symlink_to("/dev/zero"))),
    "file missing": first_file(lambda path: path.unlink()),
    "file a folder": first_file(replaced_by_a_folder),
    "file a pipe": first_file(replaced_by_a_pipe),
    "file outside": first_file(moved_outside),
    "file longer": first_file(lambda path: path.write_bytes(path.read_bytes() + b"x")),
    "file unnamed": unnamed,
}


@pytest.mark.parametrize("kind", ROOTS)
def test_a_hostile_manifest_is_refused(saved, tmp_path, kind):
    # A checkpoint directory with something else in it is refused before it is read.
    expected = (ModelFormatError, InputError) if kind == "checkpoint" else ModelFormatError
    wrong = []
    for number, (name, damage) in enumerate(DAMAGES.items()):
        folder = copied(saved, kind, tmp_path / str(number))
        damage(folder)
        try:
            LOADERS[kind](folder)
        except expected as error:
            str(error).encode("utf-8")
            if len(str(error)) > 2000:
                wrong.append(f"{name}: a message of {len(str(error))} characters")
        except Exception as error:
            wrong.append(f"{name}: {type(error).__name__}: {error}")
        else:
            wrong.append(f"{name}: loaded")
    assert wrong == []


@pytest.mark.parametrize("kind", ROOTS)
def test_what_is_no_directory_is_refused(saved, tmp_path, kind):
    if kind == "checkpoint":
        pytest.skip("a checkpoint that is not there is one that begins")
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    for name in ("file", "empty", "nothing", "file/below", "n" * 300, "a\0b"):
        with pytest.raises(ModelFormatError):
            LOADERS[kind](tmp_path / name)


@pytest.mark.parametrize("kind", ROOTS)
def test_the_undamaged_ones_load(saved, tmp_path, kind):
    LOADERS[kind](copied(saved, kind, tmp_path))


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to everything in a JSON value; of a list, to the first two entries."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value[:2])
    for key, item in items:
        if isinstance(item, dict | list) and key != "report":
            yield from leaves(item, (*path, key))
        else:
            yield (*path, key)


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    changed = copy.copy(value)
    changed[path[0]] = put(value[path[0]], path[1:], new)
    return changed


ODD_VALUES = [None, True, -1, 2.5, 1e308, 2**63, "x", "", [], {}, [[1]], {"a": None}]


def edited(file: Path) -> Iterator[tuple[str, str]]:
    """The texts of a JSON file with an odd value in each place in turn, and what that is."""
    content = json.loads(file.read_text())
    is_manifest = file.name == "manifest.json"
    for number, path in enumerate(leaves(content["config"] if is_manifest else content)):
        for value in (ODD_VALUES * 2)[number % 12 :: 5]:  # some of them in each place
            changed = put(content, ("config", *path) if is_manifest else path, value)
            yield f"{path} = {value!r}", json.dumps(changed)


@pytest.mark.parametrize("kind", [kind for kind in ROOTS if kind != "either index"])
def test_odd_values_anywhere_in_signed_json_give_no_other_error(saved, tmp_path, kind):
    """Checksums are right again; a value may be harmless, or the model is refused."""
    # Another package might bring an encoder called "x"; a checkpoint may be of another training.
    expected = (ModelFormatError, InputError if kind == "checkpoint" else MissingExtraError)
    names = [path.name for path in sorted((saved / kind).glob("*.json"))]  # parts: by themselves
    wrong, refused, top = set(), 0, None
    for name in names:
        for what, changed in edited(saved / kind / name):
            if top is None or kind == "checkpoint":  # a training goes on from it, and removes it
                shutil.rmtree(tmp_path / "copy", ignore_errors=True)
                top = copied(saved, kind, tmp_path)
            (top / name).write_text(changed)
            sign(top)
            try:
                LOADERS[kind](top)
            except expected:
                refused += 1
            except Exception as error:
                wrong.add(f"{name} {what}: {type(error).__name__}: {error}")
            if kind != "checkpoint":
                shutil.copy(saved / kind / name, top / name)
                sign(top)
    assert not wrong, "\n".join(sorted(wrong))
    assert refused > 0


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x\n\n",
        b"a\na\n",
        b"\xff",
        b"0\n1\n",
        b"\t\n",
        b"a\xed\xa0\x80",
    ],
)
@pytest.mark.parametrize("kind", ["without ranker", "elias"])
def test_a_vocabulary_that_does_not_fit_is_refused(saved, tmp_path, kind, content):
    folder = copied(saved, kind, tmp_path)
    (folder / "labels.txt").write_bytes(content)
    sign(folder)
    with pytest.raises(ModelFormatError):
        LOADERS[kind](folder)


def test_a_file_that_the_manifest_does_not_name_is_not_read(saved, tmp_path):
    folder = copied(saved, "elias", tmp_path)
    (folder / "README.md").write_text("beside the model: nobody reads it")
    (folder / "index").mkdir()
    ELIAS.from_pretrained(folder)
    (folder / "encoder" / "extra.json").write_text("{}")
    with pytest.raises(ModelFormatError, match=r"encoder/extra\.json"):
        ELIAS.from_pretrained(folder)


def header(**tensors: Any) -> bytes:
    raw = json.dumps(tensors).encode()
    return len(raw).to_bytes(8, "little") + raw


def tensor(dtype: str, shape: list[int], start: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 8,
        b"\xff" * 7 + b"\x00" + b"{}",
        (2**40).to_bytes(8, "little") + b"{}",
        header(a=tensor("F32", [4], 0, 16)),
        header(a=tensor("F32", [2**40], 0, 16)) + bytes(16),
        header(a=tensor("F32", [2**62, 4], 0, 16)) + bytes(16),
        header(a=tensor("F32", [-4], 0, 16)) + bytes(16),
        header(a=tensor("F64", [4], 0, 16)) + bytes(16),
        header(a=tensor("F32", [4], 8, 24)) + bytes(24),
        header(a=tensor("F32", [4], 0, 16), b=tensor("F32", [4], 8, 24)) + bytes(24),
        header(a=tensor("object", [4], 0, 16)) + bytes(16),
        header(a=tensor("BF16", [4], 0, 8)) + bytes(8),
        header(a=tensor("F32", [4], 0, 16)) + bytes(17),
    ],
)
def test_arrays_whose_header_lies_are_refused(tmp_path, content):
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelFormatError, match=r"a\.safetensors"):
        load_arrays(path)


def test_arrays_are_regular_files(tmp_path):
    save_arrays(tmp_path / "a.safetensors", {"a": np.arange(3)})
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    assert load_arrays(tmp_path / "a.safetensors")["a"].tolist() == [0, 1, 2]
    for name in ("pipe", "zero", ".", "missing"):
        with pytest.raises(ModelFormatError):
            load_arrays(tmp_path / name)


def test_json_as_this_package_writes_it_is_read(tmp_path):
    value = {"a": [1, -(2**63), 2**64 - 1, 0.1, 1e-300, None, True, "ä\u2028😀\\ud800"]}
    (tmp_path / "a.json").write_text(json.dumps(value))
    assert read_json(tmp_path / "a.json") == value


def test_numbers_that_another_package_taught_numpy_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("ml_dtypes", reason="onnx brings it: then safetensors reads bfloat16")
    head = json.dumps(
        {"a": {"dtype": "BF16", "shape": [4], "data_offsets": [0, 8]}}, separators=(",", ":")
    ).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(head).to_bytes(8, "little") + head + bytes(8))
    with pytest.raises(ModelFormatError, match="bfloat16"):
        load_arrays(path)
