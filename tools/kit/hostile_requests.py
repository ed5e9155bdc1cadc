"""The table of hostile inputs: what a client may do to us, and what it gets for it.

A row's script is bytes to send at once, or a function that does worse to a `Client`. What it gets is summed up as the
statuses in their order, WebSocket close codes (`ws1002`), and how the connection ended: `EOF`, `RST`, or `open` when it
is still there after a while. Where a race decides how a connection ends, all ends are named.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

import hpack
import trio

from lakehouse.asgi.body import read_body
from lakehouse.asgi.types import Receive, Scope, Send
from lakehouse.core.errors import ErrBadRequest
from lakehouse.server.limits import ServerLimits
from tools.kit.raw_http import (
    BINARY,
    CLOSE,
    CONTINUATION,
    GET,
    PING,
    TEXT,
    Client,
    frame,
    get,
    post,
    read_whole_body,
    send_response,
    websocket,
)

LIMITS = ServerLimits(
    head_bytes=8192,
    headers=50,
    target_bytes=2048,
    chunk_overhead=2048,
    keep_alive_timeout=0.4,
    header_timeout=0.2,
    body_timeout=0.2,
    send_timeout=0.2,
    linger_timeout=0.2,
    max_websocket_message=10_000,
    websocket_close_timeout=0.2,
)
"""Short, so that the table takes seconds; the sizes are below what one read takes, and above it."""

Script = bytes | Callable[[Client], Awaitable[None]]


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Serves what the table needs: well-behaved paths, and some that are as bad as the clients."""
    if scope["type"] == "websocket":
        await _chat(receive, send)
    elif not scope["raw_path"].startswith(b"/"):
        raise ErrBadRequest("the request's target must be an absolute path")
    elif scope["path"] in BAD_RESPONSES:
        await send_response(send, b"12345", 200, BAD_RESPONSES[scope["path"]])
    else:
        await PATHS.get(scope["path"], _hello)(receive, send)


async def _hello(receive: Receive, send: Send) -> None:
    await send_response(send, b"hello")


async def _echo(receive: Receive, send: Send) -> None:
    await send_response(send, await read_whole_body(receive))


async def _limited(receive: Receive, send: Send) -> None:
    await send_response(send, await read_body(receive, 1000))


async def _refuse(receive: Receive, send: Send) -> None:
    await send_response(send, b"no", 401)


async def _sleep(receive: Receive, send: Send) -> None:
    await trio.sleep_forever()


async def _flood(receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while True:
        await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})


async def _crash(receive: Receive, send: Send) -> None:
    raise ZeroDivisionError


async def _half(receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"half", "more_body": True})
    raise ZeroDivisionError


PATHS: dict[str, Callable[[Receive, Send], Awaitable[None]]] = {
    "/echo": _echo,
    "/limited": _limited,
    "/refuse": _refuse,
    "/sleep": _sleep,
    "/flood": _flood,
    "/crash": _crash,
    "/half": _half,
}


async def _chat(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message.get("text"), "bytes": message.get("bytes")})


BAD_RESPONSES = {
    "/short": [(b"content-length", b"10")],
    "/long": [(b"content-length", b"2")],
    "/inject-value": [(b"x", b"a\r\n\r\nHTTP/1.1 200 OK\r\n\r\n")],
    "/inject-name": [(b"x: y\r\nset-cookie", b"a")],
    "/inject-nul": [(b"x", b"a\0b")],
    "/two-lengths": [(b"content-length", b"5"), (b"content-length", b"6")],
}


def summary(out: bytes) -> str:
    """What a client got, in short."""
    end = "EOF" if out.endswith(b"<EOF>") else "RST" if out.endswith(b"<RST>") else "open"
    statuses = [match.decode() for match in re.findall(rb"HTTP/1\.1 (\d\d\d) ", out)]
    if statuses[:1] == ["101"]:
        frames = out.partition(b"\r\n\r\n")[2]
        closing = re.search(rb"\x88[\x02-\x7d](..)", frames, re.DOTALL)
        statuses += [f"ws{int.from_bytes(closing[1], 'big')}"] if closing else []
    return " ".join([*statuses, end])


