"""Excerpts of upstream texts for errors and logs: short, on one line, without secrets."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

MAX_EXCERPT = 300
"""Characters of an upstream's text that an error quotes."""

MAX_EXAMINED = 4096
"""Characters that are examined: enough for an excerpt after markup and secrets are removed, whatever the body's
size."""

_SECRETS = (
    (re.compile(r"\b(sk|pk|rk)-[\w*-]{4,}"), r"\1-***"),
    (re.compile(r"(?i)\bbearer\s+[^\s\"',]+"), "Bearer ***"),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w.-]+"), "***"),  # a JSON web token
    (re.compile(r"\bAIza[\w-]{20,}"), "***"),  # Google's keys
    (re.compile(r"\b[0-9a-f]{32}\.[\w-]{12,}"), "***"),  # Ollama's keys
    (re.compile(r"(?i)((?:api[_-]?key|token|secret|password)[\"']?\s*[:=]\s*[\"']?)[^\s\"'&,}]{6,}"), r"\1***"),
)

_SECRET_NAME = re.compile(r"(?i)(.*[_-])?(api[_-]?key|token|secret|password|authorization)")


def redact_and_truncate(text: str | bytes, *, secrets: Iterable[str] = ()) -> str:
    """Return at most `MAX_EXCERPT` characters of `text` on one line. `secrets`, and anything that looks like a key, are
    masked."""
    excerpt = text[:MAX_EXAMINED].decode("utf-8", "replace") if isinstance(text, bytes) else text[:MAX_EXAMINED]
    if len(text) > MAX_EXAMINED:
        excerpt = re.sub(r"\S{1,256}$", "", excerpt)  # truncation may split a key so that no pattern matches it
    if excerpt.lstrip().startswith("<"):
        excerpt = _strip_markup(excerpt)
    excerpt = _mask(excerpt, secrets)
    excerpt = " ".join("".join(char if char.isprintable() else " " for char in excerpt).split())
    return excerpt if len(excerpt) <= MAX_EXCERPT else excerpt[: MAX_EXCERPT - 1] + "…"


def redact_document(body: bytes, *, secrets: Iterable[str] = ()) -> bytes:
    """Return a JSON object with `secrets`, and anything that looks like a key, masked; its bytes as they are if it has
    none, and empty bytes for anything but a JSON object."""
    try:
        document = msgspec.json.decode(body)
        masked = _mask_values(document, tuple(secrets))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return b""
    if not isinstance(document, dict):
        return b""
    return body if masked == document else msgspec.json.encode(masked)


def _mask_values(value: object, secrets: tuple[str, ...]) -> object:
    if isinstance(value, str):
        return _mask(value, secrets)
    if isinstance(value, list):
        return [_mask_values(item, secrets) for item in value]
    if isinstance(value, dict):
        return {
            _mask(name, secrets): "***"
            if isinstance(item, str) and _SECRET_NAME.fullmatch(name)
            else _mask_values(item, secrets)
            for name, item in value.items()
        }
    return value


def _mask(text: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, "***") if secret else text
    for pattern, mask in _SECRETS:
        text = pattern.sub(mask, text)
    return text


def _strip_markup(page: str) -> str:
    """Return the title of an HTML page, or its words if it has none; the rest of a page with a title is navigation."""
    title = re.search(r"(?is)<title[^>]*>(.*?)</title>", page)
    if title and title[1].strip():
        return f"an HTML page: {title[1]}"
    body = re.sub(r"(?is)<(script|style)\b.*?(</\1>|$)", " ", page)
    return f"an HTML page: {re.sub(r'<[^>]*>', ' ', body)}"
