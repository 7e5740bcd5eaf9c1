"""The default data set: find a Python object from a plain English description.

Texts are sentences of the docstrings that the installed scientific packages bring. The labels of
a sentence are the object it documents, the object's class, and the objects that its "See Also"
names; not its module, which would be the first answer to nearly everything. The words of an
object's name are its label's description: learned from, never shown. The first sentence of every
docstring is a training point, so every label is trained; other sentences fall into train, dev and
test by a hash of the sentence.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from learned_index.data.api_docs.docstrings import parse_docstring
from learned_index.data.api_docs.objects import (
    DISTRIBUTIONS,
    PACKAGES,
    ApiObject,
    collect_objects,
    package_versions,
)
from learned_index.data.dataset import Dataset, SplitName
from learned_index.data.folder import DataFolder, open_dataset, write_dataset
from learned_index.data.identifiers import words_of_name
from learned_index.data.vocabulary import LabelVocabulary
from learned_index.errors import InputError
from learned_index.inputs.labels import labels_from_lists
from learned_index.persistence.digest import digest
from learned_index.system.cache import CACHE_VARIABLE, cache_directory

logger = logging.getLogger(__name__)

BUILDER_VERSION = 3
"""Goes into the cache key: raised when the same packages would give other data."""
MAX_OBJECTS_PER_SENTENCE = 4
"""A sentence that more objects share is boilerplate and left out."""
MAX_SENTENCES_PER_OBJECT = 12
"""Later sentences of very long docstrings describe details of options."""
MAX_PARAMETERS = 6
"""Parameters that a label's description tells: the first ones matter most."""
TEST_SHARE, DEV_SHARE = 0.14, 0.07
"""Shares of the sentences after the first that are held out."""

_SOURCE_NAME = "source.json"
_CODE_NAME = re.compile(r"_|\d|[a-z][A-Z]")
_REPLACEMENT = {
    "module": "this module",
    "class": "this class",
    "function": "this function",
    "method": "this method",
}


def build_api_docs(
    out: Path | str | None = None,
    *,
    packages: Sequence[str] | None = None,
    cache: Path | str | None = None,
    force: bool = False,
) -> DataFolder:
    """Build the data set from the installed packages' documentation, or return the built one.

    Deterministic for given package versions. Takes about 20 seconds on one core; no network.

    Args:
        out: Folder to write. None: a folder in the cache, named by the packages' versions.
        packages: Keys of :data:`~learned_index.data.api_docs.objects.PACKAGES`; None takes all.
            Those not installed are left out.
        cache: Overrides the cache directory; see
            :func:`~learned_index.system.cache.cache_directory`.
        force: Build again although the folder is there; replaces it.

    Returns:
        A text folder with the splits train, dev and test, ``source.json`` (builder and package
        versions) and ``stats.json``.

    Raises:
        InputError: An unknown package, none of them installed, ``out`` holds something else, or
            there is no ``out`` and the cache is off.
    """
    source = _source(list(PACKAGES if packages is None else dict.fromkeys(packages)))
    target = _cached(source, cache) if out is None else Path(out)
    if not force and (target / _SOURCE_NAME).is_file():
        if (target / _SOURCE_NAME).read_text(encoding="utf-8", errors="replace") == _json(source):
            logger.info("%s is up to date", target)
            return open_dataset(target)
        raise InputError(
            f"{target} was built from other package versions; build it again with force, or "
            "choose another folder"
        )
    splits = _make_splits(collect_objects(list(source["packages"])))
    # A cache folder without source.json is a leftover: replacing it harms nobody.
    return write_dataset(
        target,
        splits.values(),
        format_name="text",
        overwrite=force or out is None,
        extra_files={_SOURCE_NAME: _json(source), "stats.json": _json(_stats(splits))},
    )


