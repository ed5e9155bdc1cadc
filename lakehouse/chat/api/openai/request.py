"""Parses a request in OpenAI's form.

The types of all documented fields are checked. Unknown fields are kept in `extra`, for a provider of the same form; so
are those of messages (`openai.messages`).

Most bodies need no conversion. They are decoded in one step by the fast path (`FastChatCompletionRequest`); any other
body, an invalid one included, is parsed by `parse_full` (`ChatCompletionRequest`), which gives the same result for all
bodies that the fast path takes: tests/chat/api/test_openai_request_fast_path.py.
"""

from __future__ import annotations

from itertools import count
from typing import Literal

import msgspec

from lakehouse.asgi.json_body import convert_json, decode_json, validation_errors
from lakehouse.chat.api.openai import messages
from lakehouse.chat.api.openai.types import ChatCompletionRequest, FastChatCompletionRequest, FormatJson, FormatSchema
from lakehouse.chat.api.protocols import Query
from lakehouse.chat.model.parts import JsonObject
from lakehouse.chat.model.request import OpenAIRequest
from lakehouse.core.errors import ErrBadRequest

FORWARDED_FIELDS = frozenset(
    {
        "parallel_tool_calls",
        "presence_penalty",
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "top_logprobs",
    }
)
"""Fields whose type is checked here, and which are forwarded like unknown ones."""

HANDLED_FIELDS = frozenset(ChatCompletionRequest.__struct_fields__) - FORWARDED_FIELDS

NONE_WHEN_EMPTY = frozenset({"metadata", "logit_bias"})
"""Fields whose empty object means the same as no field."""

DEPRECATED = {"functions": "tools", "function_call": "tool_choice"}
"""Fields that OpenAI has replaced by others; none of our providers takes them."""


_decode_fast = msgspec.json.Decoder(FastChatCompletionRequest).decode


def parse(data: bytes) -> Query:
    """Parse a body. Raises ErrBadRequest with the field that does not fit."""
    try:
        return _build_from_fast(_decode_fast(data))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return parse_full(data)


def _build_from_fast(given: FastChatCompletionRequest) -> Query:
    options, effort = given.stream_options, given.reasoning_effort
    request = OpenAIRequest(
        model=given.model,
        messages=given.messages,
        temperature=given.temperature,
        top_p=given.top_p,
        max_tokens=given.max_tokens if given.max_completion_tokens is None else given.max_completion_tokens,
        stop=given.stop,
        seed=given.seed,
        think=False if effort == "none" else effort,
        tools=given.tools or None,
        tool_choice=given.tool_choice,
        stream=given.stream is True,
        fallbacks=given.fallbacks or (),
        user=given.user,
    )
    return Query(request, options is not None and options.include_usage is True)


def parse_full(data: bytes) -> Query:
    """`parse` for any body."""
    try:
        raw = decode_json(data, dict)
    except ErrBadRequest:
        decode_json(data, ChatCompletionRequest)  # its error names a field with a number out of range
        raise
    given = convert_json(raw, ChatCompletionRequest)
    for old, new in DEPRECATED.items():
        if raw.get(old) is not None:
            raise ErrBadRequest(f"`{old}` is not supported: use `{new}`", field=old)
    if given.n is not None and given.n != 1:
        raise ErrBadRequest(f"`n` must be 1, got {given.n}: there is one choice in an answer", field="n")
    if given.max_completion_tokens is not None and given.max_completion_tokens < 1:
        raise ErrBadRequest("`max_completion_tokens` must be at least 1", field="max_completion_tokens")
    options = given.stream_options
    return Query(_build_request(raw, given), include_usage=bool(options and options.include_usage))


def _build_request(raw: JsonObject, given: ChatCompletionRequest) -> OpenAIRequest:
    with validation_errors():
        return OpenAIRequest(
            model=given.model,
            messages=tuple(map(messages.convert_message, count(), given.messages, raw["messages"])),
            temperature=given.temperature,
            top_p=given.top_p,
            max_tokens=given.max_tokens if given.max_completion_tokens is None else given.max_completion_tokens,
            stop=tuple(given.stop) if isinstance(given.stop, list) else given.stop,
            seed=given.seed,
            format=_parse_format(given),
            format_label=_parse_format_label(given),
            think=False if given.reasoning_effort == "none" else given.reasoning_effort,
            tools=tuple(given.tools) if given.tools else None,
            tool_choice=given.tool_choice,
            stream=bool(given.stream),
            fallbacks=tuple(given.fallbacks or ()),
            user=given.user,
            extra={name: value for name, value in raw.items() if _is_extra(name, value)}
            | _collect_stream_options(raw, given),
        )


def _collect_stream_options(raw: JsonObject, given: ChatCompletionRequest) -> JsonObject:
    """`stream_options` of a stream, without `include_usage`, which is handled here."""
    given_options = raw.get("stream_options") if given.stream else None
    options = {name: value for name, value in (given_options or {}).items() if name != "include_usage"}
    return {"stream_options": options} if options else {}


def _parse_format(given: ChatCompletionRequest) -> JsonObject | Literal["json"] | None:
    match given.response_format:
        case FormatSchema(json_schema=described):
            return described.schema
        case FormatJson():
            return "json"
        case _:
            return None


def _parse_format_label(given: ChatCompletionRequest) -> JsonObject:
    match given.response_format:
        case FormatSchema(json_schema=described):
            label = {"name": described.name, "description": described.description, "strict": described.strict}
            return {name: value for name, value in label.items() if value is not None}
        case _:
            return {}


def _is_extra(name: str, value: object) -> bool:
    return name not in HANDLED_FIELDS and value is not None and not (name in NONE_WHEN_EMPTY and value == {})
