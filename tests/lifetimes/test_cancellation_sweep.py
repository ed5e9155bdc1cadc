"""A request is ended at every moment that it has, one after the other, and each time nothing may be left of it.

A moment is the end of a task's step, or the kernel's word that a socket is ready: between two of them nothing can
happen. The guillotine falls at moment 1, at moment 2, and so on, until a request is over before its moment comes; the
three ways to end a request share half of the moments between them, and `nox -s sweep` ends it in each way at each moment. So
every checkpoint of ours is cancelled while it waits, while what it waited for has come and was not yet taken, and while
somebody else runs. After each fall: no task, no slot, no waiter, no request context and no descriptor more than before, and the
next request is answered.
"""

from __future__ import annotations

import gc
import json
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked
from wsproto.connection import ConnectionType
from wsproto.events import CloseConnection, TextMessage

import lakehouse
from lakehouse.runtime.preflight import preflight
from lakehouse.runtime.runtime import Runtime, open_runtime
from lakehouse.server.connection import Connection, serve_connection
from lakehouse.server.limits import ServerLimits
from lakehouse.server.server_state import ServerState, open_server_state
from lakehouse.testing import upstreams as scripted_upstream
from lakehouse.testing.upstreams import ReceivedRequest, never_answer, respond
from lakehouse.upstream.http1.request import UpstreamRequest
from lakehouse.upstream.pool import Upstream
from tools.kit.gateway_services import Service, ServiceRequest, answer_ok
from tools.kit.in_process_service import make_config
from tools.kit.matrices import spread
from tools.kit.raw_http import CLOSE, PING, TEXT, Client, frame, websocket
from tools.kit.service_with_providers import (
    HELLO,
    KEYS,
    STREAMS,
    answer_hello,
    completion,
    events,
    format_of,
    line,
    lines,
    streamed_response,
)
from tools.kit.socket_upstream import OK, RawConnection, open_socket_upstream
from tools.kit.websocket_frames import Frames, accept_key

PEM = Path(__file__).parents[2] / "tests" / "data" / "tls" / "localhost.pem"

PATIENCE = 5.0
"""Seconds for one request and what is left of it; a sweep that hangs says at which moment."""

LIMITS = ServerLimits(websocket_close_timeout=0.02)
"""A client that is waiting for something else does not answer a close."""

EVERYTHING = os.environ.get("LAKEHOUSE_SWEEP") == "all"
"""Whether each way to end a request is tried at every moment, or at every sixth one."""

ENOUGH = 2000
"""Moments: more than any request here has. A request that never gets to its end would be swept for ever."""


class Guillotine(trio.abc.Instrument):
    """Calls `fall` at the moment `at`, once."""

    def __init__(self, at: int, fall: Callable[[], None]) -> None:
        self.left = at
        self._fall = fall

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self._pass()

    def after_io_wait(self, timeout: float) -> None:
        self._pass()

    def _pass(self) -> None:
        self.left -= 1
        if self.left == 0:
            self._fall()


@dataclass
class Stage:
    """A service whose upstreams are scripted, and whose clients come in one at a time."""

    runtime: Runtime
    server_state: ServerState
    services: dict[str, Service]
    providers: dict[str, scripted_upstream.ScriptedUpstream]
    listener: trio.SocketListener
    tasks: int = 0
    descriptors: int = 0

    @property
    def pools(self) -> list[Upstream]:
        return [*self.runtime.gateway.upstreams.values(), *self.runtime.dispatcher.pools]

    @property
    def idle(self) -> int:
        return sum(pool.idle for pool in self.pools)

    def look(self) -> None:
        """Remember what there is when nobody asks for anything."""
        self.tasks, self.descriptors = count_tasks() - self.idle, count_descriptors() - 2 * self.idle

    def left_over(self) -> dict[str, object]:
        """What there is now that there was not then: an idle connection is two descriptors, and a task of its service."""
        found: dict[str, object] = {
            "in use": sum(pool.in_use for pool in self.pools),
            "waiting": sum(pool.waiting for pool in self.pools),
            "active requests": len(self.runtime.sources.active_requests),
            "connections": len(self.server_state.connections),
            "tasks": count_tasks() - self.idle - self.tasks,
            "descriptors": count_descriptors() - 2 * self.idle - self.descriptors,
        }
        return {name: count for name, count in found.items() if count}

    async def settle(self) -> None:
        """Wait until nothing is left; the services need a moment to see that a connection was closed."""
        with trio.move_on_after(PATIENCE / 2):
            while left := self.left_over():
                await wait_all_tasks_blocked()
        assert left == {}

    def forget(self) -> None:
        """Close the idle connections, so that the next request makes its own."""
        for pool in self.pools:
            pool._idle.close_all()

    async def visit(self, talk: Talk, end: End, at: int) -> tuple[bytes, bool]:
        """One client's whole visit, cut off at moment `at`; gives what it got, and whether it was cut off."""
        got = b""
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as connections:
                client = Client(await trio.open_tcp_stream("127.0.0.1", self.listener.socket.getsockname()[1]))
                connections.start_soon(serve_connection, self.server_state, await self.listener.accept())
                blade = Guillotine(at, partial(end, self, connections.cancel_scope))
                trio.lowlevel.add_instrument(blade)
                try:
                    async with client:
                        got = await talk(client)
                finally:
                    trio.lowlevel.remove_instrument(blade)
        return got, blade.left <= 0


