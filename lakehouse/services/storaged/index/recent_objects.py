"""Entries of the index in memory, with the bytes of small objects, so that reading them again needs no thread."""

from __future__ import annotations

from collections import OrderedDict

from lakehouse.services.storaged.index.entries import Entry

ENTRY_COST = 700
"""Bytes that an entry takes besides its key and its data, about."""


class RecentObjects:
    """The entries that were used last, of at most `capacity` bytes in all. Its process is the only one that writes.

    An entry that a thread has read may be out of date when it arrives; `add_read` takes the value that `changes` had
    before the read, and ignores the entry if there was a change meanwhile.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.size = 0
        """Bytes that the entries take, about."""
        self.changes = 0
        """How often objects were changed."""
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()

    def find(self, key: bytes) -> Entry | None:
        """The entry of a key, None if it is not here."""
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
        return entry

    def add_read(self, entry: Entry, changes: int) -> None:
        """Add an entry that was read from the index."""
        if changes == self.changes:
            self._add(entry)

    def replace(self, entry: Entry) -> None:
        """Record that an object was put."""
        self.changes += 1
        self._remove(entry.row.key)
        self._add(entry)

    def remove(self, key: bytes) -> None:
        """Record that an object was deleted."""
        self.changes += 1
        self._remove(key)

    def _add(self, entry: Entry) -> None:
        self._remove(entry.row.key)
        self._entries[entry.row.key] = entry
        self.size += _cost(entry)
        while self.size > self.capacity:
            _, oldest = self._entries.popitem(last=False)
            self.size -= _cost(oldest)

    def _remove(self, key: bytes) -> None:
        former = self._entries.pop(key, None)
        if former is not None:
            self.size -= _cost(former)


def _cost(entry: Entry) -> int:
    return ENTRY_COST + 2 * len(entry.row.key) + len(entry.data or b"")
