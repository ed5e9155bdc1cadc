"""The statements of one transaction, in the thread that runs it. It can be ended from outside at any moment."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Sequence
from contextlib import suppress
from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from psycopg2 import extensions

Row = tuple[Any, ...]
Values = Sequence[object]

PAGE = 500
"""Rows of `execute_many` in one statement."""


class Interrupted(Exception):
    """The caller of the transaction has gone."""


class Session:
    """One transaction on a connection. Its methods block; only `shut` belongs to other threads."""

    def __init__(self, connection: extensions.connection) -> None:
        self.connection = connection
        self.is_committing = False
        """Whether the commit was sent: what follows does not tell whether the transaction is there."""
        self._is_shut = False

    def execute(self, statement: str, values: Values = ()) -> int:
        """Run a statement; the number of its rows. Values take the place of `%s`."""
        self._check()
        with self.connection.cursor() as cursor:
            cursor.execute(statement, tuple(values) or None)
            return int(cursor.rowcount)

    def fetch(self, statement: str, values: Values = ()) -> list[Row]:
        """Run a statement; its rows."""
        self._check()
        with self.connection.cursor() as cursor:
            cursor.execute(statement, tuple(values) or None)
            found: list[Row] = cursor.fetchall()
            return found

    def fetch_one(self, statement: str, values: Values = ()) -> Row | None:
        """Run a statement; its first row, None if there is none."""
        rows = self.fetch(statement, values)
        return rows[0] if rows else None

    def execute_values(self, statement: str, rows: Iterable[Values]) -> None:
        """Run `INSERT ... VALUES %s` for many rows, some hundred in one statement."""
        self._check()
        from psycopg2.extras import execute_values

        with self.connection.cursor() as cursor:
            execute_values(cursor, statement, _checked(self, rows), page_size=PAGE)

    def copy(self, statement: str, data: bytes) -> None:
        """Run `COPY ... FROM STDIN`."""
        self._check()
        with self.connection.cursor() as cursor:
            cursor.copy_expert(statement, BytesIO(data))

    def begin(self, seconds: float, *, snapshot: bool) -> None:
        """Begin the transaction. Each statement ends after so many seconds, whatever becomes of this process."""
        mode = " ISOLATION LEVEL REPEATABLE READ READ ONLY" if snapshot else ""
        self.execute(f"BEGIN{mode}; SET LOCAL statement_timeout = {int(seconds * 1000)}")

    def commit(self) -> None:
        """End the transaction. What it wrote is durable at return."""
        self._check()
        self.is_committing = True
        with self.connection.cursor() as cursor:
            cursor.execute("COMMIT")

    def roll_back(self) -> None:
        """Undo the transaction, so that the connection can be used again; one that cannot is closed."""
        from psycopg2 import Error

        try:
            if not self.connection.closed:
                self.connection.cursor().execute("ROLLBACK")
        except Error:
            self.connection.close()

    def shut(self) -> None:
        """End the connection below the statement under way, which fails at once; no further one begins."""
        self._is_shut = True
        with suppress(Exception), socket.socket(fileno=os.dup(self.connection.fileno())) as copied:
            copied.shutdown(socket.SHUT_RDWR)

    def _check(self) -> None:
        if self._is_shut:
            raise Interrupted


def _checked(session: Session, rows: Iterable[Values]) -> Iterable[Values]:
    """Rows, whose end comes early if the caller has gone."""
    for at, row in enumerate(rows):
        if at % PAGE == 0:
            session._check()
        yield row