Talk = Callable[[Client], Awaitable[bytes]]
End = Callable[[Stage, trio.CancelScope], None]


def the_client_leaves(stage: Stage, connections: trio.CancelScope) -> None:
    for handle in tuple(stage.server_state.connections):
        assert isinstance(handle, Connection)
        handle._connection_io.client_disconnected()  # what `DisconnectPoller` calls when the kernel says so: a real reset would come a moment later


def the_drain_ends(stage: Stage, connections: trio.CancelScope) -> None:
    stage.runtime.abort_remaining()


def the_server_is_cancelled(stage: Stage, connections: trio.CancelScope) -> None:
    connections.cancel()


ENDS: list[End] = [the_client_leaves, the_drain_ends, the_server_is_cancelled]
STRIDE = 1 if EVERYTHING else 2 * len(ENDS)


def count_tasks() -> int:
    return trio.lowlevel.current_statistics().tasks_living


def count_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def descriptors() -> list[str]:
    """What each of them is, for whoever finds one too many."""
    return sorted(str(there.readlink()) for there in Path("/proc/self/fd").iterdir() if there.is_symlink())


@asynccontextmanager
async def stage(
    gateway: Mapping[str, Any] | None = None,
    chatd: Mapping[str, Any] | None = None,
    policy: Mapping[str, Any] | None = None,
    providers: Mapping[str, scripted_upstream.UpstreamScript] | None = None,
    services: Mapping[str, Callable[[ServiceRequest], Awaitable[None]]] | None = None,
    models: Mapping[str, Any] | None = None,
) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        there = {
            name: await stack.enter_async_context(
                scripted_upstream.open_upstream((providers or {}).get(name, answer_hello))
            )
            for name in {"ollama", "openrouter", *(providers or {})}
        }
        nursery = await stack.enter_async_context(trio.open_nursery())
        behind = {name: Service(name, script) for name, script in (services or {}).items()}
        for service in behind.values():
            await nursery.start(service.serve)
        config = make_config(
            gateway={**{f"{name}_url": service.url for name, service in behind.items()}, **(gateway or {})},
            chatd={
                "ollama_url": there["ollama"].url,
                "openrouter": {"base_url": there["openrouter"].url + "/api/v1", "key_file": ""},
                **({"opencode": {"base_url": there["opencode"].url, "key_file": ""}} if "opencode" in there else {}),
                "policy": {"retries": 0, "breaker_failures": 0, **(policy or {})},
                **(chatd or {}),
            },
            models=models or {},
        )
        env = {name: KEYS[name] for name in ("OPENROUTER_API_KEY", "OPENCODE_API_KEY")}
        runtime = await stack.enter_async_context(open_runtime(config, preflight(config, env), env=env))
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        async with listener, open_server_state(runtime.main_app, LIMITS) as server_state:
            yield Stage(runtime, server_state, behind, there, listener)
        nursery.cancel_scope.cancel()


