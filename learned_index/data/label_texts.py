"""Files that give labels their texts: a table of keys and texts, Annif's and SKOS vocabularies."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from learned_index.data.formats.lines import fail, iter_lines
from learned_index.data.vocabulary import LabelVocabulary
from learned_index.errors import DataFormatError, InputError
from learned_index.persistence.foreign import open_file
from learned_index.system.extras import Deferred

rdflib = Deferred("rdflib")
_GRAPHS = {
    ".ttl": "turtle",
    ".rdf": "xml",
    ".xml": "xml",
    ".nt": "nt",
    ".n3": "n3",
}
"""Endings of SKOS files, and what rdflib calls them. Not JSON-LD, which may fetch other files."""
_SKOS = "http://www.w3.org/2004/02/skos/core#"
_DESCRIBING = ("altLabel", "hiddenLabel", "definition", "scopeNote")
"""Properties of SKOS concepts that tell what they are about, beside the preferred label."""
_KEYS, _TEXTS = ("uri", "key", "id", "label_id"), ("label", "text", "name", "title")


class _Label(NamedTuple):
    key: str
    text: str
    description: str = ""


def read_label_texts(path: Path | str, *, language: str | None = None) -> LabelVocabulary:
    """Read keys and texts of labels.

    ``.tsv`` and ``.txt``: ``KEY<TAB>TEXT`` a line, as ``labels.txt``; keys in angle brackets lose
    them, further columns are ignored (Annif's vocabulary). ``.csv``: a header with ``uri`` (or
    ``key``, ``id``) and ``label_en``, ``label_fr`` (or ``label``, ``text``, ``name``). ``.ttl``,
    ``.rdf``, ``.xml``, ``.nt``, ``.n3``: the preferred labels of SKOS concepts, and as descriptions
    their other labels, definitions and scope notes in the same language.

    Args:
        path: The file.
        language: Of several languages the one that is wanted, such as ``"en"``.

    Returns:
        The labels of the file, in its order (of SKOS: of the keys).

    Raises:
        DataFormatError: The file is damaged, or a key comes twice. Names the line.
        InputError: Several languages, and none or another one is asked for.
        MissingExtraError: rdflib is not installed.

    Example:
        >>> read_label_texts("subjects.ttl", language="en")  # doctest: +SKIP
        LabelVocabulary(34012 labels)
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending in _GRAPHS:
        labels: Iterable[_Label] = _skos(path, _GRAPHS[ending], language)
    elif ending == ".csv":
        labels = _csv(path, language)
    elif ending in (".tsv", ".txt"):
        labels = _lines(path)
    else:
        raise InputError(
            f"{path} is called {ending or 'nothing'} at its end; texts of labels are read from "
            f".tsv, .txt, .csv and {', '.join(_GRAPHS)}"
        )
    found: dict[str, _Label] = {}
    for label in labels:
        if label.key in found:
            raise DataFormatError(
                f"{path}: the label {label.key!r:.80} comes twice; keep one of them"
            )
        found[label.key] = label
    if not found:
        raise DataFormatError(f"{path} holds no labels; expected a key and a text for each")
    try:
        return LabelVocabulary(
            found,
            [label.text for label in found.values()],
            [label.description for label in found.values()],
        )
    except InputError as error:
        raise DataFormatError(f"{path}: {error}") from None


def bare(key: str) -> str:
    """A key without the angle brackets that Annif's files put around addresses."""
    return key[1:-1] if key.startswith("<") and key.endswith(">") else key


def _tidy(text: str) -> str:
    return " ".join(text.split())


def _lines(path: Path) -> Iterator[_Label]:
    for number, line in enumerate(iter_lines(path), start=1):
        if not line.strip():
            continue
        key, tab, rest = line.rstrip("\r").partition("\t")
        if not tab or not key.strip():
            fail(path, number, f"{line[:60]!r} has no tab; expected KEY<TAB>TEXT")
        yield _Label(bare(key.strip()), _tidy(rest.partition("\t")[0]))


