"""The operations as rows of the system table `observer_ops`."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from lakehouse.core.rfc3339 import parse_time
from lakehouse.services.contracts.row_sources import UnsealedRows
from lakehouse.services.observerd.records import OperationReads, decode_operation

MAX_COUNT = 2**63
"""Counts of a row are integers of 64 bits; any other is NULL."""


def read_operations(reads: OperationReads, after: int, limit: int) -> UnsealedRows:
    """Read at most `limit` operations that have a higher number. Raises what the database raises."""
    rows = reads.read_after(after, limit=limit)
    lines = b"".join(msgspec.json.encode(_make_row(*row)) + b"\n" for row in rows)
    return UnsealedRows(count=len(rows), mark=rows[-1].number if rows else after, lines=lines)


def _make_row(number: int, encoded: bytes) -> dict[str, object]:
    operation = decode_operation(encoded)
    row: dict[str, object] = msgspec.to_builtins(operation)
    if isinstance(operation.count, int) and not -MAX_COUNT <= operation.count < MAX_COUNT:
        row["count"] = None
    return {**row, "number": number, "time": _read_time(operation.timestamp)}


def _read_time(text: str) -> datetime | None:
    """The time that a client gave, None if its form is not known or it is out of range."""
    try:
        time = parse_time(text)
        return None if time is None else time.astimezone(UTC)
    except OverflowError:
        return None
