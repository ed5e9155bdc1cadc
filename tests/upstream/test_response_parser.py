"""The client's HTTP/1.1 as pure code: tables of bytes, any split of them, any cut, and any rubbish."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.upstream.http1.response_parser import (
    MAX_HEAD,
    MAX_HEADERS,
    IncompleteMessage,
    RemoteProtocolError,
    ResponseParser,
)
from lakehouse.upstream.http1.response_state import BODY, COMPLETE, UPGRADED

OK = b"HTTP/1.1 200 OK\r\n"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What should come out of some bytes."""

    raw: bytes
    status: int = 200
    reason: bytes = b"OK"
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    reusable: bool = True
    to_head: bool = False
    ends_with_connection: bool = False


ANSWERS = {
    "length": Answer(raw=OK + b"Content-Length: 5\r\n\r\nhello", headers=[(b"Content-Length", b"5")], body=b"hello"),
    "empty": Answer(raw=OK + b"content-length: 0\r\n\r\n", headers=[(b"content-length", b"0")]),
    "no reason": Answer(
        raw=b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", reason=b"", headers=[(b"Content-Length", b"0")]
    ),
    "odd status": Answer(
        raw=b"HTTP/1.1 799 Whatever It Is\r\nContent-Length: 0\r\n\r\n",
        status=799,
        reason=b"Whatever It Is",
        headers=[(b"Content-Length", b"0")],
    ),
    "duplicates, case, order, empty values, bytes beyond ASCII": Answer(
        raw=OK
        + b"Set-Cookie: a=1\r\nX-B: \xfc\xff\r\nset-cookie: b=2\r\nX-Empty:\r\nX-Tab:\tv \t\r\nContent-Length: 0\r\n\r\n",
        headers=[
            (b"Set-Cookie", b"a=1"),
            (b"X-B", b"\xfc\xff"),
            (b"set-cookie", b"b=2"),
            (b"X-Empty", b""),
            (b"X-Tab", b"v"),
            (b"Content-Length", b"0"),
        ],
    ),
    "chunked": Answer(
        raw=OK + b"Transfer-Encoding: Chunked \r\n\r\n5\r\nhello\r\n1;name=value\r\n!\r\n0\r\n\r\n",
        headers=[(b"Transfer-Encoding", b"Chunked")],
        body=b"hello!",
    ),
    "trailers": Answer(
        raw=OK + b"Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-Sum: 2\r\n\r\n",
        headers=[(b"Transfer-Encoding", b"chunked"), (b"Trailer", b"X-Sum")],
        body=b"hello",
        trailers=[(b"X-Sum", b"1"), (b"X-Sum", b"2")],
    ),
    "both lengths": Answer(
        raw=OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        headers=[(b"Transfer-Encoding", b"chunked")],
        body=b"hello",
        reusable=False,
    ),
    "both lengths, the other way round": Answer(
        raw=OK + b"Transfer-Encoding: chunked\r\nX: y\r\ncontent-length: 500\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        headers=[(b"Transfer-Encoding", b"chunked"), (b"X", b"y")],
        body=b"hello",
        reusable=False,
    ),
    "lengths among the trailers": Answer(
        raw=OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nContent-Length: 7\r\nX: y\r\n\r\n",
        headers=[(b"Transfer-Encoding", b"chunked")],
        body=b"hello",
        trailers=[(b"Content-Length", b"7"), (b"X", b"y")],
    ),
    "no length": Answer(raw=OK + b"\r\nhello", body=b"hello", reusable=False, ends_with_connection=True),
    "close": Answer(
        raw=OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nok",
        headers=[(b"Connection", b"close"), (b"Content-Length", b"2")],
        body=b"ok",
        reusable=False,
    ),
    "1.0": Answer(
        raw=b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        headers=[(b"Content-Length", b"2")],
        body=b"ok",
        reusable=False,
    ),
    "1.0 kept alive": Answer(
        raw=b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
        headers=[(b"Connection", b"keep-alive"), (b"Content-Length", b"2")],
        body=b"ok",
    ),
    "204": Answer(
        raw=b"HTTP/1.1 204 No Content\r\nX: y\r\n\r\n", status=204, reason=b"No Content", headers=[(b"X", b"y")]
    ),
    "304 with the length of what was not sent": Answer(
        raw=b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n",
        status=304,
        reason=b"Not Modified",
        headers=[(b"Content-Length", b"99")],
    ),
    "HEAD": Answer(raw=OK + b"Content-Length: 99\r\n\r\n", headers=[(b"Content-Length", b"99")], to_head=True),
    "HEAD, chunked": Answer(
        raw=OK + b"Transfer-Encoding: chunked\r\n\r\n", headers=[(b"Transfer-Encoding", b"chunked")], to_head=True
    ),
    "HEAD, no length": Answer(raw=OK + b"\r\n", to_head=True),
    "HEAD, close": Answer(
        raw=OK + b"Connection: x, Close\r\n\r\n", headers=[(b"Connection", b"x, Close")], to_head=True, reusable=False
    ),
    "HEAD in 1.0": Answer(raw=b"HTTP/1.0 200 OK\r\n\r\n", to_head=True, reusable=False),
    "100 and 103 before": Answer(
        raw=b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        + OK
        + b"Content-Length: 2\r\n\r\nok",
        headers=[(b"Content-Length", b"2")],
        body=b"ok",
    ),
    "an upgrade offered in passing": Answer(
        raw=OK + b"Upgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\nok",
        headers=[(b"Upgrade", b"h2c"), (b"Connection", b"Upgrade"), (b"Content-Length", b"2")],
        body=b"ok",
    ),
}

