"""The contract of a service whose records are rows of a system table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsealedRows:
    """Rows that are in no segment of a table yet, as lines of JSON. `mark` is the number of the last one's change.

    `first` and `last` are the times of the oldest and the newest row, in seconds since 1970, if they are known.
    """

    count: int = 0
    mark: int = 0
    first: float = 0.0
    last: float = 0.0
    lines: bytes = b""


class RecordCount(NamedTuple):
    """How many records have changed after a change, the number of the last change of all, and which records they are.

    `store` is empty for records in the folder of the lake; other records have numbers of their own.
    """

    newer: int
    last: int
    store: str = ""


class RowSource(Protocol):
    """The records of a service, in the order of the numbers of their changes. Calls raise what its database raises."""

    async def count(self, after: int) -> RecordCount:
        """How many records have changed after a change."""

    async def read(self, after: int, *, limit: int) -> UnsealedRows:
        """Read at most `limit` records that have changed after a change."""
