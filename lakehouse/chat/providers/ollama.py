"""Ollama on this machine or in this network: its native API, without a key.

Source: ollama/ollama, api/types.go and server/routes.go.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from lakehouse.chat.dialects.base import Form
from lakehouse.chat.dialects.ollama.dialect import OLLAMA
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.model.request import Request
from lakehouse.chat.providers.base import ListedModel, Provider, ProviderEndpoint
from lakehouse.chat.providers.keys import Key
from lakehouse.config import ProviderEntry


class _Model(msgspec.Struct):
    name: str
    modified_at: str | None = None


class _Tags(msgspec.Struct):
    models: list[_Model] | None = None


_decoder = msgspec.json.Decoder(_Tags)


class Ollama(Provider):
    """Local Ollama. `think` is sent when the caller does not set it; without it, the server turns thinking on."""

    name = "ollama"
    listing_path = "/api/tags"
    probe_path = "/api/version"
    description_path = "/api/show"
    loaded_path = "/api/ps"

    def __init__(
        self, base_url: str, key: Key | None = None, *, think: bool = False, entry: ProviderEntry | None = None
    ) -> None:
        super().__init__(base_url, key, entry=entry)
        self._endpoint = self.make_endpoint(OLLAMA, self.bearer)
        self._quirks = self.make_quirks(think)

    def make_quirks(self, think: bool) -> Quirks:
        """The quirks."""
        return make_ollama_quirks(self.name, think=think)

    def endpoint(self, model: str) -> ProviderEndpoint:  # noqa: ARG002
        return self._endpoint

    def base_quirks(self, model: str, request: Request, form: Form) -> Quirks:  # noqa: ARG002
        return self._quirks

    def parse_listing(self, body: bytes) -> list[ListedModel]:
        return parse_tags(body)


def make_ollama_quirks(name: str, *, think: bool) -> Quirks:
    """The quirks of an Ollama that is called `name`.

    The server enforces `format` but does not show it to the model, so the schema goes into the prompt too.
    """
    return Quirks(
        provider=name,
        default_think=think,
        reasoning_key="thinking",
        images="data",
        json_mode="native",
        schema_in_prompt=True,
        inline_think="tagged",  # `…</think>` in the text with thinking switched off: ollama#17292
    )


def parse_tags(body: bytes) -> list[ListedModel]:
    """Decode `{"models":[{"name","modified_at"}]}`. Raises as `Provider.parse_listing`."""
    return [
        ListedModel(item.name, _unix_seconds(item.modified_at or "")) for item in _decoder.decode(body).models or ()
    ]


def _unix_seconds(written: str) -> int:
    try:
        return int(datetime.fromisoformat(written).timestamp())
    except (ValueError, OverflowError):
        return 0
