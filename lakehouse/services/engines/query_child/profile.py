"""How much data a statement has read, from the engine's own profile of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import duckdb
import msgspec


def enable_profile(connection: duckdb.DuckDBPyConnection) -> None:
    """Let the engine measure the next statements of this connection. Not every version allows it."""
    with suppress(duckdb.Error):
        connection.execute("SET enable_profiling = 'no_output'")


def read_scanned(connection: duckdb.DuckDBPyConnection) -> tuple[int, int] | None:
    """Rows and bytes that the last statement has read from files; None without a profile."""
    try:
        document = msgspec.json.decode(connection.get_profiling_information("json"), type=dict[str, object])
    except (duckdb.Error, msgspec.DecodeError):
        return None
    if not document:
        return None
    rows = size = 0
    for operator in _operators(document.get("operator", document.get("children"))):
        scanned = operator.get("rows_scanned", operator.get("operator_rows_scanned"))
        if isinstance(scanned, int):
            rows += scanned
        if isinstance(read := operator.get("bytes_scanned"), int):
            size += read
    if not size and isinstance(io := document.get("io"), dict) and isinstance(io.get("total_bytes_read"), int):
        size = io["total_bytes_read"]
    return rows, size


def _operators(node: object) -> Iterator[dict[str, object]]:
    waiting = [node]
    while waiting:
        current = waiting.pop()
        if isinstance(current, list):
            waiting += current
        elif isinstance(current, dict):
            yield current
            waiting.append(current.get("children"))
