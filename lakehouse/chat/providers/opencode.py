"""OpenCode Zen and Go: one gateway with three dialects; each model is served by one of them.

Source: anomalyco/opencode, packages/console and zen.mdx, go.mdx.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from fnmatch import fnmatchcase

import msgspec

from lakehouse.chat.dialects.base import Form
from lakehouse.chat.dialects.chat_completions.dialect import CHAT_COMPLETIONS
from lakehouse.chat.dialects.generate_content import UNSUPPORTED_GENERATE_CONTENT
from lakehouse.chat.dialects.messages.dialect import MESSAGES
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.dialects.responses.dialect import RESPONSES
from lakehouse.chat.model.parts import Part
from lakehouse.chat.model.request import Message, Request
from lakehouse.chat.providers.base import Headers, Provider, ProviderEndpoint
from lakehouse.chat.providers.keys import Key
from lakehouse.chat.providers.opencode_models import GO, ZEN, Served, quirks_of
from lakehouse.config import ProviderEntry
from lakehouse.config.provider_tables import EndpointName


class OpenCode(Provider):
    """Zen or Go, depending on `base_url`. `endpoints` overrides the table; its keys may be patterns."""

    name = "opencode"

    def __init__(
        self,
        base_url: str,
        key: Key | None = None,
        *,
        endpoints: Mapping[str, EndpointName] | None = None,
        entry: ProviderEntry | None = None,
    ) -> None:
        super().__init__(base_url, key, entry=entry)
        table = GO if "/zen/go/" in self.base_url + "/" else ZEN
        self._table: tuple[tuple[str, Served], ...] = (*(endpoints or {}).items(), *table)
        # Bearer on /messages is answered 401 "Missing API key."
        self._endpoints: dict[Served, ProviderEndpoint] = {
            "chat_completions": self.make_endpoint(CHAT_COMPLETIONS, self.bearer),
            "responses": self.make_endpoint(RESPONSES, self.bearer),
            "messages": self.make_endpoint(MESSAGES, self.api_key),
            "generate_content": self.make_endpoint(UNSUPPORTED_GENERATE_CONTENT),
        }

    def endpoint_name(self, model: str) -> Served:
        """The endpoint that serves `model`: by the configuration, then the table, else chat completions."""
        return next((name for pattern, name in self._table if fnmatchcase(model, pattern)), "chat_completions")

    def endpoint(self, model: str) -> ProviderEndpoint:
        return self._endpoints[self.endpoint_name(model)]

    def base_quirks(self, model: str, request: Request, form: Form) -> Quirks:  # noqa: ARG002
        return quirks_of(model, self.endpoint_name(model))

    def request_headers(self, request: Request) -> Headers:
        """The session header: required by Go, optional for Zen."""
        return ((b"x-opencode-session", session_id(request).encode()),)


def session_id(request: Request) -> str:
    """The opaque id of a conversation: a hash of `user` and all messages up to the first user message.

    Later turns repeat those messages, so the id does not change. Another user or another beginning gives another id.
    """
    opening = []
    for message in request.messages:
        opening.append((message.role, _without_cache_hints(message)))
        if message.role == "user":
            break
    return hashlib.sha256(msgspec.json.encode((request.user, opening))).hexdigest()[:32]


def _without_cache_hints(message: Message) -> str | tuple[Part, ...] | None:
    """The content without cache hints, which move to other messages with each turn."""
    if not isinstance(message.content, tuple):
        return message.content
    return tuple([msgspec.structs.replace(part, cache_control=None) for part in message.content])
