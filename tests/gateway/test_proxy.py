"""The gateway between real sockets: nine services behind it, raw bytes in front of it."""

from __future__ import annotations

import gzip
import hashlib
import json
import socket
from functools import partial
from ipaddress import ip_network
from math import inf

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from lakehouse.asgi.server_control import FULL_RESPONSE
from lakehouse.asgi.types import App, Message, Receive, Scope, Send
from tools.kit.gateway_services import (
    NAMES,
    OK,
    Answer,
    Client,
    GatewayWithServices,
    ServiceRequest,
    never_answer,
    open_gateway,
)
from tools.kit.proxy_tables import PATHS, REQUESTS, RESPONSES, Case, Path, pairs

MIB = 1024 * 1024

WRITTEN_BY_US = {b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"forwarded"}
WRITTEN_BY_US |= {b"x-request-id", b"x-request-timeout-ms"}
FRAMING = {b"host", b"content-length", b"transfer-encoding"}


def error(answer: Answer) -> dict[str, object]:
    document: dict[str, object] = json.loads(answer.body)["error"]
    assert document["status"] == answer.status
    assert document["request_id"] == answer["x-request-id"]
    return document


@pytest.mark.parametrize(
    ("path", "name", "asked"),
    [
        ("/v1/storage/a", "storaged", b"/storage/a"),
        ("/v1/catalog/a", "catalogd", b"/catalog/a"),
        ("/v1/ingest", "ingestd", b"/ingest"),
        ("/v1/sql", "queryd", b"/sql"),
        ("/v1/vectors/a", "vectord", b"/vectors/a"),
        ("/v1/embed", "embedd", b"/embed"),
        ("/v1/pathway/a", "pathwayd", b"/pathway/a"),
        ("/v1/matrix/a", "matrixd", b"/matrix/a"),
        ("/v1/observer/a", "observerd", b"/observer/a"),
    ],
)
async def test_each_prefix_has_its_service(path: str, name: str, asked: bytes) -> None:
    async with open_gateway() as up:
        assert (await up.ask(path)).body == b"ok"
        assert [visit.target for visit in up.services[name].requests] == [asked]
        assert not any(up.services[other].requests for other in NAMES if other != name)


async def test_a_base_url_may_have_a_path() -> None:
    async with open_gateway() as up, open_gateway(storaged_url=up.storaged.url + "/base/v7") as moved:
        await moved.ask("/v1/storage/a?b")
        assert up.storaged.last.target == b"/base/v7/storage/a?b"


async def test_chat_may_be_elsewhere() -> None:
    async with open_gateway() as up:
        assert (await up.ask("/v1/chat", method="POST")).status == 404
        async with open_gateway(chatd_url=up.queryd.url) as moved:
            for path in ("/v1/chat", "/v1/chat/completions", "/v1/chat/providers", "/v1/models"):
                assert (await moved.ask(path)).status == 200
            assert [visit.target for visit in up.queryd.requests] == [
                b"/chat",
                b"/chat/completions",
                b"/chat/providers",
                b"/models",
            ]


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "PURGE"])
async def test_every_method_goes_through(method: str) -> None:
    async with open_gateway() as up:
        assert (await up.ask("/v1/storage/x", method=method)).status == 200
        assert up.storaged.last.method == method.encode()


@pytest.mark.parametrize("case", PATHS, ids=lambda case: case.target.decode())
async def test_paths(case: Path) -> None:
    async with open_gateway() as up:
        answer = await up.ask(case.target)
        assert answer.status == case.status
        assert [visit.target for visit in up.storaged.requests] == ([case.asked] if case.asked else [])
        if not case.asked:
            assert error(answer)["code"] == "ErrBadRequest"


@pytest.mark.parametrize("target", [b"/v1/storage/x?", b"/v1/sql?"])
async def test_an_empty_query_is_not_the_same_as_none(target: bytes) -> None:
    async with open_gateway() as up:
        await up.ask(target)
        await up.ask(target[:-1])
        visits = up.storaged.requests + up.queryd.requests
        assert [visit.target for visit in visits] == [target[3:], target[3:-1]]


