"""Files of pyiceberg on the local disk, durable when they are closed; pyiceberg's own file access syncs nothing.

pyiceberg loads `DurableFileIO` by the catalog's property `py-io-impl`. Paths are relative to the working directory,
which is the folder of the lake. The classes have the methods of pyiceberg's interfaces and do not inherit from them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from io import BufferedWriter
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from lakehouse.services.lake.durability import sync_directory


def local_path(location: str) -> str:
    """The path of a location. Other engines write `file:/absolute/path` and `file:///absolute/path`."""
    if location.startswith("file:"):
        return "/" + location.removeprefix("file:").lstrip("/")
    return location


def lake_path(location: str) -> str:
    """A location as a path relative to the folder of the lake, in its normal form.

    One of a file that is elsewhere begins with `../`. A URL of another scheme than `file` is returned as it is.
    """
    if "://" in location and not location.startswith("file:"):
        return location
    path = local_path(location)
    if os.path.isabs(path):  # noqa: PTH117 - paths of many files
        return os.path.relpath(os.path.realpath(path), os.path.realpath("."))
    return os.path.normpath(path)


def make_directories(path: str) -> None:
    """Make a directory and its parents, durable like the files in them."""
    if not path or os.path.isdir(path):  # noqa: PTH112 - a path relative to the working directory, on a hot path
        return
    parent = os.path.dirname(path)  # noqa: PTH120
    make_directories(parent)
    Path(path).mkdir(exist_ok=True)
    sync_directory(parent)


class DurableWriter:
    """A stream that is written to a new file and durable when it is closed."""

    def __init__(self, path: str, *, overwrite: bool) -> None:
        make_directories(os.path.dirname(path))  # noqa: PTH120
        flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if overwrite else os.O_EXCL)
        self._path = path
        self._file: BufferedWriter = os.fdopen(os.open(path, flags, 0o600), "wb")

    def write(self, data: bytes) -> int:
        """Write bytes."""
        return self._file.write(data)

    def tell(self) -> int:
        """The number of bytes written."""
        return self._file.tell()

    def flush(self) -> None:
        """Pass buffered bytes to the kernel."""
        self._file.flush()

    @property
    def closed(self) -> bool:
        """Whether the stream is closed."""
        return self._file.closed

    def close(self) -> None:
        """Sync and close the file.

        A manifest is named only by the metadata file that is written into the same directory after it, so the directory
        is synced with the metadata file.
        """
        if self._file.closed:
            return
        with self._file:
            self._file.flush()
            os.fsync(self._file.fileno())
        if not self._path.endswith(".avro"):
            sync_directory(os.path.dirname(self._path))  # noqa: PTH120

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class LocalFile:
    """A file by its location, for reading and for writing."""

    def __init__(self, location: str) -> None:
        self.location = location
        self.path = local_path(location)

    def __len__(self) -> int:
        return os.stat(self.path).st_size  # noqa: PTH116

    def exists(self) -> bool:
        """Whether the file exists."""
        return os.path.exists(self.path)  # noqa: PTH110

    def open(self, seekable: bool = True) -> BinaryIO:  # noqa: ARG002 - the interface's
        """Open the file for reading."""
        return open(self.path, "rb")  # noqa: PTH123 - the caller closes it

    def create(self, overwrite: bool = False) -> DurableWriter:
        """Open the file for writing. Raises FileExistsError unless `overwrite` is set."""
        return DurableWriter(self.path, overwrite=overwrite)

    def to_input_file(self) -> LocalFile:
        """This file, for reading."""
        return self


class DurableFileIO:
    """The file access of the catalog and its tables."""

    def __init__(self, properties: Mapping[str, str]) -> None:
        self.properties = properties

    def new_input(self, location: str) -> LocalFile:
        """A file to read."""
        return LocalFile(location)

    def new_output(self, location: str) -> LocalFile:
        """A file to write."""
        return LocalFile(location)

    def delete(self, location: str | LocalFile) -> None:
        """Delete a file. A file that is missing already is deleted."""
        path = local_path(location if isinstance(location, str) else location.location)
        Path(path).unlink(missing_ok=True)
