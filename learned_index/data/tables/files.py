"""Tables as streams of rows: nothing but a block of the file is in memory."""

from __future__ import annotations

import codecs
import csv
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

from learned_index.data.formats.jsonl import iter_objects
from learned_index.data.formats.lines import UTF8_MARK, unpacked
from learned_index.errors import DataFormatError, InputError
from learned_index.persistence.foreign import check_unpacked_size, open_file, reading
from learned_index.system.extras import Deferred
from learned_index.system.progress import Progress

pyarrow = Deferred("pyarrow")
csv_reader = Deferred("pyarrow.csv")
parquet = Deferred("pyarrow.parquet")

_BLOCK = 2**23
"""Bytes of a CSV file that are read at once; no row may be longer."""
_ROWS = 2**12
_LOOKED_AT = 1000
"""Objects of a file of JSON lines whose keys are its columns."""
_DELIMITERS = ",;\t|"
_ANNIF_COLUMNS = ("text", "subject_uris")

ENDINGS = (".csv", ".tsv", ".parquet", ".jsonl", ".ndjson", ".json")
"""Endings of the files that are tables, perhaps with ``.gz`` behind (not Parquet's)."""


class Table(ABC):
    """A file with one row a point.

    Attributes:
        path: The file.
        columns: Their names, in the order of the file.
        told: What kind of file it is, for a person.
        bad_rows: Numbers of rows that were left out, for they have another number of columns than
            the header; filled in as rows are read.
    """

    kind: ClassVar[str]

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path, self.columns = path, tuple(columns)
        self.told = self.kind
        self.bad_rows: list[int] = []
        twice = sorted({name for name in self.columns if self.columns.count(name) > 1})
        if twice:
            raise DataFormatError(
                f"{path} has two columns called {twice[0]!r}; rename one in the file"
            )

    @abstractmethod
    def rows(
        self, columns: Sequence[str], progress: Progress | None = None
    ) -> Iterator[tuple[Any, ...]]:
        """Yield the values of some columns, row by row; a missing value is None or empty.

        Args:
            columns: Names of the columns.
            progress: Told how much of the file is read.

        Raises:
            DataFormatError: The file is damaged, or is not what its name says.
        """


def is_table(path: Path) -> bool:
    """Whether a file is called as tables are."""
    return _ending(path) in ENDINGS


def open_table(path: Path | str, *, columns: Sequence[str] = (), encoding: str = "utf-8") -> Table:
    """Look at the head of a table: which columns it has.

    Args:
        path: A file whose ending is one of :data:`ENDINGS`, perhaps with ``.gz`` behind.
        columns: Names of the columns of a CSV or TSV file without a header.
        encoding: Of a CSV or TSV file.

    Raises:
        DataFormatError: No such file, or it has no columns.
        InputError: Another ending.
        MissingExtraError: pyarrow is not installed.
    """
    path = Path(path)
    ending = _ending(path)
    if ending not in ENDINGS:
        raise InputError(
            f"{path} is called {path.suffix or 'nothing'} at its end; tables end in "
            f"{', '.join(ENDINGS)}, perhaps with .gz behind"
        )
    if ending in (".csv", ".tsv"):
        return CsvTable(path, columns, encoding)
    if columns:
        raise InputError(f"{path} names its columns itself; leave out their names (--columns)")
    return ParquetTable(path) if ending == ".parquet" else JsonTable(path)


def _ending(path: Path) -> str:
    name = path.name.lower()
    return Path(name.removesuffix(".gz")).suffix


