"""Files and streams as responses, over real sockets, of our server and of stock Hypercorn."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from email.parser import BytesParser
from pathlib import Path

import httpx
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from lakehouse.asgi.conditional import Validators
from lakehouse.asgi.content import (
    PIECE,
    BytesContent,
    Content,
    send_content,
    send_file,
    send_stream,
)
from lakehouse.asgi.file_content import open_file_content
from lakehouse.asgi.responses import empty_response, error_response, json_response, send_json
from lakehouse.asgi.types import App, Message, Receive, Scope, Send
from lakehouse.core.errors import ErrConflict, ErrNotFound
from tools.kit.raw_http import RunningServer, get, serve_app, serve_app_under_hypercorn

DATA = b"0123456789"
TAG = '"v1"'
T = 784111777

Host = Callable[[App], AbstractAsyncContextManager[RunningServer]]


def own(app: App) -> AbstractAsyncContextManager[RunningServer]:
    return serve_app(app, lifetime=True)


@pytest.fixture(params=[own, serve_app_under_hypercorn], ids=["own", "hypercorn"])
def host(request: pytest.FixtureRequest) -> Host:
    """Serves an application behind the request lifetime middleware."""
    served: Host = request.param
    return served


def handling(handle: Callable[[Scope, Send], object]) -> App:
    """An application of one handler, with a lifespan for Hypercorn."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            while (message := await receive())["type"] != "lifespan.shutdown":
                await send({"type": message["type"] + ".complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        await handle(scope, send)  # type: ignore[misc]  # a coroutine

    return app


def content_app(content: Content) -> App:
    async def handle(scope: Scope, send: Send) -> None:
        await send_content(scope, send, content, content_type="text/csv", headers=[(b"cache-control", b"no-cache")])

    return handling(handle)


def client(served: RunningServer) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{served.port}", trust_env=False)


VERSION = Validators(etag=TAG.encode(), modified=T)


async def test_the_whole_content_and_its_head(host: Host) -> None:
    async with host(content_app(BytesContent(DATA, VERSION))) as served, client(served) as http:
        whole = await http.get("/")
        head = await http.head("/")
    assert (whole.status_code, whole.content) == (200, DATA)
    for answer in (whole, head):
        assert answer.status_code == 200
        assert answer.headers["content-length"] == "10"
        assert answer.headers["content-type"] == "text/csv"
        assert answer.headers["accept-ranges"] == "bytes"
        assert answer.headers["etag"] == TAG
        assert answer.headers["last-modified"] == "Sun, 06 Nov 1994 08:49:37 GMT"
        assert answer.headers["cache-control"] == "no-cache"
    assert head.content == b""


@pytest.mark.parametrize(
    ("headers", "status", "body", "content_range"),
    [
        ({"Range": "bytes=2-4"}, 206, b"234", "bytes 2-4/10"),
        ({"Range": "bytes=-1"}, 206, b"9", "bytes 9-9/10"),
        ({"Range": "bytes=0-"}, 206, DATA, "bytes 0-9/10"),
        ({"Range": "bytes=4-2"}, 200, DATA, None),
        ({"Range": "bytes=2-4", "If-Range": TAG}, 206, b"234", "bytes 2-4/10"),
        ({"Range": "bytes=2-4", "If-Range": '"v0"'}, 200, DATA, None),
        ({"Range": "bytes=10-"}, 416, None, "bytes */10"),
        ({"Range": "bytes=2-4", "If-None-Match": TAG}, 304, b"", None),
        ({"If-None-Match": TAG}, 304, b"", None),
        ({"If-Modified-Since": "Sun, 06 Nov 1994 08:49:37 GMT"}, 304, b"", None),
        ({"If-None-Match": '"v0"'}, 200, DATA, None),
        ({"If-Match": '"v0"'}, 412, None, None),
    ],
)
async def test_ranges_and_conditions(
    headers: dict[str, str], status: int, body: bytes | None, content_range: str | None
) -> None:
    async with own(content_app(BytesContent(DATA, VERSION))) as served, client(served) as http:
        answer = await http.get("/", headers=headers)
        after = await http.get("/")  # the connection is in order
    assert (answer.status_code, answer.headers.get("content-range")) == (status, content_range)
    if body is None:
        assert answer.json()["error"]["status"] == status
    else:
        assert answer.content == body
    if status == 304:
        assert answer.headers["etag"] == TAG
        assert answer.headers["cache-control"] == "no-cache"
        assert "content-type" not in answer.headers
        assert "content-length" not in answer.headers
    assert after.content == DATA


async def test_several_ranges_are_parts_of_one_body(host: Host) -> None:
    async with host(content_app(BytesContent(DATA, VERSION))) as served, client(served) as http:
        answer = await http.get("/", headers={"Range": "bytes=7-8,0-1"})
    assert answer.status_code == 206
    assert "content-range" not in answer.headers
    assert int(answer.headers["content-length"]) == len(answer.content)
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    parts = BytesParser().parsebytes(head + answer.content).get_payload()
    assert isinstance(parts, list)
    read = [(part["content-type"], part["content-range"], part.get_payload()) for part in parts]  # type: ignore[union-attr,index]
    assert read == [("text/csv", "bytes 7-8/10", "78"), ("text/csv", "bytes 0-1/10", "01")]


async def test_a_range_of_a_head_request_is_ignored() -> None:
    async with own(content_app(BytesContent(DATA))) as served, client(served) as http:
        answer = await http.head("/", headers={"Range": "bytes=2-4"})
    assert (answer.status_code, answer.headers["content-length"]) == (200, "10")
    assert "etag" not in answer.headers


async def test_a_file_is_sent_in_pieces_with_a_tag_of_its_time_and_size(host: Host, tmp_path: Path) -> None:
    data = os.urandom(3 * PIECE + 5)
    (tmp_path / "data.bin").write_bytes(data)

    async def handle(scope: Scope, send: Send) -> None:
        await send_file(scope, send, tmp_path / scope["path"].strip("/"))

    async with host(handling(handle)) as served, client(served) as http:
        whole = await http.get("/data.bin")
        assert whole.content == data
        assert whole.headers["content-type"] == "application/octet-stream"
        same = await http.get("/data.bin", headers={"If-None-Match": whole.headers["etag"]})
        assert same.status_code == 304
        part = await http.get("/data.bin", headers={"Range": f"bytes={PIECE - 1}-{PIECE}"})
        assert part.content == data[PIECE - 1 : PIECE + 1]
        (tmp_path / "data.bin").write_bytes(data[:-1])
        changed = await http.get("/data.bin", headers={"If-None-Match": whole.headers["etag"]})
        assert (changed.status_code, changed.content) == (200, data[:-1])
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "folder").mkdir()
        for name in ("absent", "folder", "pipe", "data.bin/below"):
            missing = await http.get(f"/{name}")
            assert (missing.status_code, missing.json()["error"]["code"]) == (404, "ErrNotFound"), name


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def test_a_file_is_closed_whatever_ends_the_block(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(DATA)
    before = open_files()
    async with open_file_content(path) as content:
        assert open_files() == before + 1
        assert await content.read_at(8, 10) == b"89"
        assert await content.read_at(10, 10) == b""
    with trio.CancelScope() as scope:
        async with open_file_content(path):
            scope.cancel()
            await trio.lowlevel.checkpoint()
    with pytest.raises(ErrNotFound):
        async with open_file_content(tmp_path):
            pass
    assert open_files() == before


async def test_content_that_became_shorter_cuts_the_response() -> None:
    class Shrinking(BytesContent):
        async def read_at(self, position: int, size: int) -> bytes:
            return b"" if position else DATA[:4]

    async with own(content_app(Shrinking(DATA))) as served:
        out = await served.exchange(get("/"))
        assert b"content-length: 10" in out
        assert out.endswith(b"0123<EOF>")
        assert [(context.outcome, context.error) for context in served.ended] == [("failed", "ErrInternal")]


async def test_no_more_than_a_piece_is_read_before_the_one_before_is_taken() -> None:
    reads: list[int] = []

    class Endless(BytesContent):
        async def read_at(self, position: int, size: int) -> bytes:
            reads.append(size)
            return bytes(size)

    content = Endless(b"")
    content.size = 1 << 40
    async with own(content_app(content)) as served, await served.connect() as peer:
        await peer.send(get("/"))
        await peer.read_until(b"\r\n\r\n")
        await wait_all_tasks_blocked(0.05)
        taken = len(reads)
        await wait_all_tasks_blocked(0.05)
        assert len(reads) == taken  # the sockets' buffers are full, and nothing is read ahead
        assert max(reads) == PIECE


# Streams.


def stream_app(*pieces: bytes | Exception, length: int | None = None) -> App:
    async def produce() -> AsyncIterator[bytes]:
        for piece in pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    async def handle(_: Scope, send: Send) -> None:
        async with aclosing(produce()) as produced:  # type: ignore[type-var]
            await send_stream(send, produced, content_type="application/x-ndjson", length=length)

    return handling(handle)


async def test_a_stream_is_sent_as_it_comes(host: Host) -> None:
    async with host(stream_app(b"a\n", b"", b"b\n")) as served, client(served) as http:
        answer = await http.get("/")
    assert (answer.status_code, answer.content) == (200, b"a\nb\n")
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert "content-length" not in answer.headers
    assert "server-timing" not in answer.headers


async def test_a_stream_of_known_length_says_so() -> None:
    async with own(stream_app(b"a\n", b"b\n", length=4)) as served, client(served) as http:
        assert (await http.get("/")).headers["content-length"] == "4"


async def test_an_empty_stream_is_an_empty_body(host: Host) -> None:
    async with host(stream_app()) as served, client(served) as http:
        answer = await http.get("/")
    assert (answer.status_code, answer.content) == (200, b"")


async def test_a_failure_before_the_first_piece_is_an_error_response(host: Host) -> None:
    async with host(stream_app(ErrConflict("busy", details={"lock": 7}))) as served, client(served) as http:
        answer = await http.get("/")
    assert answer.status_code == 409
    assert answer.json()["error"]["details"] == {"lock": 7}


async def test_a_failure_after_it_cuts_the_response() -> None:
    async with own(stream_app(b"a\n", ErrConflict("busy"))) as served, client(served) as http:
        with pytest.raises(httpx.RemoteProtocolError):
            await http.get("/")


# Whole responses.


async def sent(*messages: Message) -> tuple[int, dict[bytes, bytes], bytes]:
    start, *rest = messages
    return start["status"], dict(start["headers"]), b"".join(message["body"] for message in rest)


async def collected(respond: Callable[[Send], object]) -> tuple[int, dict[bytes, bytes], bytes]:
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    await respond(send)  # type: ignore[misc]  # a coroutine
    assert [message["type"] for message in messages] == ["http.response.start", "http.response.body"]
    assert messages[-1]["more_body"] is False
    return await sent(*messages)


async def test_whole_responses() -> None:
    json_type = {b"content-type": b"application/json"}
    made = await collected(json_response({"a": "é"}, 201, [("Location", "/v1/x"), ("x-word", "→")]).send_to)
    body = '{"a":"é"}'.encode()
    assert made == (201, {**json_type, b"content-length": b"10", b"location": b"/v1/x", b"x-word": b"?"}, body)
    assert await collected(empty_response(204, [(b"etag", b'"a"')]).send_to) == (204, {b"etag": b'"a"'}, b"")
    assert await collected(empty_response(202).send_to) == (202, {b"content-length": b"0"}, b"")
    status, headers, body = await collected(error_response(ErrNotFound("no"), "r-1").send_to)
    assert (status, headers[b"content-type"], b'"request_id":"r-1"' in body) == (404, b"application/json", True)
    made = await collected(lambda send: send_json(send, 200, [1], [(b"x-a", b"b")]))
    assert made == (200, {**json_type, b"content-length": b"3", b"x-a": b"b"}, b"[1]")
