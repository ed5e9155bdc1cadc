"""Excerpts of upstream texts for errors and logs: short, on one line, without secrets."""

from __future__ import annotations

import re
from collections.abc import Iterable

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


def redact_and_truncate(text: str | bytes, *, secrets: Iterable[str] = ()) -> str:
    """Return at most `MAX_EXCERPT` characters of `text` on one line. `secrets`, and anything that looks like a key, are
    masked."""
    excerpt = text[:MAX_EXAMINED].decode("utf-8", "replace") if isinstance(text, bytes) else text[:MAX_EXAMINED]
    if len(text) > MAX_EXAMINED:
        excerpt = re.sub(r"\S{1,256}$", "", excerpt)  # truncation may split a key so that no pattern matches it
    if excerpt.lstrip().startswith("<"):
        excerpt = _strip_markup(excerpt)
    for secret in secrets:
        excerpt = excerpt.replace(secret, "***") if secret else excerpt
    for pattern, mask in _SECRETS:
        excerpt = pattern.sub(mask, excerpt)
    excerpt = " ".join("".join(char if char.isprintable() else " " for char in excerpt).split())
    return excerpt if len(excerpt) <= MAX_EXCERPT else excerpt[: MAX_EXCERPT - 1] + "…"


def _strip_markup(page: str) -> str:
    """Return the title of an HTML page, or its words if it has none; the rest of a page with a title is navigation."""
    title = re.search(r"(?is)<title[^>]*>(.*?)</title>", page)
    if title and title[1].strip():
        return f"an HTML page: {title[1]}"
    body = re.sub(r"(?is)<(script|style)\b.*?(</\1>|$)", " ", page)
    return f"an HTML page: {re.sub(r'<[^>]*>', ' ', body)}"
