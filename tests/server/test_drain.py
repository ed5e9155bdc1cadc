"""A drain ends every connection without a whole request at once: idle ones, and those with half of a head.

The service has two listeners and 30 s for its drain; it must not need them.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing
import trustme

from lakehouse.server.server import Service
from tools.kit.in_process_service import make_config, open_service
from tools.kit.matrices import spread
from tools.kit.raw_http import Client, get, post, websocket

HEALTH = get("/healthz")

HALVES = {
    "nothing": b"",
    "a byte": b"G",
    "a method": b"GET ",
    "a target": b"GET /healthz",
    "a line": b"GET /healthz HTTP/1.1\r\n",
    "a header": b"GET /healthz HTTP/1.1\r\nHost: x\r\n",
    "half a header": b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 10_000,
    "all but the last byte": HEALTH[:-1],
    "an empty line before it": b"\r\n",
    "a POST": post("/v1/chat", b"{}")[:-6],
    "a WebSocket": websocket("/v1/vectors/x")[:-2],
}

BEFORE = {"first": b"", "second": HEALTH, "third": HEALTH + HEALTH}
"""The requests before it, in the same packet as the half head."""


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@asynccontextmanager
async def service(authority: trustme.CA | None, directory: Path) -> AsyncIterator[Service]:
    """Both listeners, with TLS if there is an authority."""
    server = {"drain_timeout": "30s"}
    if authority is not None:
        certificate = authority.issue_cert("127.0.0.1")
        certificate.cert_chain_pems[0].write_to_path(directory / "cert.pem")
        certificate.private_key_pem.write_to_path(directory / "key.pem")
        server |= {"certfile": str(directory / "cert.pem"), "keyfile": str(directory / "key.pem")}
    async with open_service(make_config(server=server, chatd={"bind": "127.0.0.1:0"})) as there:
        yield there


async def connect(there: Service, listener: int, authority: trustme.CA | None) -> Client:
    stream: trio.abc.Stream = await trio.open_tcp_stream("127.0.0.1", int(there.urls[listener].rpartition(":")[2]))
    if authority is not None:
        context = ssl.create_default_context()
        authority.configure_trust(context)
        stream = trio.SSLStream(stream, context, server_hostname="127.0.0.1", https_compatible=True)
        await stream.do_handshake()
    return Client(stream)


async def settle() -> None:
    """Until the service has read what it was sent."""
    await trio.testing.wait_all_tasks_blocked(0.01)


@pytest.mark.parametrize("listener", [0, 1], ids=["gateway", "chatd"])
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("before", BEFORE.values(), ids=BEFORE)
@pytest.mark.parametrize("half", spread(HALVES.values(), 2), ids=HALVES)
async def test_half_a_request_is_none(
    half: bytes, before: bytes, authority: trustme.CA, tmp_path: Path, *, secure: bool, listener: int
) -> None:
    trusted = authority if secure else None
    with trio.fail_after(20):
        async with service(trusted, tmp_path) as there:
            async with await connect(there, listener, trusted) as client:
                await client.send(before + half)
                for _ in range(before.count(HEALTH)):
                    assert (await client.response())[0] == 200
                await settle()
                there.stop()
                assert await client.read_all(3) in (b"<EOF>", b"<RST>"), "it ends, and without an answer"


@pytest.mark.parametrize("hello", [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01\x00"], ids=["nothing", "a byte", "half"])
async def test_a_handshake_of_tls_that_has_not_ended_is_no_request(
    hello: bytes, authority: trustme.CA, tmp_path: Path
) -> None:
    with trio.fail_after(20):
        async with service(authority, tmp_path) as there:
            async with await connect(there, 0, None) as client:
                await client.send(hello)
                await settle()
                there.stop()
                assert await client.read_all(3) in (b"<EOF>", b"<RST>")


async def test_a_half_head_that_the_kernel_still_holds_is_no_request_either(tmp_path: Path) -> None:
    with trio.fail_after(20):
        async with service(None, tmp_path) as there:
            async with await connect(there, 0, None) as known:
                await settle()
                os.write(known.socket.fileno(), HEALTH[:-1])  # nobody has run since
                with socket.create_connection(("127.0.0.1", int(there.urls[0].rpartition(":")[2]))) as new:
                    new.sendall(HEALTH[:-1])
                    there.stop()
                    assert await known.read_all(3) in (b"<EOF>", b"<RST>")


async def test_a_whole_request_is_answered_beside_halves(tmp_path: Path) -> None:
    with trio.fail_after(20):
        async with service(None, tmp_path) as there, await connect(there, 0, None) as half:
            await half.send(HEALTH[:-1])
            async with await connect(there, 0, None) as whole:
                await settle()
                with socket.create_connection(("127.0.0.1", int(there.urls[0].rpartition(":")[2]))) as new:
                    new.sendall(HEALTH)
                    there.stop()
                    answer = await trio.to_thread.run_sync(new.recv, 1000)
                    assert answer.startswith(b"HTTP/1.1 200")
                assert await whole.read_all(3) == b"<EOF>"
            assert await half.read_all(3) == b"<EOF>"


async def test_half_a_body_is_a_request_in_flight(tmp_path: Path) -> None:
    """Its head was whole: it goes on until it ends."""
    request = post("/v1/chat", b'{"model": 1}')
    with trio.fail_after(20):
        async with service(None, tmp_path) as there, await connect(there, 0, None) as client:
            await client.send(request[:-3])
            await settle()
            there.stop()
            await settle()
            await client.send(request[-3:])
            assert (await client.read_all(3)).startswith(b"HTTP/1.1 400")
