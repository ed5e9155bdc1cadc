"""Requests that come again byte for byte: their statements are prepared, so that they are not planned again.

A prepared statement is planned anew by the engine if one of its tables changes, and functions such as `now()` are
evaluated at every execution. Statements are prepared on connections of their own, which no other statement uses; after
an interruption or an error all of them are given up.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import duckdb

from lakehouse.services.engines.query_child.profile import enable_profile
from lakehouse.services.engines.query_messages import QueryRequest

MAX_PREPARED = 128
MAX_SEEN = 1024
MAX_REQUEST_SIZE = 64 * 1024
"""Bytes of a request up to which it is remembered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeated:
    """A prepared statement, its request, and the columns of its answer."""

    name: str
    connection: duckdb.DuckDBPyConnection
    profiled: bool
    columns: tuple[tuple[str, str], ...]
    request: QueryRequest


class RepeatedRequests:
    """The requests that were seen, and those that are prepared."""

    def __init__(self, database: duckdb.DuckDBPyConnection) -> None:
        self._database = database
        self._seen: OrderedDict[bytes, None] = OrderedDict()
        self._prepared: OrderedDict[bytes, Repeated] = OrderedDict()
        self._connections: dict[bool, duckdb.DuckDBPyConnection] = {}
        self._count = 0

    def find(self, payload: bytes) -> Repeated | None:
        """The prepared statement of a request."""
        if (repeated := self._prepared.get(payload)) is not None:
            self._prepared.move_to_end(payload)
        return repeated

    def comes_again(self, payload: bytes) -> bool:
        """Record a request; whether it was seen before."""
        if len(payload) > MAX_REQUEST_SIZE:
            return False
        if payload in self._seen:
            return True
        self._seen[payload] = None
        if len(self._seen) > MAX_SEEN:
            self._seen.popitem(last=False)
        return False

    def prepare(
        self,
        payload: bytes,
        request: QueryRequest,
        query: str,
        *,
        profiled: bool,
        columns: tuple[tuple[str, str], ...],
    ) -> None:
        """Prepare the query of a request. Raises duckdb.Error."""
        connection = self._connections.get(profiled)
        if connection is None:
            connection = self._connections[profiled] = self._database.cursor()
            if profiled:
                enable_profile(connection)
        self._count += 1
        name = f"repeated_{self._count}"
        connection.execute(f"PREPARE {name} AS {query}")
        self._prepared[payload] = Repeated(
            name=name, connection=connection, profiled=profiled, columns=columns, request=request
        )
        if len(self._prepared) > MAX_PREPARED:
            _, oldest = self._prepared.popitem(last=False)
            oldest.connection.execute(f"DEALLOCATE {oldest.name}")

    def clear(self) -> None:
        """Give up all prepared statements and their connections."""
        self._prepared.clear()
        self._seen.clear()
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()
