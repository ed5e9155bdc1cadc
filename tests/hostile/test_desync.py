"""What a service sends beyond its answer is nobody's answer: not the next user's on the same connection, above all."""

from __future__ import annotations

import pytest
import trio

from tools.kit.gateway_services import OK, ServiceRequest, open_gateway
from tools.kit.matrices import spread

EVIL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"

ANSWERS = {
    "a length": ("GET", OK),
    "chunks": ("GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    "no content": ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
    "not modified": ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 47\r\n\r\n"),
    "a head": ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(EVIL)),
    "a head of chunks": ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "an interim answer before it": ("GET", b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK),
    "an early refusal": ("POST", b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"),
}
"""The method that is answered so, and the answer. What follows is a body to some, and another answer to others."""


@pytest.mark.parametrize("extra", spread([EVIL, EVIL[:1], EVIL[:30], b"\r\n" + EVIL, b"evil", b"0\r\n\r\n" + EVIL], 2))
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("name", ANSWERS)
async def test_what_follows_an_answer_is_nobodys(name: str, late: bool, extra: bytes) -> None:
    method, answer = ANSWERS[name]
    read, sent = trio.Event(), trio.Event()
    visits = 0

    async def serve(visit: ServiceRequest) -> None:
        nonlocal visits
        visits += 1
        if visits > 1:
            await visit.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhonest")
            return
        if late:
            await visit.send(answer)
            await read.wait()
            await visit.send(extra)
        else:
            await visit.send(answer + extra)
        sent.set()

    async with open_gateway() as up:
        up.storaged.script = serve
        async with await up.connect() as one:
            body = b"a body of no interest" if method == "POST" else b""
            got = await one.ask(
                "/v1/storage/x", method=method, headers=f"content-length: {len(body)}" if body else "", body=body
            )
            assert got.status == int(answer.split(b"HTTP/1.1 ")[-1][:3])
            assert got.body in (b"ok", b"")
            read.set()
            await sent.wait()
            async with await up.connect() as other:
                assert (await other.ask("/v1/storage/y")).body == b"honest"
            assert (await one.ask("/v1/storage/z")).body == b"honest"
    assert up.storaged.opened == 2
    assert up.is_quiet()
