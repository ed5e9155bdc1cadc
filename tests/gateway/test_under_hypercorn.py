"""The gateway under Hypercorn as it comes: the same app, without our own server below it."""

from __future__ import annotations

import hashlib
from functools import partial

import trio
from trio.testing import wait_all_tasks_blocked
from wsproto.connection import ConnectionType
from wsproto.events import CloseConnection, TextMessage

from tools.kit.gateway_services import OK, ServiceRequest, never_answer, open_gateway, serve_hypercorn
from tools.kit.websocket_frames import Frames, echo, knock

MIB = 1024 * 1024


async def test_requests_and_refusals() -> None:
    async with open_gateway(server=serve_hypercorn) as up, await up.connect() as client:
        answer = await client.ask("/v1/storage/a%2Fb?c=1", headers="authorization: Bearer x\nx: 1")
        assert (answer.status, answer.body) == (200, b"ok")
        assert up.storaged.last.target == b"/storage/a%2Fb?c=1"
        told = dict(up.storaged.last.headers)
        assert b"authorization" not in told
        assert told[b"x-forwarded-for"] == b"127.0.0.1"
        assert (await client.ask("/v1/storage/../x")).status == 400
        assert (await client.ask("http://other.example/v1/storage/x")).status == 400
        up.vectord.script = _leave
        assert (await client.ask("/v1/vectors/x")).status == 502


async def _leave(visit: ServiceRequest) -> None:
    await visit.stream.aclose()


async def test_large_bodies_both_ways() -> None:
    body = bytes(range(256)) * 4096 * 4
    seen: list[str] = []

    async def echo_back(visit: ServiceRequest) -> None:
        got = await visit.body(visit.headers)
        seen.append(hashlib.sha256(got).hexdigest())
        await visit.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(got))
        await visit.send(got)

    async with open_gateway(server=serve_hypercorn) as up:
        up.ingestd.script = echo_back
        answer = await up.ask("/v1/ingest", method="PUT", headers=f"content-length: {len(body)}", body=body)
        assert answer.body == body
        assert seen == [hashlib.sha256(body).hexdigest()]
        await wait_all_tasks_blocked()
        assert up.is_quiet()


async def test_an_early_answer_to_an_unfinished_upload() -> None:
    async def refuse(visit: ServiceRequest) -> None:
        await visit.exactly(10)
        await visit.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        await visit.stream.aclose()

    async with open_gateway(server=serve_hypercorn) as up, await up.connect() as client:
        up.ingestd.script = refuse
        await client.send(b"POST /v1/ingest HTTP/1.1\r\nhost: x\r\ncontent-length: 100000000\r\n\r\n" + b"x" * 5000)
        answer = await client.answer_head()
        assert (answer.status, await client.body(answer.headers)) == (413, b"big")


async def test_a_client_that_leaves_takes_the_upstream_connection_with_it() -> None:
    async with open_gateway(server=serve_hypercorn) as up:
        up.storaged.script = never_answer
        async with await up.connect() as client:
            await client.send(b"GET /v1/storage/x HTTP/1.1\r\nhost: x\r\n\r\n")
            await wait_all_tasks_blocked(0.01)
            assert up.storaged.open == 1
        with trio.fail_after(20):
            await up.storaged.gone.wait()
        await wait_all_tasks_blocked(0.01)
        assert up.is_quiet()
        assert up.ended[-1].outcome == "client left"


async def test_websockets() -> None:
    async with open_gateway(server=serve_hypercorn) as up:
        up.observerd.script = partial(echo, more=b"Sec-WebSocket-Protocol: v2\r\n")
        async with await up.connect() as client:
            answer = await knock(client, headers="sec-websocket-protocol: v1, v2")
            assert (answer.status, answer["sec-websocket-protocol"]) == (101, "v2")
            frames = Frames(client, ConnectionType.CLIENT)
            await frames.send(TextMessage("hello"))
            assert await frames.next() == TextMessage("hello")
            await frames.send(CloseConnection(4001, "bye"))
            assert isinstance(await frames.next(), CloseConnection)
            with trio.fail_after(20):
                await up.observerd.gone.wait()
        up.observerd.script = lambda visit: visit.send(OK.replace(b"200 OK", b"418 Teapot"))
        async with await up.connect() as client:
            answer = await knock(client)
            assert (answer.status, await client.body(answer.headers)) == (418, b"ok")
