"""HTTP/1.1 as pure code: tables of bytes, and properties of any bytes."""

from __future__ import annotations

from itertools import pairwise

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.asgi.types import ResponseError
from lakehouse.net.http1.framing import CHUNKED as CHUNKED_FRAMING
from lakehouse.net.http1.framing import NO_BODY, Length
from lakehouse.server.http1.request_head import ProtocolError, RequestHead
from lakehouse.server.http1.request_parser import END, RequestParser
from lakehouse.server.http1.response_writer import COMPLETE, ResponseWriter
from lakehouse.server.limits import ServerLimits
from tools.kit.examples import count_examples

DATE = b"date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"


def events(*parts: bytes, limits: ServerLimits | None = None) -> list[object]:
    """What a parser makes of the parts: heads as tuples, body pieces joined, an error as its status at the end."""
    parser = RequestParser(limits or ServerLimits())
    out: list[object] = []
    for part in parts:
        parser.feed(part)
        try:
            while (event := parser.next_event()) is not None:
                if isinstance(event, RequestHead):
                    out.append((event.method, event.target, event.version, tuple(event.headers), event.framing))
                elif isinstance(event, bytes) and out and isinstance(out[-1], bytes):
                    out[-1] += event
                else:
                    out.append(event)
        except ProtocolError as error:
            return [*out, error.status]
    rest = parser.trailing_data()
    return [*out, rest] if rest else out


def get(target: bytes = b"/", version: str = "1.1", *headers: tuple[bytes, bytes]) -> tuple[object, ...]:
    return (b"GET", target, version, ((b"host", b"x"), *headers), NO_BODY)


def post(length: int | None, *headers: tuple[bytes, bytes]) -> tuple[object, ...]:
    framing = CHUNKED_FRAMING if length is None else Length(length) if length else NO_BODY
    return (b"POST", b"/", "1.1", ((b"host", b"x"), *headers), framing)


CHUNKED = (b"transfer-encoding", b"chunked")
GET = b"GET / HTTP/1.1\r\nHost: x\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
TE = POST + b"Transfer-Encoding: chunked\r\n\r\n"