@pytest.mark.parametrize("case", REQUESTS, ids=lambda case: case.name)
async def test_request_headers(case: Case) -> None:
    async with open_gateway() as up:
        await up.ask("/v1/storage/x", method="POST", headers=case.given, body=case.body)
        sent = [pair for pair in up.storaged.last.headers if pair[0] not in WRITTEN_BY_US | FRAMING]
        assert sent == pairs(case.passed)


@pytest.mark.parametrize("case", RESPONSES, ids=lambda case: case.name)
async def test_response_headers(case: Case) -> None:
    given = "".join(f"{line.strip()}\r\n" for line in case.given.splitlines()).encode()

    async def answer(visit: ServiceRequest) -> None:
        await visit.send(b"HTTP/1.1 200 OK\r\n" + given + b"Content-Length: 2\r\n\r\nok")

    async with open_gateway() as up:
        up.storaged.script = answer
        got = await up.ask("/v1/storage/x")
        ours = [(b"content-length", b"2"), (b"x-request-id", got["x-request-id"].encode())]
        passed = [pair for pair in got.headers if pair not in ours and b"gateway;dur" not in pair[1]]
        if b"date" not in dict(pairs(case.passed)):
            passed = [pair for pair in passed if pair[0] != b"date"]
        assert passed == pairs(case.passed)
        assert got.body == b"ok"


async def test_who_asked_is_told() -> None:
    story = (
        "x-forwarded-for: 203.0.113.9\nx-forwarded-proto: https\nx-forwarded-host: public\nforwarded: for=203.0.113.9"
    )
    async with open_gateway() as up:
        await up.ask("/v1/sql", headers=story)
        told = dict(up.queryd.last.headers)
        assert told[b"host"].decode() == up.queryd.url.removeprefix("http://")
        assert told[b"x-forwarded-for"] == b"127.0.0.1"
        assert told[b"x-forwarded-proto"] == b"http"
        assert told[b"x-forwarded-host"] == b"door"
        assert told[b"forwarded"] == b'for=127.0.0.1;host="door";proto=http'
    async with open_gateway(trusted_proxies=(ip_network("127.0.0.0/8"),)) as up:
        await up.ask("/v1/sql", headers=story)
        told = dict(up.queryd.last.headers)
        assert told[b"x-forwarded-for"] == b"203.0.113.9, 127.0.0.1"
        assert told[b"x-forwarded-proto"] == b"https"
        assert told[b"x-forwarded-host"] == b"public"
        assert told[b"forwarded"] == b'for=203.0.113.9, for=127.0.0.1;host="door";proto=http'


async def test_the_request_id_is_given_echoed_and_forwarded() -> None:
    async with open_gateway() as up:
        answer = await up.ask("/v1/sql", headers="x-request-id: mine-1")
        assert answer["x-request-id"] == "mine-1"
        assert dict(up.queryd.last.headers)[b"x-request-id"] == b"mine-1"
        answer = await up.ask("/v1/sql")
        assert dict(up.queryd.last.headers)[b"x-request-id"].decode() == answer["x-request-id"]


async def test_what_is_left_of_the_callers_time_is_forwarded() -> None:
    async with open_gateway() as up:
        await up.ask("/v1/sql", headers="x-request-timeout-ms: 5000")
        assert 4000 < int(dict(up.queryd.last.headers)[b"x-request-timeout-ms"]) <= 5000
        await up.ask("/v1/sql")
        assert b"x-request-timeout-ms" not in dict(up.queryd.last.headers)


@pytest.mark.parametrize(
    ("method", "wire"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\n\r\n"),
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ],
)
async def test_an_answer_without_a_body_is_not_streamed(method: str, wire: bytes) -> None:
    async with open_gateway() as up:
        up.queryd.script = lambda visit: visit.send(wire)
        assert "server-timing" in await up.ask("/v1/sql", method=method)


async def send_bytes(answer: bytes, visit: ServiceRequest) -> None:
    await visit.send(answer)


