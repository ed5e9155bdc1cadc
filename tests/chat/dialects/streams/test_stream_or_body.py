"""A whole body instead of a stream, and a stream instead of a body."""

from __future__ import annotations

from typing import Any

import pytest

from lakehouse.chat.dialects.base import Dialect
from lakehouse.chat.dialects.call_codec import CallCodec
from lakehouse.chat.dialects.ollama.dialect import OLLAMA
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.model.answer import ProviderAnswer
from lakehouse.chat.model.request import Request
from lakehouse.core.errors import LakehouseError
from tests.chat.dialects.schema.structured_kit import CHAT, HELLO, build_completion, build_stream


def feed_pieces(dialect: Dialect, data: bytes, size: int) -> tuple[list[Any], ProviderAnswer]:
    parser = CallCodec(
        dialect, Request(model="m", messages=HELLO), model="m", stream=True, quirks=Quirks(provider="p")
    ).make_parser()
    deltas = [delta for start in range(0, len(data), size) for delta in parser.feed(data[start : start + size])]
    return [*deltas, *parser.flush()], parser.end()


@pytest.mark.parametrize("size", [1, 7, 4096])
@pytest.mark.parametrize(
    ("dialect", "data"),
    [
        (CHAT, build_completion("Hi")),
        (CHAT, b"\xef\xbb\xbf\n\n " + build_completion("Hi")),
        (CHAT, build_stream("Hi")),
        (CHAT, b": first a comment\n\n" + build_stream("Hi")),
        (CHAT, b"\r\n\r\n\xef\xbb\xbf" + build_stream("Hi")),
        (OLLAMA, b'{"message":{"content":"Hi"},"done":true,"done_reason":"stop"}'),
        (OLLAMA, b'{\n "message": {"content": "Hi"},\n "done": true, "done_reason": "stop"\n}\n'),
        (
            OLLAMA,
            b'{ "message":{"content":"H"},"done":false}\n{"message":{"content":"i"},"done":true,"done_reason":"stop"}\n',
        ),
    ],
)
def test_the_form_of_an_answer_is_detected_from_its_bytes(dialect: Dialect, data: bytes, size: int) -> None:
    deltas, reply = feed_pieces(dialect, data, size)
    assert reply.content == "".join(delta.text for delta in deltas) == "Hi"


@pytest.mark.parametrize("size", [1, 7, 4096])
@pytest.mark.parametrize(
    ("dialect", "data", "error_class"),
    [
        (CHAT, b'{"error":{"code":503,"message":"x"}}', "overloaded"),
        (CHAT, b"<!doctype html><title>Hello</title>", "upstream_error"),
        (CHAT, b"<", "upstream_error"),
        (CHAT, b'{"choices": [', "upstream_error"),
        (CHAT, b"", "incomplete_stream"),
        (CHAT, b"dat", "upstream_error"),
        (OLLAMA, b'{"error":"model \'x\' not found"}', "model_not_found"),
        (OLLAMA, b"<html>", "upstream_error"),
        (OLLAMA, b"{", "upstream_error"),
    ],
)
def test_bytes_of_neither_form_are_an_error(dialect: Dialect, data: bytes, error_class: str, size: int) -> None:
    with pytest.raises(LakehouseError) as caught:
        feed_pieces(dialect, data, size)
    assert caught.value.error_class == error_class


@pytest.mark.parametrize(
    ("data", "error_class", "said"),
    [
        (b"", "empty_response", "empty body"),
        (b"  \n", "empty_response", "empty body"),
        (b"<html><title>Oops</title></html>", "upstream_error", "an HTML page: Oops"),
        (b'{"choices":[{"mess', "upstream_error", "not a JSON object"),
        (b"[1]", "upstream_error", "not a JSON object"),
        (b'{"hello":"world"}', "upstream_error", "not understood"),
        (b'{"choices":[]}', "empty_response", "empty answer"),
        (b'{"choices":null}', "empty_response", "empty answer"),
        (build_completion(""), "empty_response", "empty answer"),
        (build_completion(None, "length"), "empty_response", "empty answer"),
        (build_completion("", "content_filter"), "content_policy", "content filter"),
        (b'{"choices":[{"error":{"code":502,"message":"gone"},"message":{"content":""},"finish_reason":"error"}]}', "upstream_error", "gone"),
    ],
)  # fmt: skip
def test_bodies_that_are_no_answers(data: bytes, error_class: str, said: str) -> None:
    with pytest.raises(LakehouseError, match=said) as caught:
        CHAT.decode(data, quirks=Quirks(provider="p"))
    assert caught.value.error_class == error_class


def test_a_completion_without_a_finish_reason_is_complete() -> None:
    assert CHAT.decode(b'{"choices":[{"message":{"content":"Hi"}}]}', quirks=Quirks()).finish_reason == "stop"


def test_a_body_instead_of_a_stream_is_limited() -> None:
    parser = CallCodec(CHAT, Request(model="m", messages=HELLO), model="m", stream=True, quirks=Quirks()).make_parser()
    parser.feed(b"{")
    for _ in range(511):
        parser.feed(b" " * 65536)
    with pytest.raises(LakehouseError, match="over the bound"):
        parser.feed(b" " * 65536)
