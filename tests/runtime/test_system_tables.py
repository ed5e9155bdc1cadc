"""The system tables against the log and the metrics: under load, with several workers, and after kills."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from lakehouse.services.lake.folder_lock import find_holder
from lakehouse.testing.upstreams import ReceivedRequest, open_upstream, respond
from tools.kit.in_process_service import client_of, make_config, open_service
from tools.kit.service_with_providers import ollama
from tools.kit.telemetry_fixtures import CapturedLog

ROOT = Path(__file__).parents[2]
SQL = "/v1/sql"
OWN = (SQL, "/metrics")
"""The routes of the requests that a test itself counts with."""


async def answer(asked: ReceivedRequest, stream: trio.SocketStream) -> None:
    """An Ollama with a model that answers, one that fails, and one that never answers."""
    if asked.method == "GET":
        await stream.send_all(respond({"models": []}))
    elif asked.json["model"] == "broken":
        await stream.send_all(respond({"error": "out of order"}, 500))
    elif asked.json["model"] == "slow":
        await trio.sleep_forever()
    else:
        await stream.send_all(respond(ollama()))


async def chat(client: httpx.AsyncClient, model: str) -> None:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello?"}]}
    await client.post("/v1/chat", json=body, headers={"x-request-timeout-ms": "1500"})


async def leave(client: httpx.AsyncClient) -> None:
    """Ask for an answer that does not come, and go."""
    body = b'{"model": "slow", "messages": [{"role": "user", "content": "Hello?"}]}'
    head = b"POST /v1/chat HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(
        body
    )
    async with await trio.open_tcp_stream(client.base_url.host, client.base_url.port or 80) as stream:
        await stream.send_all(head + body)
        await trio.sleep(0.3)


async def send_load(client: httpx.AsyncClient, rounds: int = 6) -> None:
    """Requests of all kinds at once: chats, errors, an attempt at a deadline, clients that leave, relayed GETs."""
    async with trio.open_nursery() as nursery:
        for _ in range(rounds):
            nursery.start_soon(chat, client, "good")
            nursery.start_soon(chat, client, "broken")
            nursery.start_soon(leave, client)
            for path in ("/healthz", "/v1/storage/get/nothing", "/nowhere", "/v1/catalog/list"):
                nursery.start_soon(client.get, path)
        nursery.start_soon(chat, client, "slow")


async def select(client: httpx.AsyncClient, sql: str) -> list[list[Any]]:
    reply = await client.post(SQL, json={"sql": sql})
    assert reply.status_code == 200, reply.text
    rows: list[list[Any]] = reply.json()["rows"]
    return rows


async def count_rows(client: httpx.AsyncClient, expected: int, *, where: str = "true") -> Counter[tuple[Any, ...]]:
    """The requests by route, status and outcome, once there are as many as expected; those of a test itself do not count."""
    sql = f"SELECT route, status, outcome, count(*) FROM lakehouse.requests WHERE route NOT IN {OWN} AND {where} GROUP BY ALL"
    with trio.fail_after(15):
        while True:
            found = Counter({(route, status, outcome): n for route, status, outcome, n in await select(client, sql)})
            if found.total() >= expected:
                return found
            await trio.sleep(0.2)


def count_lines(lines: list[dict[str, Any]]) -> Counter[tuple[Any, ...]]:
    return Counter((each["route"], each["status"], each["outcome"]) for each in lines if each["route"] not in OWN)


def count_series(metrics: str) -> Counter[tuple[Any, ...]]:
    """`requests_total` by route, class of status and outcome."""
    series = r'^lakehouse_requests_total\{outcome="(.*?)",route="(.*?)",status="(.*?)"\} (\S+)'
    found = re.findall(series, metrics, re.MULTILINE)
    return Counter({(route, status, outcome): int(float(n)) for outcome, route, status, n in found if route not in OWN})


def by_class(counts: Counter[tuple[Any, ...]]) -> Counter[tuple[Any, ...]]:
    """As the metrics count: the route of a path that nothing serves is `other`."""
    found: Counter[tuple[Any, ...]] = Counter()
    for (route, status, outcome), number in counts.items():
        found[route or "other", f"{status // 100}xx", outcome] += number
    return found


@pytest.mark.extended
async def test_select_agrees_with_log_and_metrics_also_if_the_services_process_is_killed(tmp_path: Path) -> None:
    captured, lake = CapturedLog(), tmp_path / "lake"
    async with open_upstream(answer) as upstream:
        config = make_config(
            lake={"path": str(lake)},
            chatd={"ollama_url": upstream.url, "policy": {"retries": 1, "backoff": 0.01}},
            observe={"log": "json", "system_tables": {"contents": True}},
        )
        async with open_service(config, log=captured.log) as service, client_of(service) as client:
            await client.get("/v1/catalog/list")  # which starts the services process
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send_load, client)
                await trio.sleep(0.3)
                holder = find_holder(lake)
                assert holder is not None
                os.kill(holder.pid, signal.SIGKILL)
            await send_load(client)
            metrics = (await client.get("/metrics")).text
            counted = count_series(metrics)
            with trio.fail_after(20):
                while (expected := count_lines(captured.lines)).total() < counted.total():
                    await trio.sleep(0.01)
            assert by_class(expected) == counted
            assert {"client left", "deadline", "answered"} == {outcome for _, _, outcome in expected}
            assert expected["", 404, "answered"] == expected["/healthz", 200, "answered"] == 12
            assert await count_rows(client, expected.total()) == expected
            attempts = await select(client, "SELECT provider, result, count(*) FROM lakehouse.attempts GROUP BY ALL")
            for provider, result, number in attempts:
                assert f'lakehouse_attempts_total{{provider="{provider}",result="{result}"}} {number:.1f}' in metrics
            [[chats, tried, tokens]] = await select(
                client,
                "SELECT count(DISTINCT request_id), count(*), sum(input_tokens) FROM lakehouse.requests r "
                "JOIN lakehouse.attempts a USING (request_id) WHERE route = '/v1/chat' AND result = 'ok'",
            )
            assert (chats, tried, tokens) == (12, 12, 12 * 7)
            # The table reads recorded attempts by the names that they have.
            read = await select(
                client,
                "SELECT DISTINCT a.status, a.model, a.reason, a.number, a.total_ms BETWEEN 0 AND r.total_ms, "
                "a.time BETWEEN r.time - to_milliseconds(r.total_ms + 1) AND r.time FROM lakehouse.requests r "
                "JOIN lakehouse.attempts a USING (request_id) WHERE route = '/v1/chat' AND result = 'ok'",
            )
            assert [row[2:] for row in read] == [["first", 1, True, True]] * len(read)
            assert {row[0] for row in read} == {200}
            assert all(row[1] for row in read)
            contents = await select(
                client,
                "SELECT count(*), count(DISTINCT messages), any_value(answer) FROM lakehouse.contents "
                "JOIN lakehouse.requests USING (request_id) WHERE status = 200 AND messages LIKE '%Hello?%'",
            )
            assert contents[0][:2] == [12, 1]
            assert "Hello." in contents[0][2]


async def test_bytes_are_those_of_the_bodies(tmp_path: Path) -> None:
    captured, path = CapturedLog(), "/v1/storage/put/k"
    config = make_config(lake={"path": str(tmp_path / "lake")}, observe={"log": "json"})
    async with open_service(config, log=captured.log) as service, client_of(service) as client:

        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(3):
                yield b"x" * 1000

        answered = [len((await client.put(path, content=body)).content) for body in (b"", pieces(), b"x" * 400_000)]
        for key in ("k", "nothing"):
            answered += [len((await client.get(f"/v1/storage/get/{key}")).content)]
            assert (await client.head(f"/v1/storage/get/{key}")).content == b""
        reply = await client.post(SQL, json={"sql": "SELECT 1"}, headers={"accept": "application/x-ndjson"})
        lines = await captured.requests(8)
    found = [(line.get("bytes_in", 0), line.get("bytes_out", 0)) for line in lines]
    assert found[:3] == list(zip((0, 3000, 400_000), answered, strict=False))
    assert answered[3] == 400_000  # the gateway sends the file itself
    assert found[3:7] == [(0, answered[3]), (0, 0), (0, answered[4]), (0, 0)]
    assert found[7] == (len(reply.request.content), len(reply.content))


async def test_without_system_tables_nothing_is_recorded(tmp_path: Path) -> None:
    config = make_config(
        lake={"path": str(tmp_path / "lake"), "start": "eager"}, observe={"system_tables": {"enabled": False}}
    )
    async with open_service(config) as service, client_of(service) as client:
        reply = await client.post(SQL, json={"sql": "SELECT * FROM lakehouse.requests"})
        assert reply.status_code == 400
        assert "there is no table" in reply.json()["error"]["message"]
        assert "system" not in (await client.get("/v1/catalog/list")).json()
        assert not (tmp_path / "lake/system.db").exists()


REFUSED = [
    ("POST", "/v1/ingest?name=lakehouse.requests", b"a\n1\n", 400),
    ("DELETE", "/v1/catalog/tables/lakehouse.requests", b"", 400),
    ("POST", "/v1/catalog/tables/lakehouse/requests/rename", b'{"to": "x"}', 400),
    ("POST", "/v1/catalog/tables/lakehouse/requests/delete", b'{"where": "true"}', 400),
    ("POST", SQL, b'{"sql": "DELETE FROM lakehouse.requests"}', 403),
    ("POST", SQL, b'{"sql": "SELECT * FROM lakehouse.requests AT (VERSION => 3)"}', 400),
]


async def test_the_first_statement_sees_what_was_before_it_and_none_can_write(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    async with open_service(make_config(lake={"path": str(lake)})) as service, client_of(service) as client:
        for number in range(3):
            await client.get("/healthz", headers={"x-session-id": "run", "x-request-id": f"r{number}"})
        assert not lake.exists()  # requests alone do not start the services process
        found = await select(client, "SELECT request_id FROM lakehouse.requests WHERE session = 'run' ORDER BY ALL")
        assert found == [["r0"], ["r1"], ["r2"]]
        assert await select(client, "SELECT session, requests, failed FROM lakehouse.sessions") == [["run", 3, 0]]
        for method, path, body, status in REFUSED:
            reply = await client.request(method, path, content=body)
            assert (path, reply.status_code) == (path, status)
            message = reply.json()["error"]["message"]
            assert "lakehouse" in message or "DELETE" in message
        manifest = (await client.get("/v1/catalog/tables/lakehouse/requests")).json()
        listed = {table["name"]: table for table in (await client.get("/v1/catalog/list")).json()["system"]}
        assert listed["lakehouse/requests"]["columns"] == manifest["columns"]


@asynccontextmanager
async def run_service(tmp_path: Path, log: Path) -> AsyncIterator[tuple[trio.Process, httpx.AsyncClient]]:
    """`lakehouse serve --workers 2` in a process group of its own; killed at the end of the block."""
    config = tmp_path / "lakehouse.toml"
    config.write_text(f'[chatd]\nollama_url = ""\n[lake]\npath = "{tmp_path / "lake"}"\nstart = "eager"\nengines = 1\n')
    command = [sys.executable, "-m", "lakehouse", "serve", "-c", str(config), "--bind", "127.0.0.1:0", "--workers", "2"]
    with log.open("ab") as stderr:
        process = await trio.lowlevel.open_process(
            command, stdout=subprocess.PIPE, stderr=stderr, cwd=ROOT, start_new_session=True
        )
    assert process.stdout is not None
    try:
        output = b""
        with trio.fail_after(30):
            while (found := re.search(rb"listening on (http://\S+)\n", output)) is None:
                output += await process.stdout.receive_some()
        async with httpx.AsyncClient(base_url=found[1].decode(), timeout=20, trust_env=False) as client:
            yield process, client
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        await process.stdout.aclose()


async def test_rows_of_several_workers_are_there_after_a_kill_of_everything(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with run_service(tmp_path, log) as (_, client):
        await send_load(client)
        before = await count_rows(client, 25)
        with trio.fail_after(10):  # rows that were stored are in the log as well
            while (logged := count_lines(read_requests(log))).total() < before.total():
                await trio.sleep(0.05)
        assert await count_rows(client, logged.total()) == logged
    async with run_service(tmp_path, log) as (_, client):
        ids = [line["request_id"] for line in read_requests(log)]
        stored = await select(client, "SELECT request_id FROM lakehouse.requests")
        found = Counter(request_id for [request_id] in stored)
        assert set(found.values()) == {1}
        lost = set(ids) - set(found)
        assert len(lost) <= 3  # the last requests for SQL, less than a second before the kill


def read_requests(log: Path) -> list[dict[str, Any]]:
    lines = (json.loads(line) for line in log.read_bytes().splitlines() if line.startswith(b"{"))
    return [line for line in lines if line["event"] == "request"]
