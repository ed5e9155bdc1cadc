"""The catalog of a lake, and what is found in it.

That of a folder, which is the working directory of the child, has relative locations (`datasets/a/metadata/…`), so the
folder can be moved while no process has it open. A shared one is opened by `shared_catalogs`.
"""

from __future__ import annotations

import sqlite3
import time
from typing import TYPE_CHECKING

from lakehouse.process.calls.rpc_child import CallError
from lakehouse.services.tables.messages import TablesSettings
from lakehouse.services.tables.names import CATALOG, DROPPED, canonical, decode_dropped, identifier
from lakehouse.services.tables.storage import LocalStorage

if TYPE_CHECKING:
    from pyiceberg.table import Table

    from lakehouse.services.tables.kept_metadata import MetadataKeepingCatalog
    from lakehouse.services.tables.shared_catalogs import RestLakeCatalog

    LakeCatalog = MetadataKeepingCatalog | RestLakeCatalog

DATABASE = "catalog.db"

TABLE_PROPERTIES = {
    "format-version": "2",
    "commit.retry.num-retries": "20",
    "commit.retry.min-wait-ms": "20",
    "commit.retry.max-wait-ms": "1000",
    "commit.manifest-merge.enabled": "true",
    "commit.manifest.min-count-to-merge": "20",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
}
"""Properties of a new table: more attempts beside other writers, few manifests, and few old metadata files."""

CREATED = "lakehouse.created-at"
LABEL = "lakehouse.schema-label"
"""`<schema id>:<label>`: the label that a client gave to the schema of this id."""


def open_catalog(settings: TablesSettings) -> LakeCatalog:
    """Open the catalog, which is made if it is missing. Raises CallError for a shared one that cannot be reached."""
    if settings.warehouse is not None:
        from lakehouse.services.tables.shared_catalogs import open_shared_catalog

        return open_shared_catalog(settings.warehouse)
    from lakehouse.services.tables.kept_metadata import MetadataKeepingCatalog

    connection = sqlite3.connect(DATABASE)
    try:
        connection.execute("PRAGMA journal_mode = WAL")  # kept in the file; its commits are synced by default
    finally:
        connection.close()
    return MetadataKeepingCatalog(
        CATALOG,
        LocalStorage(),
        **{
            "uri": f"sqlite:///{DATABASE}",
            "warehouse": "datasets",
            "py-io-impl": "lakehouse.services.tables.file_io.DurableFileIO",
        },
    )


def find_table(catalog: LakeCatalog, name: str) -> Table | None:
    """Load a table, None for an unknown one."""
    return _find(catalog, identifier(name))


def load_table(catalog: LakeCatalog, name: str) -> Table:
    """Load a table. Raises CallError for an unknown one."""
    table = find_table(catalog, name)
    if table is None:
        raise table_not_found(catalog, name)
    return table


def load_dropped(catalog: LakeCatalog, entry: str) -> Table | None:
    """Load a dropped table by its entry in the namespace of dropped tables."""
    return _find(catalog, (*DROPPED, entry))


def _find(catalog: LakeCatalog, where: tuple[str, ...]) -> Table | None:
    from pyiceberg.exceptions import NoSuchTableError

    try:
        return catalog.load_table(where)
    except NoSuchTableError:
        return None


def table_not_found(catalog: LakeCatalog, name: str) -> CallError:
    """The error of an unknown table; it says whether the table was dropped."""
    dropped = list_dropped(catalog, name)
    if not dropped:
        return CallError("not found", f"there is no table {name!r}")
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(dropped[0][2] / 1000))
    return CallError("not found", f"the table {name!r} was dropped at {when}; restore brings it back")


def list_dropped(catalog: LakeCatalog, name: str | None = None) -> list[tuple[str, str, int]]:
    """The dropped tables: entry, former name, and when it was dropped in milliseconds; the newest first."""
    if not catalog.namespace_exists(DROPPED):
        return []
    found: list[tuple[str, str, int]] = []
    for where in catalog.list_tables(DROPPED):
        entry = where[-1]
        decoded = decode_dropped(entry)
        if decoded is not None and name in (None, decoded[0]):
            found.append((entry, *decoded))
    return sorted(found, key=lambda dropped: -dropped[2])


def check_free(catalog: LakeCatalog, name: str, *, but: str = "") -> None:
    """Raise CallError if a table has the name, or one that SQL cannot distinguish from it. `but` is not counted."""
    taken = canonical(name)
    for other in catalog.list_names():
        if other != but and canonical(other) == taken:
            if other == name:
                raise CallError("conflict", f"there is a table {name!r} already")
            raise CallError(
                "conflict", f"the name {name!r} cannot be distinguished from that of the table {other!r} in SQL"
            )


def open_metadata(catalog: LakeCatalog, location: str) -> Table:
    """A table as a metadata file has it, under whatever name it is in the catalog. It is read only."""
    from pyiceberg.serializers import FromInputFile
    from pyiceberg.table import Table

    io = catalog._load_file_io(location=location)
    metadata = FromInputFile.table_metadata(io.new_input(location))
    return Table(identifier=(location,), metadata=metadata, metadata_location=location, io=io, catalog=catalog)