async def sweep(on: Stage, case: Case, end: End) -> int:
    """Cut visits off at every moment, and see that the next visitor gets a whole answer; gives how many there are."""
    await whole(on, case, end)
    await wait_all_tasks_blocked(0.02)  # what this first visitor opened for all is here to stay
    on.look()
    for turn, at in enumerate(range(1 + ENDS.index(end) % STRIDE, ENOUGH, STRIDE)):
        try:
            if case.anew:
                on.forget()
            _, fell = await on.visit(case.talk, end, at)
            await on.settle()
            if on.idle or turn % 5 == 0:  # an idle connection is the one thing that may carry something over
                await whole(on, case, end)
                await on.settle()
        except BaseException as error:
            error.add_note(f"{end.__name__}, at moment {at}")
            raise
        if not fell:
            gc.collect()  # an answer or a socket that was forgotten warns now, and a warning is an error
            return at
    raise AssertionError("the request has no end")


async def whole(on: Stage, case: Case, end: End) -> None:
    """A visit that is not cut off."""
    got, _ = await on.visit(case.talk, end, -1)
    assert case.whole(got), got


# What clients say, and what they get when nobody cuts them off. The last request of each closes its connection.


def saying(*parts: bytes) -> Talk:
    async def talk(client: Client) -> bytes:
        for part in parts:
            await client.send(part)
        return await client.read_all(PATIENCE)

    return talk


def request(path: str, body: bytes = b"", *lines: str, method: str = "GET", close: bool = True) -> bytes:
    fields = [*lines, *(["Connection: close"] if close else []), *([f"Content-Length: {len(body)}"] if body else [])]
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n{''.join(f'{field}{CRLF}' for field in fields)}\r\n".encode() + body


CRLF = "\r\n"
STORED = "/v1/storage/thing"
LARGE = bytes(300_000)
CHUNKS = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (b"one", b"two" * 1000)) + b"0\r\n\r\n"


def ask(path: str = "/v1/chat", *lines: str, **fields: object) -> bytes:
    document = {"model": "ollama/m", "messages": HELLO, **fields}
    return request(path, json.dumps(document).encode(), *lines, method="POST")


def ask_responses(**fields: object) -> bytes:
    document = {"model": "ollama/m", "input": "Hello?", **fields}
    return request("/v1/responses", json.dumps(document).encode(), method="POST")


async def a_websocket(client: Client) -> bytes:
    await client.send(websocket("/v1/observer/live"))
    got = b""
    with suppress(EOFError, trio.BrokenResourceError):
        got += await client.read_until(b"\r\n\r\n")
        await client.send(frame(PING, b"there?") + frame(TEXT, b"hello"))
        got += await client.read_until(b"hello")
        await client.send(frame(CLOSE, b"\x03\xe8"))
    return got + await client.read_all(PATIENCE)


def ends_in(end: bytes) -> Callable[[bytes], bool]:
    return lambda got: got.startswith(b"HTTP/1.1 200 ") and got.endswith(end + b"<EOF>")


def says_hello(got: bytes) -> bool:
    return got.startswith(b"HTTP/1.1 200 ") and b'"content":"Hello."' in got


def streams_hello(got: bytes) -> bool:
    return got.startswith(b"HTTP/1.1 200 ") and b"Hel" in got and b"lo." in got and b'"type":"done"' in got


# What the services and providers do.


async def echo(visit: ServiceRequest) -> None:
    frames = Frames(visit, ConnectionType.SERVER)
    key = dict(visit.headers)[b"sec-websocket-key"]
    await visit.send(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept_key(key)
    )
    while not isinstance(event := await frames.next(), CloseConnection):
        if isinstance(event, TextMessage):
            await frames.send(event)
    await frames.send(event.response())
    raise EOFError


async def store(visit: ServiceRequest) -> None:
    """Gives a large thing; an early answer to what it does not want; takes the rest."""
    if visit.method == b"GET":
        await visit.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(LARGE) + LARGE)
    elif b"refused" in visit.target:
        await visit.send(b"HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno")
        await visit.body(visit.headers)
    else:
        await answer_ok(visit)


async def breaks(_: ReceivedRequest, stream: trio.SocketStream) -> None:
    """A stream that breaks off half-way."""
    await stream.send_all(streamed_response(lines(line("Hel")), "application/x-ndjson"))
    await stream.aclose()