def _source(packages: list[str]) -> dict[str, Any]:
    """Say what the data set is made of; the name in the cache and ``source.json`` come of it."""
    unknown = [package for package in packages if package not in PACKAGES]
    if unknown:
        raise InputError(f"unknown packages {unknown}; expected some of {', '.join(PACKAGES)}")
    versions = package_versions(packages)
    if not versions:
        raise InputError(f"none of the packages is installed: {', '.join(packages)}")
    return {
        "data": "api-docs",
        "builder": BUILDER_VERSION,
        "packages": versions,
        "distributions": {p: DISTRIBUTIONS.get(p, p) for p in versions},
    }


def _cached(source: dict[str, Any], cache: Path | str | None) -> Path:
    directory = cache_directory(cache)
    if directory is None:
        raise InputError(
            f"the cache is off, so the default data set has no place; name one (li data build "
            f"api-docs --out DIR, then --data DIR), or set {CACHE_VARIABLE} to a directory"
        )
    return directory / f"api-docs-{digest(source)[:12]}"


def _json(value: object) -> str:
    return json.dumps(value, indent=1, sort_keys=True) + "\n"


def _make_splits(objects: Sequence[ApiObject]) -> dict[SplitName, Dataset]:
    """Turn objects into the three splits."""
    parsed = {item.name: parse_docstring(item.doc) for item in objects}
    english = _english_words(objects)
    resolver = _Resolver(objects)
    by_name = {item.name: item for item in objects}

    users: dict[str, list[str]] = defaultdict(list)
    spelling: dict[str, str] = {}  # sentences that differ in case or punctuation are one
    for item in objects:
        for raw in parsed[item.name].sentences[:MAX_SENTENCES_PER_OBJECT]:
            sentence = hide_name(raw, item, english)
            sentence = spelling.setdefault(re.sub(r"\W+", " ", sentence.lower()), sentence)
            if item.name not in users[sentence]:
                users[sentence].append(item.name)
    users = {key: names for key, names in users.items() if len(names) <= MAX_OBJECTS_PER_SENTENCE}
    sentences_of: dict[str, list[str]] = defaultdict(list)
    for sentence, names in users.items():
        for name in names:
            sentences_of[name].append(sentence)

    def labels_of(name: str) -> set[str]:
        item = by_name[name]
        related = resolver.resolve(parsed[name].see_also, item)
        own = {name, *([item.owner] if item.owner else [])}
        return own | {other for other in related if other in sentences_of}

    always_trained = {sentences[0] for sentences in sentences_of.values()}
    rows: dict[SplitName, list[tuple[str, set[str]]]] = {"train": [], "dev": [], "test": []}
    # In the order of the hashes, so that the first lines are a fair sample.
    for sentence in sorted(users, key=_digest):
        split = "train" if sentence in always_trained else _split_of(sentence)
        rows[split].append((sentence, set().union(*map(labels_of, users[sentence]))))

    keys = sorted(set().union(*(labels for _, labels in rows["train"])))
    # A sentence about a parameter may be held out, where another object's notes have it.
    held_out = {sentence for split in ("dev", "test") for sentence, _ in rows[split]}
    descriptions = [
        described(key, [p for p in parsed[key].parameters if p not in held_out])
        if key in parsed
        else words_of_name(key)  # a class without a docstring of its own
        for key in keys
    ]
    vocabulary = LabelVocabulary(keys, descriptions=descriptions)
    id_of = {key: number for number, key in enumerate(vocabulary.keys)}
    return {
        split: Dataset(
            split=split,
            labels=labels_from_lists(
                ([id_of[label] for label in sorted(labels)] for _, labels in part),
                len(vocabulary),
            ),
            vocabulary=vocabulary,
            texts=[sentence for sentence, _ in part],
        )
        for split, part in rows.items()
    }


def described(name: str, parameters: Sequence[str]) -> str:
    """The words of a name, and what its parameters are."""
    return ". ".join([words_of_name(name), *parameters[:MAX_PARAMETERS]])


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=8).digest()


def _split_of(sentence: str) -> SplitName:
    # Not by hash(), which differs from process to process.
    position = int.from_bytes(_digest(f"split {sentence}"), "big") / 2**64
    if position < TEST_SHARE:
        return "test"
    return "dev" if position < TEST_SHARE + DEV_SHARE else "train"


