"""What services tell the store of traces: that something which traces may be derived from has ended or moved."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

import trio

logger = logging.getLogger("lakehouse.pathwayd")

END_TIMEOUT = 10.0
"""Seconds for a call of `SourceEnds` whose client has left: what it reports has already been done, so that it is not
cancelled with the request."""


class SourceEnds(Protocol):
    """Takes note of the ends of sources. Each call is durable at return, and returns the ids of the retired traces."""

    async def end_object(self, key: str) -> Sequence[str]:
        """Retire what was derived from an object that was deleted."""

    async def end_table(self, name: str) -> Sequence[str]:
        """Retire what was derived from a table that was dropped."""

    async def end_rows(self, name: str) -> Sequence[str]:
        """Retire what was derived from rows that a table has no more."""

    async def rename_table(self, name: str, to: str) -> None:
        """Let what was derived from a table name it by its new name."""


async def end_rows(ends: SourceEnds, name: str) -> Sequence[str]:
    """`SourceEnds.end_rows` within `END_TIMEOUT`, also when its client has left. Returns the ids that were retired.

    If the time does not suffice, none are returned, and the log names the table.
    """
    with trio.CancelScope(shield=True, relative_deadline=END_TIMEOUT):
        return await ends.end_rows(name)
    logger.warning(
        "traces were not compared with the rows of %s within %g s: the next start compares the rest", name, END_TIMEOUT
    )
    return ()