def _csv(path: Path, language: str | None) -> Iterator[_Label]:
    # Not by pyarrow: a model may be served where it is not, and the file is small.
    text = "\n".join(iter_lines(path))
    rows = csv.reader(io.StringIO(text, newline=""))
    header = [name.strip().lower() for name in next(rows, [])]
    key = next((header.index(name) for name in _KEYS if name in header), None)
    languages = {name.removeprefix("label_"): i for i, name in enumerate(header)
                 if name.startswith("label_") and name != "label_id"}  # fmt: skip
    plain = next((header.index(name) for name in _TEXTS if name in header), None)
    column = plain if not languages else languages[_language(path, languages, language)]
    if key is None or column is None:
        raise DataFormatError(
            f"{path}:1: the header is {', '.join(header)!r:.80}; expected 'uri' (or 'key', 'id') "
            "and 'label_en' (or another language, or 'label', 'text', 'name')"
        )
    for row in rows:
        if row:
            if len(row) != len(header):
                fail(path, rows.line_num, f"{len(row)} columns, the header has {len(header)}")
            yield _Label(bare(row[key].strip()), _tidy(row[column]))


def _language(path: Path, there: Iterable[str], wanted: str | None) -> str:
    found = sorted(there)
    if wanted is not None and wanted.lower() in found:
        return wanted.lower()
    if wanted is None and len(found) == 1:
        return found[0]
    raise InputError(
        f"{path} has texts in {', '.join(name or 'no language' for name in found[:12])}; "
        + (f"{wanted!r} is none of them" if wanted else "say which (--language)")
    )


def _skos(path: Path, notation: str, language: str | None) -> Iterator[_Label]:
    graph = rdflib.Graph()
    with open_file(path) as file:
        try:
            graph.parse(data=file.read(), format=notation)
        except Exception as error:  # rdflib's parsers raise what they like
            raise DataFormatError(
                f"{path} cannot be read as {notation} ({' '.join(str(error).split())[:120]})"
            ) from None
    preferred = _literals(graph, "prefLabel")
    if not preferred:
        return
    chosen = _language(path, {tag for each in preferred.values() for tag in each}, language)
    describing = [_literals(graph, name) for name in _DESCRIBING]

    def said(texts: dict[str, list[str]]) -> list[str]:
        """What is said in the language, or else in none."""
        return texts.get(chosen, texts.get("", []))

    for key in sorted(preferred):
        # A concept without a text in that language is a label all the same. Of two texts the first
        # in the alphabet: a graph has no order.
        more = [text for texts in describing for text in said(texts.get(key, {}))]
        yield _Label(key, next(iter(said(preferred[key])), ""), "; ".join(more))


def _literals(graph: Any, name: str) -> dict[str, dict[str, list[str]]]:
    """Texts that a property gives concepts, sorted: by concept and by language."""
    found: dict[str, dict[str, list[str]]] = {}
    for concept, text in graph.subject_objects(rdflib.URIRef(_SKOS + name)):
        tidy = _tidy(str(text))
        if isinstance(concept, rdflib.URIRef) and isinstance(text, rdflib.Literal) and tidy:
            tag = (text.language or "").lower()
            found.setdefault(str(concept), {}).setdefault(tag, []).append(tidy)
    return {
        concept: {tag: sorted(texts) for tag, texts in each.items()}
        for concept, each in found.items()
    }


def named_by_text(labels: LabelVocabulary, name: str) -> str:
    """The key that a name of a data set stands for: itself, or that of the one label so called."""
    if name in labels:
        try:
            return labels.keys[labels.id(name)]
        except InputError:  # several labels have this text
            return name
    return name


def with_texts(
    names: list[str], given: dict[str, str], texts: LabelVocabulary | None
) -> tuple[LabelVocabulary, int | None]:
    """A vocabulary of all labels of a file of texts, and of names that it does not hold behind.

    Args:
        names: Keys that occur, sorted.
        given: Texts that came with the data, by key; empty ones may be missing.
        texts: The file's labels; None: there is none.

    Returns:
        The vocabulary, and how many of the names the file does not know (None without a file).

    Raises:
        InputError: It knows none of them.
    """
    if texts is None:
        return LabelVocabulary(names, [given.get(name, "") for name in names]), None
    known = set(texts.keys)
    others = [name for name in names if name not in known]
    if len(others) == len(names):
        raise InputError(
            f"none of the {len(names)} labels is in the file of label texts: the data have "
            f"{others[0]!r:.60}, the file has {texts.keys[0]!r:.60}; expected the same keys"
        )
    more = LabelVocabulary(others, [given.get(name, "") for name in others])
    return texts.extended(more), len(others)