REFUSED = {
    "not HTTP": (b"SSH-2.0-OpenSSH_9.2\r\n", "not HTTP"),
    "a request": (b"GET / HTTP/1.1\r\n\r\n", "not HTTP"),
    "RTSP": (b"RTSP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", "not HTTP"),
    "small letters": (b"http/1.1 200 OK\r\n\r\n", "not HTTP"),
    "an empty line first": (b"\r\nHTTP/1.1 200 OK\r\n\r\n", "not HTTP"),
    "HTTP/2.0": (b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", "in HTTP/2.0"),
    "HTTP/0.9": (b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n", "in HTTP/0.9"),
    "HTTP/1.2": (b"HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n", "Invalid HTTP version"),
    "a status of two digits": (b"HTTP/1.1 99 X\r\n\r\n", "status"),
    "a status below 100": (b"HTTP/1.1 099 X\r\n\r\n", "status 99"),
    "a status of four digits": (b"HTTP/1.1 2000 X\r\n\r\n", "status"),
    "bare line feeds": (b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", "CR"),
    "a bare line feed between headers": (OK + b"A: b\nContent-Length: 0\r\n\r\n", "CR"),
    "a bare carriage return": (OK + b"A: b\rc\r\n\r\n", "LF"),
    "a folded header": (OK + b"A: b\r\n c\r\nContent-Length: 0\r\n\r\n", "whitespace"),
    "a space before the colon": (OK + b"Content-Length : 0\r\n\r\n", "Invalid header"),
    "no name": (OK + b": b\r\n\r\n", "Invalid header"),
    "no colon": (OK + b"A b\r\n\r\n", "Invalid header"),
    "a NUL": (OK + b"A: b\0c\r\n\r\n", "Invalid header value"),
    "two lengths that differ": (OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nokk", "Duplicate"),
    "two lengths that agree": (OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok", "Duplicate"),
    "a list of lengths": (OK + b"Content-Length: 2, 2\r\n\r\nok", "Content-Length"),
    "a signed length": (OK + b"Content-Length: +2\r\n\r\nok", "Content-Length"),
    "an empty length": (OK + b"Content-Length: \r\n\r\nok", "Content-Length"),
    "a length beyond 64 bits": (OK + b"Content-Length: 99999999999999999999\r\n\r\n", "overflow"),
    "gzip before chunked": (OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "transfer coding"),
    "gzip after chunked": (OK + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", "transfer coding"),
    "something like chunked": (OK + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "transfer coding"),
    "chunked twice": (
        OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "transfer coding",
    ),
    "a chunk size that is none": (OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", "chunk size"),
    "a chunk size in C": (OK + b"Transfer-Encoding: chunked\r\n\r\n0x2\r\nok\r\n0\r\n\r\n", "chunk size"),
    "a signed chunk size": (OK + b"Transfer-Encoding: chunked\r\n\r\n-2\r\nok\r\n0\r\n\r\n", "chunk size"),
    "a space behind a chunk size": (OK + b"Transfer-Encoding: chunked\r\n\r\n2 \r\nok\r\n0\r\n\r\n", "chunk size"),
    "a chunk size beyond 64 bits": (OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 17 + b"\r\n", "overflow"),
    "a bare line feed behind a chunk size": (OK + b"Transfer-Encoding: chunked\r\n\r\n2\nok\r\n0\r\n\r\n", "CR"),
    "a chunk longer than its size": (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nokay\r\n0\r\n\r\n", "chunk data"),
    "101 unasked": (b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", "101"),
    "too many interim answers": (b"HTTP/1.1 100 Continue\r\n\r\n" * 17 + OK + b"\r\n", "interim"),
    "a closing interim answer": (b"HTTP/1.1 100 X\r\nConnection: close\r\n\r\n" + OK + b"\r\n", "close"),
}


def feed_all(parser: ResponseParser, pieces: Iterable[bytes]) -> None:
    for piece in pieces:
        parser.feed(piece)


def parse(answer: Answer, pieces: Iterable[bytes]) -> ResponseParser:
    parser = ResponseParser(head_only=answer.to_head)
    feed_all(parser, pieces)
    if answer.ends_with_connection:
        assert parser.state < COMPLETE
        parser.end()
    return parser


def check(answer: Answer, parser: ResponseParser) -> None:
    assert (parser.status, parser.reason) == (answer.status, answer.reason)
    assert parser.headers == answer.headers
    assert parser.take() == answer.body
    assert parser.trailers == answer.trailers
    assert (parser.state, parser.reusable) == (COMPLETE, answer.reusable)


def split(raw: bytes, cuts: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted({cut % (len(raw) + 1) for cut in cuts}), len(raw)]
    return [raw[start:end] for start, end in pairwise(edges) if start < end]


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_whole_and_byte_by_byte(name: str) -> None:
    answer = ANSWERS[name]
    check(answer, parse(answer, [answer.raw]))
    check(answer, parse(answer, [answer.raw[i : i + 1] for i in range(len(answer.raw))]))


@given(st.sampled_from(sorted(ANSWERS)), st.lists(st.integers(0, 300), max_size=8))
def test_any_split_gives_the_same(name: str, cuts: list[int]) -> None:
    answer = ANSWERS[name]
    check(answer, parse(answer, [memoryview(piece) for piece in split(answer.raw, cuts)]))  # type: ignore[misc]


@pytest.mark.parametrize("name", ANSWERS)
def test_a_cut_answer_is_never_whole(name: str) -> None:
    answer = ANSWERS[name]
    for length in range(len(answer.raw)):
        parser = ResponseParser(head_only=answer.to_head)
        parser.feed(answer.raw[:length])
        assert parser.state < COMPLETE
        if answer.ends_with_connection and parser.state >= BODY:
            with pytest.raises(IncompleteMessage):
                parser.end(clean=False)  # over TLS, where a real end says so
        else:
            with pytest.raises(IncompleteMessage):
                parser.end()


@pytest.mark.parametrize("name", ANSWERS)
def test_bytes_behind_the_end_spoil_the_connection_and_not_the_answer(name: str) -> None:
    answer = ANSWERS[name]
    if answer.ends_with_connection:
        return
    for more in (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX: y\r\n\r\nevil", b"rubbish", b"0\r\n\r\n"):
        parser = ResponseParser(head_only=answer.to_head)
        parser.feed(answer.raw + more)
        assert not parser.reusable
        assert (parser.status, parser.headers, parser.take()) == (answer.status, answer.headers, answer.body)
        assert (parser.state, parser.trailers) == (COMPLETE, answer.trailers)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str) -> None:
    raw, why = REFUSED[name]
    with pytest.raises(RemoteProtocolError, match=why):
        ResponseParser().feed(raw)
    parser = ResponseParser()
    with pytest.raises(RemoteProtocolError, match=why):
        feed_all(parser, [raw[i : i + 1] for i in range(len(raw))])
    assert parser.state < COMPLETE


def test_a_protocol_switch_hands_over_what_came_behind_it() -> None:
    raw = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x81\x02hi"
    parser = ResponseParser(may_upgrade=True)
    parser.feed(raw)
    assert (parser.status, parser.state, parser.leftover, parser.reusable) == (101, UPGRADED, b"\x81\x02hi", False)
    with pytest.raises(RemoteProtocolError, match="101"):
        ResponseParser(may_upgrade=True).feed(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")


def test_heads_have_limits() -> None:
    def head(*lines: bytes) -> bytes:
        return OK + b"".join(line + b"\r\n" for line in lines) + b"Content-Length: 0\r\n\r\n"

    ResponseParser().feed(head(*[b"X-%d: y" % i for i in range(MAX_HEADERS - 1)]))
    with pytest.raises(RemoteProtocolError, match="256 headers"):
        ResponseParser().feed(head(*[b"X-%d: y" % i for i in range(MAX_HEADERS)]))
    room = MAX_HEAD - len("X: \r\nContent-Length: 0\r\n")
    ResponseParser().feed(head(b"X: " + b"y" * room))
    with pytest.raises(RemoteProtocolError, match="bytes of headers"):
        ResponseParser().feed(head(b"X: " + b"y" * (room + 1)))


@pytest.mark.parametrize(
    "start",
    [
        OK + b"X: ",
        b"HTTP/1.1 200 ",
        OK + b"Transfer-Encoding: chunked\r\n\r\n2;",
        OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX: ",
    ],
    ids=["header", "reason", "chunk extension", "trailer"],
)
def test_nothing_is_endless(start: bytes) -> None:
    parser = ResponseParser()
    parser.feed(start)
    parser.take()
    with pytest.raises(RemoteProtocolError, match="more than"):
        feed_all(parser, [b"a" * 1000] * 300)


@given(st.binary(max_size=200), st.booleans())
def test_rubbish_is_refused_or_awaited(rubbish: bytes, to_head: bool) -> None:
    for raw in (rubbish, OK + rubbish, OK + b"Transfer-Encoding: chunked\r\n\r\n" + rubbish):
        parser = ResponseParser(head_only=to_head)
        try:
            parser.feed(raw)
            parser.end()
        except (RemoteProtocolError, IncompleteMessage):
            assert parser.state < COMPLETE


@given(st.sampled_from(sorted(ANSWERS)), st.integers(0, 300), st.binary(max_size=3), st.integers(0, 3))
def test_a_damaged_answer_is_an_answer_or_refused_however_it_is_split(
    name: str, place: int, splinter: bytes, lost: int
) -> None:
    raw = ANSWERS[name].raw
    place %= len(raw)
    raw = raw[:place] + splinter + raw[place + lost :]

    def outcome(pieces: Iterable[bytes]) -> tuple[object, ...]:
        parser = ResponseParser(head_only=ANSWERS[name].to_head)
        body = b""
        try:
            for piece in pieces:
                parser.feed(piece)
                body += parser.take()
            parser.end()
        except (RemoteProtocolError, IncompleteMessage) as error:
            return (type(error),)
        return parser.status, parser.headers, body, parser.trailers

    assert outcome([raw]) == outcome([raw[i : i + 1] for i in range(len(raw))])
