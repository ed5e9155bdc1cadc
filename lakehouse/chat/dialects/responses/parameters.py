"""Parameters of the responses dialect: limits, reasoning, probabilities, web search."""

from __future__ import annotations

from lakehouse.chat.dialects.encoding.body import get_checked_options, get_extra_fields
from lakehouse.chat.dialects.encoding.extra_fields import (
    DEFAULT_RULES,
    EncodeSeparately,
    FieldRules,
    Send,
    encode_extra_fields,
    record_unsent_fields,
)
from lakehouse.chat.dialects.encoding.thinking import resolve_level
from lakehouse.chat.dialects.lenient_json import JsonObject, as_object, drop_nulls
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.dialects.request_changes import RequestChanges
from lakehouse.chat.model.request import Request

FIELD_RULES: FieldRules = {
    **DEFAULT_RULES,
    "frequency_penalty": Send(("frequency_penalty",)),
    "logprobs": EncodeSeparately(),
    "max_tool_calls": Send(("max_tool_calls",)),
    "metadata": Send(("metadata",)),
    "parallel_tool_calls": Send(("parallel_tool_calls",)),
    "presence_penalty": Send(("presence_penalty",)),
    "prompt_cache_key": Send(("prompt_cache_key",)),
    "prompt_cache_retention": Send(("prompt_cache_retention",)),
    "reasoning": Send(("reasoning",)),
    "safety_identifier": Send(("safety_identifier",)),
    "service_tier": Send(("service_tier",)),
    "store": Send(("store",)),
    "stream_options": Send(("stream_options",)),
    "top_logprobs": Send(("top_logprobs",)),
    "truncation": Send(("truncation",)),
    "verbosity": Send(("text", "verbosity")),
    "web_search_options": EncodeSeparately(),
}
"""Rules for fields of OpenAI's chat completions; fields of this dialect are sent unchanged."""

MIN_OUTPUT_TOKENS = 16
"""Tokens. A smaller `max_output_tokens` is rejected for every model."""

NEAREST_EFFORTS = {"max": "xhigh", "ultra": "xhigh"}
"""The nearest of OpenAI's efforts (minimal, low, medium, high, xhigh) to each level that it rejects."""


def encode_parameters(request: Request, *, model: str, quirks: Quirks, changes: RequestChanges) -> JsonObject:
    """Return the fields of the body besides the conversation and the tools. Nothing is stored unless requested."""
    extra = encode_extra_fields(request, FIELD_RULES, model=model, quirks=quirks, changes=changes)
    changes.leave_out("seed", request.seed)
    record_unsent_fields(request, quirks, changes)
    known = {
        "include": _encode_include(request, quirks) or None,
        "max_output_tokens": _encode_limit(request, quirks, changes),
        "temperature": request.temperature if quirks.send_temperature else None,
        "top_p": request.top_p if quirks.send_temperature else None,
        "reasoning": _encode_reasoning(resolve_level(request, quirks, NEAREST_EFFORTS, changes)),
        "user": request.user if quirks.send_user else None,
    }
    stored = {} if "store" in get_checked_options(request) else {"store": False}
    return {**stored, **extra, **drop_nulls(known)}


def merge_own_fields(own_fields: JsonObject, parameters: JsonObject) -> JsonObject:
    """Return the fields that a client of this form wrote, with those that were encoded anew: the effort and the format
    of the text. Optional contents are requested in addition to those that this service needs."""
    merged = dict(own_fields)
    if "reasoning" in merged:
        merged["reasoning"] = {**as_object(parameters.get("reasoning")), **_without(merged["reasoning"], "effort")}
    if "text" in merged:
        merged["text"] = {**_without(merged["text"], "format"), **as_object(parameters.get("text"))}
    if "include" in merged:
        merged["include"] = [*dict.fromkeys([*(parameters.get("include") or ()), *merged["include"]])]
    return merged


def _without(fields: object, name: str) -> JsonObject:
    return {key: value for key, value in as_object(fields).items() if key != name and value is not None}


def encode_web_search(request: Request) -> list[JsonObject]:
    """Return the tool for `web_search_options`, empty without the field."""
    options = get_extra_fields(request).get("web_search_options")
    if options is None:
        return []
    size = as_object(options).get("search_context_size")
    user_location = as_object(as_object(options).get("user_location"))
    location = {"type": "approximate", **as_object(user_location.get("approximate"))} if user_location else None
    return [{"type": "web_search", **drop_nulls({"search_context_size": size, "user_location": location})}]


def _encode_include(request: Request, quirks: Quirks) -> list[str]:
    """Return optional contents of the answer: reasoning that can be sent back, probabilities of tokens, and those that
    `options` names."""
    reasoning = ["reasoning.encrypted_content"] if quirks.reasoning_details else []
    logprobs = ["message.output_text.logprobs"] if get_extra_fields(request).get("logprobs") is True else []
    given = get_checked_options(request).get("include")
    return [*dict.fromkeys([*reasoning, *logprobs, *(given if isinstance(given, list) else ())])]


def _encode_limit(request: Request, quirks: Quirks, changes: RequestChanges) -> int | None:
    """Return the limit of output tokens, raised to the minimum of the dialect: a few tokens more serve the caller
    better than a rejection."""
    limit = request.max_tokens or quirks.default_max_tokens
    if limit is None or limit >= MIN_OUTPUT_TOKENS:
        return limit
    changes.adjust("max_tokens")
    return MIN_OUTPUT_TOKENS


def _encode_reasoning(think: bool | str | None) -> JsonObject | None:
    """Return the effort, and the request for a summary, without which no reasoning is returned."""
    if think is None:
        return None
    if think is False or think == "none":
        return {"effort": "none"}
    return {"summary": "auto"} if think is True else {"effort": think, "summary": "auto"}