async def gives_up(_: ReceivedRequest, stream: trio.SocketStream) -> None:
    """A stream that ends in an error and leaves its connection as it is."""
    await drip(stream, lines(line("Hel")), lines({"error": "out of memory"}))
    await stream.receive_some()


async def hesitates(asked: ReceivedRequest, stream: trio.SocketStream) -> None:
    """Says hello like a friend, a piece at a time."""
    if asked.json.get("stream"):
        await drip(stream, *STREAMS[format_of(asked)].splitlines(keepends=True))
        await stream.send_all(b"0\r\n\r\n")
    else:
        await answer_hello(asked, stream)


async def speaks_anthropics_form(_: ReceivedRequest, stream: trio.SocketStream) -> None:
    """Says hello a piece at a time, as Anthropic would, so that it is relayed."""
    message: dict[str, object] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "stop_reason": None,
    }
    start = {"type": "message_start", "message": {**message, "usage": {"input_tokens": 7, "output_tokens": 1}}}
    rest = STREAMS["/messages"].split(b"\n\n")[1:-1]
    await drip(stream, events(start, end=b""), *(event + b"\n\n" for event in rest))
    await stream.send_all(b"0\r\n\r\n")


async def drip(stream: trio.SocketStream, *pieces: bytes) -> None:
    await stream.send_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for piece in pieces:
        await trio.lowlevel.checkpoint()  # the other side is let run, and sees each by itself
        await trio.lowlevel.checkpoint()
        await stream.send_all(b"%x\r\n%b\r\n" % (len(piece), piece))


def fails_once(then: scripted_upstream.UpstreamScript) -> scripted_upstream.UpstreamScript:
    """Every other request fails in a way that is worth another try."""
    count = 0

    async def script(asked: ReceivedRequest, stream: trio.SocketStream) -> None:
        nonlocal count
        count += 1
        if count % 2:
            await stream.send_all(respond({"error": "try again"}, 500))
        else:
            await then(asked, stream)

    return script


async def in_json(asked: ReceivedRequest, stream: trio.SocketStream) -> None:
    await stream.send_all(respond(completion("{}") if "chat/completions" in asked.target else ollama_says("{}")))


def ollama_says(content: str) -> dict[str, object]:
    return {"model": "m", "message": {"role": "assistant", "content": content}, "done": True, "done_reason": "stop"}


@dataclass
class Case:
    """What is there, what is said, and how a whole answer is known."""

    talk: Talk
    whole: Callable[[bytes], bool]
    there: dict[str, Any] = field(default_factory=dict)
    anew: bool = False
    """Every visitor finds no idle connection to the upstreams."""


GATEWAY: dict[str, Case] = {
    "a GET": Case(saying(request(STORED)), ends_in(b"ok"), {"services": {"storaged": answer_ok}}),
    "a GET on a new connection": Case(
        saying(request(STORED)), ends_in(b"ok"), {"services": {"storaged": answer_ok}}, anew=True
    ),
    "a download": Case(saying(request(STORED)), ends_in(LARGE), {"services": {"storaged": store}}),
    "an upload": Case(saying(request(STORED, LARGE, method="PUT")), ends_in(b"ok"), {"services": {"storaged": store}}),
    "an upload in chunks": Case(
        saying(request(STORED, b"", "Transfer-Encoding: chunked", method="PUT"), CHUNKS[:10], CHUNKS[10:]),
        ends_in(b"ok"),
        {"services": {"storaged": store}},
    ),
    "an upload that is waited for": Case(
        saying(request(STORED, b"", "Expect: 100-continue", "Content-Length: 3", method="PUT"), b"abc"),
        lambda got: got.endswith(b"ok<EOF>"),
        {"services": {"storaged": store}},
    ),
    "an early refusal": Case(
        saying(request("/v1/storage/refused", LARGE, method="PUT")),
        lambda got: got.startswith(b"HTTP/1.1 413") and b"\r\n\r\nno" in got,
        {"services": {"storaged": store}},
    ),
    "two at once": Case(
        saying(request(STORED, close=False) + request(STORED)), ends_in(b"ok"), {"services": {"storaged": answer_ok}}
    ),
    "a WebSocket": Case(
        a_websocket,
        lambda got: got.startswith(b"HTTP/1.1 101 ") and got.endswith(b"\x88\x02\x03\xe8<EOF>"),
        {"services": {"observerd": echo}},
    ),
    "a WebSocket that is refused": Case(
        saying(websocket("/v1/observer/live")), ends_in(b"ok"), {"services": {"observerd": answer_ok}}
    ),
}

