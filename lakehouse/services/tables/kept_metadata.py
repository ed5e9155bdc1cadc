"""A catalog that keeps the metadata of the tables that were used last.

pyiceberg parses the metadata file of a table at every use: twice in a commit, 7 ms each with 100 snapshots. A metadata
file never changes, and pyiceberg copies metadata before it changes it, so the parsed form is used again. Which file is
the current one is read from the database every time.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NamespaceAlreadyExistsError, NoSuchTableError
from pyiceberg.serializers import FromInputFile
from pyiceberg.table import CommitTableResponse, Table
from pyiceberg.typedef import EMPTY_DICT, Properties
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from lakehouse.services.tables.names import decode_name, encode_name
from lakehouse.services.tables.storage import Storage

if TYPE_CHECKING:
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.update import TableRequirement, TableUpdate

MAX_KEPT = 64
"""Tables whose metadata is kept; that of a table with 100 snapshots takes about 200 KB."""


_LIST = text(
    "SELECT table_namespace, table_name, metadata_location FROM iceberg_tables"
    " WHERE catalog_name = :catalog AND coalesce(iceberg_type, 'TABLE') = 'TABLE'"
)
_FIND = text(
    "SELECT metadata_location FROM iceberg_tables WHERE catalog_name = :catalog"
    " AND table_namespace = :namespace AND table_name = :table AND coalesce(iceberg_type, 'TABLE') = 'TABLE'"
)
_ENTRIES = text("SELECT metadata_location, coalesce(iceberg_type, 'TABLE') = 'TABLE' FROM iceberg_tables")


class MetadataKeepingCatalog(SqlCatalog):
    """The catalog in SQL."""

    def __init__(self, name: str, storage: Storage, **properties: str) -> None:
        super().__init__(name, **properties)
        self.storage = storage
        self._kept: OrderedDict[str, TableMetadata] = OrderedDict()

    def ensure_namespace(self, namespace: tuple[str, ...]) -> None:
        """A namespace of a catalog in SQL is there with its first table."""

    def create_namespace(self, namespace: str | tuple[str, ...], properties: Properties = EMPTY_DICT) -> None:
        """Create a namespace. Raises NamespaceAlreadyExistsError, also if another program is quicker."""
        try:
            super().create_namespace(namespace, properties)
        except IntegrityError:
            raise NamespaceAlreadyExistsError(f"there is a namespace {namespace} already") from None

    def list_names(self) -> list[str]:
        """The names of all tables, in one statement."""
        return list(self.list_current())

    def list_current(self) -> dict[str, str]:
        """The current metadata files of all tables, by name."""
        found: dict[str, str] = {}
        with self.engine.connect() as connection:
            for namespace, table, location in connection.execute(_LIST, {"catalog": self.name}):
                name = decode_name(str(namespace), str(table))
                if name is not None and location:
                    found[name] = str(location)
        return found

    def find_location(self, name: str) -> str | None:
        """The current metadata file of a table, None for an unknown table."""
        namespace, table = encode_name(name)
        values = {"catalog": self.name, "namespace": namespace, "table": table}
        with self.engine.connect() as connection:
            found = connection.execute(_FIND, values).scalar()
        return None if found is None else str(found)

    def list_locations(self) -> list[tuple[str, bool]]:
        """The metadata files of all entries of the database, also of other catalogs in it, and which are tables."""
        with self.engine.connect() as connection:
            return [(str(location), bool(is_table)) for location, is_table in connection.execute(_ENTRIES) if location]

    def _convert_orm_to_iceberg(self, orm_table: Any) -> Table:  # noqa: ANN401 - a row of SQLAlchemy
        if not orm_table.metadata_location:
            raise NoSuchTableError(f"the table {orm_table.table_name} has no metadata")
        location = str(orm_table.metadata_location)
        metadata = self._kept.get(location)
        if metadata is None:
            metadata = FromInputFile.table_metadata(self._load_file_io(location=location).new_input(location))
            self._keep(location, metadata)
        else:
            self._kept.move_to_end(location)
        return Table(
            identifier=(*Catalog.identifier_to_tuple(orm_table.table_namespace), orm_table.table_name),
            metadata=metadata,
            metadata_location=location,
            io=self._load_file_io(metadata.properties, location),
            catalog=self,
        )

    def commit_table(
        self, table: Table, requirements: tuple[TableRequirement, ...], updates: tuple[TableUpdate, ...]
    ) -> CommitTableResponse:
        """Commit, and keep the new metadata."""
        response = super().commit_table(table, requirements, updates)
        self._keep(response.metadata_location, response.metadata)
        return response

    def _keep(self, location: str, metadata: TableMetadata) -> None:
        self._kept[location] = metadata
        if len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
