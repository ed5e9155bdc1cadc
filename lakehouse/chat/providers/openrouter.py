"""OpenRouter: chat completions in front of many providers.

Source: OpenRouterTeam/docs and its OpenAPI file.
"""

from __future__ import annotations

from dataclasses import replace

from lakehouse.chat.dialects.base import Form
from lakehouse.chat.dialects.chat_completions.dialect import CHAT_COMPLETIONS
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.model.request import Request
from lakehouse.chat.providers.base import Provider, ProviderEndpoint
from lakehouse.chat.providers.keys import Key
from lakehouse.config import ProviderEntry


class OpenRouter(Provider):
    """The headers `HTTP-Referer` and `X-Title` name the application in OpenRouter's statistics."""

    name = "openrouter"
    probe_path = "/key"  # the list of models is public, so that it does not validate the key

    def __init__(self, base_url: str, key: Key | None = None, *, entry: ProviderEntry | None = None) -> None:
        super().__init__(base_url, key, entry=entry)
        self._endpoint = self.make_endpoint(CHAT_COMPLETIONS, self.bearer)
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

    def base_quirks(self, model: str, request: Request, form: Form) -> Quirks:  # noqa: ARG002
        return self._quirks if request.format is None else self._strict
