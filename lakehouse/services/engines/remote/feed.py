"""What the parent gives a running child: the pages of a server whose protocol the parent speaks, or nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from lakehouse.services.engines.remote_messages import RemoteRequest


class Feed(Protocol):
    """The input of one running statement."""

    @property
    def inputs(self) -> AsyncIterator[bytes] | None:
        """What the child asks for, piece by piece; None if it asks for nothing. Raises LakehouseError."""

    def read_scanned(self) -> tuple[int, int]:
        """The rows and bytes that the engine has read, as far as it has said so."""

    def read_warnings(self) -> Sequence[str]:
        """What the engine warns about, as far as it has said so."""


class FeedSource(Protocol):
    """Opens the feeds of one engine."""

    def open(self, request: RemoteRequest) -> AbstractAsyncContextManager[Feed]:
        """The feed of a statement, which starts when the child asks for its first input.

        At the end of the block a statement that still runs is cancelled on the server, within a bound.
        """

    def close(self) -> None:
        """Close the connections that are idle."""


class NoFeed:
    """The feed of a child that speaks to its server itself."""

    inputs: AsyncIterator[bytes] | None = None

    def read_scanned(self) -> tuple[int, int]:
        """Nothing is known here."""
        return 0, 0

    def read_warnings(self) -> Sequence[str]:
        """Nothing is known here."""
        return ()


class NoFeeds:
    """The feeds of such children."""

    @asynccontextmanager
    async def open(self, _request: RemoteRequest) -> AsyncIterator[Feed]:
        """A feed of nothing."""
        yield NoFeed()

    def close(self) -> None:
        """There are no connections here."""
