"""Streams that fail, clients that leave, and the limits of an engine."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
import trio

from tests.services.queryd.sql_kit import PEOPLE, FileTables, Sql, open_sql
from tools.kit.matrices import spread

NDJSON, CSV = "application/x-ndjson", "text/csv"
ARROW, PARQUET = "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"
FAILS_LATE = "SELECT CASE WHEN i < 2000000 THEN i ELSE error('too far') END AS i FROM range(3000000) t(i)"
ENDLESS = {
    "range": "SELECT sum(i) FROM range(1000000000000) t(i)",
    "join": "SELECT count(*) FROM range(30000000) a(i) JOIN range(30000000) b(j) ON hash(i) = hash(j * 7)",
    "sort": "SELECT max(i) FROM (SELECT i FROM range(400000000) t(i) ORDER BY hash(i) OFFSET 5)",
    "unnest": "SELECT sum(x) FROM (SELECT unnest(range(10000000)) AS x FROM range(100000))",
    "levenshtein": "SELECT sum(levenshtein(repeat('ab', 20000), repeat('ba', 20000 + i::INT))) FROM range(1000) t(i)",
    "lpad": "SELECT sum(length(lpad('a', 90000000 + i::INT, 'x'))) FROM range(1000) t(i)",
    "sleep": "SELECT pg_sleep(3600)",
    "stream": "SELECT i, repeat('x', 100) FROM range(1000000000) t(i)",
}


@pytest.fixture
async def sql(tmp_path: Path) -> AsyncIterator[Sql]:
    tables = FileTables(tmp_path)
    tables.write("people", PEOPLE)
    async with open_sql(tables) as sql:
        yield sql


async def read_broken(sql: Sql, statement: str, accept: str) -> bytes:
    """What of a stream arrives before it is cut."""
    received = bytearray()
    async with sql.begin(statement, accept) as stream:
        try:
            while piece := await stream.chunk():
                received += piece
        except (EOFError, trio.BrokenResourceError):
            return bytes(received)
    pytest.fail("the stream looks complete")


@pytest.mark.extended
async def test_a_stream_that_fails_midway_does_not_look_complete(sql: Sql) -> None:
    """NDJSON ends in an error line; CSV, Arrow, Parquet and a long JSON document are cut."""
    response = await sql.post(FAILS_LATE, accept=NDJSON)
    *rows, last = response.text.splitlines()
    assert response.status_code == 200
    assert 1_000_000 <= len(rows) <= 2_000_000
    assert json.loads(rows[-1])["i"] == len(rows) - 1
    error = json.loads(last)["error"]
    assert (error["code"], error["message"]) == ("ErrBadRequest", "too far")
    assert error["request_id"]
    assert (await read_broken(sql, FAILS_LATE, CSV)).startswith(b"i\r\n0\r\n1\r\n")
    arrow = await read_broken(sql, FAILS_LATE, ARROW)
    assert not arrow.endswith(b"\xff\xff\xff\xff\x00\x00\x00\x00")
    wide = FAILS_LATE.replace(" AS i FROM", " AS i, repeat(hash(i)::VARCHAR, 4) AS s FROM")
    parquet = await read_broken(sql, wide, PARQUET)
    assert not parquet.endswith(b"PAR1")
    assert sql.engine.pool.in_use == 0


@pytest.mark.parametrize("accept", [CSV, NDJSON])
async def test_a_stream_begins_before_much_of_it_is_computed(sql: Sql, accept: str) -> None:
    """A failure after six megabytes does not come before the first bytes: the engine computes one megabyte ahead."""
    statement = (
        "SELECT i + CASE WHEN i < 60000 THEN 0 ELSE error('x') END AS i, repeat('x', 100) FROM range(99999) t(i)"
    )
    async with sql.begin(statement, accept) as stream:
        assert await stream.chunk()


@pytest.mark.extended
async def test_a_long_line_of_ndjson_is_sent_in_parts(sql: Sql) -> None:
    """It is not collected: its first part arrives before its end. The error line is a line of its own."""
    async with sql.begin("SELECT repeat('x', 16000000) AS s", NDJSON) as stream:
        received = bytearray(await stream.chunk())
        (pid,) = pids_of(sql)
        os.kill(pid, signal.SIGKILL)
        while piece := await stream.chunk():
            received += piece
    row, error = received.splitlines()
    assert row.startswith(b'{"s":"xxx')
    assert not row.endswith(b'"}')
    assert json.loads(error)["error"]["status"] == 422


@pytest.mark.extended
async def test_a_long_json_document_that_fails_is_cut(tmp_path: Path) -> None:
    """A short one gets the status of its failure, because nothing of it was sent."""
    async with open_sql(FileTables(tmp_path), max_rows=10_000_000) as sql:
        text = await read_broken(sql, FAILS_LATE, "application/json")
        assert text.startswith(b'{"columns":[{"name":"i","type":"BIGINT"}],"rows":[[0],[1],')
        status, message, _ = await sql.error(
            "SELECT CASE WHEN i < 9000 THEN i ELSE error('x') END FROM range(10000) t(i)"
        )
        assert (status, message) == (400, "x")
        document = (await sql.post("SELECT i FROM range(500000) t(i)")).json()
        assert document["rows"] == [[i] for i in range(500_000)]
        assert document["row_count"] == 500_000


@pytest.mark.alone  # measures processor time
async def test_a_slow_client_holds_the_engine_back(sql: Sql) -> None:
    """A stream of terabytes waits for its client: meanwhile the engine is idle."""
    async with sql.begin("SELECT i, repeat('x', 1000) FROM range(1000000000) t(i)", CSV) as stream:
        await stream.chunk()
        (pid,) = pids_of(sql)
        await trio.sleep(0.5)
        before = cpu_of(pid)
        await trio.sleep(0.3)
        assert before is not None
        assert (cpu_of(pid) or 0) - before < 50_000_000
        await stream.chunk()
    await until_idle(sql)


@pytest.mark.alone  # measures processor time
async def test_a_client_that_leaves_stops_its_query(sql: Sql) -> None:
    """The engine uses no processor 100 ms later, also inside one long function, and the next query is answered."""
    for shape, statement in ENDLESS.items():
        await sql.rows("SELECT 1")
        (pid,) = pids_of(sql)
        await sql.leave(statement, NDJSON, after=0.15)
        await trio.sleep(0.1 if os.getloadavg()[0] < 1 else 0.3)
        before = cpu_of(pid)
        await trio.sleep(0.1)
        after = cpu_of(pid)
        assert before is None or after is None or after - before < 10_000_000, f"the engine still works: {shape}"
        assert await sql.rows("SELECT count(*) FROM people") == [[5]]


@pytest.mark.extended
async def test_two_hundred_clients_leave_in_a_row(tmp_path: Path) -> None:
    """The pool is whole afterwards: every engine is idle, every folder for temporary files has its engine."""
    async with open_sql(FileTables(tmp_path), engines=2, memory=str(2**30)) as sql:
        await sql.rows("SELECT 1")

        for number in range(0, 200, 4):
            async with trio.open_nursery() as nursery:
                for each in range(4):
                    after = 0.001 * ((number + each) % 40)
                    nursery.start_soon(partial(sql.leave, ENDLESS["range"], NDJSON, after=after))
        await until_idle(sql)
        for _ in range(4):
            assert await sql.rows("SELECT 1") == [[1]]
        pool = sql.engine.pool
        with trio.fail_after(10):
            while len(list((tmp_path / "spill").iterdir())) != pool.size or pool.size > 2:
                await trio.sleep(0.01)
        assert pool.waiting == 0


async def test_the_time_limit_of_the_configuration_and_of_the_request(tmp_path: Path) -> None:
    """504; a request can only shorten the limit."""
    async with open_sql(FileTables(tmp_path), query_timeout=0.4) as sql:
        for timeout in (None, "100ms", 0.1, "1h"):
            with trio.fail_after(20):
                status, message, _ = await sql.error(ENDLESS["range"], timeout=timeout)
            assert status == 504
            assert "did not end within" in message
        text = (await sql.post(ENDLESS["stream"], accept=NDJSON)).text
        assert json.loads(text.splitlines()[-1])["error"]["status"] == 504
        with trio.fail_after(10):  # an engine that has to be started may take longer than the limit
            while (await sql.post("SELECT 1")).status_code != 200:
                await trio.sleep(0.1)


@pytest.mark.parametrize(
    ("statement", "words"),
    spread(
        [
            ("SELECT len(list(i)) FROM range(100000000) t(i)", "memory"),
            ("SELECT sum(length(repeat('abcdefgh', 100000 + i::INT))) FROM range(100000) t(i)", "memory"),
            ("SELECT ((repeat('[', 40000) || repeat(']', 40000))::JSON)::VARIANT::VARCHAR", "the engine ended"),
        ],
        3,
    ),
)
async def test_a_query_over_a_limit_ends_alone(tmp_path: Path, statement: str, words: str) -> None:
    """422 with a sentence; its engine is replaced, and a query in the other engine goes on."""
    async with open_sql(FileTables(tmp_path), engines=2, memory=str(2**30)) as sql:
        async with trio.open_nursery() as nursery:

            async def other() -> None:
                assert await sql.rows("SELECT count(*) FROM range(300000000) t(i) WHERE i % 7 = 1") == [[42857143]]

            nursery.start_soon(other)
            status, message, _ = await sql.error(statement)
        assert (status, words in message) == (422, True), message
        assert str(tmp_path) not in message
        assert await sql.rows("SELECT 1") == [[1]]


async def test_an_engine_that_is_killed_while_idle_is_replaced(sql: Sql) -> None:
    """Its death is seen before the next query is sent to it."""
    await sql.rows("SELECT 1")
    (pid,) = pids_of(sql)
    os.kill(pid, signal.SIGKILL)
    await trio.sleep(0.05)
    assert await sql.rows("SELECT 1") == [[1]]


async def test_too_many_queries_wait(sql: Sql) -> None:
    """64 wait for an engine; one more is 503 with Retry-After at once."""
    await sql.rows("SELECT 1")
    async with trio.open_nursery() as nursery:
        for _ in range(65):
            nursery.start_soon(partial(sql.leave, ENDLESS["sleep"], NDJSON, after=60))
        with trio.fail_after(10):
            while sql.engine.pool.waiting < 64:
                await trio.sleep(0.01)
        response = await sql.post("SELECT 1")
        assert response.status_code == 503
        assert int(response.headers["retry-after"]) >= 1
        nursery.cancel_scope.cancel()
    assert await sql.rows("SELECT 1") == [[1]]


def pids_of(sql: Sql) -> list[int]:
    """The processes of the engines."""
    return [pooled._child.pid for pooled in sql.engine.pool._children if pooled._child is not None]


def cpu_of(pid: int) -> int | None:
    """Nanoseconds of processor time of all threads; None for an ended process."""
    try:
        threads = Path(f"/proc/{pid}/task").iterdir()
        return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads)
    except OSError:
        return None


async def until_idle(sql: Sql) -> None:
    """Wait until no engine is assigned to a query."""
    with trio.fail_after(10):
        while sql.engine.pool.in_use or sql.engine.pool.waiting:
            await trio.sleep(0.01)
