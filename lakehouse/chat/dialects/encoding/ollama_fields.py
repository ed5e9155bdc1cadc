"""Fields that only Ollama's requests have, for an upstream that is no Ollama."""

from __future__ import annotations

import msgspec

from lakehouse.chat.dialects.encoding.capabilities import MAX_NAME
from lakehouse.chat.dialects.lenient_json import JsonObject, as_object
from lakehouse.chat.dialects.quirks import Capability, Quirks
from lakehouse.chat.dialects.request_changes import RequestChanges
from lakehouse.chat.model.request import OllamaRequest, Request
from lakehouse.core.errors import ErrBadRequest

RUNNER_FIELDS = ("keep_alive", "options", "shift", "truncate")
"""Fields about the process that runs a model, and about its context: they are left out. `options` are left out one by
one; those with an equivalent elsewhere are fields of the request already."""


def get_ollama_fields(request: Request) -> JsonObject:
    """Return the fields of a request in Ollama's form that only an Ollama has a place for."""
    return request.ollama_fields if isinstance(request, OllamaRequest) else {}


def fit_ollama_fields(
    request: Request, capabilities: frozenset[Capability], quirks: Quirks, changes: RequestChanges
) -> Request:
    """Return `request` without the fields that only an Ollama has, unless the dialect is Ollama's. `capabilities` are
    those of the dialect.

    Raises `ErrBadRequest` naming an unknown field, which could change the answer.
    """
    fields = get_ollama_fields(request)
    if not fields or not isinstance(request, OllamaRequest) or "ollama_fields" in capabilities:
        return request
    for name in fields:
        if name not in RUNNER_FIELDS:
            message = f"`{name[:MAX_NAME]}` cannot be sent: {quirks.provider} has no such field"
            raise ErrBadRequest(message, field=name[:MAX_NAME])
        if name != "options":
            changes.leave_out(name)
    options = as_object(fields.get("options"))
    accepted = capabilities if quirks.capabilities is None else quirks.capabilities
    kept = {name: options[name] for name in ("top_k",) if name in options and "top_k" in accepted}
    for name in options:
        if name not in kept:
            changes.leave_out(f"options.{name[:MAX_NAME]}")
    return msgspec.structs.replace(request, ollama_fields={}, extra={**request.extra, **kept})