GOOD = {
    "a request": (GET + b"\r\n", [get(), END]),
    "two of them": (GET + b"\r\n" + GET + b"\r\n", [get(), END, get(), END]),
    "empty lines before it": (b"\r\n\r\n" + GET + b"\r\n", [get(), END]),
    "HTTP/1.0": (b"GET / HTTP/1.0\r\nhost: x\r\n\r\n", [get(b"/", "1.0"), END]),
    "HTTP/1.0 without a host": (b"GET / HTTP/1.0\r\n\r\n", [(b"GET", b"/", "1.0", (), NO_BODY), END]),
    "names in lower case, order and duplicates kept, values stripped": (
        GET + b"B: 2\r\nA:\t 1 \t\r\nB: 3\r\nC:\r\n\r\n",
        [get(b"/", "1.1", (b"b", b"2"), (b"a", b"1"), (b"b", b"3"), (b"c", b"")), END],
    ),
    "bytes above ASCII in a value": (GET + b"A: \xe9\r\n\r\n", [get(b"/", "1.1", (b"a", b"\xe9")), END]),
    "an encoded target with a query": (b"GET /a%2Fb?c=%20 HTTP/1.1\r\nHost: x\r\n\r\n", [get(b"/a%2Fb?c=%20"), END]),
    "absolute form, for the application to refuse": (
        b"GET http://y/z HTTP/1.1\r\nHost: x\r\n\r\n",
        [get(b"http://y/z"), END],
    ),
    "asterisk form, likewise": (
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        [(b"OPTIONS", b"*", "1.1", ((b"host", b"x"),), NO_BODY), END],
    ),
    "a body with a length": (POST + b"Content-Length: 3\r\n\r\nabc", [post(3, (b"content-length", b"3")), b"abc", END]),
    "a chunked body": (TE + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", [post(None, CHUNKED), b"abcde", END]),
    "chunk extensions and trailers, dropped": (
        TE + b"3;a=b\r\nabc\r\n0\r\nX-T: 1\r\n\r\n",
        [post(None, CHUNKED), b"abc", END],
    ),
    "Chunked in capitals": (
        POST + b"Transfer-Encoding: Chunked\r\n\r\n0\r\n\r\n",
        [post(None, (b"transfer-encoding", b"Chunked")), END],
    ),
    "no body without a length": (POST + b"\r\n" + GET + b"\r\n", [post(0), END, get(), END]),
    "an h2c upgrade is ignored": (
        GET + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n" + GET + b"\r\n",
        [get(b"/", "1.1", (b"connection", b"upgrade"), (b"upgrade", b"h2c")), END, get(), END],
    ),
    "also with a body": (
        POST + b"Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc" + GET + b"\r\n",
        [
            post(3, (b"connection", b"upgrade"), (b"upgrade", b"h2c"), (b"content-length", b"3")),
            b"abc",
            END,
            get(),
            END,
        ],
    ),
    "also with a chunked one": (
        POST
        + b"Connection: upgrade\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        + GET
        + b"\r\n",
        [post(None, (b"connection", b"upgrade"), (b"upgrade", b"h2c"), CHUNKED), b"abc", END, get(), END],
    ),
    "a WebSocket, and the bytes behind it": (
        GET + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x05hello",
        [get(b"/", "1.1", (b"connection", b"upgrade"), (b"upgrade", b"websocket")), END, b"\x81\x05hello"],
    ),
    "Upgrade from HTTP/1.0 is ignored": (
        b"GET / HTTP/1.0\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        [get(b"/", "1.0", (b"connection", b"upgrade"), (b"upgrade", b"websocket")), END],
    ),
}

# What request smuggling is made of, and the rest that is no HTTP; llhttp's strict mode promises most of it.
BAD = {
    "Content-Length beside Transfer-Encoding": (POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    "Transfer-Encoding beside Content-Length": (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", 400),
    "two lengths": (POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\n", 400),
    "the same length twice": (POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\n", 400),
    "a list of lengths": (POST + b"Content-Length: 3, 3\r\n\r\n", 400),
    "a length with a sign": (POST + b"Content-Length: +3\r\n\r\n", 400),
    "a negative length": (POST + b"Content-Length: -1\r\n\r\n", 400),
    "a length in hex": (POST + b"Content-Length: 0x3\r\n\r\n", 400),
    "no digits": (POST + b"Content-Length:\r\n\r\n", 400),
    "a length that overflows": (POST + b"Content-Length: 99999999999999999999\r\n\r\n", 400),
    "a coding other than chunked": (POST + b"Transfer-Encoding: gzip\r\n\r\n", 501),
    "chunked not last": (POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n", 400),
    "chunked behind another": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
    "chunked twice": (POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    "something like chunked": (POST + b"Transfer-Encoding: xchunked\r\n\r\n", 501),
    "chunked behind a vertical tab": (POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n", 400),
    "identity": (POST + b"Transfer-Encoding: identity\r\n\r\n", 501),
    "no coding at all": (POST + b"Transfer-Encoding:\r\n\r\n", 400),
    "chunked from HTTP/1.0": (b"POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "a folded line": (GET + b"A: b\r\n c\r\n\r\n", 400),
    "a folded first line": (b"GET / HTTP/1.1\r\n Host: x\r\n\r\n", 400),
    "space before the colon": (GET + b"A : b\r\n\r\n", 400),
    "no name": (GET + b": b\r\n\r\n", 400),
    "no colon": (GET + b"abc\r\n\r\n", 400),
    "NUL in a value": (GET + b"A: b\0c\r\n\r\n", 400),
    "NUL in a name": (GET + b"A\0: b\r\n\r\n", 400),
    "a control character in a value": (GET + b"A: b\x01c\r\n\r\n", 400),
    "bytes above ASCII in a name": (GET + b"\xc3\xa9: b\r\n\r\n", 400),
    "a bare LF": (GET + b"A: b\nB: c\r\n\r\n", 400),
    "only bare LFs": (b"GET / HTTP/1.1\nHost: x\n\n", 400),
    "a bare LF at the end": (GET + b"\n", 400),
    "a bare CR": (GET + b"A: b\rB: c\r\n\r\n", 400),
    "no Host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two Hosts": (GET + b"Host: x\r\n\r\n", 400),
    "a Host with a path": (b"GET / HTTP/1.1\r\nHost: x/y\r\n\r\n", 400),
    "a Host with a space": (b"GET / HTTP/1.1\r\nHost: x y\r\n\r\n", 400),
    "a chunk size with a prefix": (TE + b"0x3\r\nabc\r\n", 400),
    "a negative chunk size": (TE + b"-3\r\nabc\r\n", 400),
    "a chunk size with a space": (TE + b"3 \r\nabc\r\n", 400),
    "a chunk size that overflows": (TE + b"fffffffffffffffff\r\n", 400),
    "a chunk size ended by a bare LF": (TE + b"3\nabc\r\n0\r\n\r\n", 400),
    "a bare LF in a chunk extension": (TE + b"3;a\nb\r\nabc\r\n0\r\n\r\n", 400),
    "a chunk longer than its size": (TE + b"3\r\nabcde\r\n0\r\n\r\n", 400),
    "a length among the trailers": (TE + b"0\r\nContent-Length: 1\r\n\r\n", 400),
    "a coding among the trailers": (TE + b"0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    "a method that is none": (b"FOO / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a method in lower case": (b"get / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "TRACE": (b"TRACE / HTTP/1.1\r\nHost: x\r\n\r\n", 501),
    "CONNECT": (b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", 501),
    "RTSP": (b"DESCRIBE / RTSP/1.0\r\n\r\n", 501),
    "a relative target": (b"GET x HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a fragment": (b"GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a byte above ASCII in the target": (b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a control character in the target": (b"GET /\x01 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a space in the target": (b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "an HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "HTTP/2.0": (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
    "HTTP/1.2": (b"GET / HTTP/1.2\r\nHost: x\r\n\r\n", 505),
    "HTTP/0.9": (b"GET /\r\n\r\n", 505),
    "no version": (b"GET / http/1.1\r\nHost: x\r\n\r\n", 400),
    "a TLS hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "an expectation that we cannot meet": (POST + b"Expect: 200-maybe\r\nContent-Length: 3\r\n\r\n", 417),
    "a WebSocket request with a body": (
        GET + b"Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n\r\n",
        400,
    ),
}

LIMITS = ServerLimits(head_bytes=512, headers=10, target_bytes=64, chunk_overhead=256)
TOO_MUCH = {
    "a target": (b"GET /" + b"a" * 64 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    "a target that never ends": (b"GET /" + b"a" * 512, 414),
    "headers": (GET + b"A: b\r\n" * 10 + b"\r\n", 431),
    "headers that never end": (GET + b"A: b\r\n" * 11, 431),
    "a head": (GET + b"A: " + b"b" * 512 + b"\r\n\r\n", 431),
    "a head that never ends": (GET + b"A: " + b"b" * 1024, 431),
    "a chunk extension that never ends": (TE + b"3;" + b"a" * 1024, 400),
    "chunk extensions, one a byte": (TE + (b"1;" + b"a" * 64 + b"\r\nb\r\n") * 20, 400),
    "trailers": (TE + b"0\r\n" + b"A: b\r\n" * 100, 400),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_request_becomes_events(name: str) -> None:
    data, expected = GOOD[name]
    assert events(data) == expected
    assert events(*(data[i : i + 1] for i in range(len(data)))) == expected


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_request_is_refused(name: str) -> None:
    data, status = BAD[name]
    assert events(data)[-1] == status
    assert events(*(data[i : i + 1] for i in range(len(data))))[-1] == status


@pytest.mark.parametrize("name", TOO_MUCH)
def test_too_much_is_refused(name: str) -> None:
    data, status = TOO_MUCH[name]
    assert events(*(data[i : i + 16] for i in range(0, len(data), 16)), limits=LIMITS)[-1] == status


def test_a_large_body_is_no_large_head() -> None:
    body = b"x" * 10_000
    data = POST + b"Content-Length: 10000\r\n\r\n" + body + GET + b"\r\n"
    assert events(data, limits=LIMITS) == [post(10_000, (b"content-length", b"10000")), body, END, get(), END]


def test_small_chunks_are_not_too_much_overhead() -> None:
    data = TE + b"1\r\na\r\n" * 1000 + b"0\r\n\r\n"
    assert events(*(data[i : i + 7] for i in range(0, len(data), 7)), limits=LIMITS)[1:] == [b"a" * 1000, END]


def test_what_came_before_an_error_is_answered_first() -> None:
    assert events(GET + b"\r\n" + b"nonsense\r\n\r\n") == [get(), END, 400]


def test_any_number_of_ignored_upgrades_may_come_at_once() -> None:
    one = GET + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n"
    assert events(one * 1000).count(END) == 1000


def test_after_an_error_nothing_is_kept() -> None:
    parser = RequestParser(ServerLimits())
    parser.feed(b"nonsense\r\n\r\n")
    parser.feed(b"x" * 1000)
    for _ in range(2):
        with pytest.raises(ProtocolError):
            parser.next_event()
    assert parser.trailing_data() == b""


STREAMS = [data for data, _ in [*GOOD.values(), *BAD.values()]]


@given(st.lists(st.sampled_from(STREAMS), min_size=1, max_size=3), st.lists(st.integers(0, 400), max_size=12))
@settings(max_examples=count_examples(300), deadline=None)
def test_any_split_gives_the_same_events(streams: list[bytes], cuts: list[int]) -> None:
    data = b"".join(streams)
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    assert events(*(data[a:b] for a, b in pairwise(edges))) == events(data)


@given(st.lists(st.binary(max_size=64), max_size=8))
@settings(max_examples=count_examples(300), deadline=None)
def test_random_bytes_raise_nothing_but_the_protocol_error(parts: list[bytes]) -> None:
    events(*parts)


MANGLED = st.builds(
    lambda data, at, noise: data[: at % len(data)] + noise + data[at % len(data) :],
    st.sampled_from(STREAMS),
    st.integers(0, 400),
    st.binary(min_size=1, max_size=4),
)


@given(MANGLED)
@settings(max_examples=count_examples(500), deadline=None)
def test_mangled_requests_raise_nothing_but_the_protocol_error(data: bytes) -> None:
    events(data)


@given(MANGLED)
@settings(max_examples=count_examples(300), deadline=None)
def test_h11_agrees_about_the_length_of_what_we_accept(data: bytes) -> None:
    """A second opinion on framing: where both accept a request, they must see the same body in it."""
    ours = events(data)
    theirs = h11.Connection(h11.SERVER)
    theirs.receive_data(data)
    body = b""
    try:
        request = theirs.next_event()
        if not isinstance(request, h11.Request):
            return
        while isinstance(event := theirs.next_event(), h11.Data):
            body += bytes(event.data)
        if not isinstance(event, h11.EndOfMessage):
            return
    except h11.RemoteProtocolError:
        return
    if len(ours) > 1 and isinstance(ours[0], tuple) and END in ours:
        assert ours[0][0] == request.method
        assert b"".join(part for part in ours[1 : ours.index(END)] if isinstance(part, bytes)) == body


# The response.


def head(method: bytes = b"GET", version: str = "1.1", *, keep_alive: bool = True, te: bool = False) -> RequestHead:
    made = RequestHead(method, b"/", version, [], keep_alive)
    made.te_trailers = te
    return made


def written(
    response: ResponseWriter, status: int, headers: list[tuple[bytes, bytes]], *bodies: bytes, trailers: bool = False
) -> bytes:
    """The bytes of a whole response, without its date."""
    response.start(status, headers, DATE, trailers=trailers)
    out = [piece for body in bodies[:-1] for piece in response.body(body, more=True)]
    out += response.body(bodies[-1], more=False)
    return b"".join(out).replace(DATE, b"")


OK = b"HTTP/1.1 200 OK\r\n"
FRAMED = {
    "one piece gets a length": (head(), 200, [], [b"abc"], OK + b"content-length: 3\r\n\r\nabc"),
    "several are chunked": (
        head(),
        200,
        [],
        [b"abc", b"de"],
        OK + b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
    ),
    "an empty piece ends nothing": (
        head(),
        200,
        [],
        [b"", b"a", b""],
        OK + b"transfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    ),
    "a declared length": (
        head(),
        200,
        [(b"Content-Length", b"5")],
        [b"abc", b"de"],
        OK + b"content-length: 5\r\n\r\nabcde",
    ),
    "a length said twice": (head(), 200, [(b"content-length", b"1")] * 2, [b"a"], OK + b"content-length: 1\r\n\r\na"),
    "both lengths": (
        head(),
        200,
        [(b"content-length", b"9"), (b"transfer-encoding", b"chunked")],
        [b"a", b"b"],
        OK + b"transfer-encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n",
    ),
    "hop-by-hop headers are ours": (
        head(),
        200,
        [(b"Connection", b"keep-alive"), (b"Keep-Alive", b"timeout=5"), (b"Upgrade", b"h2c"), (b"A", b"b")],
        [b""],
        OK + b"A: b\r\ncontent-length: 0\r\n\r\n",
    ),
    "close from the application": (
        head(),
        200,
        [(b"connection", b"close")],
        [b""],
        OK + b"content-length: 0\r\nconnection: close\r\n\r\n",
    ),
    "close from the client": (
        head(keep_alive=False),
        200,
        [],
        [b""],
        OK + b"content-length: 0\r\nconnection: close\r\n\r\n",
    ),
    "HEAD": (head(b"HEAD"), 200, [(b"content-length", b"5")], [b"abcde"], OK + b"content-length: 5\r\n\r\n"),
    "HEAD, answered as GET is": (head(b"HEAD"), 200, [], [b"abc"], OK + b"content-length: 3\r\n\r\n"),
    "HEAD, answered with nothing": (head(b"HEAD"), 200, [], [b""], OK + b"\r\n"),
    "HEAD of a stream": (head(b"HEAD"), 200, [], [b"abc", b"d"], OK + b"\r\n"),
    "204": (head(), 204, [(b"content-length", b"0")], [b"abc"], b"HTTP/1.1 204 No Content\r\n\r\n"),
    "304": (head(), 304, [(b"content-length", b"5")], [b""], b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n"),
    "304 of unknown length": (head(), 304, [], [b""], b"HTTP/1.1 304 Not Modified\r\n\r\n"),
    "HTTP/1.0, one piece": (
        head(version="1.0"),
        200,
        [],
        [b"abc"],
        OK + b"content-length: 3\r\nconnection: keep-alive\r\n\r\nabc",
    ),
    "HTTP/1.0 has no chunks": (head(version="1.0"), 200, [], [b"abc", b"d"], OK + b"connection: close\r\n\r\nabcd"),
    "an unknown status": (head(), 799, [], [b""], b"HTTP/1.1 799 \r\ncontent-length: 0\r\n\r\n"),
    "the upstream's date": (
        head(),
        200,
        [(b"Date", b"today")],
        [b""],
        OK + b"Date: today\r\ncontent-length: 0\r\n\r\n",
    ),
}


@pytest.mark.parametrize("name", FRAMED)
def test_a_response_is_framed(name: str) -> None:
    request, status, headers, bodies, expected = FRAMED[name]
    response = ResponseWriter(request)
    assert written(response, status, headers, *bodies) == expected
    assert response.state is COMPLETE
    assert response.close == (b"connection: close" in expected)


UNFIT = {
    "CR and LF in a value": (200, [(b"a", b"b\r\nset-cookie: c=d")]),
    "nothing but CR and LF": (200, [(b"a", b"\r\n")]),
    "a whole response": (200, [(b"a", b"\r\n\r\nHTTP/1.1 200 OK")]),
    "a bare LF": (200, [(b"a", b"b\nc: d")]),
    "a bare CR": (200, [(b"a", b"b\rc: d")]),
    "CR at the end": (200, [(b"a", b"b\r")]),
    "NUL": (200, [(b"a", b"b\0")]),
    "LF in a name": (200, [(b"a\nb", b"c")]),
    "a colon in a name": (200, [(b"a: b", b"c")]),
    "a space in a name": (200, [(b"content-length ", b"0")]),
    "no name": (200, [(b"", b"c")]),
    "LF in a date": (200, [(b"date", b"a\nb")]),
    "a length that is none": (200, [(b"content-length", b"-1")]),
    "a length with a line": (200, [(b"content-length", b"1\r\na: b")]),
    "two lengths": (200, [(b"content-length", b"1"), (b"content-length", b"2")]),
    "an informational status": (101, []),
    "no status": ("200", []),
}


@pytest.mark.parametrize("name", UNFIT)
def test_what_cannot_be_sent_is_refused_and_something_else_may_follow(name: str) -> None:
    response = ResponseWriter(head())
    status, headers = UNFIT[name]
    with pytest.raises(ResponseError):
        response.start(status, headers, DATE)  # type: ignore[arg-type]
    assert written(response, 500, [], b"sorry").startswith(b"HTTP/1.1 500 Internal Server Error\r\n")


WRONG_LENGTH = {
    "shorter": [b"abc"],
    "shorter in two": [b"abc", b""],
    "longer": [b"abcdef"],
    "longer in two": [b"abc", b"def"],
    "longer by what follows a body that seemed complete": [b"abcde", b"f"],
}


@pytest.mark.parametrize("name", WRONG_LENGTH)
def test_a_body_of_another_length_than_declared_never_looks_complete(name: str) -> None:
    response = ResponseWriter(head())
    response.start(200, [(b"content-length", b"5")], DATE)
    *bodies, last = WRONG_LENGTH[name]
    out = b"".join(piece for body in bodies for piece in response.body(body, more=True))
    with pytest.raises(ResponseError):
        response.body(last, more=False)
    assert len(out.partition(b"\r\n\r\n")[2]) < 5
    assert response.state is not COMPLETE


def test_the_head_can_be_sent_before_any_body() -> None:
    response = ResponseWriter(head())
    response.start(200, [], DATE)
    assert b"".join(response.body(b"", more=True)).endswith(b"transfer-encoding: chunked\r\n\r\n")
    assert b"".join(response.body(b"a", more=True)) == b"1\r\na\r\n"


@pytest.mark.parametrize(("te", "end"), [(True, b"0\r\nx-t: 1\r\n\r\n"), (False, b"0\r\n\r\n")])
def test_trailers_go_to_clients_that_accept_them(te: bool, end: bytes) -> None:
    response = ResponseWriter(head(te=te))
    response.start(200, [], DATE, trailers=True)
    out = b"".join(response.body(b"abc", more=False))
    assert out.endswith(b"3\r\nabc\r\n")
    assert response.state is not COMPLETE
    assert b"".join(response.trailers([(b"x-t", b"1")], more=False)) == end
    assert response.state is COMPLETE


@pytest.mark.parametrize("field", [(b"x", b"a\r\nb: c"), (b"x y", b"a"), (b"content-length", b"3")])
def test_trailers_are_checked(field: tuple[bytes, bytes]) -> None:
    response = ResponseWriter(head(te=True))
    response.start(200, [], DATE, trailers=True)
    response.body(b"", more=False)
    with pytest.raises(ResponseError):
        response.trailers([field], more=False)


@given(
    st.sampled_from([b"GET", b"HEAD"]),
    st.sampled_from(["1.1", "1.0"]),
    st.sampled_from([200, 204, 304, 404]),
    st.lists(st.binary(max_size=40), min_size=1, max_size=5),
    st.booleans(),
)
@settings(max_examples=count_examples(300), deadline=None)
def test_a_client_reads_what_the_application_said(
    method: bytes, version: str, status: int, bodies: list[bytes], declared: bool
) -> None:
    """h11 as the client: whatever the framing, the body is the application's, and it knows where it ends."""
    body = b"".join(bodies)
    response = ResponseWriter(head(method, version))
    out = written(response, status, [(b"content-length", b"%d" % len(body))] if declared else [], *bodies)
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
    client.send(h11.EndOfMessage())
    client.receive_data(out)
    if response.close:
        client.receive_data(b"")
    assert isinstance(client.next_event(), h11.Response)
    got = b""
    while isinstance(event := client.next_event(), h11.Data):
        got += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage)
    assert got == (b"" if method == b"HEAD" or status in (204, 304) else body)
    assert client.trailing_data[0] == b""


@given(st.lists(st.tuples(st.binary(max_size=12), st.binary(max_size=12)), max_size=4))
@settings(max_examples=count_examples(300), deadline=None)
def test_no_header_adds_a_line(headers: list[tuple[bytes, bytes]]) -> None:
    response = ResponseWriter(head())
    try:
        out = written(response, 200, headers, b"")
    except ResponseError:
        return
    lines = out.split(b"\r\n")
    ours = (b"connection", b"content-length", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
    kept = [name + b": " + value for name, value in headers if name.lower() not in ours]
    assert [
        line for line in lines[1:-2] if not line.startswith((b"content-length", b"connection", b"transfer"))
    ] == kept
