"""Parameters of the messages dialect: sampling, thinking, the id of the end user, web search."""

from __future__ import annotations

from lakehouse.chat.dialects.encoding.body import get_checked_options, get_extra_fields
from lakehouse.chat.dialects.encoding.extra_fields import (
    DEFAULT_RULES,
    EncodeSeparately,
    FieldRules,
    Send,
    build_unsupported_field_error,
    encode_extra_fields,
)
from lakehouse.chat.dialects.lenient_json import JsonObject, as_object, as_string
from lakehouse.chat.dialects.messages.thinking import encode_thinking
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.dialects.request_changes import RequestChanges
from lakehouse.chat.model.request import Request

DEFAULT_MAX_TOKENS = 32_768
"""Tokens. The dialect requires a limit; Kimi recommends this one, and all but old models accept it."""

FIELD_RULES: FieldRules = {
    **DEFAULT_RULES,
    "cache_control": Send(("cache_control",)),
    "context_management": Send(("context_management",)),
    "metadata": EncodeSeparately(),
    "output_config": Send(("output_config",)),
    "parallel_tool_calls": EncodeSeparately(),
    "safety_identifier": EncodeSeparately(),
    "service_tier": Send(("service_tier",), {"auto": "auto", "default": "standard_only"}),
    "thinking": Send(("thinking",)),
    "top_k": Send(("top_k",)),
    "web_search_options": EncodeSeparately(),
}
"""Rules for fields of OpenAI's request; fields of this dialect are sent unchanged."""

MIN_TOP_P_WHILE_THINKING = 0.95
"""With thinking, Anthropic rejects a smaller `top_p`, every `top_k`, and every `temperature` but 1."""

WEB_SEARCH = "web_search_20250305"
"""Anthropic's server-side search, in the version that all its models accept."""


def encode_parameters(request: Request, *, model: str, quirks: Quirks, changes: RequestChanges) -> JsonObject:
    """Return the fields of the body besides the conversation and the tools."""
    extra = encode_extra_fields(request, FIELD_RULES, model=model, quirks=quirks, changes=changes)
    limit = request.max_tokens or _get_own_limit(request) or quirks.default_max_tokens or DEFAULT_MAX_TOKENS
    thinking = encode_thinking(request, quirks, limit=limit, changes=changes)
    if "output_config" in extra:
        thinking = thinking | _merge_objects("output_config", extra, thinking)
    extra |= thinking
    changes.leave_out("seed", request.seed)
    return {
        **extra,
        "max_tokens": limit,
        **encode_sampling(request, extra, quirks, changes),
        "stop_sequences": [request.stop] if isinstance(request.stop, str) else request.stop,
        "metadata": _encode_metadata(request, quirks, changes),
    }


def encode_web_search(request: Request, *, model: str, quirks: Quirks, changes: RequestChanges) -> list[JsonObject]:
    """Return the tool for `web_search_options`, empty without the field. Only Anthropic has the tool; the size of the
    search context cannot be set."""
    options = get_extra_fields(request).get("web_search_options")
    if options is None:
        return []
    if not quirks.web_search:
        raise build_unsupported_field_error("web_search_options", model=model, quirks=quirks)
    changes.leave_out("web_search_options.search_context_size", as_object(options).get("search_context_size"))
    approximate = as_object(as_object(as_object(options).get("user_location")).get("approximate"))
    location = {"user_location": {"type": "approximate", **approximate}} if approximate else {}
    return [{"type": WEB_SEARCH, "name": "web_search", **location}]


def _get_own_limit(request: Request) -> int | None:
    """Return the `max_tokens` of `options`, which no default of this service replaces."""
    limit = get_checked_options(request).get("max_tokens")
    return limit if isinstance(limit, int) and limit > 0 else None


def _merge_objects(name: str, *layers: JsonObject) -> JsonObject:
    """Return the object `name` of several layers as one; later members override earlier ones."""
    merged = {key: value for layer in layers for key, value in as_object(layer.get(name)).items()}
    return {name: merged} if merged else {}


def encode_sampling(request: Request, extra: JsonObject, quirks: Quirks, changes: RequestChanges) -> JsonObject:
    """Return `temperature`, `top_p` and `top_k`, None for those that may not be sent."""
    if request.temperature is None and request.top_p is None and "top_k" not in extra:
        return {}
    given: JsonObject = {"temperature": request.temperature, "top_p": request.top_p, "top_k": extra.get("top_k")}
    sent = dict(given)
    switch = as_object(extra.get("thinking") or get_checked_options(request).get("thinking"))
    thinks = switch.get("type") in ("enabled", "adaptive")
    if not quirks.send_temperature:
        sent = dict.fromkeys(given)
    elif thinks and not quirks.sampling_while_thinking:
        top_p = request.top_p
        sent = {
            "temperature": 1.0 if request.temperature == 1 else None,
            "top_p": top_p if top_p is not None and top_p >= MIN_TOP_P_WHILE_THINKING else None,
            "top_k": None,
        }
    if quirks.exclusive_sampling and sent["temperature"] is not None and sent["top_p"] is not None:
        for name in ("top_p", "temperature"):
            if sent[name] == 1:
                sent[name] = None
                break
    if quirks.max_temperature is not None and (sent["temperature"] or 0) > quirks.max_temperature:
        sent["temperature"] = quirks.max_temperature
        changes.adjust("temperature")
    for name, value in given.items():
        if sent[name] is None:
            changes.leave_out(name, value)
    return sent


def _encode_metadata(request: Request, quirks: Quirks, changes: RequestChanges) -> JsonObject | None:
    """Return `metadata` with the id of the end user, its only member: `user`, or OpenAI's newer `safety_identifier`, or
    the caller's own `metadata.user_id`."""
    extra = get_extra_fields(request)
    if not (request.user or extra):
        return None
    metadata, identifier = as_object(extra.get("metadata")), as_string(extra.get("safety_identifier"))
    user = (request.user or identifier or as_string(metadata.get("user_id"))) if quirks.send_user else None
    if user != request.user:
        changes.leave_out("user", request.user)
    if user != identifier:
        changes.leave_out("safety_identifier", identifier or None)
    if metadata != {"user_id": user}:
        changes.leave_out("metadata", extra.get("metadata"))
    return {"user_id": user} if user else None
