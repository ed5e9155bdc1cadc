"""WebSockets through the gateway: a scripted service, a client that speaks frames, and real sockets between them."""

from __future__ import annotations

import json
from math import inf
from typing import Any

import pytest
import trio
from trio.testing import memory_stream_pair, wait_all_tasks_blocked
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage
from wsproto.frame_protocol import CloseReason

from lakehouse.asgi.middleware.auth import AuthMiddleware
from lakehouse.asgi.middleware.tokens import Tokens
from lakehouse.asgi.types import Message
from lakehouse.gateway import websocket
from lakehouse.gateway.websocket import WebSocketRelay
from lakehouse.upstream.address import parse_base_url
from lakehouse.upstream.endpoint import UpstreamEndpoint
from tools.kit.gateway_services import Client, GatewayWithServices, ServiceRequest, open_gateway
from tools.kit.websocket_frames import KEY, Frames, accept_key, agree, echo, enter, knock

PEER = UpstreamEndpoint(
    name="observerd",
    address=parse_base_url("http://127.0.0.1"),
    connect_timeout=1,
    response_timeout=1,
    idle_timeout=inf,
)


async def test_messages_go_both_ways() -> None:
    async with open_gateway() as up, await up.connect() as client:
        up.observerd.script = echo
        frames = await enter(client)
        for message in (
            TextMessage("h\u00e9llo"),
            BytesMessage(b"\0\xff"),
            TextMessage(""),
            BytesMessage(b"x" * 300_000),
        ):
            await frames.send(message)
            got: Any = type(message.data)()
            while True:
                event = await frames.next()
                assert type(event) is type(message)
                got += event.data
                if event.message_finished:
                    break
            assert got == message.data
        await frames.send(CloseConnection(1000))
        assert isinstance(await frames.next(), CloseConnection)
    assert up.is_quiet()


async def test_a_message_in_pieces_arrives_whole() -> None:
    async def speak(visit: ServiceRequest) -> None:
        frames = await agree(visit)
        await frames.send(TextMessage("one ", message_finished=False))
        await frames.send(Ping(b"between"))
        assert await frames.next() == Pong(b"between")
        await frames.send(TextMessage("two", message_finished=True))
        await visit.some()

    async with open_gateway() as up, await up.connect() as client:
        up.observerd.script = speak
        frames = await enter(client)
        assert await frames.next() == TextMessage("one two")


async def test_frames_behind_the_handshake_are_not_lost() -> None:
    async def speak(visit: ServiceRequest) -> None:
        frames = Frames(visit, ConnectionType.SERVER)
        hello = bytes(frames.protocol.send(TextMessage("hello")))
        await visit.send(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %b\r\n\r\n%b" % (accept_key(dict(visit.headers)[b"sec-websocket-key"]), hello)
        )
        await visit.some()

    async with open_gateway() as up, await up.connect() as client:
        up.observerd.script = speak
        assert await (await enter(client)).next() == TextMessage("hello")


async def test_the_handshake_is_the_services_but_for_the_hop() -> None:
    async def chat(visit: ServiceRequest) -> None:
        await agree(visit, b"Sec-WebSocket-Protocol: v2\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n")
        await visit.some()

    async with open_gateway() as up, await up.connect() as client:
        up.observerd.script = chat
        answer = await knock(
            client,
            "/v1/observer/a%2Fb?x=1",
            "sec-websocket-protocol: v1, v2\nsec-websocket-extensions: permessage-deflate\n"
            "authorization: Bearer secret\ncookie: c=3\norigin: http://page",
        )
        asked = dict(up.observerd.last.headers)
        assert up.observerd.last.target == b"/observer/a%2Fb?x=1"
        assert asked[b"sec-websocket-protocol"] == b"v1, v2"
        assert (asked[b"cookie"], asked[b"origin"]) == (b"c=3", b"http://page")
        assert asked[b"x-forwarded-for"] == b"127.0.0.1"
        assert asked[b"x-request-id"].decode() == answer["x-request-id"]
        assert asked[b"sec-websocket-key"] != KEY
        assert not {b"authorization", b"sec-websocket-extensions"} & asked.keys()
        assert answer.status == 101
        ours = [pair for pair in answer.headers if pair[0].startswith(b"sec-websocket-")]
        assert sorted(ours) == [(b"sec-websocket-accept", accept_key(KEY)), (b"sec-websocket-protocol", b"v2")]
        assert [value for name, value in answer.headers if name == b"set-cookie"] == [b"a=1", b"b=2"]


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, "bye"), (4001, "h\u00e9"), (3000, "x" * 100)])
async def test_the_services_close_reaches_the_client(code: int, reason: str) -> None:
    answered: list[Event] = []

    async def close(visit: ServiceRequest) -> None:
        frames = await agree(visit)
        await frames.send(CloseConnection(code, reason))
        answered.append(await frames.next())
        raise EOFError

    async with open_gateway() as up, await up.connect() as client:
        up.observerd.script = close
        frames = await enter(client)
        got = await frames.next()
        assert got == CloseConnection(code, reason or None) or got == CloseConnection(code, reason)
        assert isinstance(answered[0], CloseConnection)
        assert answered[0].code == code
        await frames.send(got.response())
        await up.observerd.gone.wait()
        assert await client.is_over()
    assert up.is_quiet()
    assert up.ended[-1].outcome == "answered"


