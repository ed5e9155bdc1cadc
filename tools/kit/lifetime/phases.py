"""The phases of a request's life, and how a client gets into each."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

import trio

from tools.kit.lifetime.testbed import CONNECTIONS, Client, ServiceTestbed

Enter = Callable[[ServiceTestbed, str, Client, str], Awaitable[list[str]]]
"""Get into the phase: (testbed, tag, client, further header lines). Gives what upstreams were asked, which they must see
being left."""


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase.

    `ways`: how the client may leave so that it can be known. `deadline`: whether the caller's deadline can end it; it
    does not end a stream of a chat that has begun, and a back-off beyond it is not begun. `head_out`: something of the
    answer has reached the client. `crowd`: what other clients hold on to meanwhile. `unread`: full buffers of the kernel,
    megabytes, are freed when the connections end.
    """

    name: str
    enter: Enter
    ways: tuple[str, ...] = ("fin", "rst")
    deadline: bool = True
    head_out: bool = False
    crowd: tuple[str, ...] = ()
    unread: bool = False


def get_request(path: str, more: str = "") -> bytes:
    """A request for a path of the daemon's."""
    return f"GET /v1/storage/{path} HTTP/1.1\r\nHost: x\r\n{more}\r\n".encode()


def post_request(path: str, length: int, more: str = "") -> bytes:
    """The head of a request with a body."""
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{more}\r\n".encode()


RESPONSES = "/v1/responses"


def chat_request(model: str, more: str = "", *, path: str = "/v1/chat", **fields: object) -> bytes:
    """A whole request for a chat."""
    conversation = "input" if path == RESPONSES else "messages"
    asked = {"model": model, conversation: [{"role": "user", "content": "?"}], **fields}
    body = json.dumps(asked).encode()
    return post_request(path, len(body), more) + body


def gateway(what: str, *, said: bytes = b"", times: int = 1) -> Enter:
    """The daemon is asked, and has `said` something to the client; the request is sent `times` times at once."""

    async def enter(testbed: ServiceTestbed, tag: str, client: Client, more: str) -> list[str]:
        key = f"{what}/{tag}"
        await client.send(get_request(key, more) * times)
        await testbed.wait_requested(key)
        await client.until(said)
        return [key]

    return enter


def upload(what: str, *, push: bool) -> Enter:
    """A body that has begun; with `push`, as much of it as anybody takes."""

    async def enter(testbed: ServiceTestbed, tag: str, client: Client, more: str) -> list[str]:
        key = f"{what}/{tag}"
        await client.send(post_request(f"/v1/storage/{key}", 1 << 40, more) + bytes(100))
        await testbed.wait_requested(key)
        if push:
            await client.push(bytes(100_000))
        return [key]

    return enter


async def download_stalled(testbed: ServiceTestbed, tag: str, client: Client, more: str) -> list[str]:
    """The client reads nothing, and so nobody does."""
    key = f"flood/{tag}"
    await client.send(get_request(key, more))
    await testbed.wait_requested(key)
    seen = -1
    while seen < testbed.daemon.written:
        seen = testbed.daemon.written
        await trio.sleep(0.03)
    return [key]


async def websocket(testbed: ServiceTestbed, tag: str, client: Client, more: str) -> list[str]:
    """A WebSocket that is open on both sides."""
    fields = "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    await client.send(get_request(f"socket/{tag}", fields + key + more))
    await testbed.wait_requested(f"socket/{tag}")
    await client.until(b"HTTP/1.1 101")
    return [f"socket/{tag}"]


def asked(*models: str, said: bytes = b"", path: str = "/v1/chat", times: int = 1, **fields: object) -> Enter:
    """A chat with these models, one after the other or beside each other; the last was asked `times` times."""

    async def enter(testbed: ServiceTestbed, tag: str, client: Client, more: str) -> list[str]:
        keys = [f"{model}.{place}.{tag}" for place, model in enumerate(models)]
        await client.send(chat_request(keys[0], more, path=path, fallbacks=keys[1:], **fields))
        await testbed.wait_requested(keys[-1], times=times)
        await client.until(said)
        return [key for key in keys if not key.startswith("500")]

    return enter


def ask_request(more: str, **fields: object) -> bytes:
    """A whole request for an ask."""
    body = json.dumps({"question": "Which heron?", **fields}).encode()
    return post_request("/v1/ask", len(body), more) + body


def retrieving(*, stream: bool) -> Enter:
    """An ask whose table is looked up."""

    async def enter(testbed: ServiceTestbed, tag: str, client: Client, more: str) -> list[str]:
        key = f"manifest/{tag}"
        await client.send(ask_request(more, corpora=["birds"], tables=[tag], stream=stream))
        await testbed.wait_requested(key)
        return [key]

    return enter


