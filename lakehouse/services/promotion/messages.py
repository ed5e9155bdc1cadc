"""Requests to the child and its replies. Both sides import this module, so it imports neither trio nor pyiceberg."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from lakehouse.services.warehouse.settings import WarehouseSettings

MAX_FRAME = 256 * 1024 * 1024
"""Bytes of a request and a reply: the files of a table, of which a million take about 100 MB."""


class PromotionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of the child: the folder of the lake, and where its tables go."""

    directory: str
    target: WarehouseSettings


class CatalogEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A table of the folder's catalog, or a dropped one.

    `namespace` and `table` are those of the catalog, `location` is the path of the current metadata file. `shown` is
    the name for people.
    """

    namespace: str
    table: str
    location: str
    shown: str
    dropped: bool = False


class SourceFile(msgspec.Struct, frozen=True, array_like=True):
    """A file of a table. One whose content names other files is `rewritten`, and gets another size."""

    path: str
    size: int
    rewritten: bool = False


class TableSource(msgspec.Struct, frozen=True, kw_only=True):
    """A table as it is in the folder: its files, and the numbers of the newest snapshot."""

    entry: CatalogEntry
    files: tuple[SourceFile, ...]
    snapshots: int
    tags: int
    rows: int


class SnapshotRows(msgspec.Struct, frozen=True, array_like=True):
    """A snapshot, and the rows of its data files without deletes."""

    snapshot_id: str
    files: int
    rows: int


class CheckedTable(msgspec.Struct, frozen=True, kw_only=True):
    """What a table is in the warehouse. `claims` are the sizes of files as the metadata has them, by path.

    `rows` of the newest snapshot were read; `hashed` says that all values were compared, and not their number alone.
    """

    claims: dict[str, int]
    snapshots: tuple[SnapshotRows, ...]
    rows: int
    hashed: bool


class Request(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A request to the child."""


class ListEntries(Request, frozen=True, kw_only=True):
    """List the tables of the folder's catalog. The reply is a list of `CatalogEntry`."""


class ReadTable(Request, frozen=True, kw_only=True):
    """List the files of a table. The reply is a `TableSource`."""

    entry: CatalogEntry


class RewriteTable(Request, frozen=True, kw_only=True):
    """Write the metadata of a table for the warehouse into a folder. The reply is a list of paths."""

    entry: CatalogEntry
    folder: str


class CheckTable(Request, frozen=True, kw_only=True):
    """Compare a table in the warehouse with that of the folder. The reply is a `CheckedTable`.

    The values of the newest snapshot are compared if its files have at most `max_bytes`.
    """

    entry: CatalogEntry
    max_bytes: int


class CheckCatalog(Request, frozen=True, kw_only=True):
    """Look for the tables in the target's catalog. The reply is a `CatalogState`."""

    entries: Sequence[CatalogEntry]
    promotion: str


class CatalogState(msgspec.Struct, frozen=True, kw_only=True):
    """What a catalog has: whether the tables of this promotion are in it, and which other tables have their names.

    `found` is how many of them are in it.
    """

    registered: bool
    conflicts: tuple[str, ...] = ()
    found: int = 0


class Register(Request, frozen=True, kw_only=True):
    """Put the tables into the target's catalog. The reply is how many there are."""

    entries: Sequence[CatalogEntry]
    promotion: str


AnyRequest = ListEntries | ReadTable | RewriteTable | CheckTable | CheckCatalog | Register