@pytest.mark.parametrize(
    ("code", "reason"), [(1000, ""), (1001, "bye"), (4001, "h\u00e9"), (CloseReason.NO_STATUS_RCVD, "")]
)
async def test_the_clients_close_reaches_the_service(code: int, reason: str) -> None:
    heard: list[Any] = []

    async def listen(visit: ServiceRequest) -> None:
        frames = await agree(visit)
        event: Any = await frames.next()
        heard.append(event)
        with trio.move_on_after(0.02) as waited:
            await visit.some()
        assert waited.cancelled_caught, "there is time to answer"
        await frames.send(event.response())
        raise EOFError

    async with open_gateway() as up, await up.connect() as client:
        up.observerd.script = listen
        frames = await enter(client)
        await frames.send(CloseConnection(code, reason or None))
        assert isinstance(await frames.next(), CloseConnection)
        await up.observerd.gone.wait()
        assert isinstance(heard[0], CloseConnection)
        assert (heard[0].code, heard[0].reason or "") == (code, reason)
        assert await client.is_over()
        await wait_all_tasks_blocked()
    assert up.is_quiet()
    assert up.ended[-1].outcome == "answered"


async def test_a_close_without_a_code_stays_without() -> None:
    async def close(visit: ServiceRequest) -> None:
        frames = await agree(visit)
        await frames.send(CloseConnection(CloseReason.NO_STATUS_RCVD))
        await visit.some()

    async with open_gateway() as up, await up.connect() as client:
        up.observerd.script = close
        got = await (await enter(client)).next()
        assert isinstance(got, CloseConnection)
        assert got.code == CloseReason.NO_STATUS_RCVD


async def test_what_crosses_the_clients_close_goes_nowhere() -> None:
    ours, theirs = memory_stream_pair()
    service = Connection(ConnectionType.SERVER)
    told: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.disconnect", "code": 4001, "reason": "bye"}

    async def send(message: Message) -> None:
        told.append(message)

    async def answer() -> None:
        service.receive_data(bytes(await theirs.receive_some()))
        (event,) = service.events()
        assert event == CloseConnection(4001, "bye")
        await theirs.send_all(on_its_way + service.send(event.response()))

    on_its_way = bytes(service.send(TextMessage("one more thing")))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer)
        with trio.fail_after(20):
            await WebSocketRelay(ours, receive, send, endpoint=PEER).run()
    assert told == []


async def test_a_service_that_never_answers_a_close_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "CLOSE_TIMEOUT", 0.05)

    async def ignore(visit: ServiceRequest) -> None:
        await agree(visit)
        while await visit.some():
            pass
        raise EOFError

    async with open_gateway() as up, await up.connect() as client:
        up.observerd.script = ignore
        frames = await enter(client)
        await frames.send(CloseConnection(1000))
        with trio.fail_after(20):
            await up.observerd.gone.wait()


