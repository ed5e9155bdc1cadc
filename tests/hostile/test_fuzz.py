"""The whole service before clients who say anything: it has a proper answer or none, no error of its own, and whoever
comes next is served.

Heads and bodies are made by hypothesis: well-formed ones with strange contents, nearly well-formed ones, and noise.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tools.kit.examples import count_examples
from tools.kit.lifetime.phases import get_request
from tools.kit.lifetime.testbed import Client, ServiceTestbed, open_testbed

PATHS = [
    b"/v1/chat",
    b"/v1/chat/completions",
    b"/v1/chat/providers",
    b"/api/chat",
    b"/api/tags",
    b"/v1/models",
    b"/v1/models/a%2fb",
    b"/v1/storage/ok/x",
    b"/v1/storage/%2e%2e/x",
    b"/v1/sql?q=%ff",
    b"/v1/embed",
    b"/v1/requests",
    b"/metrics",
    b"/healthz",
    b"/readyz",
    b"/",
    b"/nothing",
    b"*",
    b"http://elsewhere/v1/chat",
]
METHODS = [b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"DELETE", b"PATCH", b"TRACE", b"CONNECT", b"get", b"BREW"]
NAMES = [
    b"Content-Length",
    b"Transfer-Encoding",
    b"Expect",
    b"Connection",
    b"Upgrade",
    b"Sec-WebSocket-Key",
    b"Sec-WebSocket-Version",
    b"Sec-WebSocket-Protocol",
    b"X-Request-Timeout-Ms",
    b"X-Request-Id",
    b"Authorization",
    b"Content-Type",
    b"Content-Encoding",
    b"Accept",
    b"Cookie",
    b"Forwarded",
    b"X-Forwarded-For",
    b"TE",
    b"Trailer",
    b"traceparent",
    b"Host",
]
VALUES = [
    b"0",
    b"3",
    b"-1",
    b"99999999999999999999",
    b"chunked",
    b"gzip, chunked",
    b"100-continue",
    b"close",
    b"keep-alive, te",
    b"upgrade",
    b"websocket",
    b"h2c",
    b"13",
    b"dGhlIHNhbXBsZSBub25jZQ==",
    b"1",
    b"application/json",
    b"trailers",
    b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01",
    b"for=unknown;by=_x",
    b"\xff\xfe",
    b"a\x00b",
]

noise = st.binary(max_size=40)
names = st.sampled_from(NAMES) | st.text("abcXYZ-_:! ", min_size=1, max_size=8).map(str.encode)
fields = st.lists(st.tuples(names, st.sampled_from(VALUES) | noise), max_size=6)

leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
messages = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant", "tool", "developer", "x"]) | values},
        optional={
            "content": st.text(max_size=9) | st.lists(st.fixed_dictionaries({"type": st.text(max_size=5)})) | values,
            "tool_calls": values,
            "tool_call_id": values,
            "reasoning": values,
        },
    ),
    max_size=3,
)
chats = st.fixed_dictionaries(
    {
        "model": st.sampled_from(["ok.x", "ollama/ok", "kimi/x", "x/y", "", ":cloud"]) | values,
        "messages": messages | values,
    },
    optional={
        name: values | st.booleans() | st.integers(-2, 3)
        for name in (
            "stream",
            "temperature",
            "top_p",
            "max_tokens",
            "stop",
            "seed",
            "format",
            "think",
            "tools",
            "tool_choice",
            "fallbacks",
            "options",
            "user",
            "quorum",
            "n",
            "response_format",
            "stream_options",
            "unknown",
        )
    },
)
bodies = (
    chats.map(lambda chat: json.dumps(chat).encode()) | values.map(lambda value: json.dumps(value).encode()) | noise
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A request that is well-formed but for its contents, or was before a slip of the pen."""
    body = draw(bodies)
    path = draw(st.sampled_from(PATHS) | noise)
    head = [b"%b %b HTTP/1.1" % (draw(st.sampled_from(METHODS)), path), b"Host: x"]
    if draw(st.integers(0, 4)):
        head.append(b"Content-Length: %d" % len(body))
    head += [b"%b: %b" % field for field in draw(fields)]
    data = b"\r\n".join(head) + b"\r\n\r\n" + body
    if draw(st.integers(0, 5)) == 0:
        place = draw(st.integers(0, len(data)))
        data = data[:place] + draw(noise) + data[place + draw(st.integers(0, 5)) :]
    return data


@contextmanager
def no_defects() -> Iterator[None]:
    """Nothing is logged as an error: what a client says is its own affair."""

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(self.format(record))

    said: list[str] = []
    handler = Keep(logging.ERROR)
    logging.getLogger("lakehouse").addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger("lakehouse").removeHandler(handler)
    assert not said


async def say(stage: ServiceTestbed, data: bytes) -> None:
    """A client says it, listens as long as anything happens, and leaves."""
    async with await stage.client() as client:
        await client.send(data)
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(0.002):
            await client.rest()
        client.leave("fin")
    assert b"HTTP/1.1 500 " not in client.said, (data, client.said)
    assert not client.said or client.said.startswith(b"HTTP/1.1 "), (data, client.said)


async def the_next_client_is_served(stage: ServiceTestbed) -> None:
    with trio.fail_after(20):
        async with await stage.client() as client:
            await client.send(get_request("ok/next"))
            await client.until(b"\r\n\r\nok")


@settings(max_examples=count_examples(25), deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(said=st.lists(requests() | noise, min_size=1, max_size=8))
async def test_whatever_clients_say_the_next_one_is_served(said: list[bytes]) -> None:
    with no_defects():
        async with open_testbed() as stage:
            before = await stage.quiet()
            for data in said:
                await say(stage, data)
                await the_next_client_is_served(stage)
            assert await stage.settle(before) == before


CHATS = ["/v1/chat", "/v1/chat/completions", "/api/chat"]


@settings(max_examples=count_examples(60), deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(chats=st.lists(chats, min_size=1, max_size=8), path=st.sampled_from(CHATS))
async def test_whatever_a_chat_is_asked_with_the_answer_is_the_callers_or_the_providers(
    chats: list[object], path: str
) -> None:
    """A whole and well-framed request for a chat has exactly one whole answer: JSON, or a stream with its end."""
    with no_defects():
        async with open_testbed() as stage:
            for chat in chats:
                body = json.dumps(chat).encode()
                head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
                async with await stage.client() as client:
                    await client.send(head.encode() + body)
                    with trio.fail_after(20):
                        await client.rest()
                check(client, body)


def check(client: Client, asked: bytes) -> None:
    head, _, body = client.said.partition(b"\r\n\r\n")
    status = int(head[9:12])
    assert status in (200, 400, 404, 422, 429, 502), (asked, client.said)
    if b"text/event-stream" in head or b"application/x-ndjson" in head:
        assert body.endswith(b"0\r\n\r\n"), (asked, client.said)
    else:
        document = json.loads(body)
        error = document.get("error") if status != 200 else "none"
        assert error["message"] if isinstance(error, dict) else error, (asked, client.said)
