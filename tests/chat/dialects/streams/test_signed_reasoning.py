"""Signed and encrypted reasoning comes in the order of the stream: after its text, before what follows it."""

from __future__ import annotations

from typing import Any

import pytest

from lakehouse.chat.api.native import NativeFormat
from lakehouse.chat.api.openai.format import OpenAIFormat
from lakehouse.chat.api.protocols import ApiFormat, Query
from lakehouse.chat.dialects.base import Dialect
from lakehouse.chat.dialects.call_codec import CallCodec
from lakehouse.chat.dialects.chat_completions.dialect import CHAT_COMPLETIONS
from lakehouse.chat.dialects.messages.dialect import MESSAGES
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.dialects.responses.dialect import RESPONSES
from lakehouse.chat.dispatch.resume import DeliveredText, PrefixMatcher
from lakehouse.chat.model.pieces import ContentPiece, Delta, ReasoningDetailsPiece, ReasoningPiece, ToolCallPiece
from lakehouse.chat.model.request import Request
from tests.chat.dialects.streams.stream_kit import (
    COMPLETED,
    DONE,
    REASONING_ITEM,
    RESPONSE_EVENTS,
    chunk,
    parse_stream,
    run_parser,
    sse,
)
from tools.kit.fake_dispatcher import CALL, FakePieces, done_piece


def block(index: int, kind: str, **fields: object) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": {"type": kind, **fields}}


def delta(index: int, kind: str, **fields: str) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **fields}}


def stop(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


THINKING = (
    block(0, "thinking", thinking="", signature=""),
    delta(0, "thinking_delta", thinking="a "),
    delta(0, "thinking_delta", thinking="b"),
    delta(0, "signature_delta", signature="S"),
    stop(0),
    block(1, "redacted_thinking", data="X"),
    stop(1),
    block(2, "text", text=""),
    delta(2, "text_delta", text="Hi"),
    stop(2),
    block(3, "thinking", thinking=""),
    delta(3, "thinking_delta", thinking="c"),
    delta(3, "signature_delta", signature="T"),
    stop(3),
    block(4, "tool_use", id="t", name="f", input={}),
    stop(4),
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}},
    {"type": "message_stop"},
)
SUMMARY = {"type": "reasoning.summary", "summary": "Think.", "format": "openai-responses-v1", "index": 0}
ENCRYPTED = {"type": "reasoning.encrypted", "data": "E", "format": "openai-responses-v1", "index": 0}
TEXT = {"type": "reasoning.text", "text": "Hm.", "format": "anthropic-claude-v1", "index": 0}
SIGNATURE = {"type": "reasoning.text", "signature": "S", "format": "anthropic-claude-v1", "index": 0}
STREAMS: dict[str, tuple[Dialect, bytes, list[object]]] = {
    "messages": (
        MESSAGES,
        sse(*THINKING),
        [
            "a ",
            "b",
            {"type": "thinking", "thinking": "a b", "signature": "S", "index": 0},
            {"type": "redacted_thinking", "data": "X", "index": 1},
            "=Hi",
            "c",
            {"type": "thinking", "thinking": "c", "signature": "T", "index": 3},
            "f",
        ],
    ),
    "messages without the ends of its blocks": (
        MESSAGES,
        sse(*(event for event in THINKING if event["type"] != "content_block_stop")),
        [
            "a ",
            "b",
            {"type": "thinking", "thinking": "a b", "signature": "S", "index": 0},
            {"type": "redacted_thinking", "data": "X", "index": 1},
            "=Hi",
            "c",
            {"type": "thinking", "thinking": "c", "signature": "T", "index": 3},
            "f",
        ],
    ),
    "responses": (RESPONSES, sse(*RESPONSE_EVENTS, COMPLETED), ["Think.", REASONING_ITEM, "=H", "=i", "f"]),
    "responses in the last event only": (RESPONSES, sse(COMPLETED), ["Think.", REASONING_ITEM, "=Hi", "f"]),
    "chat completions, a signature": (
        CHAT_COMPLETIONS,
        sse(
            chunk(reasoning="Hm.", reasoning_details=[TEXT]),
            chunk(reasoning=None, reasoning_details=[SIGNATURE]),
            chunk("Hi"),
            chunk(finish="stop"),
            DONE,
        ),
        ["Hm.", {**TEXT, **SIGNATURE}, "=Hi"],
    ),
    "chat completions, encrypted": (
        CHAT_COMPLETIONS,
        sse(
            chunk(reasoning="Think.", reasoning_details=[SUMMARY]),
            chunk(reasoning_details=[ENCRYPTED]),
            chunk("Hi"),
            chunk(finish="stop"),
            DONE,
        ),
        ["Think.", SUMMARY, ENCRYPTED, "=Hi"],
    ),
    "chat completions, nothing signed": (
        CHAT_COMPLETIONS,
        sse(chunk(reasoning="Hm.", reasoning_details=[TEXT]), chunk("Hi"), chunk(finish="stop"), DONE),
        ["Hm.", "=Hi"],
    ),
}


