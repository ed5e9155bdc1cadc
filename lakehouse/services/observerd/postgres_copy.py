"""The operations of a folder, copied into PostgreSQL. All functions block, in the transaction of a session."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from lakehouse.core.errors import ErrConflict
from lakehouse.services.postgres.session import Session


def check_operations(session: Session, store: str) -> None:
    """Raise ErrConflict if the database has operations that no copy with the name `store` has made. Changes nothing."""
    if session.fetch("SELECT to_regclass('observer_state') IS NULL")[0][0]:
        return
    ((found, number),) = session.fetch("SELECT store, number FROM observer_state")
    if number and found != store:
        raise ErrConflict("the database has operations of other services: name another database for the records")


def copy_operations(session: Session, path: Path, store: str) -> int:
    """Copy all operations of the file, in the place of those that an earlier copy with this name has made.

    Returns how many there are. Raises what `check_operations` raises.
    """
    ((present,),) = session.fetch("SELECT number FROM observer_state FOR UPDATE")
    check_operations(session, store)
    if present > max((number for number, _ in _read_rows(path)), default=0):
        raise ErrConflict("the database has operations that services have added to an earlier copy: they would be lost")
    session.execute("DELETE FROM observer_operations")
    session.execute_values("INSERT INTO observer_operations VALUES %s", _read_rows(path))
    ((count, number),) = session.fetch("SELECT count(*), coalesce(max(number), 0) FROM observer_operations")
    session.execute("UPDATE observer_state SET store = %s, number = %s", (store, number))
    return int(count)


def _read_rows(path: Path) -> Iterator[tuple[int, bytes]]:
    if path.exists():
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
            yield from database.execute("SELECT number, operation FROM operations ORDER BY number")
