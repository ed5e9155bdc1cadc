"""What an upstream said, fit to be shown: short, on one line, and without a secret in it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from lakehouse.chat.dialects.lenient_json import JsonObject, load, mapping, string

LONGEST = 300
"""Characters of an upstream's own words that an error shows."""

_LOOKED_AT = 4096  # characters: enough for what is shown after markup and secrets are gone, whatever the body's size

_SECRETS = (
    (re.compile(r"\b(sk|pk|rk)-[\w*-]{4,}"), r"\1-***"),
    (re.compile(r"(?i)\bbearer\s+[^\s\"',]+"), "Bearer ***"),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w.-]+"), "***"),  # a JSON web token
    (re.compile(r"\bAIza[\w-]{20,}"), "***"),  # Google's keys
    (re.compile(r"\b[0-9a-f]{32}\.[\w-]{12,}"), "***"),  # Ollama's keys
    (re.compile(r"(?i)((?:api[_-]?key|token|secret|password)[\"']?\s*[:=]\s*[\"']?)[^\s\"'&,}]{6,}"), r"\1***"),
)


def redact_and_truncate(said: str | bytes, *, secrets: Iterable[str] = ()) -> str:
    """At most `LONGEST` characters of it. `secrets` are masked wherever they stand, and whatever looks like a key."""
    text = said[:_LOOKED_AT].decode("utf-8", "replace") if isinstance(said, bytes) else said[:_LOOKED_AT]
    if len(said) > _LOOKED_AT:
        text = re.sub(r"\S{1,256}$", "", text)  # the cut may have gone through a key, which nothing would recognise
    if text.lstrip().startswith("<"):
        text = _without_markup(text)
    for secret in secrets:
        text = text.replace(secret, "***") if secret else text
    for pattern, mask in _SECRETS:
        text = pattern.sub(mask, text)
    text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _without_markup(text: str) -> str:
    """The words of an HTML page: its title if it has one, for the rest is navigation."""
    title = re.search(r"(?is)<title[^>]*>(.*?)</title>", text)
    if title and title[1].strip():
        return f"an HTML page: {title[1]}"
    bare = re.sub(r"(?is)<(script|style)\b.*?(</\1>|$)", " ", text)
    return f"an HTML page: {re.sub(r'<[^>]*>', ' ', bare)}"


def message_of(body: bytes) -> tuple[str, JsonObject]:
    """What an error body says, and its error object, whatever the content type was.

    `error` may be an object or a string, the message may stand in its place, and Go's and Python's web frameworks have
    their own envelopes (`{"StatusCode", "error"}`, `{"detail"}`). What is no JSON says itself, and has no object.
    """
    try:
        document = mapping(load(body))
    except ValueError:
        return body[: 2 * _LOOKED_AT].decode("utf-8", "replace"), {}
    error = document.get("error")
    if not isinstance(error, dict):
        error = {**document, "message": error if isinstance(error, str) else document.get("message")}
    said = string(error.get("message")) or string(document.get("message")) or string(document.get("detail"))
    said = said or body[:_LOOKED_AT].decode("utf-8", "replace")  # an envelope of its own: better shown than left out
    # "Provider returned error" is OpenRouter's own sentence; what the provider said is beside it.
    raw = string(mapping(error.get("metadata")).get("raw"))
    said = said[: 2 * _LOOKED_AT]
    return (f"{said}: {redact_and_truncate(raw)}" if raw else said), error