def tell(deltas: list[Delta]) -> list[object]:
    told: list[object] = []
    for piece in deltas:
        match piece:
            case ReasoningPiece(text):
                told.append(text)
            case ReasoningDetailsPiece(entries):
                told += entries
            case ContentPiece(text):
                told.append(f"={text}")
            case ToolCallPiece(call):
                told.append(call.function.name)
    return told


@pytest.mark.parametrize("name", STREAMS)
def test_signed_reasoning_comes_in_the_order_of_the_stream(name: str) -> None:
    dialect, body, expected = STREAMS[name]
    deltas, reply = parse_stream(body, dialect)
    assert tell(deltas) == expected
    signed = [entry for entry in expected if isinstance(entry, dict)]
    assert list(reply.reasoning_details)[: len(signed)] == signed
    for size in (1, 3, 50):
        parser = dialect.make_parser(quirks=Quirks(provider="p"))
        assert run_parser(parser, [body[at : at + size] for at in range(0, len(body), size)])[0] == deltas


def test_a_whole_answer_in_place_of_a_stream_has_the_signature_before_the_text() -> None:
    thinking = {"type": "thinking", "thinking": "a", "signature": "S"}
    request = Request(model="m", messages=[{"role": "user", "content": "Hi"}], stream=True)
    parser = CallCodec(MESSAGES, request, model="m", stream=True, quirks=Quirks()).make_parser()
    content = f'[{{"type":"thinking","thinking":"a","signature":"S"}},{{"type":"text","text":"Hi"}}]'  # noqa: F541
    deltas = [*parser.feed(b'{"stop_reason":"end_turn","content":' + content.encode() + b"}"), *parser.flush()]
    assert tell(deltas) == ["a", {**thinking, "index": 0}, "=Hi"]


@pytest.mark.parametrize("api_format", [NativeFormat(), OpenAIFormat()], ids=["native", "chat completions"])
def test_the_older_forms_send_no_event_for_it(api_format: ApiFormat) -> None:
    request = Request(model="m", messages=[{"role": "user", "content": "Hi"}], stream=True)
    encoder = api_format.make_encoder(Query(request), "id")
    pieces = FakePieces(())
    details = ReasoningDetailsPiece(({"type": "thinking", "signature": "S"},))
    assert encoder.encode_events([details], pieces) == b""
    last = encoder.encode_events([details, done_piece(reasoning_details=details.entries)], pieces)
    assert last.count(b'"signature":"S"') == 1


def resume(delivered: list[Delta]) -> PrefixMatcher:
    text = DeliveredText()
    text.add(delivered)
    matcher = text.prefix_matcher()
    assert matcher is not None
    return matcher


def test_a_resumed_stream_signs_nothing_twice() -> None:
    thought, text = ReasoningPiece("Hm."), ContentPiece("Hi")
    mine, other = (ReasoningDetailsPiece(({"signature": name},)) for name in ("mine", "other"))
    again: list[Delta] = [thought, other, ContentPiece("Hi there"), ToolCallPiece(CALL)]
    rest: list[Delta] = [ContentPiece(" there"), ToolCallPiece(CALL)]
    assert resume([thought, mine, text]).remove_delivered(again) == rest
    assert resume([thought, mine]).remove_delivered(again) == again[2:]
    assert resume([thought]).remove_delivered(again) == again[1:]