ROUTER = "openrouter/v/m"
HEDGED = {"policy": {"hedge_after": 0}}
RESUMED = {"on_cut": "resume"}
READ_ON = {"policy": {"on_disconnect": "1s"}}
QUEUED = {"max_connections": 1}

CHAT: dict[str, Case] = {
    "a whole answer": Case(saying(ask()), says_hello),
    "a whole answer on a new connection": Case(saying(ask()), says_hello, anew=True),
    "a stream": Case(saying(ask(stream=True)), streams_hello),
    "a stream in pieces": Case(saying(ask(stream=True)), streams_hello, {"providers": {"ollama": hesitates}}),
    "a stream in OpenAI's form": Case(
        saying(ask("/v1/chat/completions", stream=True)),
        lambda got: b"data: [DONE]" in got,
        {"providers": {"ollama": hesitates}},
    ),
    "a stream in Ollama's form": Case(
        saying(ask("/api/chat")), lambda got: b'"done":true' in got, {"providers": {"ollama": hesitates}}
    ),
    "a stream in the form of Responses": Case(
        saying(ask_responses(stream=True)),
        lambda got: b"event: response.completed" in got,
        {"providers": {"ollama": hesitates}},
    ),
    "a relayed stream in Anthropic's form": Case(
        saying(ask("/v1/messages", model="opencode/claude-sonnet-4-5", max_tokens=9, stream=True)),
        lambda got: b"x-lakehouse-provider" in got and b"event: message_stop" in got,
        {"providers": {"opencode": speaks_anthropics_form}},
    ),
    "another try": Case(
        saying(ask()),
        says_hello,
        {"policy": {"retries": 1, "backoff": 0}, "providers": {"ollama": fails_once(answer_hello)}},
    ),
    "a hedge": Case(saying(ask(fallbacks=[ROUTER])), says_hello, HEDGED),
    "a hedge on new connections": Case(saying(ask(fallbacks=[ROUTER])), says_hello, HEDGED, anew=True),
    "a hedge in the queue": Case(saying(ask(fallbacks=["ollama/n"])), says_hello, {**HEDGED, "chatd": QUEUED}),
    "a hedged stream": Case(saying(ask(stream=True, fallbacks=[ROUTER])), streams_hello, HEDGED),
    "a hedged stream with a loser": Case(
        saying(ask(stream=True, fallbacks=[ROUTER])),
        streams_hello,
        {**HEDGED, "providers": {"openrouter": never_answer}},
    ),
    "a quorum": Case(
        saying(ask(format="json", quorum={"of": ["ollama/m", ROUTER], "agree": 2})),
        lambda got: b'"content":"{}"' in got,
        {"providers": {"ollama": in_json, "openrouter": in_json}},
    ),
    "a quorum in the queue": Case(
        saying(ask(format="json", quorum={"of": ["ollama/m", "ollama/n"], "agree": 2})),
        lambda got: b'"content":"{}"' in got,
        {"providers": {"ollama": in_json}, "chatd": QUEUED},
    ),
    "a stream that breaks and is resumed": Case(
        saying(ask(stream=True, fallbacks=[ROUTER])),
        streams_hello,
        {"policy": RESUMED, "providers": {"ollama": breaks}},
    ),
    "a stream that fails and is resumed": Case(
        saying(ask(stream=True, fallbacks=[ROUTER])),
        streams_hello,
        {"policy": RESUMED, "providers": {"ollama": gives_up}},
    ),
    "a whole answer that is read to its end": Case(saying(ask()), says_hello, READ_ON),
    "a stream that is read to its end": Case(
        saying(ask(stream=True)), streams_hello, {**READ_ON, "providers": {"ollama": hesitates}}
    ),
    "a list of models": Case(saying(request("/v1/models")), lambda got: b"ollama/m" in got),
}


