"""From a request in OpenAI's form to a `Request` like any other.

What OpenAI documents is checked by type. Fields that we do not know travel on in `extra`, for a provider that speaks
this form; so do those of messages (`openai_messages`).

Most bodies hold nothing that has to be told in other words. Those are read at once (`FastChatCompletionRequest`); any other, a wrong one
among them, is read step by step (`ChatCompletionRequest`), which gives the same for a plain one.
"""

from __future__ import annotations

from itertools import count
from typing import Literal

import msgspec

from lakehouse.asgi.json_body import convert_json, decode_json, validation_errors
from lakehouse.chat.api.interface import Query
from lakehouse.chat.api.openai import messages
from lakehouse.chat.api.openai.types import ChatCompletionRequest, FastChatCompletionRequest, FormatJson, FormatSchema
from lakehouse.chat.model.parts import JsonObject
from lakehouse.chat.model.request import OpenAIRequest
from lakehouse.core.errors import ErrBadRequest

CHECKED_ONLY = frozenset(
    {
        "parallel_tool_calls",
        "presence_penalty",
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "top_logprobs",
    }
)
"""Fields whose type is checked here and which otherwise travel like unknown ones."""

UNDERSTOOD = frozenset(ChatCompletionRequest.__struct_fields__) - CHECKED_ONLY

NONE_WHEN_EMPTY = frozenset({"metadata", "logit_bias"})
"""Fields whose empty object is the same as none at all."""

SUPERSEDED = {"functions": "tools", "function_call": "tool_choice"}
"""Fields that OpenAI has given up for others before any of our providers existed."""


_decode_plain = msgspec.json.Decoder(FastChatCompletionRequest).decode


def parse(data: bytes) -> Query:
    """Read a body; raises `ErrBadRequest` naming the field that does not fit."""
    try:
        return _plain(_decode_plain(data))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return parse_full(data)


def _plain(given: FastChatCompletionRequest) -> Query:
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
        decode_json(
            data, ChatCompletionRequest
        )  # which knows the name of the field that has a number beyond all bounds
        raise
    given = convert_json(raw, ChatCompletionRequest)
    for old, new in SUPERSEDED.items():
        if raw.get(old) is not None:
            raise ErrBadRequest(f"`{old}` is not supported: use `{new}`", field=old)
    if given.n is not None and given.n != 1:
        raise ErrBadRequest(f"`n` must be 1, got {given.n}: there is one choice in an answer", field="n")
    options = given.stream_options
    return Query(_request(raw, given), include_usage=bool(options and options.include_usage))


def _request(raw: JsonObject, given: ChatCompletionRequest) -> OpenAIRequest:
    with validation_errors():
        return OpenAIRequest(
            model=given.model,
            messages=tuple(map(messages.message, count(), given.messages, raw["messages"])),
            temperature=given.temperature,
            top_p=given.top_p,
            max_tokens=given.max_tokens if given.max_completion_tokens is None else given.max_completion_tokens,
            stop=tuple(given.stop) if isinstance(given.stop, list) else given.stop,
            seed=given.seed,
            format=_format(given),
            format_label=_format_label(given),
            think=False if given.reasoning_effort == "none" else given.reasoning_effort,
            tools=tuple(given.tools) if given.tools else None,
            tool_choice=given.tool_choice,
            stream=bool(given.stream),
            fallbacks=tuple(given.fallbacks or ()),
            user=given.user,
            extra={name: value for name, value in raw.items() if _travels(name, value)} | _stream_options(raw, given),
        )


def _stream_options(raw: JsonObject, given: ChatCompletionRequest) -> JsonObject:
    """`stream_options` of a stream without what is ours to say: whether its usage is sent."""
    given_options = raw.get("stream_options") if given.stream else None
    options = {name: value for name, value in (given_options or {}).items() if name != "include_usage"}
    return {"stream_options": options} if options else {}


def _format(given: ChatCompletionRequest) -> JsonObject | Literal["json"] | None:
    match given.response_format:
        case FormatSchema(json_schema=described):
            return described.schema
        case FormatJson():
            return "json"
        case _:
            return None


def _format_label(given: ChatCompletionRequest) -> JsonObject:
    match given.response_format:
        case FormatSchema(json_schema=described):
            label = {"name": described.name, "description": described.description, "strict": described.strict}
            return {name: value for name, value in label.items() if value is not None}
        case _:
            return {}


def _travels(name: str, value: object) -> bool:
    return name not in UNDERSTOOD and value is not None and not (name in NONE_WHEN_EMPTY and value == {})
