"""Expiry: snapshots, with the files that only they use; dropped tables; files that nothing uses.

pyiceberg's expiry changes the metadata only, so the files are deleted here, after the commit. A process that is killed
in between leaves them to the sweep.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.table.update.snapshot import ExpireSnapshots

from lakehouse.process.calls.rpc_child import CallError
from lakehouse.services.tables.catalog import list_dropped, load_dropped, load_table, open_metadata
from lakehouse.services.tables.describe import ManifestCache
from lakehouse.services.tables.messages import Expired
from lakehouse.services.tables.names import DROPPED
from lakehouse.services.tables.transaction import begin

if TYPE_CHECKING:
    from pyiceberg.table import Table, Transaction
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.snapshots import Snapshot

    from lakehouse.services.tables.catalog import LakeCatalog

logger = logging.getLogger("lakehouse.tables")

MIN_KEPT = 5
"""Snapshots that an expiry during a commit leaves."""


@dataclass(frozen=True, slots=True)
class Expiring:
    """Snapshots whose expiry is staged, and the files of all snapshots before it."""

    snapshots: tuple[Snapshot, ...] = ()
    files: frozenset[str] = frozenset()
    warnings: tuple[str, ...] = ()


class Expiry:
    """Expires snapshots and dropped tables, and deletes their files.

    `retention` is in seconds. A table that has more than `max_snapshots` keeps nine tenths of them. Those that are
    older than the retention expire every `max_snapshots / 2` commits.
    """

    def __init__(self, catalog: LakeCatalog, manifests: ManifestCache, *, retention: float, max_snapshots: int) -> None:
        self._catalog = catalog
        self._storage = catalog.storage
        self._manifests = manifests
        self._retention = retention
        self._max_snapshots = max_snapshots

    def stage(self, transaction: Transaction) -> Expiring:
        """Stage the expiry that is due with a commit; `transaction` has the new snapshot staged."""
        metadata = transaction.table_metadata
        candidates = _expirable(metadata)
        if len(metadata.snapshots) > self._max_snapshots:
            chosen = candidates[: len(metadata.snapshots) - self._max_snapshots * 9 // 10]
            warnings: tuple[str, ...] = (self._describe_surplus(chosen),) if chosen else ()
        elif (metadata.next_sequence_number() - 1) % (self._max_snapshots // 2) == 0:
            limit = time.time() * 1000 - self._retention * 1000
            spare = max(0, len(metadata.snapshots) - MIN_KEPT)
            chosen = [snapshot for snapshot in candidates if snapshot.timestamp_ms < limit][:spare]
            warnings = ()
        else:
            return Expiring()
        return self._stage(transaction, chosen, warnings)

    def _stage(self, transaction: Transaction, chosen: Sequence[Snapshot], warnings: tuple[str, ...]) -> Expiring:
        if not chosen:
            return Expiring()
        table = transaction._table
        files = frozenset(self._files_of(table, chosen))
        expire = ExpireSnapshots(transaction=transaction)
        expire.by_ids([snapshot.snapshot_id for snapshot in chosen])
        expire.commit()
        return Expiring(tuple(chosen), files, warnings)

    def _describe_surplus(self, chosen: Sequence[Snapshot]) -> str:
        newest = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(chosen[-1].timestamp_ms / 1000))
        return (
            f"the table had more than {self._max_snapshots} snapshots: the {len(chosen)} oldest, up to {newest},"
            " were expired before the end of their retention"
        )

    def delete_files(self, table: Table, expired: Expiring) -> Expired:
        """Delete the files that only expired snapshots use. `table` is in the state after the commit."""
        if not expired.snapshots:
            return Expired()
        unused = expired.files - set(self._files_of(table, table.metadata.snapshots))
        files, size = self._storage.delete(unused)
        return Expired(snapshots=len(expired.snapshots), files=files, bytes=size)

    def delete_after_commit(self, table: Table, expired: Expiring) -> None:
        """Delete these files if possible: the commit is made, and what is left is for the sweep."""
        try:
            self.delete_files(table, expired)
        except (CallError, OSError) as error:
            logger.warning("the files of expired snapshots could not be deleted: %s", error)

    def expire_table(self, name: str, before_ms: int) -> Expired:
        """Expire the snapshots of a table that are older than a time; the newest one and tagged ones stay."""
        table = load_table(self._catalog, name)
        chosen = [snapshot for snapshot in _expirable(table.metadata) if snapshot.timestamp_ms < before_ms]
        transaction = begin(table)
        expired = self._stage(transaction, chosen, ())
        if expired.snapshots:
            table = transaction.commit_transaction()
        return self.delete_files(table, expired)

    def expire_dropped(self, before_ms: int) -> Expired:
        """Delete the dropped tables that were dropped before a time, with all their files."""
        tables = files = size = 0
        for entry, _, dropped_ms in list_dropped(self._catalog):
            if dropped_ms >= before_ms:
                continue
            table = load_dropped(self._catalog, entry)
            used = set() if table is None else set(self._all_files_of(table))
            try:
                self._catalog.drop_table((*DROPPED, entry))
            except NoSuchTableError:  # another program has restored it, or deleted it
                continue
            count, freed = self._storage.delete(used)
            tables, files, size = tables + 1, files + count, size + freed
        return Expired(tables=tables, files=files, bytes=size)

    def sweep(self, before_ms: int) -> Expired:
        """Delete the files below `datasets/` that no table uses and that are older than a time.

        Nothing is deleted if the files of any entry of the catalog cannot be determined.
        """
        self._storage.check_owner()
        used: set[str] = set()
        foreign: tuple[str, ...] = ()
        for location, is_table in self._catalog.list_locations():
            if is_table:
                used.update(self._all_files_of(open_metadata(self._catalog, location)))
            else:
                folder = self._storage.resolve(location).rpartition("/")[0]
                foreign += (f"{folder}/",)  # a view: its folder is left alone
        unused = [
            path
            for path, changed_ms in self._storage.list_files()
            if path not in used and changed_ms < before_ms and not path.startswith(foreign)
        ]
        files, size = self._storage.delete(unused)
        self._storage.remove_empty_folders()
        return Expired(files=files, bytes=size)

    def _files_of(self, table: Table, snapshots: Iterable[Snapshot]) -> Iterator[str]:
        """The files of some snapshots: lists of manifests, manifests, data files, deletes."""
        seen: set[str] = set()
        for snapshot in snapshots:
            yield self._storage.resolve(snapshot.manifest_list)
            for manifest in snapshot.manifests(table.io):
                if manifest.manifest_path in seen:
                    continue
                seen.add(manifest.manifest_path)
                yield self._storage.resolve(manifest.manifest_path)
                entries = self._manifests.read(manifest, table.io)
                yield from (self._storage.resolve(entry.path) for entry in entries if entry.live)

    def _all_files_of(self, table: Table) -> Iterator[str]:
        metadata = table.metadata
        yield self._storage.resolve(table.metadata_location)
        yield from (self._storage.resolve(entry.metadata_file) for entry in metadata.metadata_log)
        yield from (self._storage.resolve(statistics.statistics_path) for statistics in metadata.statistics)
        yield from (self._storage.resolve(statistics.statistics_path) for statistics in metadata.partition_statistics)
        yield from self._files_of(table, metadata.snapshots)


def _expirable(metadata: TableMetadata) -> list[Snapshot]:
    """The snapshots that are neither the newest one nor tagged, the oldest first."""
    kept = {reference.snapshot_id for reference in metadata.refs.values()}
    found = [snapshot for snapshot in metadata.snapshots if snapshot.snapshot_id not in kept]
    return sorted(found, key=lambda snapshot: snapshot.timestamp_ms)