class CsvTable(Table):
    """CSV or TSV with a header, or without one and names given; all cells are texts.

    A TSV file whose first line is ``text<TAB><uri> <uri>``, as Annif's are, needs no names.
    """

    kind = "CSV"

    def __init__(self, path: Path, columns: Sequence[str], encoding: str) -> None:
        self._encoding = encoding
        first = self._first_line(path)
        is_tsv = _ending(path) == ".tsv"
        self._delimiter = "\t" if is_tsv else _delimiter(first)
        self._has_header = not columns
        if not columns and is_tsv and _is_annif(first):
            columns, self._has_header = _ANNIF_COLUMNS, False
        names = columns or next(csv.reader([first], delimiter=self._delimiter), [])
        names = [name.strip() for name in names]
        if not names or not all(names):
            raise DataFormatError(
                f"{path}:1: the header is {first[:60]!r}, expected a name for each column; of a "
                "file without a header give the names (--columns)"
            )
        super().__init__(path, names)
        shown = "tab" if self._delimiter == "\t" else f"'{self._delimiter}'"
        header = "" if self._has_header else ", no header"
        self.told = f"{'TSV' if is_tsv else 'CSV'} ({shown} between columns{header})"

    def _first_line(self, path: Path) -> str:
        with open_file(path) as raw, unpacked(path, raw) as file, reading(path):
            begin: bytes = file.read(2**20).removeprefix(UTF8_MARK)
        try:
            # Not final: a character may be cut off at the end.
            text = codecs.getincrementaldecoder(self._encoding)().decode(begin)
            return text.split("\n", 1)[0].split("\r", 1)[0]
        except LookupError:
            raise InputError(
                f"the encoding {self._encoding!r} is unknown; expected e.g. utf-8 or cp1252"
            ) from None
        except UnicodeError:
            raise _not_encoded(path, self._encoding) from None

    def rows(
        self, columns: Sequence[str], progress: Progress | None = None
    ) -> Iterator[tuple[Any, ...]]:
        """See :meth:`Table.rows`."""
        self.bad_rows = []

        def bad_row(row: Any) -> str:
            self.bad_rows.append(row.number - self._has_header)
            return "skip"

        with open_file(self.path) as raw, unpacked(self.path, raw) as file:
            size = os.fstat(raw.fileno()).st_size
            try:
                reader = csv_reader.open_csv(
                    file,
                    csv_reader.ReadOptions(
                        use_threads=False,  # else rows have no numbers
                        block_size=_BLOCK,
                        column_names=list(self.columns),
                        skip_rows_after_names=int(self._has_header),
                        encoding=self._encoding,
                    ),
                    csv_reader.ParseOptions(
                        delimiter=self._delimiter,
                        # Annif's texts hold quotes that quote nothing.
                        quote_char='"' if self._has_header else False,
                        newlines_in_values=self._has_header,
                        invalid_row_handler=bad_row,
                    ),
                    csv_reader.ConvertOptions(
                        column_types=dict.fromkeys(self.columns, pyarrow.string()),
                        include_columns=list(columns),
                        strings_can_be_null=False,
                    ),
                )
                for number, batch in enumerate(reader):
                    if file is not raw:
                        check_unpacked_size(self.path, file.tell(), size)
                    for start in range(0, batch.num_rows, _ROWS):
                        yield from _batch_rows(batch.slice(start, _ROWS))
                        if progress is not None:
                            # The reader is some blocks ahead of the rows.
                            read = _BLOCK * (number + min(1.0, (start + _ROWS) / batch.num_rows))
                            progress(raw.tell() if file is not raw else min(read, size), size)
            except pyarrow.ArrowInvalid as error:
                raise self._invalid(error) from None
            except (UnicodeError, EOFError, OSError) as error:
                raise DataFormatError(
                    f"{self.path} cannot be read to its end ({error}); is it whole, and is it "
                    f"{self._encoding}?"
                ) from None

    def _invalid(self, error: Exception) -> DataFormatError:
        text = str(error)
        if "UTF8" in text or "UTF-8" in text:
            return _not_encoded(self.path, self._encoding)
        if "straddl" in text:
            return DataFormatError(
                f"{self.path} has a row of more than {_BLOCK >> 20} MiB; is a quote not closed?"
            )
        if "Empty CSV" in text:
            return DataFormatError(f"{self.path} has a header and no rows")
        return DataFormatError(f"{self.path} is not CSV as its header begins it: {text[:160]}")


class ParquetTable(Table):
    """A Parquet file; cells may be texts, numbers, lists, objects."""

    kind = "Parquet"

    def __init__(self, path: Path) -> None:
        with open_file(path) as raw:
            super().__init__(path, self._opened(path, raw).schema_arrow.names)

    @staticmethod
    def _opened(path: Path, raw: Any) -> Any:
        try:
            return parquet.ParquetFile(raw)
        except (pyarrow.ArrowInvalid, OSError) as error:
            raise DataFormatError(
                f"{path} is no Parquet file ({str(error)[:80]}); copy it again"
            ) from None

    def rows(
        self, columns: Sequence[str], progress: Progress | None = None
    ) -> Iterator[tuple[Any, ...]]:
        """See :meth:`Table.rows`."""
        done = 0
        with open_file(self.path) as raw:
            file = self._opened(self.path, raw)
            try:
                for batch in file.iter_batches(batch_size=_ROWS, columns=list(columns)):
                    # Columns come in the order of the file.
                    yield from _batch_rows(batch.select(list(columns)))
                    done += batch.num_rows
                    if progress is not None:
                        progress(done, file.metadata.num_rows)
            except (pyarrow.ArrowException, OSError) as error:
                raise DataFormatError(
                    f"{self.path} cannot be read to its end ({str(error)[:80]}); copy it again"
                ) from None


class JsonTable(Table):
    """JSON lines, an object a line; its keys are the columns."""

    kind = "JSON lines"

    def __init__(self, path: Path) -> None:
        names: dict[str, None] = {}
        for _, value in islice(iter_objects(path), _LOOKED_AT):
            names.update(dict.fromkeys(value))
        if not names:
            raise DataFormatError(f"{path} is empty; expected one object a line")
        super().__init__(path, list(names))

    def rows(
        self, columns: Sequence[str], progress: Progress | None = None
    ) -> Iterator[tuple[Any, ...]]:
        """See :meth:`Table.rows`."""
        size, read = self.path.stat().st_size, 0
        for number, (line, value) in enumerate(iter_objects(self.path), start=1):
            yield tuple(value.get(name) for name in columns)
            read += len(line.raw) + 1
            if progress is not None and number % _ROWS == 0:
                progress(read, max(size, read))


def _batch_rows(batch: Any) -> Iterator[tuple[Any, ...]]:
    return zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _delimiter(header: str) -> str:
    """The one of the usual delimiters that splits the header into the most columns."""
    return max(_DELIMITERS, key=lambda each: len(next(csv.reader([header], delimiter=each), [])))


def _is_annif(line: str) -> bool:
    _, tab, subjects = line.partition("\t")
    tokens = subjects.split()
    return bool(tab and tokens) and all(t[0] == "<" and t[-1] == ">" for t in tokens)


def _not_encoded(path: Path, encoding: str) -> DataFormatError:
    other = "cp1252 or utf-16" if encoding.lower().replace("_", "-") == "utf-8" else "utf-8"
    return DataFormatError(
        f"{path} is not {encoding}; say what it is (--encoding, perhaps {other}), or save it as "
        "UTF-8"
    )
