"""Services behind Unix sockets: everything that goes over TCP goes over them, and their errors have the same words."""

from __future__ import annotations

import json
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked
from wsproto.connection import ConnectionType
from wsproto.events import TextMessage

from lakehouse.config import ConfigError, parse_config
from lakehouse.runtime.dependency_status import probe_upstreams
from lakehouse.upstream.address import parse_base_url
from lakehouse.upstream.connections import connect
from lakehouse.upstream.pool import Upstream
from tools.kit.gateway_services import Answer, ServiceRequest, never_answer, open_gateway
from tools.kit.websocket_frames import Frames, agree, knock

MIB = 1024 * 1024


@pytest.fixture
def directory() -> Iterator[str]:
    """A short name: a Unix socket's path may have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="lh-") as name:
        yield name


def message_of(answer: Answer) -> str:
    message: str = json.loads(answer.body)["error"]["message"]
    return message


async def test_a_request_goes_over_it_byte_for_byte_and_the_connection_is_kept(directory: str) -> None:
    async with open_gateway(directory=directory) as up:
        for _ in range(3):
            assert (await up.ask("/v1/storage/a%2Fb?x=1&y")).body == b"ok"
        assert up.storaged.last.target == b"/storage/a%2Fb?x=1&y"
        assert dict(up.storaged.last.headers)[b"host"] == b"localhost"
        assert up.storaged.opened == 1
        assert [context.upstream for context in up.ended] == ["storaged"] * 3
        pool = up.gateway.upstreams["storaged"]
        assert (pool.name, pool.in_use, pool.idle) == ("storaged", 0, 1)


async def test_bodies_stream_both_ways_with_back_pressure(directory: str) -> None:
    sent = 0

    async def stream(visit: ServiceRequest) -> None:
        nonlocal sent
        assert await visit.body(visit.headers) == bytes(3 * MIB)
        await visit.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(64):
            await visit.send(b"100000\r\n" + bytes(MIB) + b"\r\n")
            sent += 1
        await visit.send(b"0\r\n\r\n")

    async with open_gateway(directory=directory) as up:
        up.ingestd.script = stream
        async with await up.connect() as client:
            await client.send(b"POST /v1/ingest HTTP/1.1\r\nhost: door\r\ncontent-length: %d\r\n\r\n" % (3 * MIB))
            await client.send(bytes(3 * MIB))
            answer = await client.answer_head()
            assert answer.status == 200
            await wait_all_tasks_blocked(0.1)
            assert sent < 64  # nobody reads: the service waits
            assert await client.body(answer.headers) == bytes(64 * MIB)


async def test_a_websocket_goes_over_it(directory: str) -> None:
    async def live(visit: ServiceRequest) -> None:
        frames = await agree(visit)
        event = await frames.next()
        assert isinstance(event, TextMessage)
        await frames.send(TextMessage(event.data.upper()))
        with pytest.raises(EOFError):
            while True:
                await frames.next()

    async with open_gateway(directory=directory) as up:
        up.observerd.script = live
        async with await up.connect() as client:
            assert (await knock(client)).status == 101
            frames = Frames(client, ConnectionType.CLIENT)
            await frames.send(TextMessage("hello"))
            assert await frames.next() == TextMessage("HELLO")


async def test_a_client_that_leaves_closes_it(directory: str) -> None:
    async with open_gateway(directory=directory) as up:
        up.queryd.script = never_answer
        async with await up.connect() as client:
            await client.send(b"GET /v1/sql HTTP/1.1\r\nhost: door\r\n\r\n")
            while not up.queryd.requests:
                await trio.sleep(0.005)
        await up.queryd.gone.wait()
        while not up.is_quiet():
            await trio.sleep(0.005)


async def test_what_cannot_be_connected_to_is_told_as_for_any_upstream(directory: str) -> None:
    file = Path(directory) / "file"
    file.write_text("")
    deaf = socket.socket(socket.AF_UNIX)
    with deaf:
        deaf.bind(f"{directory}/deaf")
        deaf.listen(0)
        async with open_gateway(
            directory=directory,
            storaged_url=f"unix:{directory}/none",
            catalogd_url=f"unix:{file}",
            queryd_url=f"unix:{directory}/deaf",
            connect_timeout=0.3,
        ) as up:
            missing = await up.ask("/v1/storage/a")
            assert missing.status == 502
            assert message_of(missing) == "storaged could not be connected to: No such file or directory"
            refused = await up.ask("/v1/catalog/a")
            assert message_of(refused) == "catalogd could not be connected to: Connection refused"

            with socket.socket(socket.AF_UNIX) as waiting:  # fills the queue of one
                waiting.connect(f"{directory}/deaf")
                full = await up.ask("/v1/sql")
                assert full.status == 504
                assert message_of(full) == "queryd did not accept a connection within 0.3 s (its connect timeout)"


async def test_a_full_queue_is_waited_for(directory: str) -> None:
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as waiting:
        listener.bind(f"{directory}/busy")
        listener.listen(0)
        waiting.connect(f"{directory}/busy")
        connected: list[socket.socket] = []

        async def connect_once() -> None:
            connected.append(await connect.connect_unix(f"{directory}/busy"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(connect_once)
            await wait_all_tasks_blocked(0.02)
            assert not connected
            listener.accept()[0].close()
        accepted, _ = listener.accept()
        with accepted, connected[0] as sock:
            accepted.send(b"here")
            await trio.lowlevel.wait_readable(sock)
            assert sock.recv(10) == b"here"


async def test_the_status_report_knows_whether_one_listens(directory: str) -> None:
    async with open_gateway(directory=directory) as up:
        config = parse_config(
            {"gateway": {"storaged_url": up.storaged.url, "catalogd_url": f"unix:{directory}/none", "chatd_url": ""}}
        ).config
        answers = {status.name: status.answers for status in await probe_upstreams(config)}
        assert answers["storaged"] is True
        assert answers["catalogd"] is False


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("unix:", "must have the absolute path of a socket"),
        ("unix:run/x.sock", "must have the absolute path of a socket"),
        ("unix:///run/x.sock", "must have the absolute path of a socket"),
        ("unix:/run/", "must have the absolute path of a socket"),
        ("unix:/run/x y", "must have a path without spaces"),
        ("unix:/run/x?a", "must have a path without spaces, `?` and `#`"),
        ("unix:/" + "x" * 107, "must have a path of at most 107 bytes"),
    ],
)
def test_a_url_that_names_no_socket_is_refused(url: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({"gateway": {"storaged_url": url, "chatd_url": url}})
    assert len(caught.value.problems) == 2
    assert caught.value.problems[0].startswith(f"gateway.storaged_url {problem}")


def test_providers_are_not_reached_over_a_unix_socket() -> None:
    with pytest.raises(ConfigError, match=r"chatd\.ollama_url must include scheme and host"):
        parse_config({"chatd": {"ollama_url": "unix:/run/ollama.sock"}})


def test_the_parts_of_its_url() -> None:
    assert parse_base_url("unix:/run/x.sock") == ("http", "localhost", 80, b"localhost", b"", "/run/x.sock")
    assert Upstream("unix:/run/x.sock", name="x").endpoint.address.socket_path == "/run/x.sock"