@pytest.mark.parametrize("how", ["end of file", "reset"])
async def test_a_service_may_just_hang_up_when_the_client_has_closed(how: str) -> None:
    async def hang_up(visit: ServiceRequest) -> None:
        frames = await agree(visit)
        assert isinstance(await frames.next(), CloseConnection)
        if how == "reset":
            visit.socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        await visit.stream.aclose()

    async with open_gateway() as up, await up.connect() as client:
        up.observerd.script = hang_up
        frames = await enter(client)
        await frames.send(CloseConnection(1000))
        assert isinstance(await frames.next(), CloseConnection)
        assert await client.is_over()
        await wait_all_tasks_blocked()
        assert up.ended[-1].outcome == "answered"


@pytest.mark.parametrize("how", ["closes the socket", "sends a frame nobody may", "sends text that is none"])
async def test_a_service_that_breaks_is_1011_for_the_client(how: str) -> None:
    async def break_off(visit: ServiceRequest) -> None:
        await agree(visit)
        if how.startswith("sends"):
            await visit.send(b"\xf1\x05hello" if "frame" in how else b"\x81\x02\xff\xff")
            await visit.some()
        await visit.stream.aclose()

    async with open_gateway() as up, await up.connect() as client:
        up.observerd.script = break_off
        got = await (await enter(client)).next()
        assert isinstance(got, CloseConnection)
        assert got.code == CloseReason.INTERNAL_ERROR
        await wait_all_tasks_blocked()
        assert up.ended[-1].outcome == "failed"


async def test_a_message_that_is_too_big_closes_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "MAX_MESSAGE", 1000)
    heard: list[Any] = []

    async def shout(visit: ServiceRequest) -> None:
        frames = await agree(visit)
        await frames.send(BytesMessage(b"x" * 1000))
        await frames.send(BytesMessage(b"x" * 600, message_finished=False))
        await frames.send(BytesMessage(b"x" * 401))
        heard.append(await frames.next())

    async with open_gateway() as up, await up.connect() as client:
        up.observerd.script = shout
        frames = await enter(client)
        assert await frames.next() == BytesMessage(b"x" * 1000)
        got = await frames.next()
        assert isinstance(got, CloseConnection)
        assert got.code == CloseReason.MESSAGE_TOO_BIG
        await up.observerd.gone.wait()
        assert isinstance(heard[0], CloseConnection)
        assert heard[0].code == CloseReason.MESSAGE_TOO_BIG


async def test_a_silent_service_is_pinged_and_then_given_up() -> None:
    heard: list[Any] = []

    async def sleep(visit: ServiceRequest) -> None:
        frames = await agree(visit)
        heard.append(await frames.next())
        await frames.send(heard[0].response())  # alive after all
        heard.append(await frames.next())
        while await visit.some():  # and now it is not
            pass
        raise EOFError

    async with open_gateway(idle_timeout=0.2) as up, await up.connect() as client:
        up.observerd.script = sleep
        frames = await enter(client)
        with trio.fail_after(20):
            got = await frames.next()
        assert isinstance(got, CloseConnection)
        assert got.code == CloseReason.INTERNAL_ERROR
        assert [type(event) for event in heard] == [Ping, Ping]
        await wait_all_tasks_blocked(0.01)
        assert up.is_quiet()


async def test_the_clients_pings_are_answered_at_the_door() -> None:
    async with open_gateway() as up, await up.connect() as client:
        up.observerd.script = echo
        frames = await enter(client)
        await frames.send(Ping(b"p"))
        assert await frames.next() == Pong(b"p")


# Refusals.


async def test_a_service_that_refuses_is_heard() -> None:
    async def refuse(visit: ServiceRequest) -> None:
        await visit.send(b"HTTP/1.1 418 Teapot\r\nContent-Length: 5\r\nX-Why: tea\r\n\r\nshort")

    async with open_gateway() as up, await up.connect() as client:
        up.observerd.script = refuse
        answer = await knock(client)
        assert (answer.status, answer["x-why"]) == (418, "tea")
        assert await client.body(answer.headers) == b"short"
    assert up.is_quiet()


