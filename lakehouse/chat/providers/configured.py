"""A provider that is known from the configuration alone, or from a ready entry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase

from lakehouse.chat.dialects.base import Dialect, Form
from lakehouse.chat.dialects.chat_completions.dialect import CHAT_COMPLETIONS
from lakehouse.chat.dialects.messages.dialect import MESSAGES
from lakehouse.chat.dialects.ollama.dialect import OLLAMA
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.dialects.responses.dialect import RESPONSES
from lakehouse.chat.model.request import Request
from lakehouse.chat.providers.base import (
    ANTHROPIC_VERSION,
    Headers,
    ListedModel,
    Provider,
    ProviderEndpoint,
    parse_openai_listing,
)
from lakehouse.chat.providers.claude import is_claude, quirks_of_claude
from lakehouse.chat.providers.keys import Key
from lakehouse.chat.providers.named_quirks import API_KEY_HEADER, BEARER_KEY
from lakehouse.chat.providers.ollama import Ollama, make_ollama_quirks, parse_tags
from lakehouse.config import ProviderEntry
from lakehouse.config.provider_values import WireName
from lakehouse.core.provider_failures import make_failure

DIALECTS: Mapping[WireName, Dialect] = {
    "chat_completions": CHAT_COMPLETIONS,
    "responses": RESPONSES,
    "messages": MESSAGES,
    "ollama": OLLAMA,
}


class ConfiguredProvider(Provider):
    """A provider with the name, the wires and everything else of its entry.

    A model that several wires serve is called over the first of them, and over the client's own where that is among
    them. `think` is what an Ollama is sent when the caller does not say.
    """

    def __init__(self, entry: ProviderEntry, base_url: str, key: Key | None = None, *, think: bool = False) -> None:
        super().__init__(base_url, key, entry=entry)
        self.name = entry.name
        self._wires = tuple(entry.wire.items())
        self._quirk_names = entry.quirks
        used = {wire for wires in entry.wire.values() for wire in wires}
        self._endpoints = {wire: self.make_endpoint(DIALECTS[wire], self._authenticate(wire)) for wire in used}
        self._main_wire = entry.main_wire
        self._base_quirks = _make_quirks(entry.name, think=think)
        if self._main_wire == "ollama":
            self.listing_path, self.probe_path = Ollama.listing_path, Ollama.probe_path
            self.description_path, self.loaded_path = Ollama.description_path, Ollama.loaded_path
        elif self._main_wire == "messages":
            self.listing_path = "/models?limit=1000"  # the default is a page of 20

    def find_wires(self, model: str) -> tuple[WireName, ...]:
        """The wires that serve `model`: those of the first pattern that matches. Raises `model_not_found` if none does:
        what the configuration does not declare is not guessed."""
        for pattern, wires in self._wires:
            if pattern == "*" or fnmatchcase(model, pattern):
                return wires
        message = f"no pattern of providers.{self.name}.wire fits the model {model}"
        raise make_failure("model_not_found", message, provider=self.name)

    def endpoint(self, model: str) -> ProviderEndpoint:
        return self._endpoints[self.find_wires(model)[0]]

    def endpoint_of_form(self, model: str, form: Form) -> ProviderEndpoint | None:
        wires = self.find_wires(model)
        if len(wires) == 1:
            return None
        return next((self._endpoints[wire] for wire in wires if wire == form), None)

    def base_quirks(self, model: str, request: Request, form: Form) -> Quirks:  # noqa: ARG002
        quirks = self._base_quirks[form]
        return quirks_of_claude(model, quirks) if form == "messages" and is_claude(model) else quirks

    @property
    def query_credentials(self) -> Headers:
        """The headers with the key, as the main wire has it."""
        return self._authenticate(self._main_wire)

    def parse_listing(self, body: bytes) -> list[ListedModel]:
        return parse_tags(body) if self._main_wire == "ollama" else parse_openai_listing(body)

    def _authenticate(self, wire: WireName) -> Headers:
        if self.key is not None and API_KEY_HEADER in self._quirk_names:
            return ((b"api-key", self.key.value.encode()),)
        if wire != "messages":
            return self.bearer
        if BEARER_KEY in self._quirk_names:
            return (*self.bearer, (b"anthropic-version", ANTHROPIC_VERSION))
        return self.api_key


def _make_quirks(name: str, *, think: bool) -> Mapping[Form, Quirks]:
    """What is usual over each wire, before the named quirks and those of models."""
    usual = Quirks(provider=name)
    return {
        "chat_completions": usual,
        # Stateless: reasoning is returned encrypted and sent back with the next turn.
        "responses": replace(usual, reasoning_details=True, custom_tools=True),
        "messages": replace(usual, reasoning_details=True, json_mode="tool"),
        "ollama": make_ollama_quirks(name, think=think),
    }
