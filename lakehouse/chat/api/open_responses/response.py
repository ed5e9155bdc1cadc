"""The response object: the fields that repeat the request, whole answers, and usage."""

from __future__ import annotations

import time
from collections.abc import Sequence
from random import getrandbits
from typing import Any

import msgspec
from msgspec import UNSET

from lakehouse.chat.api.open_responses import items
from lakehouse.chat.api.open_responses.request import ResponsesRequest
from lakehouse.chat.dialects.decoding.reasoning import is_signed
from lakehouse.chat.dialects.lenient_json import JsonObject
from lakehouse.chat.model.answer import Answer, AnswerFacts

DEFAULTS: JsonObject = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}
"""The fields that repeat the request, where it has none. What the provider takes in place of a missing temperature is
unknown here."""


class ResponseTemplate:
    """What all objects of one response share: its ids, its time, and the fields of the request."""

    def __init__(self, request: ResponsesRequest) -> None:
        self.names = request.names
        self._token = f"{getrandbits(112):028x}"
        self._created = int(time.time())
        self._echo = {**DEFAULTS, **request.echo}
        if "format" not in self._echo["text"]:
            self._echo["text"] = {**DEFAULTS["text"], **self._echo["text"]}
        self._requested_model = request.model

    def make_id(self, kind: str, index: int) -> str:
        """Return the id of item `index`, which is of type `kind`."""
        return f"{items.ID_PREFIXES[kind]}_{self._token}{index:04x}"

    def build(self, status: str, *, model: str = "", output: Sequence[JsonObject] = (), **fields: Any) -> JsonObject:  # noqa: ANN401 - the further fields of the object
        """Return the response object."""
        return {
            "id": f"resp_{self._token}",
            "object": "response",
            "created_at": self._created,
            "status": status,
            "background": False,
            "completed_at": int(time.time()) if status == "completed" else None,
            "error": None,
            "incomplete_details": None,
            "model": model or self._requested_model,
            "output": list(output),
            "previous_response_id": None,
            "store": False,
            "usage": None,
            **self._echo,
            **fields,
        }

    def build_final(self, facts: AnswerFacts, output: Sequence[JsonObject]) -> JsonObject:
        """Return the object of a response that has ended as its provider ended it."""
        reason = INCOMPLETE.get(facts.finish_reason)
        fields: JsonObject = {"usage": build_usage(facts), "provider": facts.provider}
        if facts.service_tier is not UNSET:
            fields["service_tier"] = facts.service_tier
        if reason is not None:
            fields["incomplete_details"] = {"reason": reason}
        attempts = msgspec.to_builtins(facts.attempts)
        status = "completed" if reason is None else "incomplete"
        return self.build(status, model=facts.model, output=output, **fields, attempts=attempts)


INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Why a response is incomplete, by the finish reason of its answer."""


def build_usage(facts: AnswerFacts) -> JsonObject | None:
    """Return the counts, null unless both input and output were counted. Input includes cached tokens."""
    read, written = facts.input_tokens, facts.output_tokens
    if read is None or written is None:
        return None
    details = {"cached_tokens": facts.cached_tokens or 0, "cache_write_tokens": facts.cache_write_tokens or 0}
    usage: JsonObject = {
        "input_tokens": read,
        "input_tokens_details": details,
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": facts.reasoning_tokens or 0},
        "total_tokens": read + written,
    }
    return usage if facts.cost_usd is None else {**usage, "cost": facts.cost_usd}


def make_response(request: ResponsesRequest, answer: Answer) -> JsonObject:
    """Return a whole answer as a response. A refusal by the model itself is a complete answer."""
    template = ResponseTemplate(request)
    output = _build_output(template, answer)
    refused = bool(answer.refusal) and answer.finish_reason == "content_filter"
    return template.build_final(msgspec.structs.replace(answer, finish_reason="stop") if refused else answer, output)


def _build_output(template: ResponseTemplate, answer: Answer) -> list[JsonObject]:
    """Return the items: reasoning, the message, images, calls."""
    output: list[JsonObject] = []
    status = "incomplete" if answer.finish_reason == "length" else "completed"
    details = answer.reasoning_details or ()
    signed = details if any(map(is_signed, details)) else ()
    if answer.reasoning or signed:
        id = template.make_id("reasoning", len(output))  # noqa: A001
        output.append(items.build_reasoning(id, answer.reasoning, signed, "completed"))
    if parts := _build_parts(answer):
        output.append(items.build_message(template.make_id("message", len(output)), parts, status))
    for image in answer.images or ():
        id = template.make_id("image_generation_call", len(output))  # noqa: A001
        if (item := items.build_image(id, image)) is not None:
            output.append(item)
    for call in answer.tool_calls:
        id = template.make_id(items.get_call_type(call, template.names), len(output))  # noqa: A001
        output.append(items.build_call(id, call, template.names, "completed"))
    return output


def _build_parts(answer: Answer) -> list[JsonObject]:
    """Return the parts of the message. An image that is a remote URL is a link in the text."""
    refusal = answer.refusal or ""
    text = answer.content.removesuffix(refusal)
    links = [
        f"![image]({items.get_image_url(image)})" for image in answer.images or () if not items.build_image("", image)
    ]
    text = "\n\n".join(filter(None, (text, *links)))
    annotations = [items.flatten_annotation(annotation, 0) for annotation in answer.annotations or ()]
    parts = []
    if text or annotations:
        parts.append(items.build_text_part(text, annotations, items.read_logprobs(answer.logprobs or {})))
    return [*parts, items.build_refusal_part(refusal)] if refusal else parts