async def test_server_timing_is_on_what_is_not_streamed() -> None:
    streams = {
        "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "events": b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 2\r\n\r\nok",
    }
    async with open_gateway() as up:
        assert (await up.ask("/v1/sql"))["server-timing"].startswith("upstream;dur=")
        for answer in streams.values():
            up.queryd.script = partial(send_bytes, answer)
            got = await up.ask("/v1/sql")
            assert got.body == b"ok"
            assert "server-timing" not in got


# Bodies.


@pytest.mark.parametrize(
    ("headers", "wire", "framing"),
    [
        ("content-length: 5", b"hello", (b"content-length", b"5")),
        ("transfer-encoding: chunked", b"2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n", (b"transfer-encoding", b"chunked")),
        ("content-length: 0", b"", (b"content-length", b"0")),
        ("transfer-encoding: chunked", b"0\r\n\r\n", (b"transfer-encoding", b"chunked")),
    ],
)
async def test_a_request_body_keeps_its_framing(headers: str, wire: bytes, framing: tuple[bytes, bytes]) -> None:
    bodies: list[bytes] = []

    async def read(visit: ServiceRequest) -> None:
        bodies.append(await visit.body(visit.headers))
        await visit.send(OK)

    async with open_gateway() as up:
        up.ingestd.script = read
        await up.ask("/v1/ingest", method="POST", headers=headers, body=wire)
        assert bodies == [b"hello" if len(wire) > 5 or wire == b"hello" else b""]
        assert [pair for pair in up.ingestd.last.headers if pair[0] in FRAMING - {b"host"}] == [framing]


async def test_a_small_body_leaves_with_its_head() -> None:
    whole: list[bytes] = []

    async def read_once(visit: ServiceRequest) -> None:
        whole.append(visit.waiting)  # what came in one segment with the head
        await visit.send(OK)

    async with open_gateway() as up:
        up.ingestd.script = read_once
        await up.ask("/v1/ingest", method="POST", headers="content-length: 5", body=b"hello")
        assert whole == [b"hello"]


async def test_a_get_without_a_body_stays_without() -> None:
    async with open_gateway() as up:
        await up.ask("/v1/sql")
        assert not FRAMING - {b"host"} & set(dict(up.queryd.last.headers))