def answering(model: str, *, said: bytes = b"", stream: bool) -> Enter:
    """An ask whose passages were found and given to this model."""

    async def enter(testbed: ServiceTestbed, tag: str, client: Client, more: str) -> list[str]:
        key = f"{model}.{tag}"
        await client.send(ask_request(more, corpora=["birds"], model=key, stream=stream))
        await testbed.wait_requested(key)
        await client.until(said)
        return [key]

    return enter


async def back_off(testbed: ServiceTestbed, tag: str, client: Client, more: str) -> list[str]:
    """The provider has said when to come again, and nobody is connected."""
    key = f"429-patient.{tag}"
    await client.send(chat_request(key, more))
    await testbed.wait_requested(key)
    while {context.phase for context in testbed.runtime.sources.active_requests} != {"backoff"}:
        await trio.sleep(0.0005)
    return [key]


async def quorum(testbed: ServiceTestbed, tag: str, client: Client, more: str) -> list[str]:
    """Three models are asked at once."""
    keys = [f"silent.{place}.{tag}" for place in range(3)]
    await client.send(chat_request("any", more, format="json", quorum={"of": keys, "agree": 2}))
    await testbed.wait_requested(*keys)
    return keys


def queued(request: Callable[[str, str], bytes]) -> Enter:
    """Others have all the connections there may be."""

    async def enter(testbed: ServiceTestbed, tag: str, client: Client, more: str) -> list[str]:
        await client.send(request(tag, more))
        while not any(pool.waiting for pool in testbed.runtime.sources.pools()):
            await trio.sleep(0.0005)
        return []

    return enter


def _gateway() -> Iterable[Phase]:
    yield Phase("gateway, waiting", gateway("silent"))
    yield Phase("gateway, pipelined second request", gateway("silent", times=2))
    yield Phase("gateway, body up", upload("silent", push=False))
    # A FIN waits behind what is not read, so nobody can know of it; then the limit for a silent upstream ends it.
    yield Phase("gateway, body up, nobody reads", upload("deaf", push=True), ways=("rst",), unread=True)
    yield Phase("gateway, body down", gateway("endless", said=b"xxx"), head_out=True)
    yield Phase("gateway, body down, nobody reads", download_stalled, head_out=True, unread=True)
    yield Phase("gateway, WebSocket", websocket, head_out=True)
    crowd = tuple(f"silent/crowd{number}" for number in range(CONNECTIONS))
    yield Phase("gateway, queued", queued(lambda tag, more: get_request(f"silent/{tag}", more)), crowd=crowd)


def _chat() -> Iterable[Phase]:
    yield Phase("chat, waiting", asked("silent"))
    yield Phase("chat, half an answer", asked("stall"))
    yield Phase("chat, stream, waiting", asked("silent", stream=True))
    yield Phase("chat, stream", asked("stall", said=b"request", stream=True), deadline=False, head_out=True)
    openai = asked("stall", said=b"request", stream=True, path="/v1/chat/completions")
    yield Phase("chat, OpenAI's form, waiting", asked("silent", path="/v1/chat/completions"))
    yield Phase("chat, OpenAI's form, stream", openai, deadline=False, head_out=True)
    responses = asked("stall", said=b"request", stream=True, path=RESPONSES)
    yield Phase("chat, Responses form, waiting", asked("silent", path=RESPONSES))
    yield Phase("chat, Responses form, stream", responses, deadline=False, head_out=True)
    ollama = asked("stall", said=b"request", path="/api/chat")
    yield Phase("chat, Ollama's form, waiting", asked("silent", path="/api/chat", stream=False))
    yield Phase("chat, Ollama's form, stream", ollama, deadline=False, head_out=True)
    waiting = asked("silent", path="/v1/messages", max_tokens=100)
    yield Phase("chat, Anthropic's form, waiting", waiting)
    anthropic = asked("stall", said=b"request", stream=True, path="/v1/messages", max_tokens=100)
    yield Phase("chat, Anthropic's form, stream", anthropic, deadline=False, head_out=True)
    yield Phase("chat, back-off", back_off, deadline=False)
    yield Phase("chat, fallback", asked("500-always", "silent"))
    yield Phase("chat, hedge", asked("silent", "silent"))
    yield Phase("chat, hedge of a stream", asked("silent", "silent", stream=True))
    yield Phase("chat, quorum", quorum)
    crowd = tuple(f"silent.crowd{number}" for number in range(CONNECTIONS))
    yield Phase("chat, queued", queued(lambda tag, more: chat_request(f"silent.{tag}", more)), crowd=crowd)


def _ask() -> Iterable[Phase]:
    yield Phase("ask, retrieving", retrieving(stream=False))
    yield Phase("ask, stream, retrieving", retrieving(stream=True))
    yield Phase("ask, answering", answering("stall", stream=False))
    yield Phase("ask, stream, answering", answering("silent", stream=True))
    yield Phase("ask, stream", answering("stall", said=b"request", stream=True), deadline=False, head_out=True)


PHASES = (*_gateway(), *_chat(), *_ask())
