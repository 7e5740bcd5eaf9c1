"""Data formats, label vocabulary, data sets.

Example:
    >>> from learned_index.data import open_dataset
    >>> folder = open_dataset("my-data")  # doctest: +SKIP
    >>> train = folder.read("train")  # doctest: +SKIP
    >>> train.texts, train.labels, train.vocabulary  # doctest: +SKIP
"""

from typing import TYPE_CHECKING, Any

from learned_index.data.convert import convert
from learned_index.data.dataset import SPLITS, Dataset, SplitName, hold_out
from learned_index.data.folder import FORMATS, DataFolder, open_dataset, write_dataset
from learned_index.data.formats.base import FormatName
from learned_index.data.holdout import holdout_rows, split_folder, without_labels
from learned_index.data.label_texts import read_label_texts
from learned_index.data.opening import open_data
from learned_index.data.vocabulary import LabelVocabulary
from learned_index.inputs.labels import labels_from_lists
from learned_index.inputs.matrices import canonical_features, canonical_labels
from learned_index.system.extras import lazy_attribute

if TYPE_CHECKING:
    from learned_index.data.api_docs.build import build_api_docs
    from learned_index.data.tables.importing import import_table
    from learned_index.data.tables.options import TableOptions
    from learned_index.data.tables.points import TableReport
    from learned_index.data.validation import ValidationReport, validate

__all__ = [
    "FORMATS",
    "SPLITS",
    "DataFolder",
    "Dataset",
    "FormatName",
    "LabelVocabulary",
    "SplitName",
    "TableOptions",
    "TableReport",
    "ValidationReport",
    "build_api_docs",
    "canonical_features",
    "canonical_labels",
    "convert",
    "hold_out",
    "holdout_rows",
    "import_table",
    "labels_from_lists",
    "open_data",
    "open_dataset",
    "read_label_texts",
    "split_folder",
    "validate",
    "without_labels",
    "write_dataset",
]

# Imported when they are first used (PEP 562): a search needs none of them.
_HOME = {
    "build_api_docs": "learned_index.data.api_docs.build",
    "import_table": "learned_index.data.tables.importing",
    "TableOptions": "learned_index.data.tables.options",
    "TableReport": "learned_index.data.tables.points",
    "ValidationReport": "learned_index.data.validation",
    "validate": "learned_index.data.validation",
}


def __getattr__(name: str) -> Any:
    return lazy_attribute(__name__, _HOME, name)


def __dir__() -> list[str]:
    return sorted(__all__)