# Scripts that are more than bytes.


def slowly(*parts: bytes, pause: float = 0.05) -> Script:
    async def script(client: Client) -> None:
        for part in parts:
            await client.send(part)
            await trio.sleep(pause)

    return script


def leaving(how: str, *parts: bytes) -> Script:
    async def script(client: Client) -> None:
        for part in parts:
            await client.send(part)
        client.leave(how)

    return script


def h2(*frames: bytes) -> bytes:
    settings = _h2_frame(4, 0, 0, b"")
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings + b"".join(frames)


def _h2_frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def h2_request(*fields: tuple[bytes, bytes], flags: int = 5) -> bytes:
    block = hpack.Encoder().encode([(b":scheme", b"http"), (b":authority", b"x"), *fields])
    return _h2_frame(1, flags, 1, block)


H2_DATA = _h2_frame(0, 0, 1, b"x" * 1000)
CHUNKED = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"


def framed(*lines: str, body: bytes = b"") -> bytes:
    return ("POST /echo HTTP/1.1\r\nHost: x\r\n" + "".join(line + "\r\n" for line in lines) + "\r\n").encode() + body


TABLE: dict[str, tuple[Script, str | tuple[str, ...]]] = {
    # What kills stock Hypercorn's trio worker.
    "h2: a :path above ASCII": (h2(h2_request((b":method", b"GET"), (b":path", b"/\xff"))), "505 EOF"),
    "h2: CONNECT without :path": (h2(h2_request((b":method", b"CONNECT"))), "505 EOF"),
    "h2: data after the response": (
        slowly(h2(h2_request((b":method", b"POST"), (b":path", b"/"), flags=4)), *[H2_DATA] * 5, pause=0.01),
        ("505 EOF", "505 RST"),
    ),
    "bytes right behind a WebSocket upgrade": (
        websocket() + frame(TEXT, b"hello") + frame(CLOSE, b"\x03\xe8"),
        "101 ws1000 EOF",
    ),
    "a subprotocol above ASCII": (
        get(
            "/ws",
            "Connection: upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Protocol: \xff\xfe",
        ),
        "400 EOF",
    ),
    # Smuggling: in none of them may the second request be seen.
    "CL.TE": (framed("Content-Length: 5", "Transfer-Encoding: chunked", body=b"0\r\n\r\n" + SMUGGLED), "400 EOF"),
    "TE.CL": (framed("Transfer-Encoding: chunked", "Content-Length: 3", body=b"0\r\n\r\n" + SMUGGLED), "400 EOF"),
    "TE.TE": (
        framed("Transfer-Encoding: chunked", "Transfer-Encoding: identity", body=b"0\r\n\r\n" + SMUGGLED),
        "400 EOF",
    ),
    "TE over two lines, another coding first": (
        framed("Transfer-Encoding: gzip", "Transfer-Encoding: chunked", body=b"0\r\n\r\n" + SMUGGLED),
        "501 EOF",
    ),
    "TE with a vertical tab": (framed("Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n" + SMUGGLED), "400 EOF"),
    "TE with a space before the colon": (
        framed("Transfer-Encoding : chunked", body=b"0\r\n\r\n" + SMUGGLED),
        "400 EOF",
    ),
    "TE on a folded line": (framed("X: y", " Transfer-Encoding: chunked", body=b"0\r\n\r\n" + SMUGGLED), "400 EOF"),
    "TE behind a bare CR": (framed("X: y\rTransfer-Encoding: chunked", body=b"0\r\n\r\n" + SMUGGLED), "400 EOF"),
    "TE behind a bare LF": (framed("X: y\nTransfer-Encoding: chunked", body=b"0\r\n\r\n" + SMUGGLED), "400 EOF"),
    "TE: xchunked": (framed("Transfer-Encoding: xchunked", body=b"0\r\n\r\n" + SMUGGLED), "501 EOF"),
    "TE: chunked, identity": (framed("Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n" + SMUGGLED), "400 EOF"),
    "TE from HTTP/1.0": (
        b"POST /echo HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        "400 EOF",
    ),
    "two lengths": (framed("Content-Length: 0", "Content-Length: 44", body=SMUGGLED), "400 EOF"),
    "one length twice": (framed("Content-Length: 0", "Content-Length: 0", body=SMUGGLED), "400 EOF"),
    "a list of lengths": (framed("Content-Length: 0, 44", body=SMUGGLED), "400 EOF"),
    "a length with a plus": (framed("Content-Length: +0", body=SMUGGLED), "400 EOF"),
    "a negative length": (framed("Content-Length: -1", body=SMUGGLED), "400 EOF"),
    "a length in another base": (framed("Content-Length: 0x2c", body=SMUGGLED), "400 EOF"),
    "a length that overflows": (framed("Content-Length: 18446744073709551617", body=b"x" + SMUGGLED), "400 EOF"),
    "a chunk size that overflows": (CHUNKED + b"10000000000000001\r\nx\r\n0\r\n\r\n" + SMUGGLED, "400 EOF"),
    "a chunk size with 0x": (CHUNKED + b"0x1\r\nx\r\n0\r\n\r\n" + SMUGGLED, "400 EOF"),
    "a negative chunk size": (CHUNKED + b"-1\r\nx\r\n0\r\n\r\n" + SMUGGLED, "400 EOF"),
    "a chunk longer than it says": (CHUNKED + b"1\r\nxyz\r\n0\r\n\r\n" + SMUGGLED, "400 EOF"),
    "a chunk ended by a bare LF": (CHUNKED + b"1\nx\n0\n\n" + SMUGGLED, "400 EOF"),
    "a bare LF in a chunk extension": (CHUNKED + b"1;a\nx\r\n0\r\n\r\n" + SMUGGLED, "400 EOF"),
    "a length in the trailers": (CHUNKED + b"0\r\nContent-Length: 44\r\n\r\n" + SMUGGLED, "400 EOF"),
    # Heads that are none.
    "no Host": (b"GET / HTTP/1.1\r\n\r\n", "400 EOF"),
    "two Hosts": (get("/", "Host: y"), "400 EOF"),
    "a Host that is a URL": (b"GET / HTTP/1.1\r\nHost: http://x/\r\n\r\n", "400 EOF"),
    "a NUL in a header": (get("/", "X: a\0b"), "400 EOF"),
    "a header without a name": (get("/", ": a"), "400 EOF"),
    "a header without a colon": (get("/", "nonsense"), "400 EOF"),
    "garbage": (bytes(range(256)), "400 EOF"),
    "a TLS hello": (b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + bytes(160), "400 EOF"),
    "empty lines without end": (b"\r\n" * 5000, "431 EOF"),
    "an unknown method": (b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n", "400 EOF"),
    "TRACE": (b"TRACE / HTTP/1.1\r\nHost: x\r\n\r\n", "501 EOF"),
    "CONNECT": (b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n\x16\x03\x01", "501 EOF"),
    "HTTP/0.9": (b"GET /\r\n\r\n", "505 EOF"),
    "HTTP/3.0": (b"GET / HTTP/3.0\r\nHost: x\r\n\r\n", ("400 EOF", "505 EOF")),
    "an absolute target": (get("http://169.254.169.254/", "Connection: close"), "400 EOF"),
    "an absolute target of our own": (get("http://x/", "Connection: close"), "400 EOF"),
    "an asterisk target": (b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "400 EOF"),
    "a relative target": (b"GET ../x HTTP/1.1\r\nHost: x\r\n\r\n", "400 EOF"),
    "a target above ASCII": (b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", "400 EOF"),
    "a target with a fragment": (b"GET /#x HTTP/1.1\r\nHost: x\r\n\r\n", "400 EOF"),
    "an h2c upgrade is no upgrade": (
        get("/", "Connection: upgrade, http2-settings, close", "Upgrade: h2c", "HTTP2-Settings: !!!"),
        "200 EOF",
    ),
    "an expectation of the unexpected": (post("/echo", b"", "Expect: the-inquisition", length=3), "417 EOF"),
    # Too much.
    "a long target": (get("/" + "a" * 3000), "414 EOF"),
    "a target without end": (b"GET /" + b"a" * 100_000, ("414 EOF", "431 EOF")),
    "a large header": (get("/", "X: " + "a" * 9000), "431 EOF"),
    "a header without end": (b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000, "431 EOF"),
    "many headers": (get("/", *["X: y"] * 60), "431 EOF"),
    "a chunk extension without end": (CHUNKED + b"1;" + b"a" * 100_000, "400 EOF"),
    "trailers without end": (CHUNKED + b"0\r\n" + b"A: b\r\n" * 20_000, "400 EOF"),
    "a thousand requests at once": (GET * 999 + get("/", "Connection: close"), " ".join(["200"] * 1000) + " EOF"),
    # Too slow, or never.
    "nothing": (b"", "EOF"),
    "half a request line": (b"GET / HT", "408 EOF"),
    "a head that drips": (
        slowly(b"GET / HTTP/1.1\r\nHost: x\r\nX: ", *[b"a"] * 20, pause=0.02),
        ("408 EOF", "408 RST"),
    ),
    "a head that never ends": (b"GET / HTTP/1.1\r\nHost: x\r\n", "408 EOF"),
    "a body that never comes": (post("/echo", b"", length=100), "408 EOF"),
    "a body that stops": (post("/echo", b"abc", length=100), "408 EOF"),
    "a chunk that never comes": (CHUNKED + b"5\r\nab", "408 EOF"),
    "an answer that nobody reads": (slowly(get("/flood"), pause=0.5), ("200 EOF", "200 RST")),
    "a connection that is only kept": (get("/"), "200 EOF"),
    # Answers that come before the body.
    "an early 401, then another request": (
        post("/refuse", bytes(100_000)) + get("/", "Connection: close"),
        "401 200 EOF",
    ),
    "an early 401 before a large body": (post("/refuse", bytes(3_000_000)), "401 EOF"),
    "an early 401 before a body without end": (
        slowly(post("/refuse", b"", length=10**15), *[bytes(100_000)] * 50, pause=0.01),
        ("401 EOF", "401 RST"),
    ),
    "an early 413 of a large body": (post("/limited", bytes(3_000_000)), "413 EOF"),
    "an early 413 of chunks": (CHUNKED.replace(b"/echo", b"/limited") + b"800\r\n" + bytes(2048) + b"\r\n", "413 EOF"),
    "an early 401 before nonsense": (CHUNKED.replace(b"/echo", b"/refuse") + b"nonsense", "401 EOF"),
    # Answers of an application that is no better.
    "a response shorter than it says": (get("/short"), ("EOF", "RST")),
    "a response longer than it says": (get("/long"), ("EOF", "RST")),
    "a response in a header's value": (get("/inject-value"), "500 EOF"),
    "a header in a header's name": (get("/inject-name"), "500 EOF"),
    "a NUL in a response": (get("/inject-nul"), "500 EOF"),
    "a response of two lengths": (get("/two-lengths"), "500 EOF"),
    "a crash": (get("/crash"), "500 EOF"),
    "a crash half-way": (get("/half"), "200 EOF"),
    "a crash half-way to HTTP/1.0": (b"GET /half HTTP/1.0\r\n\r\n", ("200 RST", "RST")),
    # Leaving.
    "a FIN while waiting": (leaving("fin", get("/sleep")), "RST"),
    "a half-close while waiting": (leaving("half", get("/sleep")), "EOF"),
    "a half-close in the middle of a head": (leaving("half", b"GET / HT"), "EOF"),
    "a half-close in the middle of a body": (leaving("half", post("/echo", b"abc", length=100)), "EOF"),
    "a half-close behind a pipelined request": (leaving("half", get("/sleep") + GET), ("EOF", "RST")),
    "a half-close after nonsense": (leaving("half", b"nonsense\r\n\r\n"), "400 EOF"),
    "a reset in the middle of a head": (leaving("rst", b"GET / HT"), "RST"),
    "a reset in the middle of a body": (leaving("rst", post("/echo", b"abc", length=100)), "RST"),
    "a reset in the middle of an answer": (leaving("rst", get("/flood")), "RST"),
    "a reset behind a pipelined request": (leaving("rst", get("/sleep") + GET), "RST"),
    "nonsense behind a request": (GET + b"nonsense\r\n\r\n", "200 400 EOF"),
    "nonsense behind a close": (get("/", "Connection: close") + b"nonsense", "200 EOF"),
    # WebSockets.
    "ws: a key that is no base64": (websocket(key="***"), "400 EOF"),
    "ws: a short key": (websocket(key="YQ=="), "400 EOF"),
    "ws: another version": (websocket().replace(b"Version: 13", b"Version: 8"), "400 EOF"),
    "ws: no key": (get("/ws", "Connection: upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"), "400 EOF"),
    "ws: a body": (websocket("/ws", "Content-Length: 3") + b"abc", "400 EOF"),
    "ws: a subprotocol that is no token": (websocket("/ws", "Sec-WebSocket-Protocol: a b"), "400 EOF"),
    "ws: invalid UTF-8": (websocket() + frame(TEXT, b"\xff\xfe"), "101 ws1007 EOF"),
    "ws: UTF-8 cut in two": (
        websocket() + frame(TEXT, b"\xc3", fin=False) + frame(CONTINUATION, b"\x28"),
        "101 ws1007 EOF",
    ),
    "ws: a frame without a mask": (websocket() + frame(TEXT, b"a", masked=False), "101 ws1002 EOF"),
    "ws: reserved bits": (websocket() + b"\xf1\x81\0\0\0\0a", "101 ws1002 EOF"),
    "ws: an unknown opcode": (websocket() + frame(5, b"a"), "101 ws1002 EOF"),
    "ws: a fragmented ping": (websocket() + frame(PING, b"a", fin=False), "101 ws1002 EOF"),
    "ws: a large ping": (websocket() + frame(PING, bytes(200)), "101 ws1002 EOF"),
    "ws: a continuation of nothing": (websocket() + frame(CONTINUATION, b"a"), "101 ws1002 EOF"),
    "ws: a close of one byte": (websocket() + frame(CLOSE, b"\x03"), "101 ws1002 EOF"),
    "ws: a close of a forbidden code": (websocket() + frame(CLOSE, (1005).to_bytes(2, "big")), "101 ws1002 EOF"),
    "ws: a large message": (websocket() + frame(BINARY, bytes(20_000)), "101 ws1009 EOF"),
    "ws: a large message in small frames": (
        websocket() + frame(BINARY, b"a", fin=False) + frame(CONTINUATION, bytes(100), fin=False) * 200,
        "101 ws1009 EOF",
    ),
    "ws: a frame of 2**63 bytes": (
        websocket() + b"\x82\xff" + (2**63 - 1).to_bytes(8, "big") + bytes(4) + bytes(20_000),
        "101 ws1009 EOF",
    ),
    "ws: nonsense": (websocket() + b"\xff" * 100, "101 ws1002 EOF"),
    "ws: pings that nobody waits for": (leaving("fin", websocket(), frame(PING, b"a") * 1000), "RST"),
    "ws: a reset": (leaving("rst", websocket(), frame(TEXT, b"a")), "RST"),
    "ws: h2 behind the upgrade": (websocket() + h2(), "101 ws1002 EOF"),
}
