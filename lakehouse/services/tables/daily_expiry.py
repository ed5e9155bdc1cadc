"""The expiry of old snapshots and dropped tables, once a day while tables are written."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import trio

from lakehouse.core.errors import LakehouseError
from lakehouse.services.contracts.tables import Tables

logger = logging.getLogger("lakehouse.tables")

EXPIRY_DELAY = 600.0
"""Seconds from a write to the expiry, which keeps the child busy for a while."""
EXPIRY_PERIOD = 86_400.0
"""Seconds between two expiries."""


class WriteSignal:
    """An event that can be cleared: set by each write of a table, awaited by the expiry."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def set(self) -> None:
        """Record a write."""
        self._event.set()

    async def wait(self) -> None:
        """Wait until a write has been recorded."""
        await self._event.wait()

    def clear(self) -> None:
        """Discard the writes so far."""
        self._event = trio.Event()


async def expire_daily(tables: Tables, written: WriteSignal, retention: timedelta) -> None:
    """Expire what is older than the retention: after the first write, and after the first one of every further day."""
    while True:
        await written.wait()
        await trio.sleep(EXPIRY_DELAY)
        try:
            await tables.expire(datetime.now(UTC) - retention)
        except LakehouseError as error:
            logger.warning("expired snapshots could not be deleted: %s", error.message)
        await trio.sleep(EXPIRY_PERIOD)
        written.clear()
