"""A transaction that computes its metadata once for each change, and commits a request once.

pyiceberg copies the whole metadata of a table, all snapshots included, at every use of `Transaction.table_metadata`: 18
times in one commit (https://github.com/apache/iceberg-python/issues/2673). The metadata is read only, so one copy for
each set of staged changes is enough: a commit to a table with 80 snapshots takes half of the time.

When another program has committed meanwhile, pyiceberg loads the table again and repeats the commit. If the other
program was a service that has committed the same request, the repetition would add its rows a second time; if it has
expired the same snapshots, the repetition would fail.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table, Transaction
from pyiceberg.table.update import RemoveSnapshotsUpdate

if TYPE_CHECKING:
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.snapshots import Snapshot
    from pyiceberg.table.update import TableUpdate


REQUEST_ID = "lakehouse.request-id"
"""The property of a snapshot's summary with the id of the request that made it."""


class AlreadyCommitted(CommitFailedException):
    """The table has a snapshot of the same request. The staged one was not committed."""


class SingleCopyTransaction(Transaction):
    """A transaction whose metadata is kept until changes are staged or the table is loaded again."""

    request_id = ""
    _kept: tuple[TableMetadata, tuple[TableUpdate, ...], TableMetadata] | None = None

    @property
    def table_metadata(self) -> TableMetadata:
        """The metadata of the table with the staged changes."""
        base, updates = self._table.metadata, self._updates
        if self._kept is None or self._kept[0] is not base or self._kept[1] is not updates:
            self._kept = (base, updates, super().table_metadata)
        return self._kept[2]

    def _rebuild_snapshot_updates(self) -> None:
        check_new(self._table.metadata, self.request_id)
        self._updates = tuple(drop_expired(self._table.metadata, self._updates))
        super()._rebuild_snapshot_updates()


def begin(table: Table, request_id: str = "") -> Transaction:
    """Begin a transaction. With a request id, it raises AlreadyCommitted if the table has a snapshot of the request."""
    check_new(table.metadata, request_id)
    transaction = SingleCopyTransaction(table)
    transaction.request_id = request_id
    return transaction


def check_new(metadata: TableMetadata, request_id: str) -> None:
    """Raise AlreadyCommitted if there is a snapshot of the request among those that are kept."""
    if request_id and find_by_property(metadata, REQUEST_ID, request_id) is not None:
        raise AlreadyCommitted(f"the request {request_id} has been committed")


def drop_expired(metadata: TableMetadata, updates: Iterable[TableUpdate]) -> Iterator[TableUpdate]:
    """The updates without the removal of snapshots that another program has removed meanwhile, or named by a tag."""
    tagged = {reference.snapshot_id for reference in metadata.refs.values()}
    removable = {snapshot.snapshot_id for snapshot in metadata.snapshots} - tagged
    for update in updates:
        if not isinstance(update, RemoveSnapshotsUpdate):
            yield update
        elif left := [number for number in update.snapshot_ids if number in removable]:
            yield RemoveSnapshotsUpdate.model_validate({"snapshot-ids": left})


def find_by_property(metadata: TableMetadata, name: str, value: str) -> Snapshot | None:
    """The snapshot whose summary has a property, None if there is none."""
    for snapshot in metadata.snapshots:
        summary = snapshot.summary
        if summary is not None and summary.additional_properties.get(name) == value:
            return snapshot
    return None
