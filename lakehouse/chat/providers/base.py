"""A provider: a dialect plus facts (base URL, authentication headers, quirks of its models).

Each module beside this one has the facts of one provider. Nothing here does I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import httpx
import msgspec

from lakehouse import __version__
from lakehouse.chat.dialects.base import Dialect
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.model.request import Request
from lakehouse.chat.providers.keys import Key
from lakehouse.config.urls import separate_credentials
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


class Provider:
    """The base class of all providers; a subclass has the facts of one.

    `listing_path` is the path of the provider's list of models, which `parse_listing` decodes. `probe_path` is a path
    that answers quickly if the provider is up and, where the provider has such a path, if the key is valid.
    """

    name: ClassVar[str]
    listing_path: ClassVar[str] = "/models"
    probe_path: ClassVar[str] = "/models"
    streams_only: ClassVar[bool] = False
    """Complete answers are requested as streams, and collected."""
    keepalive_expiry: ClassVar[float] = 60.0
    """Seconds after which an idle connection is closed; must be less than the provider's own timeout."""
    readiness: Readiness | None = None
    """The state of the provider's process, if it is a child process of this service."""

    def __init__(self, base_url: str, key: Key | None = None) -> None:
        self.base_url = separate_credentials(base_url)
        self.key = key

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {self.base_url}>"

    def endpoint(self, model: str) -> ProviderEndpoint:
        """The endpoint that serves `model`."""
        raise NotImplementedError

    def quirks(self, model: str, request: Request) -> Quirks:
        """How `model` deviates from its dialect, for this request."""
        raise NotImplementedError

    def request_headers(self, request: Request) -> Headers:  # noqa: ARG002 - for subclasses
        """Headers that depend on the request."""
        return ()

    @property
    def query_headers(self) -> Headers:
        """The headers of a GET: for the list of models, and for the probe."""
        return (*COMMON, (b"Accept", b"application/json"), *self.bearer)

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
        """The texts to redact from responses of the provider: the key, and the password of the base URL."""
        return (*((self.key.value,) if self.key else ()), *self.base_url.secrets)

    def make_endpoint(self, dialect: Dialect, headers: Iterable[tuple[bytes, bytes]] = ()) -> ProviderEndpoint:
        """An endpoint of this provider; `headers` are added to those that all endpoints have."""
        target = httpx.URL(self.base_url + dialect.path).raw_path
        return ProviderEndpoint(dialect, target, (*COMMON, (b"Content-Type", b"application/json"), *headers))


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
