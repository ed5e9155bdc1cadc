"""A transaction that computes its metadata once for each change.

pyiceberg copies the whole metadata of a table, all snapshots included, at every use of `Transaction.table_metadata`: 18
times in one commit (https://github.com/apache/iceberg-python/issues/2673). The metadata is read only, so one copy for
each set of staged changes is enough: a commit to a table with 80 snapshots takes half of the time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyiceberg.table import Table, Transaction

if TYPE_CHECKING:
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.update import TableUpdate


class SingleCopyTransaction(Transaction):
    """A transaction whose metadata is kept until changes are staged or the table is loaded again."""

    _kept: tuple[TableMetadata, tuple[TableUpdate, ...], TableMetadata] | None = None

    @property
    def table_metadata(self) -> TableMetadata:
        """The metadata of the table with the staged changes."""
        base, updates = self._table.metadata, self._updates
        if self._kept is None or self._kept[0] is not base or self._kept[1] is not updates:
            self._kept = (base, updates, super().table_metadata)
        return self._kept[2]


def begin(table: Table) -> Transaction:
    """Begin a transaction."""
    return SingleCopyTransaction(table)
