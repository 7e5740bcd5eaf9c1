"""Label names: ids inside, names outside."""

from __future__ import annotations

import difflib
import heapq
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from learned_index.data.descriptions import (
    DESCRIPTIONS_FILE,
    read_descriptions,
    write_descriptions,
)
from learned_index.data.formats.lines import fail, has_half_pair, iter_lines, write_lines
from learned_index.errors import DataFormatError, InputError
from learned_index.persistence.foreign import file_exists
from learned_index.system.lazy import lazy_property
from learned_index.types import PAD_ID, Int64Array

_LONGEST_GUESSED = 200
"""Characters of a name that similar ones are looked for: it takes time, and is no slip of a key."""


class LabelVocabulary:
    """The labels' keys and texts, by label id.

    A key is unique and stable (an authority number, a qualified name). A text is what people
    read; it may be empty, and two labels may share one. A label's display name is its text, or
    its key where the text is empty. A description (synonyms, a definition) is never shown: a model
    learns from it, and from the text, what the label is about.

    Args:
        keys: One for each label, in the order of the ids. Not empty, without tab, line feed or
            carriage return, no two alike.
        texts: As many texts, without line feed and not ending with a carriage return; None
            leaves them all empty.
        descriptions: As many descriptions, of the same form and without blanks at their ends;
            None: no label has one.

    Raises:
        InputError: Lengths differ, a key is repeated or not allowed, a text is not allowed.

    Example:
        >>> labels = LabelVocabulary(["q1", "q2"], ["Algebra", "Topology"])
        >>> labels.id("Topology"), labels.id("q1"), labels.name(0)
        (1, 0, 'Algebra')
    """

    FILE_NAME: ClassVar[str] = "labels.txt"
    """Name of the file in a data folder and in a model directory."""

    def __init__(
        self,
        keys: Iterable[str],
        texts: Iterable[str] | None = None,
        descriptions: Iterable[str] | None = None,
    ) -> None:
        for what, names in (("keys", keys), ("texts", texts), ("descriptions", descriptions)):
            if isinstance(names, str | bytes):
                raise InputError(f"the {what} are one string, expected one for each label: a list")
        self._keys = tuple(keys)
        self._texts = tuple(texts) if texts is not None else ("",) * len(self._keys)
        none = ("",) * len(self._keys)
        self._descriptions = none if descriptions is None else tuple(descriptions)
        for what, given in (("texts", self._texts), ("descriptions", self._descriptions)):
            if len(given) != len(self._keys):
                raise InputError(
                    f"{len(self._keys)} label keys but {len(given)} {what}; give one for each"
                )
        for number, text in enumerate(() if descriptions is None else self._descriptions):
            problem = _problem("description", text)
            if problem or text != text.strip():
                raise InputError(
                    f"label {number}: {problem or 'its description has blanks around'}"
                )
        seen: dict[str, int] = {}
        for number, (key, text) in enumerate(zip(self._keys, self._texts, strict=True)):
            problem = _problem(key, text)
            if problem:
                raise InputError(f"label {number}: {problem}")
            if key in seen:
                raise InputError(
                    f"labels {seen[key]} and {number} have the same key {key!r:.80}; keys are "
                    "unique"
                )
            seen[key] = number
        self._id_of_key = seen

    @classmethod
    def numbered(cls, n_labels: int) -> LabelVocabulary:
        """Make a vocabulary for labels without names: the keys are "0", "1", ..."""
        numbered = cls(())
        # Not by the constructor, whose checks take a second for a million labels.
        numbered._keys = tuple(map(str, range(n_labels)))
        numbered._texts = numbered._descriptions = ("",) * n_labels
        numbered._id_of_key = dict(zip(numbered._keys, range(n_labels), strict=True))
        return numbered

    @classmethod
    def read(cls, path: Path | str) -> LabelVocabulary:
        """Read a file with one label a line, ``KEY<TAB>TEXT`` or ``KEY``; blank lines may end it.

        Raises:
            DataFormatError: Missing file, not UTF-8, an empty or repeated key. Names the line.
        """
        path = Path(path)
        keys: list[str] = []
        texts: list[str] = []
        line_of: dict[str, int] = {}
        blank = 0
        for number, line in enumerate(iter_lines(path), start=1):
            if not line.strip("\r"):
                blank = blank or number
                continue
            if blank:  # at the end of the file it does no harm, here it moves all ids
                fail(path, blank, "the line is empty; expected KEY<TAB>TEXT")
            key, _, text = line.removesuffix("\r").partition("\t")
            # A line of UTF-8 without its end can have no other problem.
            if not key or "\r" in key or text.endswith("\r"):
                fail(path, number, f"{_problem(key, text)}; expected KEY<TAB>TEXT")
            if key in line_of:
                fail(path, number, f"the key {key!r:.80} was used in line {line_of[key]} already")
            line_of[key] = number
            keys.append(key)
            texts.append(text)
        if not keys:
            raise DataFormatError(f"{path} is empty; expected one label a line, KEY<TAB>TEXT")
        read = cls(())
        # Not by the constructor, which would look at each line again.
        read._keys, read._texts = tuple(keys), tuple(texts)
        read._descriptions = ("",) * len(keys)
        read._id_of_key = dict(zip(keys, range(len(keys)), strict=True))
        return read

    def write(self, path: Path | str) -> None:
        """Write ``KEY<TAB>TEXT`` lines; the file appears when it is whole."""
        pairs = zip(self._keys, self._texts, strict=True)
        write_lines(Path(path), (f"{key}\t{text}" for key, text in pairs))

    def save(self, directory: Path | str) -> None:
        """Write :attr:`FILE_NAME`, and the descriptions if there are any, into a directory."""
        self.write(Path(directory) / self.FILE_NAME)
        if any(self._descriptions):
            write_descriptions(Path(directory) / DESCRIPTIONS_FILE, self._keys, self._descriptions)

    @classmethod
    def load(cls, directory: Path | str) -> LabelVocabulary:
        """Read what :meth:`save` wrote.

        Raises:
            DataFormatError: As :meth:`read` and :meth:`described_in`.
        """
        return cls.read(Path(directory) / cls.FILE_NAME).described_in(Path(directory))

    def described_in(self, directory: Path) -> LabelVocabulary:
        """The same labels with the descriptions that lie in a directory, if any do.

        Raises:
            DataFormatError: See :func:`~learned_index.data.descriptions.read_descriptions`.
        """
        path = directory / DESCRIPTIONS_FILE
        if not file_exists(path):
            return self
        described = read_descriptions(path, self._id_of_key)
        return LabelVocabulary(self._keys, self._texts, described)

    @property
    def keys(self) -> tuple[str, ...]:
        """All keys, by id."""
        return self._keys

    @property
    def texts(self) -> tuple[str, ...]:
        """All texts, by id; empty where a label has none."""
        return self._texts

    @property
    def descriptions(self) -> tuple[str, ...]:
        """All descriptions, by id; empty where a label has none."""
        return self._descriptions

    @property
    def learning_texts(self) -> list[str]:
        """What a model learns from, by id: text and description; empty where there is neither."""
        pairs = zip(self._texts, self._descriptions, strict=True)
        return [f"{text}. {more}" if text and more else text or more for text, more in pairs]

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the display names, by id."""
        return (text or key for key, text in zip(self._keys, self._texts, strict=True))

    def __contains__(self, name: object) -> bool:
        return name in self._id_of_key or (name != "" and name in self._ids_of_text)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LabelVocabulary):
            return NotImplemented
        return all(
            getattr(self, name) == getattr(other, name)
            for name in ("_keys", "_texts", "_descriptions")
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"LabelVocabulary({len(self)} labels)"

    def name(self, label_id: int) -> str:
        """Return the display name of a label.

        Raises:
            InputError: The id is out of range.
        """
        if not 0 <= label_id < len(self._keys):
            raise InputError(f"label id {label_id} is out of range 0..{len(self._keys) - 1}")
        return self._texts[label_id] or self._keys[label_id]

    def renamed(self, texts: Mapping[int, str]) -> LabelVocabulary:
        """A vocabulary in which some labels have other texts; ids and keys stay.

        Args:
            texts: The new text of each of these ids.

        Raises:
            InputError: An id that does not exist, or a text that is not allowed.
        """
        changed = list(self._texts)
        for label, text in texts.items():
            self.name(label)  # checks the id
            changed[label] = text
        return LabelVocabulary(self._keys, changed, self._descriptions)

    def subset(self, label_ids: Iterable[int] | Int64Array) -> LabelVocabulary:
        """A vocabulary of some labels, numbered in the order given."""
        ids = [int(label) for label in label_ids]
        parts = (self._keys, self._texts, self._descriptions)
        return LabelVocabulary(*([part[n] for n in ids] for part in parts))

    def extended(self, more: LabelVocabulary) -> LabelVocabulary:
        """A vocabulary with more labels behind these.

        Raises:
            InputError: A key of them is taken.
        """
        if not len(more):
            return self
        for number, key in enumerate(more.keys):
            if key in self._id_of_key:
                raise InputError(
                    f"labels {self._id_of_key[key]} and {len(self) + number} have the same key "
                    f"{key!r:.80}; keys are unique"
                )
        joined = LabelVocabulary(())
        # Not by the constructor, which would check all names again for one that joins.
        joined._keys = (*self._keys, *more._keys)
        joined._texts = (*self._texts, *more._texts)
        joined._descriptions = (*self._descriptions, *more._descriptions)
        numbers = range(len(self), len(joined._keys))
        joined._id_of_key = self._id_of_key | dict(zip(more._keys, numbers, strict=True))
        return joined

    def names(self, label_ids: Iterable[int] | Int64Array) -> list[str]:
        """Return the display names of ids; the padding id -1 gives an empty string."""
        return ["" if i == PAD_ID else self.name(int(i)) for i in label_ids]

    def id(self, name: str) -> int:
        """Return the id of the label with this key, or else with this text.

        Raises:
            InputError: Nothing has that name (close ones are suggested), or several labels have
                this text (their keys are listed).
        """
        if not isinstance(name, str):
            raise InputError(
                f"got {name!r:.80} for a label's name, expected a string: names and ids do not mix"
            )
        if name in self._id_of_key:
            return self._id_of_key[name]
        found = self._ids_of_text.get(name, ()) if name else ()
        if len(found) == 1:
            return found[0]
        if found:
            keys = ", ".join(f"{self._keys[i]!r:.80}" for i in found[:5])
            raise InputError(
                f"{len(found)} labels have the text {name!r:.80}; use a key instead: {keys}"
            )
        raise InputError(
            f"no label is called {name!r:.80} (of {len(self)} labels){self.did_you_mean(name)}"
        )

    def ids(self, names: Iterable[str]) -> Int64Array:
        """Return the ids of names as int64; see :meth:`id`."""
        if isinstance(names, str):
            names = [names]
        return np.array([self.id(name) for name in names], dtype=np.int64)

    @lazy_property
    def unique_names(self) -> tuple[str, ...]:
        """For each id a name that leads back to it: the text where only it means this, or the key.

        What :meth:`id` returns for ``unique_names[i]`` is ``i``.
        """
        return tuple(
            text
            if text
            and len(self._ids_of_text[text]) == 1
            and self._id_of_key.get(text, number) == number
            else key
            for number, (key, text) in enumerate(zip(self._keys, self._texts, strict=True))
        )

    def did_you_mean(self, name: str) -> str:
        """The end of an error about a name that no label has: names that look like it, if any."""
        close = self.suggest(name)
        return f"; did you mean {', '.join(map(repr, close))}?" if close else ""

    def suggest(self, name: str, *, n: int = 3) -> list[str]:
        """Return up to ``n`` names that look like ``name``, the closest first."""
        wanted = name.casefold()
        if not wanted or len(wanted) > _LONGEST_GUESSED:
            return []
        grams = _bigrams(wanted)

        def overlap(candidate: str) -> float:
            theirs = _bigrams(candidate.casefold())
            return 2 * len(grams & theirs) / max(1, len(grams) + len(theirs))

        # Edit distance to each of a million names would take a minute: only the best 200 by
        # shared letter pairs are compared.
        candidates = heapq.nlargest(
            200, {*self._keys, *filter(None, self._texts)}, key=lambda c: (overlap(c), c)
        )
        folded = {candidate.casefold(): candidate for candidate in candidates}
        return [folded[name] for name in difflib.get_close_matches(wanted, folded, n=n)]

    @lazy_property
    def _ids_of_text(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for number, text in enumerate(self._texts):
            if text:
                found.setdefault(text, []).append(number)
        return found


def _bigrams(text: str) -> set[str]:
    padded = f" {text} "
    return {padded[i : i + 2] for i in range(len(padded) - 1)}


def _problem(key: Any, text: Any) -> str | None:
    for name in (key, text):
        if not isinstance(name, str):
            return f"{name!r} is a {type(name).__name__}, expected a string"
    if not key:
        return "the key is empty"
    if any(character in key for character in "\t\n\r"):
        return f"the key {key!r:.80} holds a tab, line feed or carriage return"
    if "\n" in text or text.endswith("\r"):
        return f"the text {text!r:.80} holds a line feed or ends with a carriage return"
    if has_half_pair(key + text):
        return (
            f"the name {key!r:.80} {text!r:.80} holds half a surrogate pair, which is not a "
            "character"
        )
    return None
