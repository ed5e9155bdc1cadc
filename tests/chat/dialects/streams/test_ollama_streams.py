"""Complete and incomplete streams of Ollama."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lakehouse.chat.dialects.ollama.dialect import OLLAMA
from lakehouse.chat.model.pieces import ToolCallPiece
from tests.chat.dialects.streams.stream_kit import parse_error, parse_stream


def line(content: str = "", **rest: Any) -> bytes:
    return (
        json.dumps({"message": {"content": content, **rest.pop("message", {})}, "done": False, **rest}).encode() + b"\n"
    )


@pytest.mark.parametrize(
    ("body", "error_class"),
    [
        (line("Hi"), "incomplete_stream"),
        (line("Hi") + line(done=True), "incomplete_stream"),  # the connection to the runner ended, not the answer
        (line("Hi") + b'{"error":"model runner has unexpectedly stopped"}\n', "server_error"),
        (line("Hi") + b'{"message":{"cont\n' + line(done=True, done_reason="stop"), "incomplete_stream"),
        (line(done=True, done_reason="stop"), "empty_response"),
        (b"<html>hello</html>\n", "incomplete_stream"),
    ],
)
def test_an_incomplete_stream_of_ollama(body: bytes, error_class: str) -> None:
    assert parse_error(body, OLLAMA).error_class == error_class


@pytest.mark.parametrize(
    "body",
    [
        line("Hi") + line(done=True, done_reason="stop"),
        line("Hi") + line(done=True, eval_count=3),
        line("Hi", done=True, done_reason="stop").rstrip(),
        line("Hi") + b"\r\n\n" + line(done=True, done_reason="stop") + b"{trailing\n",
    ],
)
def test_a_complete_stream_of_ollama(body: bytes) -> None:
    assert parse_stream(body, OLLAMA)[1].content == "Hi"


def test_calls_on_the_last_line_of_ollama() -> None:
    call = {"function": {"name": "f", "arguments": {"a": 1}}}
    deltas, reply = parse_stream(line(message={"tool_calls": [call, call]}, done=True, done_reason="stop"), OLLAMA)
    assert [delta.tool_call for delta in deltas if isinstance(delta, ToolCallPiece)] == list(reply.tool_calls)
    assert len({call.id for call in reply.tool_calls}) == 2
    assert reply.finish_reason == "tool_calls"