@pytest.mark.parametrize("name", spread([*GATEWAY, *CHAT], 2))
async def test_nothing_is_left_at_any_moment(name: str) -> None:
    case = (GATEWAY | CHAT)[name]
    async with stage(**case.there) as on:
        assert [await sweep(on, case, end) > 10 for end in ENDS] == [True] * 3


# The same without a service around it.


async def sweep_alone(work: Callable[[], Awaitable[None]], left_over: Callable[[], object]) -> int:
    """Cancel `work` at every moment; `left_over` is what must be the same afterwards."""
    await work()
    await wait_all_tasks_blocked(0.02)
    before, open_before = left_over(), descriptors()
    for at in range(1, ENOUGH):
        with trio.fail_after(PATIENCE):
            with trio.CancelScope() as scope:
                blade = Guillotine(at, scope.cancel)
                trio.lowlevel.add_instrument(blade)
                try:
                    await work()
                finally:
                    trio.lowlevel.remove_instrument(blade)
            with trio.move_on_after(PATIENCE / 2):
                # Looked at no more once it is right: the thread that looks up a name is abandoned, and reads its files.
                while not (settled := left_over() == before):
                    await wait_all_tasks_blocked()
        assert settled, f"at moment {at}: {left_over()}, open are {descriptors()}; before {before}, {open_before}"
        if blade.left > 0:
            gc.collect()
            return at
    raise AssertionError("it has no end")


class Pieces:
    """A body that comes in pieces, with a moment between them."""

    length = None

    def __init__(self) -> None:
        self.left = [b"", b"two" * 1000, b"one"]

    async def receive(self) -> bytes:
        await trio.lowlevel.checkpoint()
        return self.left.pop()


async def takes_all(wire: RawConnection) -> None:
    """Answer when the end of the body has come, and the next request on the same connection."""
    while True:
        head = await wire.read_head()
        if b"chunked" in head:
            await wire.until(b"0\r\n\r\n")
        await wire.send(OK + b"Content-Length: 5\r\n\r\n")
        await trio.lowlevel.checkpoint()
        await wire.send(b"hello")


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("anew", [False, True])
async def test_nothing_is_left_of_an_upstreams_connection(secure: bool, anew: bool) -> None:
    context = None
    if secure:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(PEM)
    async with open_socket_upstream(takes_all, tls=context) as port:
        upstream = Upstream(
            f"{'https' if secure else 'http'}://localhost:{port}",
            name="storaged",
            ssl_context=ssl.create_default_context(cafile=PEM) if secure else None,
        )

        async def once() -> None:
            with await upstream.send(UpstreamRequest(b"GET", b"/", [])) as response:
                assert await response.read(99) == b"hello"

        async def sent_first() -> None:
            with await upstream.send(UpstreamRequest(b"PUT", b"/", [], Pieces())) as response:
                assert await response.read(99) == b"hello"

        async def both_at_once() -> None:
            async with upstream.send_full_duplex(UpstreamRequest(b"PUT", b"/", [], Pieces())) as response:
                assert await response.read(99) == b"hello"

        def left_over() -> object:
            tasks, descriptors = count_tasks() - upstream.idle, count_descriptors() - 2 * upstream.idle
            return upstream.in_use, upstream.waiting, tasks, descriptors

        for work in (once, sent_first, both_at_once):

            async def visit(work: Callable[[], Awaitable[None]] = work) -> None:
                if anew:
                    upstream._idle.close_all()
                await work()

            assert await sweep_alone(visit, left_over) > 3
        upstream.close()


async def test_nothing_is_left_of_a_service_that_is_cancelled_at_any_moment_of_its_life() -> None:
    """Starting, serving, draining: its listener is closed, and its port can be had again."""
    async with scripted_upstream.open_upstream(answer_hello) as provider:
        config = make_config(chatd={"bind": "127.0.0.1:0", "ollama_url": provider.url})

        async def live() -> None:
            async with trio.open_nursery() as nursery:
                service = await nursery.start(partial(lakehouse.serve, config, env={}))
                async with Client(
                    await trio.open_tcp_stream("127.0.0.1", int(service.urls[0].rpartition(":")[2]))
                ) as one:
                    await one.send(ask())
                    assert says_hello(await one.read_all(PATIENCE))
                service.stop()

        def left_over() -> object:
            return count_tasks(), count_descriptors()

        assert await sweep_alone(live, left_over) > 20
