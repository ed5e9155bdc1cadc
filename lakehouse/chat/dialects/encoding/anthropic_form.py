"""Requests in Anthropic's form for providers of other forms."""

from __future__ import annotations

import msgspec

from lakehouse.chat.dialects.base import Form
from lakehouse.chat.dialects.lenient_json import JsonObject, as_object, drop_nulls
from lakehouse.chat.dialects.request_changes import RequestChanges
from lakehouse.chat.model.request import AnthropicRequest, Request

WITH_WEB_SEARCH: tuple[Form, ...] = ("responses", "messages")
"""Forms in which every provider may have a web search of its own."""


def sends_own_document(request: Request, form: Form) -> bool:
    """Return whether a provider of this form gets the client's own document. With a schema the request is encoded anew,
    because each provider has a way of its own to be asked for JSON."""
    return isinstance(request, AnthropicRequest) and form == "messages" and request.format is None


def fit_anthropic_request(request: AnthropicRequest, *, form: Form, changes: RequestChanges) -> AnthropicRequest:
    """Return `request` as it can be sent in another form. What is left out is recorded in `changes`."""
    if request.web_search is not None:
        if form in WITH_WEB_SEARCH:
            options = _build_search_options(request.web_search, changes)
            request = msgspec.structs.replace(request, extra={**request.extra, "web_search_options": options})
        else:
            changes.leave_out("tools.web_search")
    return request


def _build_search_options(tool: JsonObject, changes: RequestChanges) -> JsonObject:
    """Return the web search as OpenAI's field. Its limits and domains have no place there."""
    for name in ("max_uses", "allowed_domains", "blocked_domains"):
        changes.leave_out(f"tools.web_search.{name}", tool.get(name))
    location = as_object(tool.get("user_location"))
    approximate = drop_nulls({name: value for name, value in location.items() if name != "type"})
    return {"user_location": {"type": "approximate", "approximate": approximate}} if approximate else {}
