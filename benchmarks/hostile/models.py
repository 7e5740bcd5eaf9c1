"""Damaged and hostile saved models: what opening and searching them does.

Two kinds of author. *Damage* changes files and leaves the manifest alone, as a bad disk does; such
a model is opened with its checksums verified, and must be refused or answer as before. A *hostile*
author changes arrays or the manifest and writes the right checksums; such a model must be refused,
or answer as some model could: distinct labels that exist, best first, no NaN. Nothing may crash,
take much memory or time, or raise another error than the library's own::

    python -m benchmarks.hostile.models --n 20000
    NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR=/tmp/checked python -m benchmarks.hostile.models --n 20000

The second command runs the same with compiled code that checks every index of an array.
"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from safetensors.numpy import load_file, save_file

from benchmarks.hostile.campaign import Outcome, Trial, judged, main
from learned_index import ELIAS, IndexConfig, LearnedGraphIndex, SearchEngine, TrainingConfig
from learned_index.encoders.lexical.lsa import LSAEncoder
from learned_index.engine.config import EngineConfig
from learned_index.errors import InputError, LearnedIndexError, MissingExtraError, ModelFormatError
from learned_index.persistence import MANIFEST_NAME, write_manifest
from learned_index.ranking.sparse_ranker import SparseRanker

N_LABELS, DIM = 60, 12
GROUPS = (
    "index", "index deep", "index pruned", "engine int8", "engine float16", "engine deep",
    "engine float32", "ranker", "full model", "full compiled",
)  # fmt: skip
_TOPICS = ("steel bridge load", "tax law court", "forest bird nest", "piano score sonata")
_TEXTS = [f"{_TOPICS[i % 4]} volume {i} part {i % 7}" for i in range(240)]


# -- models to change ------------------------------------------------------------------------------


def _points() -> tuple[Any, sp.csr_matrix]:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(N_LABELS, DIM))
    pairs = rng.integers(0, N_LABELS, size=(500, 2))
    vectors = centres[pairs].sum(1) + 0.2 * rng.normal(size=(500, DIM))
    rows = np.repeat(np.arange(500), 2)
    labels = sp.csr_matrix((np.ones(1000), (rows, pairs.ravel())), shape=(500, N_LABELS))
    labels.data[:] = 1.0
    return vectors.astype(np.float32), labels


def make_models(folder: Path) -> None:
    """Write one small model of each group into a folder."""
    torch.set_num_threads(1)
    vectors, labels = _points()
    training = TrainingConfig(stage1_epochs=1, stage2_epochs=1, batch_size=64)
    shape = {"n_clusters": 8, "beam_width": 3, "edges_per_cluster": 20}
    flat = LearnedGraphIndex(IndexConfig(**shape), training=training).fit(vectors, labels)
    deep = LearnedGraphIndex(
        IndexConfig(**shape, hierarchy="deep", n_regions=3), training=training
    ).fit(vectors, labels)
    flat.save_pretrained(folder / "index")
    deep.save_pretrained(folder / "index deep")
    flat.prune(top_k=10).save_pretrained(folder / "index pruned")
    flat.to_engine().save_pretrained(folder / "engine int8")
    flat.to_engine(EngineConfig(precision="float16")).save_pretrained(folder / "engine float16")
    flat.to_engine(EngineConfig(precision="float32")).save_pretrained(folder / "engine float32")
    deep.to_engine().save_pretrained(folder / "engine deep")
    ranker, features, dense, ids = _ranker()
    ranker.fit(features, dense, labels, ids)
    (folder / "ranker").mkdir()
    ranker.save_pretrained(folder / "ranker")
    model = ELIAS(LSAEncoder(dim=4), training=TrainingConfig(batch_size=16))
    model.fit(_TEXTS, [[i % 4, 4 + i % 7] for i in range(len(_TEXTS))]).save_pretrained(
        folder / "full model"
    )
    model.to_engine().save_pretrained(folder / "full compiled")


def _ranker() -> tuple[SparseRanker, sp.csr_matrix, Any, Any]:
    vectors, labels = _points()
    rng = np.random.default_rng(1)
    features = sp.random(len(vectors), 30, density=0.2, format="csr", random_state=rng, dtype="f4")
    first = labels.indices[labels.indptr[:-1]]
    ids = np.stack([first, (first + 7) % N_LABELS, (first + 11) % N_LABELS], axis=1)
    return SparseRanker(), features, vectors, ids.astype(np.int64)


# -- what is asked of a model ----------------------------------------------------------------------


def _queries() -> Any:
    vectors = _points()[0][:6].copy()
    vectors[3] = 0.0
    vectors[4] *= np.float32(1e-38)
    return vectors


def _checked(ids: Any, scores: Any, n_labels: int) -> list[bytes]:
    """The answer as bytes; raises ValueError where no model could give it."""
    for row, row_scores in zip(ids, scores, strict=True):
        found = row[row >= 0]
        if len(set(found.tolist())) != len(found) or row.min(initial=-1) < -1:
            raise ValueError(f"ids {row.tolist()} are not distinct")
        if row.max(initial=-1) >= n_labels or (row[len(found) :] >= 0).any():
            raise ValueError(f"ids {row.tolist()} of {n_labels} labels")
        inner = row_scores[: len(found)]
        if np.isnan(row_scores).any() or (inner[1:] > inner[:-1]).any():
            raise ValueError(f"scores {row_scores.tolist()}")
    return [ids.tobytes(), scores.tobytes()]


def _ask_vectors(searcher: Any) -> list[bytes]:
    queries, answers = _queries(), []
    for k, knobs in (
        (1, {}),
        (5, {"beam_width": 1, "shortlist_size": 5}),
        (N_LABELS + 3, {"beam_width": 10**6, "shortlist_size": 10**6}),
    ):
        answers += _checked(*searcher.search(queries, k, **knobs), searcher.n_labels)
    try:
        huge = np.full((1, searcher.dim), 3e38, np.float32)
        _checked(*searcher.search(huge, 4), searcher.n_labels)
    except InputError:  # it may be refused
        pass
    deny = [0, 1, 2, min(30, searcher.n_labels - 1)]
    answers += _checked(*searcher.search(queries, 9, deny=deny), searcher.n_labels)
    answers += _checked(*searcher.search(queries[:1], 9, allow=[5, 1]), searcher.n_labels)
    return answers


def _ask_index(index: LearnedGraphIndex) -> list[bytes]:
    answers = _ask_vectors(index)
    with torch.no_grad():
        output = index(torch.from_numpy(_queries()), [[0], [1, 2], [3], [4], [5], [6]])
    ids = output.label_ids_BK.numpy()
    if ids.min() < -1 or ids.max() >= index.n_labels:
        raise ValueError("training's shortlist names labels that do not exist")
    try:
        engine = index.to_engine()
    except InputError:  # all its edges may be 0, its vectors too long
        return answers
    return answers + _ask_vectors(engine)


def _ask_ranker(ranker: SparseRanker) -> list[bytes]:
    _, features, dense, ids = _ranker()
    margins = ranker.score(features[:9], dense[:9], np.minimum(ids[:9], ranker.n_labels - 1))
    return [margins.tobytes()]


def _ask_model(model: ELIAS) -> list[bytes]:
    texts = ["steel bridge", "tax court part", "", "unknown words here"]
    answers = _checked(*model.search(texts, 3), model.n_labels)
    named = model.predict(texts, 2), model.predict_proba(texts, 2)
    if any(not 0 <= share <= 1 for row in named[1] for _, share in row):
        raise ValueError(f"probabilities {named[1]}")
    return [*answers, json.dumps(named).encode()]


OPEN_AND_ASK: dict[str, tuple[Callable[..., Any], Callable[[Any], list[bytes]]]] = {
    "index": (LearnedGraphIndex.from_pretrained, _ask_index),
    "engine": (SearchEngine.from_pretrained, _ask_vectors),
    "ranker": (SparseRanker.from_pretrained, _ask_ranker),
    "full": (ELIAS.from_pretrained, _ask_model),
}


# -- changes ---------------------------------------------------------------------------------------


def _nasty_number(rng: random.Random) -> Any:
    return rng.choice(
        [
            0, 1, -1, 2, 7, 10**6, 2**31 - 1, 2**31, 2**32, 2**63 - 1, 2**63, 2**64, -(2**63),
            10**30, 0.0, -0.0, 0.5, 1.5, -1.5, 1e-45, 1e-30, 1e30, 1e308, -1e308, float("nan"),
            float("inf"), float("-inf"), True, False, None, "", "1", "int8", [], {}, [1], {"a": 1},
        ]
    )  # fmt: skip


def _change_json(rng: random.Random, value: Any) -> Any:
    """The value with one place in it changed."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        name = rng.choice(sorted(value))
        changed = dict(value)
        if rng.random() < 0.1:
            del changed[name]
        elif rng.random() < 0.05:
            changed[rng.choice(["", "extra", "..", "\0"])] = _nasty_number(rng)
        else:
            changed[name] = _change_json(rng, value[name])
        return changed
    if isinstance(value, list) and value and rng.random() < 0.8:
        place = rng.randrange(len(value))
        return [*value[:place], _change_json(rng, value[place]), *value[place + 1 :]]
    return _nasty_number(rng)


