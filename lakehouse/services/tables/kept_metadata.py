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
from pyiceberg.table import CommitTableResponse, Table

if TYPE_CHECKING:
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.update import TableRequirement, TableUpdate

MAX_KEPT = 64
"""Tables whose metadata is kept; that of a table with 100 snapshots takes about 200 KB."""


class MetadataKeepingCatalog(SqlCatalog):
    """The catalog in SQL."""

    def __init__(self, name: str, **properties: str) -> None:
        super().__init__(name, **properties)
        self._kept: OrderedDict[str, TableMetadata] = OrderedDict()

    def _convert_orm_to_iceberg(self, orm_table: Any) -> Table:  # noqa: ANN401 - a row of SQLAlchemy
        location = orm_table.metadata_location
        metadata = self._kept.get(location)
        if metadata is None:
            table = super()._convert_orm_to_iceberg(orm_table)
            self._keep(location, table.metadata)
            return table
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
