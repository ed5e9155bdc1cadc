"""The records of a service, as rows of a system table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from lakehouse.services.contracts.row_sources import RecordCount, UnsealedRows

Reads = TypeVar("Reads")
ReadsOf = TypeVar("ReadsOf", covariant=True)
T = TypeVar("T")


class Records(Protocol[ReadsOf]):
    """The records of a service, wherever they are kept."""

    async def read(self, read: Callable[[ReadsOf], T]) -> T:
        """Call `read` in a thread, with what can be asked of the records."""


class RecordRows(Generic[Reads]):
    """The records as rows. Implements `RowSource`.

    `count` says how many records have changed after a change; `read` reads at most so many of these. Both block.
    """

    def __init__(
        self,
        records: Records[Reads],
        *,
        count: Callable[[Reads, int], RecordCount],
        read: Callable[[Reads, int, int], UnsealedRows],
    ) -> None:
        self._records = records
        self._count = count
        self._read = read

    async def count(self, after: int) -> RecordCount:
        """How many records have changed after a change."""
        return await self._records.read(lambda reads: self._count(reads, after))

    async def read(self, after: int, *, limit: int) -> UnsealedRows:
        """Read at most `limit` records that have changed after a change."""
        return await self._records.read(lambda reads: self._read(reads, after, limit))
