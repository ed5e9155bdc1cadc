"""A provider: a dialect plus facts (base URL, authentication headers, quirks of its models).

Each module beside this one has the facts of one provider. Nothing here does I/O.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import httpx
import msgspec

from lakehouse import __version__
from lakehouse.chat.dialects.base import Dialect, Form
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.model.request import Request
from lakehouse.chat.providers.keys import Key
from lakehouse.chat.providers.model_facts import get_model_quirks
from lakehouse.chat.providers.named_quirks import STREAMS_ONLY, QuirkFields, join_quirks
from lakehouse.chat.providers.replica import Replica
from lakehouse.config import ModelTable, ProviderEntry
from lakehouse.config.urls import SHORTEST_SECRET, separate_credentials
from lakehouse.local_model.readiness import Readiness

Headers = tuple[tuple[bytes, bytes], ...]

USER_AGENT = f"lakehouse/{__version__}"
"""The true name of this client.

Kimi allow-lists clients by this header on one endpoint and ends memberships that fake it.
"""

ANTHROPIC_VERSION = b"2023-06-01"

COMMON: Headers = (
    (b"User-Agent", USER_AGENT.encode()),
    (b"Accept-Encoding", b"identity"),  # no proxy should hold a stream back to compress it
)


class ListedModel(msgspec.Struct, frozen=True):
    """A model as its provider lists it: the provider's name for it, and the Unix time of its creation, 0 if unknown."""

    model: str
    created: int = 0


@dataclass(frozen=True, slots=True)
class ProviderEndpoint:
    """One endpoint of a provider: its dialect, the request target, and the headers of every request."""

    dialect: Dialect
    target: bytes
    headers: Headers


SECRET_HEADERS = re.compile(r"auth|cookie|key|secret|token", re.IGNORECASE)
"""Names of configured headers whose values are redacted."""

NO_MODELS: Mapping[str, ModelTable] = {}


