"""What every saved object of this package shares: one directory, a manifest, all or nothing."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Self

from learned_index.persistence.atomic import atomic_directory
from learned_index.persistence.failures import reading_model
from learned_index.persistence.layout import Manifest, read_manifest, write_manifest


class Saved:
    """Base of what is saved as a directory: ``save_pretrained`` and ``from_pretrained``.

    A class says what it writes and how it is made of that again; place, checks, errors and the
    order of the steps are the same for all.
    """

    kind: ClassVar[str]
    """What the manifest calls it."""
    saved_as: ClassVar[str | None] = None
    """What the manifest calls it instead, where classes of several kinds are found by it."""
    is_exact: ClassVar[bool] = False
    """Whether a saved one holds no other files than its own."""

    def save_pretrained(self, directory: str | Path, *, overwrite: bool = False) -> None:
        """Write it as one directory of checksummed files (no pickle): whole, or not at all.

        Args:
            directory: Where; its parents are made.
            overwrite: Replace a directory that this package wrote.

        Raises:
            InputError: It exists and is not empty, and ``overwrite`` is false.
            NotFittedError: There is nothing to save yet.
            StorageError: The place cannot be written to.
        """
        self._require_complete()
        with atomic_directory(directory, overwrite=overwrite) as folder:
            config = self._write(folder)
            write_manifest(
                folder,
                kind=self.saved_as or self.kind,
                config=config,
                version=self._format_version(),
            )

    @classmethod
    def from_pretrained(cls, directory: str | Path, *, verify: bool = True) -> Self:
        """Read what :meth:`save_pretrained` wrote; it answers the same, bit for bit.

        Args:
            directory: The saved object.
            verify: Check the files' checksums, which reads all of them; sizes, shapes and ids are
                always checked.

        Raises:
            ModelFormatError: Nothing of this kind, truncated, edited, or from a newer version.
            StorageError: A file cannot be read.
        """
        kind = cls.saved_as or cls.kind
        manifest = read_manifest(directory, kind=kind, verify=verify, exact=cls.is_exact)
        with reading_model(directory, kind.replace("-", " ")):
            return cls._read(manifest)

    def _require_complete(self) -> None:
        """Raise :class:`NotFittedError` where there is nothing to save yet."""

    def _format_version(self) -> int:
        """The first format version that can read what is written."""
        return 1

    @abstractmethod
    def _write(self, folder: Path) -> dict[str, Any]:
        """Write the files, and return what the manifest says beside their names (JSON-able)."""

    @classmethod
    @abstractmethod
    def _read(cls, manifest: Manifest) -> Self:
        """Make the object of a manifest whose files were checked."""
