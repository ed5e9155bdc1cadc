"""The operations of a lake: what is recorded, and the newest of it, counted."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import msgspec

from lakehouse.services.observerd.operations import Operation
from lakehouse.services.observerd.records import Batch, OperationRecords

RECENT = 10


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """The operations in memory, counted."""

    total: int
    successes: int
    failures: int
    by_source: dict[str, int]
    recent_scenario_ops: list[Operation]


class OperationStore:
    """The operations, in the records that keep them."""

    def __init__(self, records: OperationRecords) -> None:
        self.records = records

    @property
    def ring_size(self) -> int:
        """The number of operations in memory."""
        return len(self.records.newest)

    async def record(self, operations: Batch) -> None:
        """Record operations, all of them or none; durable at return. Raises what the database raises."""
        await self.records.append(operations)

    async def count(self) -> Statistics:
        """Count the newest operations, of all services that record in one place. Raises what the database raises."""
        await self.records.refresh()
        newest = self.records.newest
        successes = sum(operation.success for operation in newest)
        scenarios = (operation for operation in reversed(newest) if operation.source == "scenario")
        return Statistics(
            total=len(newest),
            successes=successes,
            failures=len(newest) - successes,
            by_source=dict(Counter(operation.source for operation in newest)),
            recent_scenario_ops=list(islice(scenarios, RECENT))[::-1],
        )
