"""OpenCode Zen and Go: one gateway, three forms, and which of them serves a model is a fact of the model.

Source: anomalyco/opencode, packages/console and zen.mdx, go.mdx.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from fnmatch import fnmatchcase

import msgspec

from lakehouse.chat.dialects.chat_completions.dialect import CHAT_COMPLETIONS
from lakehouse.chat.dialects.generate_content import UNSUPPORTED_GENERATE_CONTENT
from lakehouse.chat.dialects.messages.dialect import MESSAGES
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.dialects.responses.dialect import RESPONSES
from lakehouse.chat.model.parts import Part
from lakehouse.chat.model.request import Message, Request
from lakehouse.chat.providers.base import Endpoint, Headers, Provider
from lakehouse.chat.providers.keys import Key
from lakehouse.chat.providers.opencode_models import GO, ZEN, Served, quirks_of
from lakehouse.config.tables import Endpoint as EndpointName


class OpenCode(Provider):
    """Zen or Go, whichever `base_url` names. `endpoints` overrides the table; its keys may be patterns as well."""

    name = "opencode"

    def __init__(
        self, base_url: str, key: Key | None = None, *, endpoints: Mapping[str, EndpointName] | None = None
    ) -> None:
        super().__init__(base_url, key)
        table = GO if "/zen/go/" in self.base_url + "/" else ZEN
        self._table: tuple[tuple[str, Served], ...] = (*(endpoints or {}).items(), *table)
        # Bearer on /messages is answered 401 "Missing API key."
        self._endpoints: dict[Served, Endpoint] = {
            "chat_completions": self.make_endpoint(CHAT_COMPLETIONS, self.bearer),
            "responses": self.make_endpoint(RESPONSES, self.bearer),
            "messages": self.make_endpoint(MESSAGES, self.api_key),
            "generate_content": self.make_endpoint(UNSUPPORTED_GENERATE_CONTENT),
        }

    def endpoint_name(self, model: str) -> Served:
        """The endpoint that serves `model`: what the configuration says, then the table, then chat completions."""
        return next((name for pattern, name in self._table if fnmatchcase(model, pattern)), "chat_completions")

    def endpoint(self, model: str) -> Endpoint:
        return self._endpoints[self.endpoint_name(model)]

    def quirks(self, model: str, request: Request) -> Quirks:  # noqa: ARG002
        return quirks_of(model, self.endpoint_name(model))

    def request_headers(self, request: Request) -> Headers:
        """The session header, which Go demands and Zen likes."""
        return ((b"x-opencode-session", session(request).encode()),)


def session(request: Request) -> str:
    """One opaque id per conversation: made of `user` and of all messages up to the first of the user's.

    Later turns repeat those messages, so the id stays; another user, or another opening, has another id.
    """
    opening = []
    for message in request.messages:
        opening.append((message.role, _unhinted(message)))
        if message.role == "user":
            break
    return hashlib.sha256(msgspec.json.encode((request.user, opening))).hexdigest()[:32]


def _unhinted(message: Message) -> str | tuple[Part, ...] | None:
    """The content without hints to cache, which move on with each turn."""
    if not isinstance(message.content, tuple):
        return message.content
    return tuple([msgspec.structs.replace(part, cache_control=None) for part in message.content])