async def test_compressed_bodies_are_left_alone() -> None:
    packed = gzip.compress(b"x" * 5000)

    async def echo(visit: ServiceRequest) -> None:
        body = await visit.body(visit.headers)
        assert body == packed
        await visit.send(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    async with open_gateway() as up:
        up.ingestd.script = echo
        length = f"content-encoding: gzip\ncontent-length: {len(packed)}"
        answer = await up.ask("/v1/ingest", method="POST", headers=length, body=packed)
        assert (answer.body, answer["content-encoding"]) == (packed, "gzip")
        assert b"accept-encoding" not in dict(up.ingestd.last.headers)


@pytest.mark.parametrize(
    "wire",
    [OK, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n"],
    ids=["sized", "chunked"],
)
async def test_what_arrived_together_leaves_together(wire: bytes) -> None:
    bodies: list[tuple[bytes, bool]] = []

    def watched(app: App) -> App:
        async def watching(scope: Scope, receive: Receive, send: Send) -> None:
            async def deadlines(message: Message) -> None:
                if message["type"] in ("http.response.body", FULL_RESPONSE):
                    bodies.append((message["body"], message.get("more_body", False)))
                await send(message)

            await app(scope, receive, deadlines)

        return watching

    async with open_gateway(wrap=watched) as up:
        up.storaged.script = lambda visit: visit.send(wire)
        assert (await up.ask("/v1/storage/x")).body == b"ok"
        assert bodies == [(b"ok", False)]


async def test_events_leave_as_they_arrive() -> None:
    said, heard = trio.open_memory_channel[bytes](0)

    async def speak(visit: ServiceRequest) -> None:
        await visit.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        async for piece in heard:
            await visit.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        await visit.send(b"0\r\n\r\n")

    async with open_gateway() as up, await up.connect() as client:
        up.observerd.script = speak
        await client.send(b"GET /v1/observer/tail HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (await client.answer_head()).status == 200, "the head does not wait for the first event"
        for number in range(3):
            event = b"data: %d\n\n" % number
            await said.send(event)  # and no other before this one was seen
            assert await client.chunk() == event
        said.close()
        assert await client.chunk() == b""
    assert up.is_quiet()


async def test_both_directions_at_once() -> None:
    async def echo(visit: ServiceRequest) -> None:
        await visit.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while chunk := await visit.chunk():
            await visit.send(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        await visit.send(b"0\r\n\r\n")

    async with open_gateway() as up, await up.connect() as client:
        up.ingestd.script = echo
        await client.send(b"POST /v1/ingest HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        assert (await client.answer_head()).status == 200
        for word in (b"to", b"and", b"fro"):
            await client.send(b"%x\r\n%b\r\n" % (len(word), word))
            assert await client.chunk() == word
        await client.send(b"0\r\n\r\n")
        assert await client.chunk() == b""
    assert up.is_quiet()


BODILESS = [
    ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", 200, b"1000"),
    ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 200, None),
    ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", 204, None),
    ("GET", b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\nContent-Length: 1000\r\n\r\n', 304, b"1000"),
    ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, b"0"),
]


@pytest.mark.parametrize(("method", "wire", "status", "length"), BODILESS)
async def test_answers_without_a_body(method: str, wire: bytes, status: int, length: bytes | None) -> None:
    async with open_gateway() as up, await up.connect() as client:
        up.storaged.script = lambda visit: visit.send(wire)
        for _ in range(2):  # both connections are in step afterwards
            answer = await client.ask("/v1/storage/x", method=method)
            assert answer.status == status
            assert dict(answer.headers).get(b"content-length") == length
        assert up.storaged.opened == 1


async def test_interim_answers_are_not_the_answer() -> None:
    async with open_gateway() as up:
        hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
        up.storaged.script = lambda visit: visit.send(hints + OK)
        answer = await up.ask("/v1/storage/x")
        assert (answer.status, answer.body, "link" in answer) == (200, b"ok", False)


@pytest.mark.parametrize(
    ("wire", "body"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", b"until the end"),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", b"until the end"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", b"ok"),
    ],
)
async def test_answers_of_unknown_length_are_chunked(wire: bytes, body: bytes) -> None:
    async def answer(visit: ServiceRequest) -> None:
        await visit.send(wire)
        await visit.stream.aclose()

    async with open_gateway() as up, await up.connect() as client:
        up.storaged.script = answer
        for _ in range(2):
            got = await client.ask("/v1/storage/x")
            assert (got.body, got["transfer-encoding"]) == (body, "chunked")


async def test_trailers_reach_a_client_that_takes_them() -> None:
    wire = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n"
    async with open_gateway() as up, await up.connect() as client:
        up.storaged.script = lambda visit: visit.send(wire)
        answer = await client.ask("/v1/storage/x", headers="te: trailers\nconnection: te")
        assert (answer.body, answer["trailer"]) == (b"ok", "x-sum")
        assert b"x-sum: 7" in client.trailers.lower()
        assert dict(up.storaged.last.headers)[b"te"] == b"trailers"
        answer = await client.ask("/v1/storage/x")
        assert (answer.body, "trailer" in answer, client.trailers) == (b"ok", False, b"")
        assert b"te" not in dict(up.storaged.last.headers)


async def test_a_trailer_that_may_be_none_does_not_spoil_the_answer() -> None:
    wire = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\n"
        b"Content-Length: 99\r\nConnection: close\r\nX-Request-Id: theirs\r\nX-Sum: 7\r\n\r\n"
    )
    async with open_gateway() as up, await up.connect() as client:
        up.storaged.script = lambda visit: visit.send(wire)
        for _ in range(2):
            answer = await client.ask("/v1/storage/x", headers="te: trailers\nconnection: te")
            assert (answer.status, answer.body, client.trailers.lower()) == (200, b"ok", b"x-sum: 7\r\n")


async def test_an_early_answer_to_an_unfinished_upload_is_delivered() -> None:
    async def refuse(visit: ServiceRequest) -> None:
        await visit.exactly(10)
        await visit.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
        await visit.stream.aclose()

    async with open_gateway() as up, await up.connect() as client:
        up.ingestd.script = refuse
        await client.send(b"POST /v1/ingest HTTP/1.1\r\nhost: x\r\ncontent-length: 100000000\r\n\r\n" + b"x" * 5000)
        answer = await client.answer_head()
        assert (answer.status, await client.body(answer.headers)) == (413, b"big")
    assert up.is_quiet()


async def test_a_client_that_expects_100_gets_it_before_its_body_is_sent() -> None:
    async with open_gateway() as up, await up.connect() as client:
        await client.send(b"POST /v1/ingest HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
        assert (await client.head())[0] == b"HTTP/1.1 100 Continue"
        await client.send(b"hi")
        assert (await client.answer_head()).status == 200
        assert b"expect" not in dict(up.ingestd.last.headers)


async def test_a_stalled_reader_stops_the_upstream() -> None:
    sent = 0

    async def pour(visit: ServiceRequest) -> None:
        nonlocal sent
        await visit.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1 << 40))
        while True:
            await visit.send(b"x" * 65536)
            sent += 65536

    async with open_gateway() as up, await up.connect() as client:
        up.storaged.script = pour
        await client.send(b"GET /v1/storage/x HTTP/1.1\r\nhost: x\r\n\r\n")
        await client.answer_head()
        await wait_all_tasks_blocked(0.05)
        assert 0 < sent < 16 * MIB, "the kernel's buffers, and a window"
        stalled = sent
        for _ in range(64):
            await client.exactly(MIB)
        assert sent > stalled, "reading lets it go on"


async def test_a_stalled_upstream_stops_the_sender() -> None:
    sent = 0
    go_on = trio.Event()

    async def stall(visit: ServiceRequest) -> None:
        await go_on.wait()
        while True:
            await visit.some()

    async with open_gateway() as up, await up.connect() as client, trio.open_nursery() as nursery:
        up.ingestd.script = stall

        async def push() -> None:
            nonlocal sent
            await client.send(b"POST /v1/ingest HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % (1 << 40))
            while True:
                await client.send(b"x" * 65536)
                sent += 65536

        nursery.start_soon(push)
        await wait_all_tasks_blocked(0.05)
        assert 0 < sent < 16 * MIB
        stalled = sent
        go_on.set()
        while sent < stalled + 32 * MIB:
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()


CUT = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nonly this",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\nnonsense",
]


@pytest.mark.parametrize("wire", CUT)
async def test_a_response_that_breaks_off_is_broken_for_the_client(wire: bytes) -> None:
    head_seen = trio.Event()

    async def answer(visit: ServiceRequest) -> None:
        head, _, body = wire.partition(b"\r\n\r\n")
        await visit.send(head + b"\r\n\r\n")
        await head_seen.wait()
        await visit.send(body)
        await visit.stream.aclose()

    async with open_gateway() as up, await up.connect() as client:
        up.storaged.script = answer
        await client.send(b"GET /v1/storage/x HTTP/1.1\r\nhost: x\r\n\r\n")
        head = await client.answer_head()
        head_seen.set()
        with pytest.raises((EOFError, trio.BrokenResourceError)):
            await client.body(head.headers)
        await wait_all_tasks_blocked()
        assert up.is_quiet()
        assert up.ended[-1].outcome == "failed"


# Failures.


async def _reset(visit: ServiceRequest) -> None:
    visit.socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    await visit.stream.aclose()


async def _leave(visit: ServiceRequest) -> None:
    await visit.stream.aclose()


@pytest.mark.parametrize(
    "script",
    [
        _reset,
        _leave,
        lambda visit: visit.send(b"220 smtp.example ready\r\n"),
        lambda visit: visit.send(b"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\n"),
        lambda visit: visit.send(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 5000 + b"\r\n"),
        lambda visit: visit.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
    ],
    ids=["reset", "end of file", "another protocol", "no number", "endless head", "unasked upgrade"],
)
async def test_an_upstream_that_fails_is_a_502_that_names_it(script: object) -> None:
    async with open_gateway() as up:
        up.vectord.script = script  # type: ignore[assignment]
        answer = await up.ask("/v1/vectors/x")
        document = error(answer)
        assert (answer.status, document["code"], document["provider"]) == (502, "ErrUpstream", "vectord")
        assert "vectord" in str(document["message"])
        assert up.is_quiet()


async def test_an_upstream_that_is_down_is_a_502() -> None:
    async with open_gateway(vectord_url="http://127.0.0.1:1") as up:
        document = error(await up.ask("/v1/vectors/x"))
        assert (document["code"], document["provider"], document["class"]) == (
            "ErrUpstream",
            "vectord",
            "upstream_error",
        )


async def test_an_upstream_that_cannot_be_reached_is_a_504_in_its_time() -> None:
    with socket.socket() as deaf, socket.socket() as first, socket.socket() as second:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for sock in (first, second):  # the kernel's queue is full with these, and further SYNs are dropped
            sock.setblocking(False)
            sock.connect_ex(deaf.getsockname())
        async with open_gateway(connect_timeout=0.1, vectord_url=f"http://127.0.0.1:{deaf.getsockname()[1]}") as up:
            document = error(await up.ask("/v1/vectors/x"))
            assert (document["code"], document["provider"]) == ("ErrTimeout", "vectord")
            assert "connect" in str(document["message"])


async def test_an_upstream_that_does_not_answer_is_a_504_in_its_time() -> None:
    async with open_gateway(response_timeout=0.1) as up:
        up.vectord.script = never_answer
        started = trio.current_time()
        document = error(await up.ask("/v1/vectors/x"))
        assert 0.1 <= trio.current_time() - started < 10
        assert (document["code"], document["provider"], document["class"]) == ("ErrTimeout", "vectord", "timeout")
        assert up.is_quiet()


async def test_an_answer_that_stops_is_cut_in_its_time() -> None:
    async def stop(visit: ServiceRequest) -> None:
        await visit.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
        await trio.sleep_forever()

    async with open_gateway(idle_timeout=0.1) as up, await up.connect() as client:
        up.vectord.script = stop
        await client.send(b"GET /v1/vectors/x HTTP/1.1\r\nhost: x\r\n\r\n")
        head = await client.answer_head()
        with pytest.raises((EOFError, trio.BrokenResourceError)), trio.fail_after(20):
            await client.body(head.headers)
        assert up.is_quiet()


async def test_the_callers_deadline_is_a_504() -> None:
    async with open_gateway() as up:
        up.vectord.script = never_answer
        answer = await up.ask("/v1/vectors/x", headers="x-request-timeout-ms: 50")
        assert (answer.status, error(answer)["code"]) == (504, "ErrTimeout")
        await up.vectord.gone.wait()
        assert up.is_quiet()


async def test_a_slow_upstream_takes_nothing_from_the_others() -> None:
    async with open_gateway(max_connections=2, max_waiting=1) as up, trio.open_nursery() as nursery:
        up.vectord.script = never_answer
        for _ in range(3):  # two with a connection, one in the queue
            nursery.start_soon(up.ask, "/v1/vectors/x")
        await wait_all_tasks_blocked(0.02)
        upstream = up.gateway.upstreams["vectord"]
        assert (upstream.in_use, upstream.waiting) == (2, 1)
        refused = await up.ask("/v1/vectors/x")
        assert (refused.status, error(refused)["provider"]) == (503, "vectord")
        assert int(refused["retry-after"]) >= 1
        assert (await up.ask("/v1/matrix/x")).status == 200
        nursery.cancel_scope.cancel()


async def test_a_stale_connection_does_not_fail_a_request() -> None:
    async def once(visit: ServiceRequest) -> None:
        await visit.send(OK)
        await visit.stream.aclose()  # without having said that it would

    async with open_gateway() as up:
        up.storaged.script = once
        for _ in range(5):
            assert (await up.ask("/v1/storage/x")).status == 200
        assert up.storaged.opened == 5


async def test_500_requests_use_few_connections() -> None:
    async with open_gateway() as up, await up.connect() as client:
        for number in range(500):
            headers, body = ("content-length: 2", b"hi") if number % 2 else ("", b"")
            method = "POST" if body else "GET"
            assert (await client.ask("/v1/storage/x", method=method, headers=headers, body=body)).status == 200
        assert up.storaged.opened < 20
        assert len(up.storaged.requests) == 500


async def test_200_downloads_over_64_connections() -> None:
    size = 256 * 1024
    block = bytes(range(256)) * 1024

    async def download(visit: ServiceRequest) -> None:
        await visit.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        await visit.send(block)

    digests = []

    async def fetch(up: GatewayWithServices) -> None:
        digests.append(hashlib.sha256((await up.ask("/v1/storage/x")).body).digest())

    async with open_gateway(max_connections=64) as up:
        up.storaged.script = download
        async with trio.open_nursery() as nursery:
            for _ in range(200):
                nursery.start_soon(fetch, up)
        assert digests == [hashlib.sha256(block).digest()] * 200
        assert up.storaged.opened <= 64
        assert up.is_quiet()


# The lifetime of it all: a client that leaves takes everything with it, in every phase, within milliseconds.


async def _head(up: GatewayWithServices, client: Client) -> None:
    up.storaged.script = lambda visit: visit.exactly(1)  # type: ignore[assignment,return-value]
    await client.send(b"GET /v1/storage/x HTTP/1.1\r\nhost: x\r\n\r\n")


async def _upload(up: GatewayWithServices, client: Client) -> None:
    async def stall(visit: ServiceRequest) -> None:
        await visit.exactly(1 << 40)

    up.storaged.script = stall
    await client.send(b"PUT /v1/storage/x HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\n\r\n" + b"x" * 100_000)


async def _download(up: GatewayWithServices, client: Client) -> None:
    async def drip(visit: ServiceRequest) -> None:
        await visit.send(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 100_000)
        await visit.exactly(1)

    up.storaged.script = drip
    await client.send(b"GET /v1/storage/x HTTP/1.1\r\nhost: x\r\n\r\n")
    await client.exactly(50_000)


@pytest.mark.parametrize("phase", [_head, _upload, _download], ids=["head", "upload", "download"])
async def test_a_client_that_leaves_takes_the_upstream_connection_with_it(phase: object) -> None:
    took = inf
    async with open_gateway() as up:
        for _ in range(10):
            up.storaged.gone = trio.Event()
            async with await up.connect() as client:
                await phase(up, client)  # type: ignore[operator]
                await wait_all_tasks_blocked(0.005)
                assert up.storaged.open == 1
                left = trio.current_time()
            with trio.fail_after(20):
                await up.storaged.gone.wait()
            took = min(took, trio.current_time() - left)
            await wait_all_tasks_blocked()
            assert up.is_quiet()
            assert (up.ended[-1].outcome, up.ended[-1].status) == ("client left", 499)
    assert took < 0.005, f"{took * 1e3:.2f} ms at best"


async def test_a_client_that_leaves_the_queue_leaves_nothing_in_it() -> None:
    async with open_gateway(max_connections=1) as up, await up.connect() as first:
        await _head(up, first)
        await wait_all_tasks_blocked(0.005)
        async with await up.connect() as second:
            await second.send(b"GET /v1/storage/x HTTP/1.1\r\nhost: x\r\n\r\n")
            await wait_all_tasks_blocked(0.005)
            assert up.gateway.upstreams["storaged"].waiting == 1
        await wait_all_tasks_blocked(0.005)
        assert up.gateway.upstreams["storaged"].waiting == 0
        assert len(up.active_requests) == 1
