"""What services tell the store of traces: that something which traces may be derived from has ended or moved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class SourceEnds(Protocol):
    """Takes note of the ends of sources. Each call is durable at return, and returns the ids of the retired traces."""

    async def end_object(self, key: str) -> Sequence[str]:
        """Retire what was derived from an object that was deleted."""

    async def end_table(self, name: str) -> Sequence[str]:
        """Retire what was derived from a table that was dropped."""

    async def rename_table(self, name: str, to: str) -> None:
        """Let what was derived from a table name it by its new name."""
