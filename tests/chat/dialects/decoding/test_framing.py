"""Framing of streams, limits of lines and answers, and tolerant JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.chat.dialects.base import MAX_ANSWER, StreamParser
from lakehouse.chat.dialects.chat_completions.dialect import CHAT_COMPLETIONS
from lakehouse.chat.dialects.framing.lines import Event, Framing, LineSplitter, LineTooLong
from lakehouse.chat.dialects.framing.ndjson import NdjsonFraming
from lakehouse.chat.dialects.framing.sse import SseFraming
from lakehouse.chat.dialects.lenient_json import decode_json
from lakehouse.chat.dialects.ollama.dialect import OLLAMA
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.core.errors import LakehouseError
from tools.kit.examples import count_examples


def split_events(framing: Framing, data: bytes, size: int) -> list[Event]:
    events = [event for start in range(0, len(data), size) for event in framing.feed(data[start : start + size])]
    return [*events, *framing.end()]


SEPARATORS = "a\u2028b\u0085c\x0bd\x0ce\x1cf".encode()


@pytest.mark.parametrize("size", [1, 2, 7, 4096])
@pytest.mark.parametrize(
    ("data", "events"),
    [
        (b"data: a\n\n", [Event(b"a")]),
        (b"data:a\n\ndata:  b\n\n", [Event(b"a"), Event(b" b")]),
        (b"data: a\ndata: b\n\n", [Event(b"a\nb")]),
        (b"event: x\ndata: a\n\ndata: b\n\n", [Event(b"a", b"x"), Event(b"b")]),
        (b": comment\n\n:data: no\n\ndata: a\n\n", [Event(b"a")]),
        (b"id: 1\nretry: 5\nnonsense\ndata: a\n\n", [Event(b"a")]),
        (b"event: x\n\ndata: a\n\n", [Event(b"a")]),  # an event without data is dropped with its name
        (b"data: a\r\n\r\ndata: b\r\n\r\n", [Event(b"a"), Event(b"b")]),
        (b"data: a", [Event(b"a")]),
        (b"data: a\n", [Event(b"a")]),
        (b"data\ndata:\n\n", []),
        (b"\n\n\n", []),
        (b"\xef\xbb\xbfdata: a\n\n", [Event(b"a")]),
        (b"data: " + SEPARATORS + b"\n\n", [Event(SEPARATORS)]),
        (b"data: a:b: c\n\n", [Event(b"a:b: c")]),
    ],
)
def test_server_sent_events(data: bytes, events: list[Event], size: int) -> None:
    assert split_events(SseFraming(), data, size) == events


@pytest.mark.parametrize("size", [1, 2, 7, 4096])
def test_lines_of_json(size: int) -> None:
    data = b"\xef\xbb\xbf1\n\r\n  \n2\r\n" + SEPARATORS + b"\n3"
    assert split_events(NdjsonFraming(), data, size) == [Event(b"1"), Event(b"2"), Event(SEPARATORS), Event(b"3")]


@pytest.mark.parametrize("size", [1, 64, 4096])
@pytest.mark.parametrize(
    ("framing", "data"),
    [
        (NdjsonFraming(100), b"1\n" + b"x" * 101),
        (NdjsonFraming(100), b"1\n" + b"x" * 101 + b"\n2\n"),
        (SseFraming(100), b"data: 1\n\ndata: " + b"x" * 101),
        (SseFraming(100), b"data: 1\n\n" + (b"data: " + b"x" * 50 + b"\n") * 3),
    ],
)
def test_events_before_a_line_that_is_too_long_are_kept(framing: Any, data: bytes, size: int) -> None:
    events: list[Event] = []
    fresh = type(framing)(100)

    def read_all() -> None:
        for start in range(0, len(data), size):
            for event in fresh.feed(data[start : start + size]):
                events.append(event)  # noqa: PERF402 - what came before the exception counts

    with pytest.raises(LineTooLong):
        read_all()
    assert events == [Event(b"1")]


def test_a_line_of_exactly_the_limit_is_accepted() -> None:
    assert list(LineSplitter(4).feed(b"1234\n12345"[:9])) == [b"1234"]


@pytest.mark.parametrize("dialect", [CHAT_COMPLETIONS, OLLAMA])
def test_an_endless_line_is_an_error(dialect: Any) -> None:
    parser = dialect.make_parser(quirks=Quirks(provider="p"))
    with pytest.raises(LakehouseError, match="over its bound") as caught:
        feed_often(parser, b"x" * 65536, times=1024)  # 64 MiB
    assert caught.value.error_class == "upstream_error"


@pytest.mark.parametrize("inline", ["never", "unopened"])  # `unopened`: the text is held back until the end
def test_an_endless_answer_is_an_error(inline: Any) -> None:
    parser = CHAT_COMPLETIONS.make_parser(quirks=Quirks(provider="p", inline_think=inline))
    event = f'data: {{"choices":[{{"delta":{{"content":"{"x" * 1_000_000}"}}}}]}}\n\n'.encode()
    with pytest.raises(LakehouseError, match=f"over the bound of {MAX_ANSWER}"):
        feed_often(parser, event, times=64)


def feed_often(parser: StreamParser, data: bytes, *, times: int) -> None:
    for _ in range(times):
        parser.feed(data)


@settings(max_examples=count_examples(50))
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_json_round_trips(value: Any) -> None:
    for ascii_only in (True, False):
        assert decode_json(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@pytest.mark.parametrize(
    "data", [b"", b"{", b"nan", b'{"a": NaN, "b": "\\ud83d"}', b"[" * 100_000, b'"\\ud83d', b"\xff"]
)
def test_invalid_json_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - that it is one is the point
        decode_json(data)
