"""OpenRouter: chat completions in front of many providers.

Source: OpenRouterTeam/docs and its OpenAPI file.
"""

from __future__ import annotations

from dataclasses import replace

from lakehouse.chat.dialects.chat_completions.dialect import CHAT_COMPLETIONS
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.model.request import Request
from lakehouse.chat.providers.base import Provider, ProviderEndpoint
from lakehouse.chat.providers.keys import Key


class OpenRouter(Provider):
    """`referer` and `title` name the application in OpenRouter's statistics; sent unless empty."""

    name = "openrouter"
    probe_path = "/key"  # the list of models is public, so that it does not validate the key

    def __init__(self, base_url: str, key: Key | None = None, *, referer: str = "", title: str = "") -> None:
        super().__init__(base_url, key)
        names = ((b"HTTP-Referer", referer), (b"X-Title", title))
        self._endpoint = self.make_endpoint(
            CHAT_COMPLETIONS, (*self.bearer, *((name, value.encode()) for name, value in names if value))
        )
        self._quirks = Quirks(
            provider=self.name,
            completions_thinking="openrouter",
            reasoning_key="reasoning",
            reasoning_details=True,
            capabilities=CHAT_COMPLETIONS.capabilities | {"video_url", "cache_control"},
            custom_tools=True,
            server_tools=True,  # `openrouter:web_search` and others
        )
        # Without this, an endpoint that does not support `response_format` silently ignores it.
        self._strict = replace(self._quirks, extra_body={"provider": {"require_parameters": True}})

    def endpoint(self, model: str) -> ProviderEndpoint:  # noqa: ARG002
        return self._endpoint

    def quirks(self, model: str, request: Request) -> Quirks:  # noqa: ARG002
        return self._quirks if request.format is None else self._strict
