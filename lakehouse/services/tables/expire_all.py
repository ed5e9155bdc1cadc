"""The expiry of all tables, call by call, so that other calls are served in between."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta

from lakehouse.core.errors import ErrNotFound, ErrUnprocessable, LakehouseError
from lakehouse.services.contracts.tables import Removed
from lakehouse.services.tables import messages
from lakehouse.services.tables.calls import MAINTENANCE_TIMEOUT, TablesProcess
from lakehouse.services.tables.messages import Expired
from lakehouse.services.tables.values import to_milliseconds

logger = logging.getLogger("lakehouse.tables")

ORPHAN_AGE = timedelta(hours=24)
"""How old a file must be that no table uses before it is deleted: a program may be about to commit it."""

Lock = Callable[[str], AbstractAsyncContextManager[None]]


async def expire_all(process: TablesProcess, names: Iterable[str], lock: Lock, older_than: datetime) -> Removed:
    """Expire dropped tables, then the snapshots of each table, then delete files that no table uses.

    A table that cannot be read is logged and left alone; while there is one, no file is taken for unused.
    """
    before = to_milliseconds(older_than)
    orphans = to_milliseconds(datetime.now(UTC) - ORPHAN_AGE)
    total = await _remove(process, messages.ExpireDropped(before_ms=before), "dropped tables")
    for name in names:
        async with lock(name):
            request = messages.ExpireTable(name=name, before_ms=before)
            total = _add(total, await _remove(process, request, f"snapshots of the table {name}"))
    return _add(total, await _remove(process, messages.Sweep(before_ms=orphans), "unused files"))


async def _remove(process: TablesProcess, request: messages.Request, what: str) -> Removed:
    try:
        expired: Expired = await process.call(request, Expired, timeout=MAINTENANCE_TIMEOUT)
    except LakehouseError as error:  # dropped meanwhile, or metadata that is damaged or lost
        if error.status not in (ErrNotFound.status, ErrUnprocessable.status, LakehouseError.status):
            raise
        logger.warning("%s were not removed: %s", what, error.message)
        return Removed()
    return Removed(snapshots=expired.snapshots, tables=expired.tables, files=expired.files, bytes=expired.bytes)


def _add(one: Removed, other: Removed) -> Removed:
    return Removed(
        snapshots=one.snapshots + other.snapshots,
        tables=one.tables + other.tables,
        files=one.files + other.files,
        bytes=one.bytes + other.bytes,
    )
