"""What becomes of a request's parameters in the messages form: sampling, thinking, ids of end users, searches."""

from __future__ import annotations

from lakehouse.chat.dialects import thinking
from lakehouse.chat.dialects.base import Changes, Quirks
from lakehouse.chat.dialects.lenient_json import JsonObject, mapping, string
from lakehouse.chat.dialects.parameters import WITHOUT_PLACE, Places, Read, Sent, carried, unplaced
from lakehouse.chat.dialects.request_fields import checked_options, extra_fields
from lakehouse.chat.model.request import Request

DEFAULT_MAX_TOKENS = 32_768
"""Tokens. The form demands a limit; this one Kimi recommends, and all but old models of the form take."""

PLACES: Places = {
    **WITHOUT_PLACE,
    "cache_control": Sent(("cache_control",)),
    "context_management": Sent(("context_management",)),
    "metadata": Read(),
    "output_config": Sent(("output_config",)),
    "parallel_tool_calls": Read(),
    "safety_identifier": Read(),
    "service_tier": Sent(("service_tier",), {"auto": "auto", "default": "standard_only"}),
    "thinking": Sent(("thinking",)),
    "top_k": Sent(("top_k",)),
    "web_search_options": Read(),
}
"""Where the fields of OpenAI's form go; the form's own are taken as they are."""

SMALLEST_TOP_P = 0.95
"""Anthropic refuses a smaller `top_p`, any `top_k`, and any `temperature` but 1, along with thinking."""

WEB_SEARCH = "web_search_20250305"
"""Anthropic's search on its own servers, in the version that all its models take."""


def parameters(request: Request, *, model: str, quirks: Quirks, changes: Changes) -> JsonObject:
    """The fields of the body that are neither the conversation nor its tools."""
    extra = carried(request, PLACES, model=model, quirks=quirks, changes=changes)
    limit = request.max_tokens or quirks.default_max_tokens or DEFAULT_MAX_TOKENS
    switch = thinking.in_messages(request, quirks, limit=limit, changes=changes)
    if "output_config" in extra:
        switch = switch | _joined("output_config", extra, switch)
    extra |= switch
    changes.leave_out("seed", request.seed)
    return {
        **extra,
        "max_tokens": limit,
        **_sampling(request, extra, quirks, changes),
        "stop_sequences": [request.stop] if isinstance(request.stop, str) else request.stop,
        "metadata": _metadata(request, quirks, changes),
    }


def web_search(request: Request, *, model: str, quirks: Quirks, changes: Changes) -> list[JsonObject]:
    """The tool that stands for `web_search_options`, which only Anthropic has; none if they were not given. How much a
    search brings in cannot be said here."""
    options = extra_fields(request).get("web_search_options")
    if options is None:
        return []
    if not quirks.web_search:
        raise unplaced("web_search_options", model=model, quirks=quirks)
    changes.leave_out("web_search_options.search_context_size", mapping(options).get("search_context_size"))
    place = mapping(mapping(mapping(options).get("user_location")).get("approximate"))
    location = {"user_location": {"type": "approximate", **place}} if place else {}
    return [{"type": WEB_SEARCH, "name": "web_search", **location}]


def _joined(name: str, *layers: JsonObject) -> JsonObject:
    """The object `name` of several layers as one, the later members over the earlier."""
    joined = {key: value for layer in layers for key, value in mapping(layer.get(name)).items()}
    return {name: joined} if joined else {}


def _sampling(request: Request, extra: JsonObject, quirks: Quirks, changes: Changes) -> JsonObject:
    """`temperature`, `top_p` and `top_k`, each None where it may not be sent."""
    if request.temperature is None and request.top_p is None and "top_k" not in extra:
        return {}
    given: JsonObject = {"temperature": request.temperature, "top_p": request.top_p, "top_k": extra.get("top_k")}
    sent = dict(given)
    switch = mapping(extra.get("thinking") or checked_options(request).get("thinking"))
    thinks = switch.get("type") in ("enabled", "adaptive")
    if not quirks.send_temperature:
        sent = dict.fromkeys(given)
    elif thinks and not quirks.sampling_while_thinking:
        top_p = request.top_p
        sent = {
            "temperature": 1.0 if request.temperature == 1 else None,
            "top_p": top_p if top_p is not None and top_p >= SMALLEST_TOP_P else None,
            "top_k": None,
        }
    if quirks.either_sampling and sent["temperature"] is not None and sent["top_p"] is not None:
        for name in ("top_p", "temperature"):
            if sent[name] == 1:
                sent[name] = None
                break
    for name, value in given.items():
        if sent[name] is None:
            changes.leave_out(name, value)
    return sent


def _metadata(request: Request, quirks: Quirks, changes: Changes) -> JsonObject | None:
    """The id of the end user: `user`, or `safety_identifier`, which OpenAI has put in its place, or the form's own
    member of `metadata`, of which it knows no other."""
    extra = extra_fields(request)
    if not (request.user or extra):
        return None
    tags, identifier = mapping(extra.get("metadata")), string(extra.get("safety_identifier"))
    user = (request.user or identifier or string(tags.get("user_id"))) if quirks.send_user else None
    if user != request.user:
        changes.leave_out("user", request.user)
    if user != identifier:
        changes.leave_out("safety_identifier", identifier or None)
    if tags != {"user_id": user}:
        changes.leave_out("metadata", extra.get("metadata"))
    return {"user_id": user} if user else None
