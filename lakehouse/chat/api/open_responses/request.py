"""Parses a Responses request.

Nothing is stored here, so a field that refers to something stored is an error. A field that has an equivalent is
converted for providers of other forms; every other one is refused by them, or left out where it affects only how the
request is served or filed.
"""

from __future__ import annotations

from typing import Literal

from lakehouse.asgi.json_body import convert_json, decode_json, validation_errors
from lakehouse.chat.api.open_responses.input import InputReader
from lakehouse.chat.api.open_responses.tools import ToolNames, read_tool_choice, read_tools
from lakehouse.chat.api.open_responses.types import (
    JsonObjectFormat,
    JsonSchemaFormat,
    ReasoningParams,
    ResponsesParams,
    TextParams,
)
from lakehouse.chat.api.open_responses.unsent import Unsent
from lakehouse.chat.dialects.lenient_json import drop_nulls
from lakehouse.chat.model.parts import JsonObject
from lakehouse.chat.model.request import TranslatedRequest
from lakehouse.core.errors import ErrBadRequest

STORED = ("previous_response_id", "conversation", "prompt", "background")
"""Fields that refer to something stored at the provider. Responses are not stored here."""

HINTS = frozenset({"client_metadata", "max_tool_calls", "prompt_cache_options", "stream_options", "store"})
"""Fields that affect how a request is served or filed. `max_tool_calls` limits the calls that a provider makes itself,
and no tool that it would call is sent."""

PARTLY_CONVERTED = ("include", "max_tool_calls", "metadata", "reasoning", "stream_options", "text", "truncation")
"""Fields of which other forms have a part, or nothing."""

REASONING_HINTS = ("context", "mode")
"""Members of `reasoning` that only OpenAI's own models have."""

ECHOED = (
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "parallel_tool_calls",
    "prompt_cache_key",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
)
"""Fields that the response repeats."""

FIELD_NAMES = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "format": "text.format",
    "response_format": "text.format",
    "verbosity": "text.verbosity",
    "logprobs": "include",
    "think": "reasoning.effort",
    "reasoning_effort": "reasoning.effort",
}
"""The names of a Responses request for the fields of `Request` that have others."""


class ResponsesRequest(TranslatedRequest, frozen=True, kw_only=True):
    """A Responses request, converted. `echo` holds the fields that the response repeats, as the client wrote them."""

    names: ToolNames
    echo: JsonObject


def parse(data: bytes) -> ResponsesRequest:
    """Parse a body. Raises `ErrBadRequest` with the field that does not fit."""
    document = decode_json(data, dict)
    for name in STORED:
        if document.get(name) not in (None, False):
            raise ErrBadRequest(f"`{name}` is not supported: no response is stored here", field=name)
    given = convert_json(document, ResponsesParams)
    if given.max_output_tokens is not None and given.max_output_tokens < 1:
        raise ErrBadRequest("`max_output_tokens` must be at least 1", field="max_output_tokens")
    with validation_errors():
        return _build(document, given)


def _build(document: JsonObject, given: ResponsesParams) -> ResponsesRequest:
    names, unsent = ToolNames(), Unsent()
    tools = read_tools(given.tools or (), names, unsent)
    reader = InputReader(names, unsent)
    reader.read(given.instructions, given.input)
    _collect_unknown_fields(document, unsent)
    text, described = given.text or TextParams(), given.text and given.text.format
    choice = read_tool_choice(given.tool_choice, names, unsent)
    extra = _build_extra(given, text, unsent)
    return ResponsesRequest(
        model=given.model,
        messages=tuple(reader.messages),
        temperature=given.temperature,
        top_p=given.top_p,
        max_tokens=given.max_output_tokens,
        format=_read_format(text),
        format_label=_read_format_label(described) if isinstance(described, JsonSchemaFormat) else {},
        think=_read_think(given.reasoning),
        tools=tuple(tools) or None,
        tool_choice=choice,
        stream=given.stream is True,
        fallbacks=tuple(given.fallbacks or ()),
        user=given.user,
        extra=extra,
        unmapped=tuple(unsent.unmapped),
        unmapped_types=unsent.types,
        hints=tuple(unsent.hints),
        field_names={**FIELD_NAMES, **reader.field_names},
        custom_as_functions=True,
        form="responses",
        own_fields=_collect_own_fields(document),
        names=names,
        echo={name: document[name] for name in ECHOED if document.get(name) is not None},
    )


def _collect_unknown_fields(document: JsonObject, unsent: Unsent) -> None:
    for name, value in document.items():
        if name in HINTS and value not in (None, False):
            unsent.leave_out(name)
        elif name not in ResponsesParams.__struct_fields__ and name not in (*HINTS, *STORED) and value is not None:
            unsent.refuse(name)
    for name, shape in (("reasoning", ReasoningParams), ("text", TextParams)):
        for member, value in (document.get(name) or {}).items():
            if member in shape.__struct_fields__ or value is None:
                continue
            if name == "reasoning" and member in REASONING_HINTS:
                unsent.leave_out(f"{name}.{member}")
            else:
                unsent.refuse(f"{name}.{member}")


def _collect_own_fields(document: JsonObject) -> JsonObject:
    """Return the fields that providers of this form are sent unchanged: all that are not converted, and the members of
    some that are converted in part. Nothing is stored."""
    converted = {*ResponsesParams.__struct_fields__, *STORED} - {*PARTLY_CONVERTED}
    own_fields = {name: value for name, value in document.items() if name not in converted and value is not None}
    return {**own_fields, "store": False} if document.get("store") is False else own_fields


def _build_extra(given: ResponsesParams, text: TextParams, unsent: Unsent) -> JsonObject:
    """Return the fields that chat completions has as well. `metadata` is for responses that are stored."""
    if given.metadata:
        unsent.leave_out("metadata")
    if given.truncation == "auto":
        unsent.refuse("truncation")
    wants_logprobs = bool(given.top_logprobs)
    for name in given.include or ():
        if name == "message.output_text.logprobs":
            wants_logprobs = True
        elif name != "reasoning.encrypted_content":
            unsent.leave_out("include")
    return drop_nulls(
        {
            "parallel_tool_calls": given.parallel_tool_calls,
            "prompt_cache_key": given.prompt_cache_key,
            "safety_identifier": given.safety_identifier,
            "service_tier": given.service_tier,
            "verbosity": text.verbosity,
            "logprobs": True if wants_logprobs else None,
            "top_logprobs": given.top_logprobs or None,
        }
    )


def _read_think(reasoning: ReasoningParams | None) -> bool | str | None:
    if reasoning is None or reasoning.effort is None:
        return None
    return False if reasoning.effort == "none" else reasoning.effort


def _read_format(text: TextParams) -> JsonObject | Literal["json"] | None:
    match text.format:
        case JsonSchemaFormat(schema=schema):
            return schema
        case JsonObjectFormat():
            return "json"
        case _:
            return None


def _read_format_label(described: JsonSchemaFormat) -> JsonObject:
    label = {"name": described.name, "description": described.description, "strict": described.strict}
    return drop_nulls(label)
