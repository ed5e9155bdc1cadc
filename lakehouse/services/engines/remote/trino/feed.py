"""The pages of one statement, fetched when a child asks for them; a statement that still runs is cancelled."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import trio

from lakehouse.core.errors import ErrBadRequest, ErrForbidden, LakehouseError
from lakehouse.services.engines.remote.feed import Feed
from lakehouse.services.engines.remote.secrets import Secrets
from lakehouse.services.engines.remote.trino.coordinator import Coordinator
from lakehouse.services.engines.remote.trino.messages import Page, make_error
from lakehouse.services.engines.remote.trino.statements import Statement
from lakehouse.services.engines.remote_messages import RemoteRequest

logger = logging.getLogger("lakehouse.services")

CANCEL_TIME = 2.0
"""Seconds for the cancellation of a statement on the server, after which its own time limit ends it."""
MAX_WARNINGS = 20
NOTHING, EMPTY = b"null", b"[]"


class TrinoFeed:
    """The columns of a statement, then its rows page by page: the input of a child (`remote_child.trino`)."""

    def __init__(self, coordinator: Coordinator, request: RemoteRequest, session: Mapping[str, str]) -> None:
        params = request.params if isinstance(request.params, list) else ()
        self._statement = Statement(request.sql, params)
        self._coordinator = coordinator
        self._secrets = Secrets(request.password, request.token)
        self._session = {**session, "query_max_run_time": f"{max(request.timeout, 0.001):.3f}s"}
        self._tag = request.tag
        self._page: Page | None = None
        self._columns_sent = self._ended = False
        self._warnings: dict[str, None] = {}  # in order, and each once: a page repeats those of the pages before

    @property
    def inputs(self) -> AsyncIterator[bytes]:
        """The columns as the server describes them, then arrays of rows."""
        return self

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        """The next input. Raises LakehouseError."""
        while True:
            page = self._page
            if page is not None and not self._columns_sent and bytes(page.columns) != NOTHING:
                self._columns_sent = True
                return bytes(page.columns)
            if page is not None and bytes(page.data) not in (NOTHING, EMPTY):
                self._page = Page(id=page.id, next_uri=page.next_uri, columns=page.columns, stats=page.stats)
                return bytes(page.data)
            if self._ended:
                if not self._columns_sent:
                    raise ErrBadRequest("the statement has no result", field="sql")
                raise StopAsyncIteration
            await self._advance(page)

    async def _advance(self, page: Page | None) -> None:
        """Fetch the next page. The statement has ended with the one that names no other."""
        if page is None:
            fetched = await self._coordinator.start(
                self._statement.text, self._secrets, session=self._session, tag=self._tag
            )
        else:
            assert page.next_uri is not None  # noqa: S101 - the last page has ended the statement
            fetched = await self._coordinator.fetch(page.next_uri, self._secrets)
        self._page, self._ended = fetched, fetched.next_uri is None
        self._warnings |= dict.fromkeys(warned.message for warned in fetched.warnings[:MAX_WARNINGS])
        if fetched.error is not None:
            self._ended = True
            raise make_error(fetched.error, self._statement.locate)
        if fetched.update_type is not None:
            raise ErrForbidden(f"the statement is {fetched.update_type}: one statement that reads is run")

    def read_scanned(self) -> tuple[int, int]:
        """The rows and bytes that were read, by the server's own count."""
        stats = None if self._page is None else self._page.stats
        if stats is None:
            return 0, 0
        return stats.processed_rows, stats.physical_input_bytes or stats.processed_bytes

    def read_warnings(self) -> Sequence[str]:
        """The sentences of the server, at most `MAX_WARNINGS`."""
        return tuple(self._warnings)[:MAX_WARNINGS]

    async def close(self) -> None:
        """Cancel the statement if it still runs, within `CANCEL_TIME`, also if the caller is cancelled."""
        if self._ended or self._page is None or self._page.next_uri is None:
            return
        self._ended = True
        with trio.CancelScope(deadline=trio.current_time() + CANCEL_TIME, shield=True) as scope:
            try:
                await self._coordinator.cancel(self._page.next_uri, self._secrets)
            except LakehouseError as error:
                logger.warning("a statement of Trino could not be cancelled: %s", self._secrets.redact(str(error)))
        if scope.cancelled_caught:
            logger.warning("Trino did not cancel a statement within %g s", CANCEL_TIME)


class TrinoFeeds:
    """The feeds of one server."""

    def __init__(self, coordinator: Coordinator, session: Mapping[str, str]) -> None:
        self._coordinator = coordinator
        self._session = session

    @asynccontextmanager
    async def open(self, request: RemoteRequest) -> AsyncIterator[Feed]:
        """The feed of a statement, which is posted when the child asks for its columns."""
        feed = TrinoFeed(self._coordinator, request, self._session)
        try:
            yield feed
        finally:
            await feed.close()

    def close(self) -> None:
        """Close the connections that are idle."""
        self._coordinator.close()
