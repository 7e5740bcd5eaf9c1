"""What a user says about a table: which columns hold what, and how it is split."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from learned_index.errors import InputError

NO_SEPARATOR = "none"
"""What one writes where each cell is one label, whatever characters it holds."""
_ESCAPED = {"\\t": "\t", "\\n": "\n", "tab": "\t", "space": " "}
"""What a shell does not let one write easily."""


@dataclass(frozen=True, kw_only=True)
class TableOptions:
    """How to read the points of a table. What is not said is looked for by usual names.

    Attributes:
        text: Columns whose texts, joined by a blank, are the text of a point.
        labels: Columns of its labels.
        separator: What stands between labels of one cell; ``"none"``: a cell is one label; None:
            cells that hold lists, or where nothing can be meant but one label.
        id: Column with a name for each point, which may be missing.
        split: Column that says train, dev or test.
        test_share: Part of the training rows, drawn at random, that becomes the test split.
        seed: Seed of that choice.
        columns: Names of the columns of a CSV or TSV file without a header.
        vocabulary: File with a text for each label, see
            :func:`~learned_index.data.label_texts.read_label_texts`.
        language: Which of several languages of that file, such as ``"en"``.
        encoding: Of a CSV or TSV file.

    Raises:
        InputError: A share outside (0, 1), an empty separator, a negative seed.
    """

    text: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    separator: str | None = None
    id: str | None = None
    split: str | None = None
    test_share: float | None = None
    seed: int = 0
    columns: tuple[str, ...] = ()
    vocabulary: Path | str | None = None
    language: str | None = None
    encoding: str = "utf-8"

    def __post_init__(self) -> None:
        for field in ("text", "labels", "columns"):
            if isinstance(getattr(self, field), str):
                raise InputError(f"{field} is a string, expected a tuple of names of columns")
        if self.separator is not None:
            separator = _ESCAPED.get(self.separator, self.separator)
            if not separator:
                raise InputError("the separator is empty, expected e.g. '|', or 'none'")
            object.__setattr__(self, "separator", separator)
        if self.test_share is not None and not 0 < self.test_share < 1:
            raise InputError(
                f"the share of test points is {self.test_share}, expected a number between 0 and "
                "1, such as 0.1"
            )
        if self.seed < 0:
            raise InputError(f"the seed of the split is {self.seed}, expected 0 or more")

    @property
    def given(self) -> bool:
        """Whether anything is said, beside the seed."""
        return replace(self, seed=0) != TableOptions()
