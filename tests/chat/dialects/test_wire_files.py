"""Every answer in `wire/` decodes to the values in its manifest, whole and streamed, for any split of its bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from lakehouse.chat.dialects.base import StreamParser
from lakehouse.chat.dialects.call_codec import CallCodec
from lakehouse.chat.dialects.decoding.deltas import build_deltas
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.model.answer import ProviderAnswer
from lakehouse.chat.model.pieces import ContentPiece, Delta, ReasoningPiece, ToolCallPiece
from lakehouse.chat.model.request import Request
from lakehouse.core.errors import LakehouseError
from tools.kit import wire_files

COUNTS = {
    "prompt_tokens": "input_tokens",
    "completion_tokens": "output_tokens",
    "cached_tokens": "cached_tokens",
    "reasoning_tokens": "reasoning_tokens",
    "cost": "cost_usd",
}
CHECKED = {*COUNTS, "content", "reasoning", "finish", "tool_calls", "total_seconds", "schema_valid", "complete"}


def name(entry: dict[str, Any]) -> str:
    return str(entry["file"])


def expects_error(entry: dict[str, Any]) -> bool:
    return "error_class" in entry["expect"]


def check(reply: ProviderAnswer, expect: dict[str, Any]) -> None:
    assert set(expect) <= CHECKED, "the manifest expects something that is not looked at here"
    for key, field in COUNTS.items():
        if key in expect:
            assert getattr(reply.usage, field) == pytest.approx(expect[key]), key
    for key in ("content", "reasoning"):
        if key in expect:
            assert getattr(reply, key) == expect[key]
    calls = [[call.function.name, json.loads(call.function.arguments)] for call in reply.tool_calls]
    assert calls == expect.get("tool_calls", [])
    # An answer with tool calls has the finish reason `tool_calls`, whatever the provider sent.
    assert reply.finish_reason == ("tool_calls" if calls else expect["finish"])


WHOLE = [entry for entry in wire_files.chats(".json") if not expects_error(entry)]


def test_the_collection_is_complete() -> None:
    assert len(WHOLE) >= 15
    assert len(wire_files.streams()) >= 10
    assert len(wire_files.errors()) >= 40


@pytest.mark.parametrize("entry", WHOLE, ids=name)
def test_a_whole_answer(entry: dict[str, Any]) -> None:
    reply = wire_files.dialect_of(entry).decode(wire_files.body_of(entry), quirks=wire_files.quirks_of(entry))
    check(reply, entry["expect"])


@pytest.mark.parametrize("entry", WHOLE, ids=name)
@pytest.mark.parametrize("size", [1, 7, 4096])
def test_a_whole_answer_to_a_request_for_a_stream(entry: dict[str, Any], size: int) -> None:
    deltas, reply = run(make_codec(entry, stream=True).make_parser(), wire_files.body_of(entry), size)
    check(reply, entry["expect"])
    assert deltas == build_deltas(reply)


@pytest.mark.parametrize("size", [1, 7, 4096])
@pytest.mark.parametrize("entry", [entry for entry in wire_files.streams() if not expects_error(entry)], ids=name)
def test_a_stream(entry: dict[str, Any], size: int) -> None:
    parser = wire_files.dialect_of(entry).make_parser(quirks=wire_files.quirks_of(entry))
    deltas, reply = run(parser, wire_files.body_of(entry), size)
    check(reply, entry["expect"])
    assert "".join(delta.text for delta in deltas if isinstance(delta, ContentPiece)) == reply.content
    assert "".join(delta.text for delta in deltas if isinstance(delta, ReasoningPiece)) == reply.reasoning
    assert tuple(delta.tool_call for delta in deltas if isinstance(delta, ToolCallPiece)) == reply.tool_calls
    assert parser.complete


@pytest.mark.parametrize("entry", [entry for entry in wire_files.streams() if not expects_error(entry)], ids=name)
def test_a_stream_to_a_request_for_a_whole_answer(entry: dict[str, Any]) -> None:
    check(make_codec(entry, stream=False).decode(wire_files.body_of(entry)), entry["expect"])


@pytest.mark.parametrize("entry", [entry for entry in wire_files.chats(".json") if expects_error(entry)], ids=name)
def test_an_error_with_status_200(entry: dict[str, Any]) -> None:
    for read in (
        lambda body: wire_files.dialect_of(entry).decode(body, quirks=wire_files.quirks_of(entry)),
        lambda body: run(make_codec(entry, stream=True).make_parser(), body, 7),
    ):
        with pytest.raises(LakehouseError) as caught:
            read(wire_files.body_of(entry))
        assert caught.value.error_class == entry["expect"]["error_class"]
        assert caught.value.upstream_status == 200


@pytest.mark.parametrize("size", [1, 7, 4096])
@pytest.mark.parametrize("entry", [entry for entry in wire_files.streams() if expects_error(entry)], ids=name)
def test_an_error_in_a_stream_comes_after_the_deltas_before_it(entry: dict[str, Any], size: int) -> None:
    deltas: list[Delta] = []
    parser = wire_files.dialect_of(entry).make_parser(quirks=wire_files.quirks_of(entry))

    def read_to_the_end() -> None:
        for piece in feed(parser, wire_files.body_of(entry), size):
            deltas.extend(piece)
        parser.end()

    with pytest.raises(LakehouseError) as caught:
        read_to_the_end()
    assert caught.value.error_class == entry["expect"]["error_class"]
    assert deltas == [ContentPiece(entry["expect"]["partial_content"])]


def test_loading_a_model_is_an_empty_answer() -> None:
    body = (wire_files.WIRE / "ollama_chat_load.json").read_bytes()
    entry = {"file": "ollama_chat_load.json", "provider": "ollama"}
    with pytest.raises(LakehouseError) as caught:
        wire_files.dialect_of(entry).decode(body, quirks=Quirks(provider="ollama"))
    assert caught.value.error_class == "empty_response"


def make_codec(entry: dict[str, Any], *, stream: bool) -> CallCodec:
    request = Request(model="m", messages=({"role": "user", "content": "Hello"},))
    return CallCodec(
        wire_files.dialect_of(entry), request, model="m", stream=stream, quirks=wire_files.quirks_of(entry)
    )


def feed(parser: StreamParser, body: bytes, size: int) -> Iterator[list[Delta]]:
    for start in range(0, len(body), size):
        yield parser.feed(body[start : start + size])
    yield parser.flush()


def run(parser: StreamParser, body: bytes, size: int) -> tuple[list[Delta], ProviderAnswer]:
    deltas = [delta for piece in feed(parser, body, size) for delta in piece]
    return deltas, parser.end()
