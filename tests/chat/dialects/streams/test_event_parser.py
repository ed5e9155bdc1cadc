"""The phases of an event parser: content, trailer, end of the body, error."""

from __future__ import annotations

import pytest

from lakehouse.chat.dialects.base import StreamParser
from lakehouse.chat.dialects.chat_completions.dialect import CHAT_COMPLETIONS
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.model.pieces import ContentPiece
from lakehouse.core.errors import LakehouseError
from tests.chat.dialects.streams.stream_kit import DONE, USAGE, chunk, sse

ERROR = {"error": {"message": "overloaded"}}


def feed(*pieces: bytes) -> StreamParser:
    parser = CHAT_COMPLETIONS.make_parser(quirks=Quirks(provider="p"))
    for piece in pieces:
        parser.feed(piece)
    return parser


def get_state(parser: StreamParser) -> tuple[bool, bool, bool, bool]:
    return parser.complete, parser.finished, parser.has_pending_error, parser.made_progress


@pytest.mark.parametrize(
    ("pieces", "complete", "finished", "failed", "progress"),
    [
        ([], False, False, False, False),
        ([b"data: {"], False, False, False, False),
        ([sse(": comment")], False, False, False, False),
        ([sse(chunk("Hi"))], False, False, False, True),
        ([sse(chunk("Hi")), sse(chunk(finish="stop"))], True, False, False, False),
        ([sse(chunk("Hi", finish="stop")), sse(DONE)], True, True, False, False),
        ([sse(chunk("Hi", finish="stop"), DONE), sse(chunk("late", usage=USAGE))], True, True, False, False),
        ([sse(chunk("Hi"), ERROR)], False, False, True, True),
    ],
)
def test_the_phase_after_these_pieces(
    pieces: list[bytes], complete: bool, finished: bool, failed: bool, progress: bool
) -> None:
    assert get_state(feed(*pieces)) == (complete, finished, failed, progress)


def test_after_the_end_mark_only_usage_is_read() -> None:
    parser = feed(sse(chunk("Hi", finish="stop"), DONE))
    assert parser.feed(sse(chunk("late", usage=USAGE))) == []
    answer = parser.end()
    assert (answer.content, answer.usage.input_tokens) == ("Hi", USAGE["prompt_tokens"])


def test_a_second_flush_returns_nothing() -> None:
    parser = feed(sse(chunk("Hi", finish="stop"))[:-2])
    assert parser.flush() == [ContentPiece("Hi")]
    assert parser.flush() == []
    assert parser.end().content == "Hi"


@pytest.mark.parametrize("delivered", [b"", sse(chunk("Hi"))])
def test_after_an_error_every_call_raises_it(delivered: bytes) -> None:
    parser = feed()
    if delivered:
        assert parser.feed(delivered + sse(ERROR)) == [ContentPiece("Hi")]
    else:
        with pytest.raises(LakehouseError, match="overloaded"):
            parser.feed(sse(ERROR))
    assert parser.has_pending_error
    for call in (lambda: parser.feed(sse(chunk("more"))), parser.flush, parser.end):
        with pytest.raises(LakehouseError, match="overloaded"):
            call()
