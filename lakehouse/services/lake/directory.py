"""The folder of a lake: the places in it, fresh folders for files that are being written.

    lake.lock     held by the one process that has the lake open (`folder_lock`)
    lake.json     the version of this layout (`layout`)
    objects/      the objects of storaged; `objects.db` is their index
    datasets/     the files of the tables: datasets/<name>/{data,metadata}/...
    catalog.db    the catalog of the tables
    pathway.db    the traces of pathwayd
    observer.db   the operations of observerd
    system.db     which files the system tables have
    system/       the files of the system tables
    state.db      other durable state, such as idempotency keys
    vectors/      the indexes of the retrieval engine
    cache/        data files of tables that are in a bucket
    promotion.db  the journal of a promotion to a bucket
    promoted.json says that tables and objects were promoted (`promoted`)
    staging/      a folder for each upload and each set of files that is being written; emptied at the start
    spill/        a folder for the temporary files of each engine; emptied at the start

`open_lake_directory` opens the folder for the length of a block. Everything that is kept has a path relative to the
folder, so a folder that is not in use may be moved or copied.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from lakehouse.services.lake.folder_lock import LakeDirectoryError, hold_lock
from lakehouse.services.lake.layout import check_layout

REMOVAL_TIMEOUT = 30.0
"""Seconds for the removal of a staging folder after a cancellation. What is left is removed at the next start."""

MIN_FREE = 2**20
"""Bytes that must be free: the databases write to files of their own even if they are only read."""

_PRIVATE = 0o700

CACHE = "cache/"
"""How paths of data files begin that are kept for tables in a bucket."""


@dataclass(frozen=True, slots=True)
class LakeDirectory:
    """The folder of an open lake. `path` is absolute."""

    path: Path

    @property
    def objects(self) -> Path:
        """The folder of the objects."""
        return self.path / "objects"

    @property
    def objects_db(self) -> Path:
        """The index of the objects (SQLite)."""
        return self.path / "objects.db"

    @property
    def datasets(self) -> Path:
        """The folder of the tables' files."""
        return self.path / "datasets"

    @property
    def catalog_db(self) -> Path:
        """The catalog of the tables (SQLite)."""
        return self.path / "catalog.db"

    @property
    def pathway_db(self) -> Path:
        """The traces (SQLite)."""
        return self.path / "pathway.db"

    @property
    def observer_db(self) -> Path:
        """The recorded operations (SQLite)."""
        return self.path / "observer.db"

    @property
    def system_db(self) -> Path:
        """The list of the system tables' files (SQLite)."""
        return self.path / "system.db"

    @property
    def system(self) -> Path:
        """The folder of the system tables' files."""
        return self.path / "system"

    @property
    def state_db(self) -> Path:
        """Other durable state (SQLite)."""
        return self.path / "state.db"

    @property
    def vectors(self) -> Path:
        """The folder of the retrieval engine."""
        return self.path / "vectors"

    @property
    def cache(self) -> Path:
        """The folder of the data files of tables that are in a bucket."""
        return self.path / CACHE

    @property
    def staging(self) -> Path:
        """The parent of the folders for files that are being written."""
        return self.path / "staging"

    @property
    def spill(self) -> Path:
        """The parent of the engines' folders for temporary files."""
        return self.path / "spill"

    @asynccontextmanager
    async def stage(self) -> AsyncIterator[Path]:
        """A new empty folder in `staging`, for the length of the block. It is removed with all its files."""
        async with _temporary_folder(self.staging) as folder:
            yield folder

    @asynccontextmanager
    async def open_spill(self) -> AsyncIterator[Path]:
        """A new empty folder in `spill`, for the length of the block. It is removed with all its files."""
        async with _temporary_folder(self.spill) as folder:
            yield folder


@asynccontextmanager
async def _temporary_folder(parent: Path) -> AsyncIterator[Path]:
    folder = parent / secrets.token_hex(8)
    folder.mkdir(mode=_PRIVATE)
    try:
        yield folder
    finally:
        with trio.CancelScope(shield=True, relative_deadline=REMOVAL_TIMEOUT):
            await trio.to_thread.run_sync(_remove_tree, folder, abandon_on_cancel=True)  # gigabytes take a while


