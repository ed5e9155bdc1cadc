"""Calls of an application without a server: streams both ways, exceptions as they are, and nothing left behind."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio

from lakehouse.asgi import request_scope
from lakehouse.asgi.in_process import call_app
from lakehouse.asgi.server_control import full_response
from lakehouse.asgi.types import Receive, Scope, Send
from lakehouse.core.errors import ErrConflict


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Send the body back piece by piece, behind what was asked for."""
    headers = [(b"x-id", request_scope.get(scope).context.id.encode()), *scope["headers"]]
    await send({"type": "http.response.start", "status": 201, "headers": headers})
    asked = b"%s %s?%s " % (scope["method"].encode(), scope["raw_path"], scope["query_string"])
    await send({"type": "http.response.body", "body": asked, "more_body": True})
    more = True
    while more:
        message = await receive()
        more = message["more_body"]
        await send({"type": "http.response.body", "body": message["body"], "more_body": more})


async def pieces(*data: bytes) -> AsyncIterator[bytes]:
    for piece in data:
        await trio.lowlevel.checkpoint()
        yield piece


async def test_request_and_response_arrive() -> None:
    async with call_app(echo, "PUT", "/a%20b", query="x=1", headers=[("X-A", "1")], body=b"body") as answer:
        assert answer.status == 201
        assert (b"x-a", b"1") in answer.headers
        assert await answer.read() == b"PUT /a%20b?x=1 body"


async def test_a_body_in_pieces_is_read_as_the_response_is_taken() -> None:
    async with call_app(echo, "POST", "/", body=pieces(b"one", b"two")) as answer:
        assert [piece async for piece in answer] == [b"POST /? ", b"one", b"two"]


async def test_a_whole_response_in_one_message() -> None:
    async def whole(scope: Scope, receive: Receive, send: Send) -> None:
        await send(full_response(200, [], b"whole"))

    async with call_app(whole, "GET", "/") as answer:
        assert await answer.read() == b"whole"


async def test_what_the_application_raises_comes_out() -> None:
    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        raise ErrConflict("taken", details={"a": 1})

    with pytest.raises(ErrConflict, match="taken") as caught:
        async with call_app(refuse, "GET", "/"):
            raise AssertionError("it began")
    assert caught.value.details == {"a": 1}


async def test_a_failure_in_the_middle_comes_out_of_the_block() -> None:
    async def fail(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"some", "more_body": True})
        raise ErrConflict("in the middle")

    got = []
    with pytest.raises(ErrConflict, match="in the middle"):
        async with call_app(fail, "GET", "/") as answer:
            async for piece in answer:
                got += [piece]
            raise AssertionError("it looked complete")
    assert got == [b"some"]


async def test_pieces_stay_as_they_were_when_the_application_uses_its_buffer_again() -> None:
    async def read_file(scope: Scope, receive: Receive, send: Send) -> None:
        buffer = bytearray(1)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for byte in b"abc":
            buffer[0] = byte
            await send({"type": "http.response.body", "body": memoryview(buffer), "more_body": True})

    async with call_app(read_file, "GET", "/") as answer:
        assert await answer.read() == b"abc"


async def test_the_end_of_the_block_cancels_the_application(autojump_clock: trio.testing.MockClock) -> None:
    ended = []

    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while True:
                await send({"type": "http.response.body", "body": b"x", "more_body": True})
        finally:
            ended.append(True)

    async with call_app(endless, "GET", "/") as answer:
        async for _ in answer:
            break
    assert ended == [True]


async def test_a_call_without_a_response_can_be_cancelled_and_a_silent_end_is_a_defect(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def silent(scope: Scope, receive: Receive, send: Send) -> None:
        await trio.sleep(10)

    with trio.move_on_after(1) as scope:
        async with call_app(silent, "GET", "/"):
            raise AssertionError("it began")
    assert scope.cancelled_caught
    with pytest.raises(RuntimeError, match="without a response"):
        async with call_app(silent, "GET", "/"):
            raise AssertionError("it began")
