"""The files of the tables in a bucket, through pyarrow. Used by the child of a lake beyond one machine.

Data files are uploaded by the process of the services, before a commit; here manifests and metadata are written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING

from lakehouse.process.calls.rpc_child import CallError
from lakehouse.services.tables.storage import DATASETS
from lakehouse.services.warehouse.credentials import Credentials, CredentialsMissing, CredentialSource
from lakehouse.services.warehouse.settings import STATE, WarehouseSettings

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem
    from pyiceberg.io import FileIO

CONNECT_TIMEOUT, REQUEST_TIMEOUT = "3", "10"
"""Seconds."""
DELETED_AT_ONCE = 500
OWNER = f"{STATE}catalog"
"""The object that names the catalog of a warehouse."""
DENIED = "AWS Error ACCESS_DENIED"


class ObjectStorage:
    """The bucket of a lake, below the prefix of its warehouse."""

    has_links = False

    def __init__(self, settings: WarehouseSettings) -> None:
        self._settings = settings
        self._root = settings.location
        self._source = CredentialSource(settings.key_file, settings.environment)
        self._opened: tuple[Credentials, FileIO] | None = None

    def load_credentials(self) -> Credentials:
        """The credentials as they are now. Raises CallError."""
        try:
            return self._source.load()
        except CredentialsMissing as error:
            raise CallError("upstream", str(error)) from None

    def open_io(self) -> FileIO:
        """The file access with the present credentials: the same object, with its connections, until they change."""
        from pyiceberg.io.pyarrow import PyArrowFileIO

        credentials = self.load_credentials()
        if self._opened is None or self._opened[0] is not credentials:
            self._opened = (credentials, PyArrowFileIO(self._make_properties(credentials)))
        return self._opened[1]

    def _make_properties(self, credentials: Credentials) -> dict[str, str]:
        properties = {
            "s3.endpoint": self._settings.endpoint,
            "s3.region": self._settings.region,
            "s3.access-key-id": credentials.key_id,
            "s3.secret-access-key": credentials.secret,
            "s3.connect-timeout": CONNECT_TIMEOUT,
            "s3.request-timeout": REQUEST_TIMEOUT,
            "s3.force-virtual-addressing": str(not self._settings.path_style).lower(),
        }
        if credentials.session:
            properties["s3.session-token"] = credentials.session
        return properties

    def locate(self, path: str) -> str:
        """The URL of the object."""
        return self._root + path

    def resolve(self, location: str) -> str:
        """What follows the warehouse in a URL; Hadoop's schemes mean the same. Another URL is returned as it is."""
        for scheme in ("s3a://", "s3n://"):
            if location.startswith(scheme):
                location = "s3://" + location.removeprefix(scheme)
        return location.removeprefix(self._root)

    def place(self, staged: Sequence[str], paths: Sequence[str]) -> None:
        """The files have been uploaded to their paths."""
        if list(staged) != list(paths):
            raise CallError("internal", "a file was uploaded under another key than that of its table")

    def delete(self, paths: Iterable[str]) -> tuple[int, int]:
        """Delete objects. Returns how many there were, and their size in bytes."""
        from pyarrow.fs import FileType

        count = size = 0
        files = self._open_files()
        keys = (self._key(path) for path in paths if path.startswith(DATASETS))
        while batch := list(islice(keys, DELETED_AT_ONCE)):
            for found in files.get_file_info(batch):
                if found.type == FileType.File:
                    with suppress(FileNotFoundError):  # another service deletes the same files
                        files.delete_file(found.path)
                        count, size = count + 1, size + (found.size or 0)
        return count, size

    def list_files(self) -> Iterator[tuple[str, float]]:
        """All objects, and when each was stored."""
        from pyarrow.fs import FileSelector, FileType

        root = self._key("")
        selector = FileSelector(self._key(DATASETS.rstrip("/")), recursive=True, allow_not_found=True)
        for found in self._open_files().get_file_info(selector):
            if found.type == FileType.File:
                yield found.path.removeprefix(root), found.mtime_ns / 1_000_000

    def check_owner(self) -> None:
        """Raise CallError if the files below the prefix may be those of another catalog: this one does not name them.

        The first sweep records the catalog in the bucket.
        """
        try:
            self._check_mark(f"{self._settings.catalog} {self._settings.catalog_name}")
        except OSError as error:
            if DENIED not in str(error) or self._settings.catalog.startswith("postgresql://"):
                raise
            # Buckets that take only the tables of their own REST catalog do so. What no table names is their server's.
            reason = f"{self._root} refuses the object {OWNER}, which says whose they are"
            raise CallError("unprocessable", reason) from None

    def _check_mark(self, owner: str) -> None:
        io, mark = self.open_io(), self.locate(OWNER)
        if io.new_input(mark).exists():
            with io.new_input(mark).open() as file:
                found = file.read().decode("utf-8", "replace")
            if found != owner:
                raise CallError("unprocessable", f"{self._root} belongs to the catalog {found[:200]}, by {OWNER}")
            return
        with io.new_output(mark).create(overwrite=True) as output:
            output.write(owner.encode())

    def remove_empty_folders(self) -> None:
        """A bucket has no folders."""

    def _open_files(self) -> FileSystem:
        from pyiceberg.io.pyarrow import PyArrowFileIO

        io = self.open_io()
        assert isinstance(io, PyArrowFileIO)  # noqa: S101 - for the types only
        return io.fs_by_scheme("s3", self._settings.bucket)

    def _key(self, path: str) -> str:
        return self.locate(path).removeprefix("s3://")
