"""The contract of a vector store in PostgreSQL with pgvector."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

from lakehouse.core.errors import ErrUnavailable, ErrUpstream, LakehouseError
from lakehouse.services.contracts.retrieval import Digest, IndexOptions, Merged, StoredItem, Written
from lakehouse.services.contracts.vector_store import (
    Candidates,
    CandidateSearch,
    StoredIndex,
    StoreStatus,
    StoreWrite,
    make_not_found,
    make_replaced,
)
from lakehouse.services.postgres.address import NAME
from lakehouse.services.postgres.database import PostgresDatabase
from lakehouse.services.postgres.session import Session
from lakehouse.services.vector_stores.postgres import merging, searching, writing
from lakehouse.services.vector_stores.postgres.records import (
    create_record,
    delete_record,
    find_record,
    find_records,
    is_storable,
    list_records,
)
from lakehouse.services.vector_stores.postgres.staging import decode_vector
from lakehouse.services.vector_stores.postgres.tables import COMPONENT, SCRIPTS

T = TypeVar("T")

OLDEST = (0, 8)
WRITE_SECONDS = 300.0
"""Seconds for a write: a batch of many items into a graph takes minutes."""


class PostgresVectorStore:
    """The store. `name` says where it is."""

    def __init__(self, database: PostgresDatabase) -> None:
        self.name = f"pgvector in {database.address.shown}"
        self._database = database
        self._checked = False

    async def find_indexes(self, names: Sequence[str] | None = None) -> Sequence[StoredIndex]:
        """These indexes, as far as they are there; None: all of them, in the order of their names."""

        def work(session: Session) -> list[StoredIndex]:
            found = list_records(session) if names is None else find_records(session, names).values()
            return [record.describe() for record in found]

        return await self._run(work, snapshot=True)

    async def create_index(self, options: IndexOptions) -> StoredIndex:
        """Create an index. Raises ErrConflict, ErrBadRequest."""
        return await self._run(lambda session: create_record(session, options).describe())

    async def delete_index(self, name: str) -> None:
        """Delete an index with its items."""
        await self._run(lambda session: delete_record(session, name))

    async def write(self, write: StoreWrite) -> Written:
        """Delete and add items."""
        return await self._run(lambda session: writing.write(session, write), timeout=WRITE_SECONDS)

    async def merge(self, source: str, dest: str, *, clear_source: bool = False) -> Merged:
        """Copy what the destination lacks."""
        return await self._run(
            lambda session: merging.merge(session, source, dest, clear_source=clear_source), timeout=WRITE_SECONDS
        )

    async def search(self, search: CandidateSearch) -> Candidates:
        """Find candidates."""

        def work(session: Session) -> Candidates:
            with _replaced(make_replaced(search.corpora[0].index)):
                return searching.search(session, search)

        return await self._run(work, snapshot=True)

    async def get_items(self, index: str, ids: Sequence[str], *, with_vector: bool = False) -> Mapping[str, StoredItem]:
        """The items with these ids that are there."""

        def work(session: Session) -> dict[str, StoredItem]:
            tables = find_record(session, index).tables
            vector = "coalesce(t.given, vector_send(i.vec))" if with_vector else "NULL"
            with _replaced(make_not_found(index)):
                rows = session.fetch(
                    f"SELECT i.id, i.source, t.text, t.metadata, {vector} FROM {tables.items} i"
                    f" JOIN {tables.texts} t USING (row) WHERE i.id = ANY(%s)",
                    ([one for one in ids if is_storable(one)],),
                )
            return {
                own: StoredItem(
                    id=own,
                    source=source,
                    text=None if text is None else bytes(text).decode(),
                    metadata=bytes(metadata),
                    vector=b"" if sent is None else decode_vector(bytes(sent)),
                )
                for own, source, text, metadata, sent in rows
            }

        return await self._run(work, snapshot=True)

    async def list_digests(self, index: str, *, after: str = "", limit: int = 10_000) -> Sequence[Digest]:
        """Ids and digests in the order of the ids."""

        def work(session: Session) -> list[Digest]:
            items = find_record(session, index).tables.items
            with _replaced(make_not_found(index)):
                rows = session.fetch(
                    f"SELECT id, digest FROM {items} WHERE id > %s ORDER BY id LIMIT %s", (after, limit)
                )
            return [Digest(own, bytes(digest)) for own, digest in rows]

        return await self._run(work, snapshot=True)

    async def check(self) -> StoreStatus:
        """Ask the server for its version, and that of pgvector. Changes nothing."""
        return await self._database.run(_read_status, snapshot=True)

    async def _run(self, work: Callable[[Session], T], *, timeout: float = 30.0, snapshot: bool = False) -> T:
        if not self._checked:
            await self._prepare()
        gone = ErrUnavailable(f"{self.name} was set back", retry_after=1.0, retryable=True)

        def guarded(session: Session) -> T:
            with _replaced(gone):
                return work(session)

        try:
            return await self._database.run(guarded, timeout=timeout, snapshot=snapshot)
        except ErrUnavailable as error:
            if error is gone:  # a database in which there are no tables yet: the next request makes them
                self._checked = False
                self._database.forget_migrations()
            raise

    async def _prepare(self) -> None:
        """Check the server and make the tables, before the first call. Raises ErrUpstream if it does not fit."""
        status = await self.check()
        if status.problem:
            raise ErrUpstream(f"{self._database.address.shown}: {status.problem}", provider=NAME)
        await self._database.migrate(COMPONENT, SCRIPTS)
        self._checked = True


@contextmanager
def _replaced(error: LakehouseError) -> Iterator[None]:
    """Raise `error` if a table is missing: another service has deleted the index since its record was read."""
    from psycopg2 import errors

    try:
        yield
    except errors.UndefinedTable:
        raise error from None


def _read_status(session: Session) -> StoreStatus:
    found = session.fetch_one(
        """
        SELECT current_setting('server_version'), current_setting('server_encoding'),
            coalesce((SELECT extversion FROM pg_extension WHERE extname = 'vector'),
                (SELECT default_version FROM pg_available_extensions WHERE name = 'vector'))
        """
    )
    server, encoding, vector = found or ("", "", None)
    version = f"PostgreSQL {server.split()[0]}, pgvector {vector or 'not there'}"
    if vector is None:
        return StoreStatus(version=version, problem="pgvector is not installed on the server")
    if tuple(int(part) for part in vector.split(".")[:2]) < OLDEST:
        problem = f"pgvector {vector} is too old: before 0.8 a search by a graph loses results, so 0.8 is needed"
        return StoreStatus(version=version, problem=problem)
    if encoding != "UTF8":
        return StoreStatus(version=version, problem=f"the database has the encoding {encoding}, and UTF8 is needed")
    return StoreStatus(version=version)
