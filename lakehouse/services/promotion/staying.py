"""What stays in the folder of a lake that is promoted."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path


def list_staying(path: Path, *, records: bool) -> Sequence[tuple[str, str]]:
    """What the folder has that is not promoted: its name in the folder, and what it is.

    With `records`, traces and operations were promoted.
    """
    own = (("pathway.db", "traces (/v1/pathway)"), ("observer.db", "operations (/v1/observer)"))
    kinds = (
        ("vectors", "indexes of vectors and corpora"),
        *(() if records else own),
        ("system.db", "system tables (SQL: lakehouse.…)"),
        ("state.db", "idempotency keys of documents"),
    )
    return [(name, what) for name, what in kinds if _has_content(path / name)]


def _has_content(path: Path) -> bool:
    """Whether there is a file in a folder, or a row in a database."""
    if path.is_dir():
        return any(path.iterdir())
    if not path.exists():
        return False
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
        tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        return any(database.execute(f'SELECT 1 FROM "{name}" LIMIT 1').fetchone() for (name,) in tables.fetchall())  # noqa: S608
