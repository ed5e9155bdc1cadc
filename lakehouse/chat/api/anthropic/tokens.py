"""Estimates of tokens: of a request that no provider has counted, and of answers that a provider does not count."""

from __future__ import annotations

from lakehouse.chat.model.parts import JsonObject

BYTES_PER_TOKEN = 3.5
"""Of English text and code, as the tokenizers of Claude models have it. Other text has fewer bytes in a token."""

IMAGE_TOKENS = 1_600
"""The most that an image costs: larger ones are scaled down."""

DOCUMENT_BYTES_PER_TOKEN = 50
"""Of a PDF in base64: about 100 kB, and 2,000 tokens, for each page."""

MIN_DOCUMENT_TOKENS = 2_000
"""One page."""

COUNTED_FIELDS = ("system", "messages", "tools")
"""Fields of a request that the model reads."""


def estimate_tokens(document: JsonObject) -> int:
    """Estimate the input tokens of a request in Anthropic's form, at least 1."""
    size = tokens = 0
    waiting: list[object] = [document.get(name) for name in COUNTED_FIELDS]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            size += measure(value)
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            if isinstance(source := value.get("source"), dict) and source.get("type") != "text":
                tokens += _estimate_media(value, source)
                continue
            size += sum(map(len, value))
            waiting += value.values()
    return max(1, tokens + estimate_size(size))


def estimate_text(*texts: str) -> int:
    """Estimate the tokens of an answer."""
    return estimate_size(sum(map(measure, texts)))


def measure(text: str) -> int:
    """The bytes of a text."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


def estimate_size(size: int) -> int:
    """Estimate the tokens of so many bytes of text."""
    return round(size / BYTES_PER_TOKEN)


def _estimate_media(block: JsonObject, source: JsonObject) -> int:
    if block.get("type") == "image":
        return IMAGE_TOKENS
    data = source.get("data")
    return max(MIN_DOCUMENT_TOKENS, len(data) // DOCUMENT_BYTES_PER_TOKEN if isinstance(data, str) else 0)
