"""Transactions in PostgreSQL end with their task, and a server that ends and comes back is found again."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from lakehouse.config.urls import separate_credentials
from lakehouse.core.errors import ErrTimeout, ErrUnavailable, ErrUnreached, ErrUpstream, LakehouseError
from lakehouse.services.lake.key_file import KeyFile
from lakehouse.services.postgres.database import PostgresDatabase, open_postgres
from lakehouse.services.postgres.session import Session
from tests.services.postgres.signals import stop
from tools.kit.scaleout.postgres import Postgres
from tools.kit.scaleout.postgres import open_postgres as run_server

SCHEMA = "lakehouse_test"
SCRIPTS = ("CREATE TABLE words (word text PRIMARY KEY)", "ALTER TABLE words ADD COLUMN length integer")


@pytest.fixture
async def database(postgres: Postgres) -> AsyncIterator[PostgresDatabase]:
    url = separate_credentials(postgres.create_database())
    async with open_postgres(url, schema=SCHEMA, load_password=str) as opened:
        await opened.migrate("words", SCRIPTS)
        yield opened


def count_words(session: Session) -> int:
    found = session.fetch_one("SELECT count(*) FROM words")
    assert found is not None
    return int(found[0])


def find_busy(postgres: Postgres, database: PostgresDatabase) -> str:
    """The statements that run in the database, without those of whoever asks."""
    name = database.address.database
    return postgres.run(f"SELECT query FROM pg_stat_activity WHERE datname = '{name}' AND state <> 'idle'")


async def wait_until_busy(postgres: Postgres, database: PostgresDatabase, text: str) -> None:
    with trio.fail_after(10):
        while text not in await trio.to_thread.run_sync(find_busy, postgres, database):
            await trio.sleep(0.01)


async def test_a_transaction_is_kept_whole_or_not_at_all(database: PostgresDatabase) -> None:
    def add(session: Session) -> int:
        session.execute_values("INSERT INTO words (word) VALUES %s", [("one",), ("two",)])
        return count_words(session)

    def fail(session: Session) -> None:
        session.execute("INSERT INTO words (word) VALUES ('three')")
        raise ErrUnavailable("enough")

    def repeat(session: Session) -> int:
        return session.execute("INSERT INTO words (word) VALUES (%s)", ("one",))

    assert await database.run(add) == 2
    with pytest.raises(ErrUnavailable, match="enough"):
        await database.run(fail)
    with pytest.raises(ErrUpstream, match="duplicate key") as caught:
        await database.run(repeat)
    assert "one" not in caught.value.message
    assert await database.run(count_words, snapshot=True) == 2
    with pytest.raises(ErrUpstream, match="read-only"):
        await database.run(repeat, snapshot=True)


async def test_many_services_make_the_tables_at_once(postgres: Postgres) -> None:
    url = separate_credentials(postgres.create_database())

    async def open_one() -> None:
        async with open_postgres(url, schema="lakehouse_My-lake", load_password=str) as opened:
            await opened.migrate("words", SCRIPTS)
            await opened.migrate("words", SCRIPTS)
            assert await opened.run(count_words) == 0

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(open_one)
    async with open_postgres(url, schema="lakehouse_My-lake", load_password=str) as older:
        with pytest.raises(ErrUpstream, match="have version 2, and this program knows versions up to 1"):
            await older.migrate("words", SCRIPTS[:1])


async def test_a_task_that_is_cancelled_ends_its_statement(database: PostgresDatabase, postgres: Postgres) -> None:
    def work(session: Session) -> None:
        session.execute("INSERT INTO words (word) VALUES ('lost')")
        session.execute("SELECT pg_sleep(20)")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(database.run, work)
        await wait_until_busy(postgres, database, "pg_sleep")
        began = trio.current_time()
        nursery.cancel_scope.cancel()
    assert trio.current_time() - began < 1
    with trio.fail_after(1):
        while find_busy(postgres, database):
            await trio.sleep(0.01)
    assert await database.run(count_words) == 0
    assert database.active == 0


async def test_a_transaction_has_an_end(database: PostgresDatabase) -> None:
    with pytest.raises(ErrTimeout):
        await database.run(lambda session: session.execute("SELECT pg_sleep(20)"), timeout=0.3)


async def test_connections_are_bounded(database: PostgresDatabase) -> None:
    most = 0

    async def sleep_once() -> None:
        nonlocal most
        await database.run(lambda session: session.execute("SELECT pg_sleep(0.05)"))
        most = max(most, database.active)

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(sleep_once)
    assert most <= 8


async def test_a_server_that_ends_and_comes_back(database: PostgresDatabase, postgres: Postgres) -> None:
    name = database.address.database
    end = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    assert await database.run(count_words) == 0
    postgres.run(end)
    assert await database.run(count_words) == 0  # over a new connection, without an error
    postgres.run(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false")
    postgres.run(end)
    with pytest.raises(ErrUpstream, match="not currently accepting connections"):
        await database.run(count_words)
    postgres.run(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true")
    assert await database.run(count_words) == 0

    async with trio.open_nursery() as nursery:

        async def sleep() -> None:
            with pytest.raises(LakehouseError) as caught:
                await database.run(lambda session: session.execute("SELECT pg_sleep(20)"))
            assert caught.value.status in (502, 503)

        nursery.start_soon(sleep)
        await wait_until_busy(postgres, database, "pg_sleep")
        postgres.run(end)  # in the middle of a statement of ours: it is not repeated for ever
        await trio.sleep(0.2)
        postgres.run(end)
    assert await database.run(count_words) == 0


async def test_a_password_that_is_replaced(postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.create_database()
    file = tmp_path / "keys.env"
    file.write_text("PGPASSWORD=wrong-word\n")
    source = KeyFile(str(file), {})
    bare = separate_credentials(url.replace(f":{postgres.password}@", ":other-word@"))
    async with open_postgres(bare, schema=SCHEMA, load_password=lambda: source.load()["PGPASSWORD"]) as database:
        with pytest.raises(ErrUpstream, match=r"lake\.key_file") as caught:
            await database.migrate("words", SCRIPTS)
        assert "-word" not in caught.value.message + repr(database.address)
        file.write_text(f"PGPASSWORD={postgres.password}\n")
        await database.migrate("words", SCRIPTS)
        assert await database.run(count_words) == 0


async def test_a_server_that_is_not_there() -> None:
    url = separate_credentials("postgresql://lake:secret-word@127.0.0.1:1/lake")
    pytest.importorskip("psycopg2")
    async with open_postgres(url, schema=SCHEMA, load_password=str) as database:
        with pytest.raises(ErrUnreached) as caught:
            await database.run(count_words)
    assert "127.0.0.1:1" in caught.value.message
    assert "secret-word" not in caught.value.message


async def test_a_server_that_stands_still(postgres: Postgres, tmp_path: Path) -> None:
    with run_server(tmp_path / "server") as server:
        async with open_postgres(separate_credentials(server.url()), schema=SCHEMA, load_password=str) as database:
            await database.migrate("words", SCRIPTS)
            stop(server, signal.SIGSTOP)
            try:
                began = trio.current_time()
                with pytest.raises(ErrTimeout):
                    await database.run(count_words, timeout=0.5)
                assert trio.current_time() - began < 1.5  # nobody waits for the server
                with pytest.raises(ErrUnreached):
                    await database.run(count_words)
            finally:
                stop(server, signal.SIGCONT)
            assert await database.run(count_words) == 0
