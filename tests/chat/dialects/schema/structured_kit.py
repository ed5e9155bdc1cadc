"""Requests and answers for the tests of structured output."""

from __future__ import annotations

import json
from typing import Any

from lakehouse.chat.dialects.base import Dialect
from lakehouse.chat.dialects.call_codec import CallCodec
from lakehouse.chat.dialects.chat_completions.dialect import CHAT_COMPLETIONS
from lakehouse.chat.dialects.quirks import JsonMode, Quirks
from lakehouse.chat.model.request import Request

SCHEMA: dict[str, Any] = {
    "title": "City facts!",
    "type": "object",
    "properties": {"city": {"type": "string"}, "population": {"type": "integer", "minimum": 1}},
    "required": ["city", "population"],
    "additionalProperties": False,
}
LOOSE: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}}
LIST: dict[str, Any] = {"type": "array", "items": {"$ref": "#/$defs/N"}, "$defs": {"N": {"type": "integer"}}}
GHENT = '{"city":"Ghent","population":267709}'
HELLO = [{"role": "user", "content": "Ghent?"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": LOOSE}}
CHAT = CHAT_COMPLETIONS


def make_codec(
    dialect: Dialect = CHAT,
    *,
    level: JsonMode = "native",
    stream: bool = False,
    quirks: dict[str, Any] | None = None,
    **fields: Any,
) -> CallCodec:
    fields = {"format": SCHEMA, "messages": HELLO, **fields}
    request = Request(model="m", **fields)
    return CallCodec(
        dialect, request, model="m", stream=stream, quirks=Quirks(provider="p", json_mode=level, **(quirks or {}))
    )


def encode_body(dialect: Dialect, level: JsonMode, **fields: Any) -> dict[str, Any]:
    return json.loads(make_codec(dialect, level=level, **fields).body)  # type: ignore[no-any-return]


def build_completion(content: object, finish: str = "stop", **message: Any) -> bytes:
    return json.dumps({"choices": [{"message": {"content": content, **message}, "finish_reason": finish}]}).encode()


def build_stream(*texts: str, finish: str = "stop") -> bytes:
    chunks: list[dict[str, Any]] = [{"choices": [{"delta": {"content": text}}]} for text in texts]
    chunks.append({"choices": [{"delta": {}, "finish_reason": finish}]})
    return b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks)
