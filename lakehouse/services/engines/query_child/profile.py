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
    if "operator" not in document:  # before version 2: other names, and numbers that count whole vectors
        return None
    rows = size = 0
    for operator in _operators(document["operator"]):
        if isinstance(scanned := operator.get("rows_scanned"), int):
            rows += scanned
        if isinstance(scanned := operator.get("bytes_scanned"), int):
            size += scanned
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
