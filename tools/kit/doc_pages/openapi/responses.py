"""The Responses form in the document: its operation and its schemas."""

from __future__ import annotations

from collections.abc import Mapping

from lakehouse.chat.api.open_responses.types import ResponsesParams
from tools.kit.doc_pages.openapi.operations import CHAT_ERRORS, EVENTS, JSON, STREAM, Operation
from tools.kit.doc_pages.openapi.shapes import INTEGER, NUMBER, STRING, array, nullable, struct
from tools.kit.doc_pages.openapi.translate import Schema, reference

OPERATIONS = (
    Operation(
        method="post",
        path="/v1/responses",
        id="responses",
        tag="openai",
        summary="Ask a model in the form of OpenAI's Responses",
        description=f"{STREAM} Nothing is stored: each request carries the whole conversation. A stream ends with exactly "
        "one of `response.completed`, `response.incomplete` and `response.failed`. A request for a stream that fails "
        "before the first piece, other than with 400 or 429, is a stream with `response.failed`.",
        request="ResponsesParams",
        answers={JSON: "Response", EVENTS: "ResponseEvent"},
        errors=CHAT_ERRORS,
        error="OpenAIError",
    ),
)

TYPES = (ResponsesParams,)

ABOUT: Mapping[str, str] = {
    "ResponsesParams": "A request in the form of OpenAI's Responses. `fallbacks` is an extension: names of models to try "
    "after `model`. Further fields are refused by name unless the provider speaks this form.",
}

_OBJECT: Schema = {"type": "object"}


def schemas() -> Mapping[str, Schema]:
    """Documents that no type of their own stands for."""
    usage = struct(
        {
            "input_tokens": INTEGER,
            "input_tokens_details": struct({"cached_tokens": INTEGER, "cache_write_tokens": INTEGER}),
            "output_tokens": INTEGER,
            "output_tokens_details": struct({"reasoning_tokens": INTEGER}),
            "total_tokens": INTEGER,
            "cost": NUMBER,
        },
        "The provider's counts; input includes cached tokens. `cost` is in US dollars.",
        optional=["cost"],
    )
    response: dict[str, Schema] = {
        "id": STRING,
        "object": {"const": "response"},
        "created_at": INTEGER,
        "status": {"enum": ["in_progress", "completed", "incomplete", "failed"]},
        "completed_at": nullable(INTEGER),
        "error": nullable(struct({"code": STRING, "message": STRING})),
        "incomplete_details": nullable(_OBJECT),
        "model": STRING,
        "output": array(_OBJECT),
        "store": {"const": False},
        "usage": nullable(usage),
        "provider": STRING,
        "attempts": array(reference("Attempt")),
    }
    event = struct(
        {"type": STRING, "sequence_number": INTEGER}, "An event; its name is its type. OpenAI describes its fields."
    )
    return {
        "Response": struct(
            response,
            "A response in OpenAI's form; it repeats the fields of the request. `provider` and `attempts` are additions.",
            optional=["provider", "attempts"],
        ),
        "ResponseEvent": event,
    }
