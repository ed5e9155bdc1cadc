"""Transactions for tasks: each runs in a thread, and ends with the task that asked for it.

A task that is cancelled shuts its connection: the thread ends at once, and the server ends the statement as soon as it
looks (`address.SETTINGS`), also if this process was killed. The request to cancel that PostgreSQL has beside that needs
a connection of its own, for which psycopg2 holds the interpreter: a server that stands still would stop everything.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, TypeVar

import outcome
import trio

from lakehouse.core.errors import ErrTimeout, ErrUnavailable, LakehouseError
from lakehouse.services.postgres.address import PostgresAddress, connect, make_address
from lakehouse.services.postgres.connections import IdleConnections, close
from lakehouse.services.postgres.migrations import migrate
from lakehouse.services.postgres.postgres_errors import RETRY_SECONDS, make_failure
from lakehouse.services.postgres.session import Session

if TYPE_CHECKING:
    from psycopg2 import extensions

T = TypeVar("T")

MAX_CONNECTIONS = 8
MAX_WAITING = 1024
"""Tasks that wait for a connection; further ones are refused."""
WAIT_SECONDS = 10.0
TIMEOUT = 30.0
"""Seconds for a whole transaction."""


class PostgresDatabase:
    """A database, as `open_postgres` opens it."""

    def __init__(self, address: PostgresAddress) -> None:
        self.address = address
        self.active = 0
        """The number of transactions under way."""
        self._idle = IdleConnections()
        self._slots = trio.Semaphore(MAX_CONNECTIONS)
        self._threads = trio.CapacityLimiter(2 * MAX_CONNECTIONS)
        """Threads of transactions, and of connections that nobody waits for any more."""
        self._migrated: dict[str, trio.Lock] = {}
        self._done: set[str] = set()

    async def run(self, work: Callable[[Session], T], *, timeout: float = TIMEOUT, snapshot: bool = False) -> T:
        """Run `work` in one transaction: committed at return, rolled back if `work` raises.

        `work` blocks, in a thread; it uses nothing but its session, since it runs once more if the server had closed
        the connection before. With `snapshot` the transaction reads one state of the database and writes nothing.
        `timeout` is in seconds and includes the wait for a connection.

        Raises the LakehouseErrors of `work`, ErrUnreached and ErrUpstream (502), ErrUnavailable (503), ErrTimeout
        (504), ErrNotInstalled (501). A call that is cancelled ends at once, its statement ends in the server
        within 50 ms, and the transaction is then complete or without effect.
        """
        with trio.move_on_after(timeout):
            async with self._slot():
                return await self._run(work, timeout, snapshot=snapshot)
        raise ErrTimeout(f"{self.address.shown} did not answer within {timeout:g} s")

    async def migrate(self, component: str, scripts: Sequence[str]) -> None:
        """Bring the tables of a component to the version `len(scripts)`, once for this object; see `migrations`."""
        if component in self._done:
            return
        async with self._migrated.setdefault(component, trio.Lock()):
            if component not in self._done:
                await self.run(lambda session: migrate(session, self.address.schema, component, scripts))
                self._done.add(component)

    def forget_migrations(self) -> None:
        """Let `migrate` look again: the tables were found missing."""
        self._done.clear()

    def close(self) -> None:
        """Close the idle connections."""
        self._idle.close()

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        """The right to one connection. Raises ErrUnavailable if too many wait, or for too long."""
        if self._slots.statistics().tasks_waiting >= MAX_WAITING:
            raise self._make_busy()
        with trio.move_on_after(WAIT_SECONDS) as scope:
            await self._slots.acquire()
        if scope.cancelled_caught:
            raise self._make_busy()
        self.active += 1
        try:
            yield
        finally:
            self.active -= 1
            self._slots.release()

    def _make_busy(self) -> ErrUnavailable:
        message = f"all {MAX_CONNECTIONS} connections to {self.address.shown} are in use"
        return ErrUnavailable(message, retry_after=RETRY_SECONDS, retryable=True)

    async def _run(self, work: Callable[[Session], T], timeout: float, *, snapshot: bool) -> T:
        password = self.address.password
        reused = self._idle.take(password)
        connection = reused or await self._connect(password)
        while True:
            session = Session(connection)
            try:
                with self._converted():
                    result = await self._run_in_thread(session, work, timeout, snapshot=snapshot)
            except LakehouseError:
                lost = bool(connection.closed)
                if not (reused and lost) or session.is_committing:
                    raise
            else:
                return result
            finally:
                self._idle.put(connection, password)
            self._idle.close()  # the server has ended, and all of them with it
            reused, connection = None, await self._connect(password)

    async def _connect(self, password: str) -> extensions.connection:
        """A new connection. A task that is cancelled does not wait for it; it is closed as soon as it is there."""
        abandoned = False

        def open_connection() -> extensions.connection:
            made = connect(self.address, password)
            if abandoned:
                close(made)
            return made

        try:
            with self._converted(connecting=True):
                return await trio.to_thread.run_sync(open_connection, abandon_on_cancel=True, limiter=self._threads)
        finally:
            abandoned = True

    async def _run_in_thread(
        self, session: Session, work: Callable[[Session], T], timeout: float, *, snapshot: bool
    ) -> T:
        def run() -> T:
            try:
                session.begin(timeout, snapshot=snapshot)
                result = work(session)
                session.commit()
            except BaseException:
                session.roll_back()
                raise
            return result

        ended = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._shut_if_cancelled, session, ended)
            try:  # a thread that has begun is waited for, also by a task that is cancelled
                captured = await trio.to_thread.run_sync(outcome.capture, run, limiter=self._threads)
            finally:
                ended.set()
        return captured.unwrap()

    async def _shut_if_cancelled(self, session: Session, ended: trio.Event) -> None:
        """End the thread of a transaction whose task is cancelled."""
        try:
            await ended.wait()
        except trio.Cancelled:
            session.shut()
            raise

    @contextmanager
    def _converted(self, *, connecting: bool = False) -> Iterator[None]:
        """Raise errors of psycopg2 as those of the service."""
        try:
            yield
        except (LakehouseError, trio.Cancelled):
            raise
        except Exception as error:
            from psycopg2 import Error

            if not isinstance(error, Error):
                raise
            raise make_failure(error, self.address, connecting=connecting) from None


@asynccontextmanager
async def open_postgres(url: str, *, schema: str, load_password: Callable[[], str]) -> AsyncIterator[PostgresDatabase]:
    """A database for the length of the block. No connection is opened before one is needed.

    `url` is `postgresql://host:port/database` as the configuration reads it, `schema` has all tables of the lake, and
    `load_password` is asked before each transaction.
    """
    database = PostgresDatabase(make_address(url, schema=schema, load_password=load_password))
    try:
        yield database
    finally:
        database.close()