def _remove_tree(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def default_path(env: Mapping[str, str]) -> Path:
    """The folder for an empty `[lake] path`: $XDG_DATA_HOME/lakehouse, by default ~/.local/share/lakehouse.

    Raises LakeDirectoryError for a user without a home directory.
    """
    data_home = env.get("XDG_DATA_HOME", "")
    if data_home.startswith("/"):  # the specification of the variable: a relative path is invalid
        return Path(data_home) / "lakehouse"
    try:
        return Path.home() / ".local/share/lakehouse"
    except RuntimeError:
        raise LakeDirectoryError("the user has no home directory for the lake: name its folder as lake.path") from None


def locate(path: str, env: Mapping[str, str]) -> Path:
    """The absolute path of the lake's folder. `path` is the value of `[lake] path`. Raises LakeDirectoryError."""
    return Path(os.path.abspath(path)) if path else default_path(env)  # noqa: PTH100 - links are not resolved


@contextmanager
def open_lake_directory(path: Path, *, socket: str = "", service: str = "") -> Iterator[LakeDirectory]:
    """Open the folder, which is made if it is missing, for the length of the block. Blocks for some milliseconds.

    One process at a time can have it open. Files that were being written when the last process ended are removed.
    `socket` and `service` are where the holder answers, for `folder_lock.find_holder`. Raises LakeDirectoryError, with
    a sentence that says what to do.
    """
    directory = LakeDirectory(Path(os.path.abspath(path)))  # noqa: PTH100 - links are not resolved
    _make_private(directory.path)
    with hold_lock(directory.path, socket=socket, service=service):
        try:
            _prepare(directory)
        except OSError as error:  # the disk is full, or something in the folder belongs to another user
            raise LakeDirectoryError(f"the lake {directory.path} cannot be opened: {error}") from error
        yield directory


def _prepare(directory: LakeDirectory) -> None:
    check_layout(directory.path)
    kept = (directory.objects, directory.datasets, directory.vectors, directory.system, directory.cache)
    for place in (*kept, directory.staging, directory.spill):
        place.mkdir(mode=_PRIVATE, exist_ok=True)
    sweep(directory)
    _check_free_space(directory.path)  # after the sweep, which may have made space


@asynccontextmanager
async def open_directory(path: Path, *, socket: str = "") -> AsyncIterator[LakeDirectory]:
    """`open_lake_directory` in a trio program, whose other tasks go on meanwhile. Raises LakeError, OSError."""
    opening = open_lake_directory(path, socket=socket)
    directory = await trio.to_thread.run_sync(opening.__enter__)
    try:
        yield directory
    finally:
        opening.__exit__(None, None, None)  # writes a few bytes


def _make_private(path: Path) -> None:
    """Make the folder with mode 0700, or take the permissions of other users away from an existing lake."""
    try:
        path.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
    except FileExistsError:
        raise LakeDirectoryError(f"the lake's path {path} is not a directory") from None
    except OSError as error:
        raise LakeDirectoryError(f"the lake's folder {path} cannot be made: {error.strerror}") from None
    try:
        names = {entry.name for entry in path.iterdir()} - {"lost+found"}  # of a new file system that is mounted here
    except OSError as error:
        raise LakeDirectoryError(f"the lake's folder {path} cannot be read: {error.strerror}") from None
    if names and not names & {"lake.json", "lake.lock"}:
        raise LakeDirectoryError(
            f"the folder {path} has files and no lake in it: name an empty or a new folder as lake.path"
        )
    if path.stat().st_mode & 0o777 != _PRIVATE:
        path.chmod(_PRIVATE)


def _check_free_space(path: Path) -> None:
    free = shutil.disk_usage(path).free
    if free < MIN_FREE:
        raise LakeDirectoryError(
            f"the disk of the lake {path} is full: {free} bytes are free, and {MIN_FREE} are needed to open it"
        )


def sweep(directory: LakeDirectory) -> None:
    """Remove what a process that was killed left behind: incomplete files and engines' temporary files."""
    for parent in (directory.staging, directory.spill):
        for entry in parent.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                _remove_tree(entry)
            else:
                entry.unlink(missing_ok=True)
