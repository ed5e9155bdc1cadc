"""The wire protocols of providers: which one a request is in, and a model of each."""

from __future__ import annotations

from typing import Literal

from lakehouse.testing.upstreams import ReceivedRequest
from tools.kit.service_with_providers import format_of

Wire = Literal["chat_completions", "responses", "messages", "ollama"]

PROVIDERS: dict[Wire, str] = {
    "chat_completions": "openrouter",
    "responses": "opencode",
    "messages": "opencode",
    "ollama": "ollama",
}
"""A provider that is asked in each protocol."""

PREFIXES: dict[Wire, str] = {
    "chat_completions": "openrouter/v/",
    "responses": "opencode/gpt-5-",
    "messages": "opencode/claude-",
    "ollama": "ollama/",
}
"""How the names of its models begin, for the service."""

_WIRES: dict[str, Wire] = {
    "/chat/completions": "chat_completions",
    "/messages": "messages",
    "/responses": "responses",
    "/api/chat": "ollama",
}


def find_wire(asked: ReceivedRequest) -> Wire:
    """The protocol of a request to a provider, by the end of its path."""
    return _WIRES[format_of(asked)]
