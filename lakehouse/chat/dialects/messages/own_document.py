"""Requests that a client wrote in this dialect: its own document, with the changes that a provider needs.

What is not named here is sent as the client wrote it, fields and blocks that this service does not know among them.
"""

from __future__ import annotations

import msgspec

from lakehouse.chat.dialects.encoding.body import get_checked_options, merge_layers
from lakehouse.chat.dialects.lenient_json import JsonObject, as_object, as_objects
from lakehouse.chat.dialects.messages.parameters import encode_sampling
from lakehouse.chat.dialects.messages.thinking import MIN_BUDGET, encode_thinking
from lakehouse.chat.dialects.quirks import MessagesThinking, Quirks
from lakehouse.chat.dialects.request_changes import RequestChanges
from lakehouse.chat.model.request import AnthropicRequest

REPLACED = ("thinking", "temperature", "top_p", "top_k", "fallbacks")
"""Fields that are encoded anew."""

THINKING_TYPES: dict[MessagesThinking, tuple[str, ...]] = {
    "budget": ("enabled", "disabled"),
    "adaptive": ("adaptive", "disabled", "between_tools"),
    "always": ("adaptive",),
}
"""The types of `thinking` that models of each kind accept."""


def encode_own_document(
    request: AnthropicRequest, *, model: str, stream: bool, quirks: Quirks, changes: RequestChanges
) -> bytes:
    """Return the body: the client's document with another model."""
    document = build_own_document(request, model=model, stream=stream, quirks=quirks, changes=changes)
    return msgspec.json.encode(document)


def build_own_document(
    request: AnthropicRequest, *, model: str, stream: bool, quirks: Quirks, changes: RequestChanges
) -> JsonObject:
    """Return the body of `encode_own_document`, before it is encoded."""
    document = {name: value for name, value in request.document.items() if name not in REPLACED}
    if "fallbacks" in request.unmapped:  # Anthropic's own
        document["fallbacks"] = request.document["fallbacks"]
    if not quirks.send_user and document.pop("metadata", None) is not None:
        changes.leave_out("metadata")
    thinking = _encode_thinking(request, quirks, changes)
    config = {**as_object(document.pop("output_config", None)), **as_object(thinking.get("output_config"))}
    if thinking.get("thinking") != request.document.get("thinking") and "output_config" not in thinking:
        config.pop("effort", None)  # the budget expresses it, for models that know no effort
    if config:
        document["output_config"] = config
    extra = {**request.extra, "thinking": thinking.get("thinking")}
    sampling = encode_sampling(request, extra, quirks, changes)
    messages = _encode_messages(request, quirks, changes)
    known = {"model": model, "messages": messages, "stream": stream, "thinking": thinking.get("thinking")}
    return merge_layers(quirks.extra_body, get_checked_options(request), document, sampling, known)


def _encode_thinking(request: AnthropicRequest, quirks: Quirks, changes: RequestChanges) -> JsonObject:
    """Return the client's thinking, in the nearest way that the model has; the provider's default if there is none."""
    given = as_object(request.document.get("thinking"))
    kind = given.get("type")
    known = [type_ for types in THINKING_TYPES.values() for type_ in types]
    if given and (kind in THINKING_TYPES[quirks.messages_thinking] or kind not in known):
        return {"thinking": given}
    limit = request.max_tokens or 0
    if not given:
        if quirks.default_think is None:
            return {}
        return _encode_anew(request, None, quirks, limit)
    changes.adjust("thinking")
    if quirks.messages_thinking == "budget" and limit <= MIN_BUDGET:
        return {}
    return _encode_anew(request, kind != "disabled" and (request.think or True), quirks, limit)


def _encode_anew(request: AnthropicRequest, think: bool | str | None, quirks: Quirks, limit: int) -> JsonObject:
    request = msgspec.structs.replace(request, think=think)
    return encode_thinking(request, quirks, limit=limit, changes=RequestChanges())  # recorded under the client's name


def _encode_messages(request: AnthropicRequest, quirks: Quirks, changes: RequestChanges) -> list[JsonObject]:
    """Return the messages without thinking that has no signature, unless the provider accepts it, and without citations
    that this service made of another provider's."""
    messages: list[JsonObject] = list(map(_drop_foreign_citations, request.document["messages"]))
    if quirks.unsigned_thinking or not any(_is_unsigned(block) for message in messages for block in _blocks(message)):
        return messages
    changes.leave_out("messages.content.thinking")
    signed = []
    for message in messages:
        blocks = [block for block in _blocks(message) if not _is_unsigned(block)]
        if blocks or not _blocks(message):
            signed.append({**message, "content": blocks} if _blocks(message) else message)
    return signed


def _drop_foreign_citations(message: JsonObject) -> JsonObject:
    if not any(map(_has_foreign_citation, _blocks(message))):
        return message
    blocks = [
        {name: value for name, value in block.items() if name != "citations"} if _has_foreign_citation(block) else block
        for block in _blocks(message)
    ]
    return {**message, "content": blocks}


def _has_foreign_citation(block: JsonObject) -> bool:
    return "citations" in block and any(
        citation.get("encrypted_index") == "" for citation in as_objects(block["citations"])
    )


def _blocks(message: JsonObject) -> list[JsonObject]:
    return as_objects(message.get("content"))


def _is_unsigned(block: JsonObject) -> bool:
    return block.get("type") == "thinking" and not block.get("signature")