def _english_words(objects: Sequence[ApiObject]) -> frozenset[str]:
    """Words written without code markup, in two packages or often: "sort", but not "eigh"."""
    packages_of: dict[str, set[str]] = defaultdict(set)
    count: Counter[str] = Counter()
    for item in objects:
        package = item.name.partition(".")[0]
        prose = re.sub(r"`+[^`]*`+|^\s*>>>.*$", " ", item.doc.lower(), flags=re.MULTILINE)
        words = set(re.findall(r"(?<![\w.'\"])[a-z]+(?![\w.('\"])", prose))
        count.update(words)
        for word in words:
            packages_of[word].add(package)
    return frozenset(w for w, used in packages_of.items() if len(used) >= 3 or count[w] >= 8)


def hide_name(sentence: str, item: ApiObject, english: frozenset[str]) -> str:
    """Replace the object's own name in a sentence, which would give the answer away.

    A name that is an ordinary word ("sort") stays, unless it is written like code.
    """
    leaf = item.name.rpartition(".")[2]
    if leaf.lower() not in sentence.lower():
        return sentence
    plain = leaf.lower() in english and not _CODE_NAME.search(leaf)
    path = r"(?:[A-Za-z_]\w*\.)"
    # The first letter may have been made a capital at the beginning of the sentence.
    word = f"[{leaf[0].upper()}{leaf[0]}]{leaf[1:]}"
    name = rf"{path}+{leaf}(?:\(\))?|{leaf}\(\)" if plain else rf"{path}*{word}(?:\(\))?"
    replacement = _REPLACEMENT[item.kind]
    hidden = re.sub(
        rf"(?<![\w.])(?:[Tt]he |[Aa]n? )?(?:{name})(?: (?:{item.kind}|object|instance))?(?![\w(])",
        replacement,
        sentence,
    )
    hidden = re.sub(rf"([.!?] ){replacement}", lambda m: m[1] + replacement.capitalize(), hidden)
    return hidden[0].upper() + hidden[1:]


class _Resolver:
    """Finds the canonical name behind what a See Also section calls an object."""

    def __init__(self, objects: Sequence[ApiObject]) -> None:
        self._canonical: dict[str, str] = {}
        by_leaf: dict[tuple[str, str], set[str]] = defaultdict(set)
        for item in objects:
            for name in item.names:
                self._canonical.setdefault(name, item.name)
            package, _, rest = item.name.partition(".")
            by_leaf[package, rest.rpartition(".")[2]].add(item.name)
        self._unique = {key: min(names) for key, names in by_leaf.items() if len(names) == 1}

    def resolve(self, names: Iterable[str], item: ApiObject) -> list[str]:
        """Return canonical names; what cannot be resolved without doubt is left out."""
        package = item.name.partition(".")[0]
        parts = item.name.split(".")
        prefixes = [".".join(parts[:depth]) for depth in range(len(parts) - 1, 0, -1)]
        found: list[str] = []
        for raw in names:
            name = re.sub(r"^(?:np|numpy)\.", "numpy.", raw.strip("."))
            candidates = [item.module + "." + name, *(f"{p}.{name}" for p in prefixes), name]
            hit = next((self._canonical[c] for c in candidates if c in self._canonical), None)
            hit = hit or self._unique.get((package, name.rpartition(".")[2]))
            if hit and hit != item.name:
                found.append(hit)
        return found


def _stats(splits: Mapping[SplitName, Dataset]) -> dict[str, object]:
    train = splits["train"]
    frequency = train.labels.getnnz(axis=0)
    packages = Counter(key.partition(".")[0] for key in train.vocabulary.keys)
    return {
        "labels": train.n_labels,
        "labels_by_package": dict(sorted(packages.items())),
        "singleton_labels": int((frequency == 1).sum()),
        "splits": {
            split: {
                "points": part.n_points,
                "labels_per_point": round(part.labels.nnz / max(1, part.n_points), 3),
            }
            for split, part in splits.items()
        },
    }
