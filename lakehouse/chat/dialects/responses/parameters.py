"""What becomes of a request's parameters in the responses form: limits, reasoning, probabilities, searches."""

from __future__ import annotations

from lakehouse.chat.dialects import thinking
from lakehouse.chat.dialects.base import Changes, Quirks
from lakehouse.chat.dialects.lenient_json import JsonObject, mapping, without_nulls
from lakehouse.chat.dialects.parameters import WITHOUT_PLACE, Places, Read, Sent, carried, note_unsent
from lakehouse.chat.dialects.request_fields import extra_fields
from lakehouse.chat.model.request import Request

PLACES: Places = {
    **WITHOUT_PLACE,
    "frequency_penalty": Sent(("frequency_penalty",)),
    "logprobs": Read(),
    "max_tool_calls": Sent(("max_tool_calls",)),
    "metadata": Sent(("metadata",)),
    "parallel_tool_calls": Sent(("parallel_tool_calls",)),
    "presence_penalty": Sent(("presence_penalty",)),
    "prompt_cache_key": Sent(("prompt_cache_key",)),
    "prompt_cache_retention": Sent(("prompt_cache_retention",)),
    "reasoning": Sent(("reasoning",)),
    "safety_identifier": Sent(("safety_identifier",)),
    "service_tier": Sent(("service_tier",)),
    "store": Sent(("store",)),
    "stream_options": Sent(("stream_options",)),
    "top_logprobs": Sent(("top_logprobs",)),
    "truncation": Sent(("truncation",)),
    "verbosity": Sent(("text", "verbosity")),
    "web_search_options": Read(),
}
"""Where the fields of OpenAI's chat completions go; the form's own are taken as they are."""

SMALLEST_LIMIT = 16
"""Tokens. A smaller `max_output_tokens` is refused, whatever the model."""


def parameters(request: Request, *, model: str, quirks: Quirks, changes: Changes) -> JsonObject:
    """The fields of the body that are neither the conversation nor its tools. Nothing is stored unless asked for."""
    extra = carried(request, PLACES, model=model, quirks=quirks, changes=changes)
    changes.leave_out("seed", request.seed)
    note_unsent(request, quirks, changes)
    known = {
        "include": _include(request, quirks) or None,
        "max_output_tokens": _limit(request, quirks, changes),
        "temperature": request.temperature if quirks.send_temperature else None,
        "top_p": request.top_p if quirks.send_temperature else None,
        "reasoning": _reasoning(thinking.nearest(request, quirks, thinking.RESPONSES_EFFORTS, changes)),
        "user": request.user if quirks.send_user else None,
    }
    return {"store": False, **extra, **without_nulls(known)}


def web_search(request: Request) -> list[JsonObject]:
    """The tool that stands for `web_search_options`; none if they were not given."""
    options = extra_fields(request).get("web_search_options")
    if options is None:
        return []
    size, place = mapping(options).get("search_context_size"), mapping(mapping(options).get("user_location"))
    location = {"type": "approximate", **mapping(place.get("approximate"))} if place else None
    return [{"type": "web_search", **without_nulls({"search_context_size": size, "user_location": location})}]


def _include(request: Request, quirks: Quirks) -> list[str]:
    """What the answer is to hold besides: reasoning that may be sent back, and the probabilities of its tokens."""
    reasoning = ["reasoning.encrypted_content"] if quirks.reasoning_details else []
    return reasoning + (["message.output_text.logprobs"] if extra_fields(request).get("logprobs") is True else [])


def _limit(request: Request, quirks: Quirks, changes: Changes) -> int | None:
    """The most tokens of an answer. A limit that is too small for the form is raised to the smallest one: the caller
    who asks for a word gets a few more, and not a refusal."""
    limit = request.max_tokens or quirks.default_max_tokens
    if limit is None or limit >= SMALLEST_LIMIT:
        return limit
    changes.adjust("max_tokens")
    return SMALLEST_LIMIT


def _reasoning(think: bool | str | None) -> JsonObject | None:
    """Effort, and a summary, without which no reasoning is shown."""
    if think is None:
        return None
    if think is False or think == "none":
        return {"effort": "none"}
    return {"summary": "auto"} if think is True else {"effort": think, "summary": "auto"}