class Provider:
    """The base class of all providers; a subclass has the facts of one, `entry` those of the configuration.

    `listing_path` is the path of the provider's list of models, which `parse_listing` decodes. `probe_path` is a path
    that answers quickly if the provider is up and, where the provider has such a path, if the key is valid.
    """

    name: str
    listing_path: str = "/models"
    probe_path: str = "/models"
    description_path: str = ""
    """Where a POST of `{"model"}` is answered with a description in Ollama's form; empty if nowhere."""
    loaded_path: str = ""
    """The path of the list of the models in memory, in Ollama's form; empty if there is none."""
    streams_only: bool = False
    """Complete answers are requested as streams, and collected."""
    keepalive_expiry: ClassVar[float] = 60.0
    """Seconds after which an idle connection is closed; must be less than the provider's own timeout."""
    readiness: Readiness | None = None
    """The state of the provider's process, if it is a child process of this service."""

    def __init__(self, base_url: str, key: Key | None = None, *, entry: ProviderEntry | None = None) -> None:
        self.base_url = separate_credentials(base_url)
        self.key = key
        self.replica: Replica | None = None
        self.models = NO_MODELS if entry is None else entry.models
        self.only_models = entry is not None and entry.only_models
        self._configured_headers = {} if entry is None else entry.headers
        self._changes: QuirkFields = {} if entry is None else join_quirks(entry.quirks)
        self._model_changes: dict[str, QuirkFields] = {
            name: {**self._changes, **get_model_quirks(facts)} for name, facts in self.models.items()
        }
        if entry is not None and STREAMS_ONLY in entry.quirks:
            self.streams_only = True

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {self.base_url}>"

    @property
    def transport_name(self) -> str:
        """The name of the connections that its requests use: replicas at one host share them."""
        return self.name if self.replica is None or not self.replica.host else f"{self.name} {self.replica.host}"

    def endpoint(self, model: str) -> ProviderEndpoint:
        """The endpoint that serves `model`; the first if several do."""
        raise NotImplementedError

    def endpoint_of_form(self, model: str, form: Form) -> ProviderEndpoint | None:  # noqa: ARG002 - for subclasses
        """The endpoint whose dialect is `form`, if `model` is served by several and one of them is."""
        return None

    def quirks(self, model: str, request: Request, form: Form) -> Quirks:
        """How `model` deviates from its dialect `form`, for this request: by the provider's code, then by the
        configuration."""
        quirks = self.base_quirks(model, request, form)
        changes = self._model_changes.get(model, self._changes)
        quirks = replace(quirks, **changes) if changes else quirks
        if quirks.images == "none" and (facts := self.models.get(model)) is not None and facts.images:
            return replace(quirks, images="data")
        return quirks

    def base_quirks(self, model: str, request: Request, form: Form) -> Quirks:
        """How `model` deviates from its dialect, as the provider's code knows it."""
        raise NotImplementedError

    def request_headers(self, request: Request) -> Headers:  # noqa: ARG002 - for subclasses
        """Headers that depend on the request."""
        return ()

    @property
    def query_headers(self) -> Headers:
        """The headers of requests beside the chats: for lists, descriptions, probes, embeddings."""
        return (*COMMON, (b"Accept", b"application/json"), *self.query_credentials, *self.configured_headers)

    @property
    def query_credentials(self) -> Headers:
        """The headers with the key in requests beside the chats."""
        return self.bearer

    @property
    def configured_headers(self) -> Headers:
        """The headers of the configuration."""
        return tuple((name.encode(), text.encode()) for name, text in self._configured_headers.items())

    def parse_listing(self, body: bytes) -> list[ListedModel]:
        """Decode the provider's list of models.

        Raises `msgspec.MsgspecError`, `UnicodeDecodeError` or `RecursionError` for an invalid one.
        """
        return parse_openai_listing(body)

    @property
    def bearer(self) -> Headers:
        """The header of Bearer authentication; without a key, that of the user and password of the base URL, if any."""
        if self.key:
            return ((b"Authorization", b"Bearer " + self.key.value.encode()),)
        return self._basic

    @property
    def api_key(self) -> Headers:
        """The headers of the messages API: its version, the key, and the user and password of the base URL, if any."""
        version = (b"anthropic-version", ANTHROPIC_VERSION)
        key = ((b"x-api-key", self.key.value.encode()),) if self.key else ()
        return (*key, version, *self._basic)

    @property
    def _basic(self) -> Headers:
        authorization = self.base_url.authorization
        return ((b"Authorization", authorization.encode()),) if authorization else ()

    @property
    def secrets(self) -> tuple[str, ...]:
        """The texts to redact from responses of the provider: the key, the password of the base URL, and the values of
        configured headers with such a name."""
        fields = self._configured_headers.items()
        in_headers = [text for name, text in fields if SECRET_HEADERS.search(name) and len(text) >= SHORTEST_SECRET]
        return (*((self.key.value,) if self.key else ()), *self.base_url.secrets, *in_headers)

    def make_endpoint(self, dialect: Dialect, headers: Iterable[tuple[bytes, bytes]] = ()) -> ProviderEndpoint:
        """An endpoint of this provider; `headers` are added to those that all endpoints have."""
        target = httpx.URL(self.base_url + dialect.path).raw_path
        common = (*COMMON, (b"Content-Type", b"application/json"))
        return ProviderEndpoint(dialect, target, (*common, *headers, *self.configured_headers))


class _OpenAIModel(msgspec.Struct):
    id: str
    created: Any = 0


class _OpenAIListing(msgspec.Struct):
    data: list[_OpenAIModel]


_read_openai_listing: Callable[[bytes], _OpenAIListing] = msgspec.json.Decoder(_OpenAIListing).decode


def parse_openai_listing(body: bytes) -> list[ListedModel]:
    """Decode `{"data":[{"id","created"}]}`: OpenAI, OpenRouter, OpenCode, Kimi and llama.cpp."""
    return [
        ListedModel(item.id, int(item.created) if isinstance(item.created, int | float) else 0)
        for item in _read_openai_listing(body).data
    ]
