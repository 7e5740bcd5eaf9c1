"""What every saved object of this package shares: one directory, a manifest, all or nothing."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Self

from learned_index.errors import InputError
from learned_index.persistence.atomic import atomic_directory
from learned_index.persistence.failures import reading_model
from learned_index.persistence.hub import downloaded, is_name
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
    def from_pretrained(
        cls,
        directory: str | Path,
        *,
        verify: bool = True,
        revision: str | None = None,
        token: str | None = None,
        cache_dir: str | Path | None = None,
    ) -> Self:
        """Read what :meth:`save_pretrained` wrote; it answers the same, bit for bit.

        Args:
            directory: The saved object; or a string ``"user/model"`` where there is neither such a
                path nor a folder ``user``: a name on the Hugging Face hub, from which what the
                hub client's cache lacks is downloaded then (a line of the log says so).
            verify: Check the files' checksums, which reads all of them; sizes, shapes and ids are
                always checked.
            revision: Of a name on the hub: branch, tag or commit; None: the main branch.
            token: For private models there; None: the one that ``hf auth login`` keeps.
            cache_dir: Of the hub's client; None: its own.

        Raises:
            InputError: A name that the hub does not know, or cannot be asked for.
            MissingExtraError: A name, without the hub's client.
            ModelFormatError: Nothing of this kind, truncated, edited, or from a newer version.
            StorageError: A file cannot be read.
        """
        if is_name(directory):
            directory = downloaded(
                str(directory), revision=revision, token=token, cache_dir=cache_dir
            )
        elif revision is not None:
            raise InputError(
                f"revision is {revision!r:.80}, but {str(directory)!r:.200} is a path and no name "
                "on the hub; leave revision away, or give 'user/model'"
            )
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