def _change_array(rng: random.Random, array: Any, others: list[Any]) -> Any:
    """The array with values, its shape or its dtype changed."""
    array = np.array(array, copy=True)
    way = rng.choice(["values"] * 6 + ["shape", "dtype", "other", "shuffle", "fill"])
    draw = np.random.default_rng(rng.getrandbits(32))
    if way == "other" and others:
        return np.array(rng.choice(others), copy=True)
    if way == "dtype":
        kinds = ["f4", "f8", "f2", "i4", "i8", "u1", "u2", "i1", "?"]
        with np.errstate(all="ignore"):
            return array.astype(rng.choice(kinds))
    if way == "shape":
        others = [array[:-1], np.concatenate([array, array]), array[:0]] if array.ndim else []
        return rng.choice([array.ravel(), array[None], array.T, *others])
    flat = array.reshape(-1)
    if not flat.size:
        return array
    if way == "shuffle":
        return draw.permutation(flat).reshape(array.shape)
    places = draw.integers(0, flat.size, rng.choice([1, 1, 2, 5, 30]))
    if way == "fill":
        places = np.arange(flat.size)
    if array.dtype.kind == "f":
        limits = np.finfo(array.dtype)
        values = [np.nan, np.inf, -np.inf, -1.0, 0.0, -0.0, 1.0, 2.0, limits.max, limits.min]
        values += [limits.tiny, 1e-3, -1e-3]
    else:
        limits = np.iinfo(array.dtype)
        near = [-2, -1, 0, 1, 2, N_LABELS - 1, N_LABELS, N_LABELS + 1, 8, 500]
        values = [limits.min, limits.max, limits.max // 2, int(flat[0]), int(flat[-1]), *near]
        values = [value for value in values if limits.min <= value <= limits.max]
    flat[places] = np.array(rng.choice(values)).astype(array.dtype)
    return array


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _damage(rng: random.Random, folder: Path) -> None:
    path = rng.choice(_files(folder))
    content = bytearray(path.read_bytes())
    way = rng.choice(["bytes"] * 5 + ["cut", "more", "gone", "folder", "swap", "hole"])
    if way == "gone":
        path.unlink()
    elif way == "folder":
        path.unlink()
        path.mkdir()
    elif way == "swap":
        other = rng.choice(_files(folder))
        first, second = path.read_bytes(), other.read_bytes()
        path.write_bytes(second)
        other.write_bytes(first)
    else:
        if way == "bytes" and content:
            for _ in range(rng.choice([1, 1, 2, 8, 64])):
                content[rng.randrange(len(content))] = rng.choice([0, 255, rng.randrange(256)])
        elif way == "hole" and content:
            start = rng.randrange(len(content))
            content[start : start + 64] = bytes(len(content[start : start + 64]))
        elif way == "cut":
            del content[rng.randrange(len(content) + 1) :]
        elif way == "more":
            content += rng.randbytes(rng.choice([1, 8, 100]))
        path.write_bytes(bytes(content))


def _hostile_arrays(rng: random.Random, folder: Path) -> None:
    path = rng.choice([p for p in _files(folder) if p.suffix in (".npy", ".safetensors")])
    if path.suffix == ".npy":
        array = np.load(path)
        others = [np.load(other) for other in path.parent.glob("*.npy")]
        np.save(path, _change_array(rng, array, [o for o in others if o.dtype == array.dtype]))
        return
    arrays = dict(load_file(path))
    for name in rng.sample(sorted(arrays), min(len(arrays), rng.choice([1, 1, 2]))):
        same = [other for other in arrays.values() if other.dtype == arrays[name].dtype]
        arrays[name] = np.ascontiguousarray(_change_array(rng, arrays[name], same))
        if rng.random() < 0.03:
            del arrays[name]
    save_file(arrays, path)


def _hostile_manifest(rng: random.Random, folder: Path) -> None:
    path = rng.choice([p for p in _files(folder) if p.suffix == ".json"])
    changed = json.loads(path.read_text(encoding="utf-8"))
    for _ in range(rng.choice([1, 1, 1, 3])):
        changed = _change_json(rng, changed)
    path.write_text(json.dumps(changed), encoding="utf-8")


def _sign(folder: Path) -> None:
    """Write the right sizes and checksums into every manifest that still is one."""
    for path in sorted(folder.rglob(MANIFEST_NAME), key=lambda p: -len(p.parts)):
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and isinstance(content.get("files"), dict):
            kind, version = content.get("kind"), content.get("format_version")
            config = content.get("config")
            # write_manifest takes dictionaries alone; whatever else stood there is put back.
            write_manifest(path.parent, kind=str(kind), config={})
            signed = json.loads(path.read_text(encoding="utf-8"))
            signed |= {"kind": kind, "format_version": version, "config": config}
            path.write_text(json.dumps(signed), encoding="utf-8")


# -- trials ----------------------------------------------------------------------------------------


def make_trial(models: Path) -> Trial:
    """Load the untouched models' answers, and return what changes and tries one of them."""
    torch.set_num_threads(1)
    right = {}
    for group in GROUPS:
        open_it, ask = OPEN_AND_ASK[group.split()[0]]
        right[group] = ask(open_it(models / group))

    def trial(rng: random.Random, group: str, folder: Path) -> tuple[Outcome, str]:
        target = folder / "model"
        shutil.copytree(models / group, target)
        damaged = rng.random() < 0.3
        if damaged:
            _damage(rng, target)
        else:
            (_hostile_arrays if rng.random() < 0.6 else _hostile_manifest)(rng, target)
            _sign(target)
        verify = damaged or rng.random() < 0.5
        open_it, ask = OPEN_AND_ASK[group.split()[0]]
        options = {} if group.startswith("full") else {"verify": verify}
        opened: list[Any] = []

        def answer() -> list[bytes]:
            opened.append(open_it(target, **options))
            return ask(opened[0])

        def is_clear(error: LearnedIndexError) -> bool:
            if opened:  # a model of other features or dimensions is one, and says so when asked
                return isinstance(error, InputError) and "use the" in str(error)
            kinds = (ModelFormatError, MissingExtraError)
            named = str(target) in str(error) or isinstance(error, MissingExtraError)
            return isinstance(error, kinds) and named and len(str(error)) < 2000

        def is_right(answers: list[bytes]) -> str | None:
            changed = damaged and answers != right[group]
            return "other answers than before the damage" if changed else None

        try:
            return judged(answer, is_right, is_clear)
        except ValueError as error:  # of _checked
            return "wrong", str(error)

    return trial


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="hostile-models-") as place:
        make_models(Path(place))
        main(
            partial(make_trial, Path(place)),
            groups=GROUPS,
            description="Open and search damaged and hostile saved models.",
            n=20_000,
            memory_gb=8.0,
            seconds=30.0,
        )