HANDSHAKE = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        HANDSHAKE + b"Upgrade: websocket\r\n\r\n",
        HANDSHAKE + b"Upgrade: websocket\r\nSec-WebSocket-Accept: bm9wZQ==\r\n\r\n",
        HANDSHAKE + b"Upgrade: h2c\r\nSec-WebSocket-Accept: %ACCEPT%\r\n\r\n",
        HANDSHAKE + b"Upgrade: websocket\r\nSec-WebSocket-Accept: %ACCEPT%\r\nSec-WebSocket-Protocol: other\r\n\r\n",
        HANDSHAKE + b"Upgrade: websocket\r\nSec-WebSocket-Accept: %ACCEPT%\r\nSec-WebSocket-Extensions: x\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
    ids=["no key", "another key", "another protocol", "a subprotocol nobody offered", "an extension", "garbage"],
)
async def test_a_service_that_gets_the_handshake_wrong_is_a_502(answer: bytes) -> None:
    async def get_it_wrong(visit: ServiceRequest) -> None:
        await visit.send(answer.replace(b"%ACCEPT%", accept_key(dict(visit.headers)[b"sec-websocket-key"])))
        await visit.some()

    async with open_gateway() as up, await up.connect() as client:
        up.observerd.script = get_it_wrong
        refused = await knock(client, headers="sec-websocket-protocol: v1")
        document = json.loads(await client.body(refused.headers))["error"]
        assert (refused.status, document["code"], document["provider"]) == (502, "ErrUpstream", "observerd")
        assert up.is_quiet()


@pytest.mark.parametrize(
    ("target", "status"), [("/v1/nowhere/x", 404), ("/v1/observer/../x", 400), ("/v1/pathway/x", 502)]
)
async def test_what_is_wrong_without_a_service_is_told_before_the_handshake(target: str, status: int) -> None:
    async with open_gateway(pathwayd_url="http://127.0.0.1:1") as up, await up.connect() as client:
        answer = await knock(client, target)
        document = json.loads(await client.body(answer.headers))["error"]
        assert (answer.status, document["status"], document["request_id"]) == (status, status, answer["x-request-id"])


async def test_the_door_is_in_front_of_websockets() -> None:
    async with open_gateway(wrap=lambda app: AuthMiddleware(app, tokens=Tokens(["one"]))) as up:
        up.observerd.script = echo
        async with await up.connect() as client:
            answer = await knock(client)
            assert (answer.status, answer["www-authenticate"]) == (401, "Bearer")
            assert not up.observerd.requests
        async with await up.connect() as client:
            answer = await knock(client, headers="authorization: Bearer one")
            assert answer.status == 101
            assert b"authorization" not in dict(up.observerd.last.headers)


# Lifetime.


async def _open(up: GatewayWithServices, client: Client) -> None:
    up.observerd.script = echo
    frames = await enter(client)
    await frames.send(TextMessage("here"))
    assert await frames.next() == TextMessage("here")


async def _shaking_hands(up: GatewayWithServices, client: Client) -> None:
    async def think(visit: ServiceRequest) -> None:
        while await visit.some():
            pass
        raise EOFError

    up.observerd.script = think
    async with trio.open_nursery() as nursery:
        nursery.start_soon(knock, client)
        await wait_all_tasks_blocked(0.005)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("phase", [_open, _shaking_hands])
async def test_a_client_that_leaves_takes_the_services_socket_with_it(phase: object) -> None:
    took = inf
    async with open_gateway() as up:
        for _ in range(10):
            up.observerd.gone = trio.Event()
            async with await up.connect() as client:
                await phase(up, client)  # type: ignore[operator]
                assert up.observerd.open == 1
                left = trio.current_time()
            with trio.fail_after(20):
                await up.observerd.gone.wait()
            took = min(took, trio.current_time() - left)
            await wait_all_tasks_blocked()
            assert up.is_quiet()
            assert up.ended[-1].outcome == "client left"
    assert took < 0.005, f"{took * 1e3:.2f} ms at best"


async def test_a_stalled_client_stops_the_service() -> None:
    sent = 0

    async def pour(visit: ServiceRequest) -> None:
        nonlocal sent
        frames = await agree(visit)
        while True:
            await frames.send(BytesMessage(b"x" * 65536))
            sent += 65536

    async with open_gateway() as up, await up.connect() as client:
        up.observerd.script = pour
        await enter(client)
        await wait_all_tasks_blocked(0.1)
        assert 0 < sent < 16 * 1024 * 1024
