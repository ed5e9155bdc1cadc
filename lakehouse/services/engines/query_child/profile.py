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
    """Rows and bytes that the last statement has read from files; None without a profile.

    Rows that a pushed-down filter leaves out are not counted.
    """
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
            children = current.get("children")
            waiting.append(children[:1] if isinstance(children, list) and _reads_rows_again(current) else children)


def _reads_rows_again(operator: dict[str, object]) -> bool:
    """Whether this is the join of late materialization: below a limit, the engine finds the numbers of rows first.

    Its first side reads the columns of these rows; the second one has read the same rows for their numbers.
    """
    info = operator.get("extra_info")
    return isinstance(info, dict) and "file_row_number = file_row_number" in (info.get("Conditions") or ())
