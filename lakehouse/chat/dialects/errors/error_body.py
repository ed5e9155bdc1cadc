"""Finds the message and the error object in the body of an error response."""

from __future__ import annotations

from lakehouse.chat.dialects.errors.redaction import MAX_EXAMINED, redact_and_truncate
from lakehouse.chat.dialects.lenient_json import JsonObject, as_object, as_string, decode_json


def parse_error_body(body: bytes) -> tuple[str, JsonObject]:
    """Return the message of an error body and its error object, whatever the content type.

    `error` may be an object or a string, the message may stand in its place, and the web frameworks of Go and Python
    have shapes of their own (`{"StatusCode", "error"}`, `{"detail"}`). A body that is not JSON is its own message, with
    an empty object.
    """
    try:
        document = as_object(decode_json(body))
    except ValueError:
        return body[: 2 * MAX_EXAMINED].decode("utf-8", "replace"), {}
    error = document.get("error")
    if not isinstance(error, dict):
        error = {**document, "message": error if isinstance(error, str) else document.get("message")}
    message = as_string(error.get("message")) or as_string(document.get("message")) or as_string(document.get("detail"))
    message = message or body[:MAX_EXAMINED].decode("utf-8", "replace")  # an unknown shape: the raw body is quoted
    # "Provider returned error" is OpenRouter's own message; that of the provider is beside it.
    raw = as_string(as_object(error.get("metadata")).get("raw"))
    message = message[: 2 * MAX_EXAMINED]
    return (f"{message}: {redact_and_truncate(raw)}" if raw else message), error
