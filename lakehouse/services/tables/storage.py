"""Where the files of the tables are: in the folder of the lake, or in a bucket (`object_storage`). Used by the child.

A *path* is relative to the lake (`datasets/a/data/x.parquet`), a *location* is what the metadata of a table has.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from lakehouse.process.calls.rpc_child import CallError
from lakehouse.services.lake.durability import sync_directory
from lakehouse.services.tables.file_io import lake_path, make_directories

if TYPE_CHECKING:
    from pyiceberg.table import Table

DATASETS = "datasets/"


class Storage(Protocol):
    """The files of the tables. Only files below `datasets/` are changed."""

    has_links: bool
    """Whether a file can get a second name without being copied."""

    def locate(self, path: str) -> str:
        """The location of a path."""

    def resolve(self, location: str) -> str:
        """The path of a location. That of a file elsewhere begins with `../`, or is a URL."""

    def place(self, staged: Sequence[str], paths: Sequence[str]) -> None:
        """Bring staged files to their paths. One that is there already stays. Raises CallError if one is missing."""

    def delete(self, paths: Iterable[str]) -> tuple[int, int]:
        """Delete files. Returns how many there were, and their size in bytes."""

    def list_files(self) -> Iterator[tuple[str, float]]:
        """All files below `datasets/`, and when each came to its place, in milliseconds."""

    def check_owner(self) -> None:
        """Raise CallError if files that the catalog does not name may be those of another catalog."""

    def remove_empty_folders(self) -> None:
        """Remove the folders below `datasets/` that have no files."""


class LocalStorage:
    """The folder of a lake, which is the working directory."""

    has_links = True

    def locate(self, path: str) -> str:
        """Locations are relative, so that the folder can be moved."""
        return path

    def resolve(self, location: str) -> str:
        """Other engines write absolute locations."""
        return lake_path(location)

    def place(self, staged: Sequence[str], paths: Sequence[str]) -> None:
        """Move staged files, durably. A file that a killed attempt has moved is where it belongs already."""
        folders = {path.rpartition("/")[0] for path in paths}
        for folder in folders:
            make_directories(folder)
        try:
            for source, path in zip(staged, paths, strict=True):
                if os.path.exists(source) or not os.path.exists(path):  # noqa: PTH110 - relative to the lake's folder
                    os.rename(source, path)  # noqa: PTH104
        except FileNotFoundError:
            self.delete(paths)
            raise CallError("not found", "a staged file is missing: its request has ended") from None
        for folder in folders:
            sync_directory(folder)

    def delete(self, paths: Iterable[str]) -> tuple[int, int]:
        """Delete files. Returns how many there were, and their size in bytes."""
        count = size = 0
        for path in paths:
            if path.startswith(DATASETS):  # never a file of another program's warehouse
                with suppress(FileNotFoundError):
                    file = Path(path)
                    length = file.stat().st_size
                    file.unlink()
                    count, size = count + 1, size + length
        return count, size

    def list_files(self) -> Iterator[tuple[str, float]]:
        """The files, and when each was written or linked or moved to its place."""
        for parent, _, names in os.walk("datasets"):
            for name in names:
                path = f"{parent}/{name}"
                with suppress(FileNotFoundError):
                    found = os.stat(path)  # noqa: PTH116 - paths of many files
                    yield path, max(found.st_mtime, found.st_ctime) * 1000

    def check_owner(self) -> None:
        """The catalog is in the folder."""

    def remove_empty_folders(self) -> None:
        """Remove the folders that have no files."""
        for parent, _, _ in os.walk("datasets", topdown=False):
            if parent != "datasets":
                with suppress(OSError):  # not empty
                    Path(parent).rmdir()


class HasStorage(Protocol):
    """A catalog that knows where the files of its tables are."""

    storage: Storage

    def ensure_namespace(self, namespace: tuple[str, ...]) -> None:
        """Create a namespace for a new table, where that has to be done."""

    def list_names(self) -> Sequence[str]:
        """The names of all tables."""

    def list_locations(self) -> Sequence[tuple[str, bool]]:
        """The metadata files of all entries, those of other catalogs in the same database too, and which are tables."""

    def find_location(self, name: str) -> str | None:
        """The current metadata file of a table, None for an unknown table."""

    def list_current(self) -> Mapping[str, str]:
        """The current metadata files of all tables, by name."""


def storage_of(table: Table) -> Storage:
    """Where the files of a table are."""
    return cast("HasStorage", table.catalog).storage


def relative_path(storage: Storage, location: str) -> str:
    """A location as a path. Raises CallError for a file that is elsewhere."""
    path = storage.resolve(location)
    if path.startswith("../") or "://" in path:
        raise CallError(
            "unprocessable", "the table has a file outside of the lake's folder or bucket, which cannot be read here"
        )
    return path
