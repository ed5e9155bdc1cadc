"""A provider is a dialect plus facts: where it is, how it is told who we are, what is particular about its models.

Each module beside this one states the facts of one provider. Nothing here waits or opens anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import httpx
import msgspec

from lakehouse import __version__
from lakehouse.chat.dialects.base import Dialect
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.model.request import Request
from lakehouse.chat.providers.keys import Key
from lakehouse.config.urls import separate
from lakehouse.local_model.readiness import Readiness

Headers = tuple[tuple[bytes, bytes], ...]

USER_AGENT = f"lakehouse/{__version__}"
"""The truth. Kimi allow-lists clients by this header on one of its endpoints and ends memberships for faking it."""

ANTHROPIC_VERSION = b"2023-06-01"

COMMON: Headers = (
    (b"User-Agent", USER_AGENT.encode()),
    (b"Accept-Encoding", b"identity"),  # an answer is read as it arrives, so nobody should hold it back to compress it
)


class ListedModel(msgspec.Struct, frozen=True):
    """A model as its provider lists it: its own name for it, and unix seconds, 0 if it says nothing."""

    model: str
    created: int = 0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One URL of a provider, the dialect spoken there, and the headers that every request to it carries.

    `target` is what of the URL a request's first line says.
    """

    dialect: Dialect
    url: httpx.URL
    headers: Headers
    target: bytes = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "target", self.url.raw_path)


class Provider:
    """What all providers share; a subclass states its facts.

    `listing` is the path of its own list of models, `parse_listing` reads that; `probe` is a path that answers quickly
    if the provider is there and, where it has such a path, if the key is good.
    """

    name: ClassVar[str]
    listing: ClassVar[str] = "/models"
    probe: ClassVar[str] = "/models"
    streams_only: ClassVar[bool] = False
    """Whole answers are put together from streams."""
    keepalive_expiry: ClassVar[float] = 60.0
    """Seconds that an idle connection is kept; must be less than what the provider keeps it."""
    readiness: Readiness | None = None
    """What is known of the provider's process, where that is a process of ours."""

    def __init__(self, base_url: str, key: Key | None = None) -> None:
        self.base_url = separate(base_url)
        self.key = key

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {self.base_url}>"

    def endpoint(self, model: str) -> Endpoint:
        """Where `model` is asked."""
        raise NotImplementedError

    def quirks(self, model: str, request: Request) -> Quirks:
        """What is particular about `model`, for this request."""
        raise NotImplementedError

    def request_headers(self, request: Request) -> Headers:  # noqa: ARG002 - for those who need it
        """Headers that depend on the request."""
        return ()

    @property
    def query_headers(self) -> Headers:
        """Headers of a GET: listing and probe."""
        return (*COMMON, (b"Accept", b"application/json"), *self.bearer)

    def parse_listing(self, body: bytes) -> list[ListedModel]:
        """The provider's own list of models. Raises `msgspec.MsgspecError`, `UnicodeDecodeError` or `RecursionError`
        for one that is not understood."""
        return parse_openai_listing(body)

    @property
    def bearer(self) -> Headers:
        """The key as most want it; without a key, the user and password of the base URL, if it has them."""
        if self.key:
            return ((b"Authorization", b"Bearer " + self.key.value.encode()),)
        return self._basic

    @property
    def api_key(self) -> Headers:
        """The key as the messages form wants it, beside the user and password of the base URL."""
        version = (b"anthropic-version", ANTHROPIC_VERSION)
        key = ((b"x-api-key", self.key.value.encode()),) if self.key else ()
        return (*key, version, *self._basic)

    @property
    def _basic(self) -> Headers:
        authorization = self.base_url.authorization
        return ((b"Authorization", authorization.encode()),) if authorization else ()

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not be shown if the provider repeats it: the key, and the password of the base URL."""
        return (*((self.key.value,) if self.key else ()), *self.base_url.secrets)

    def make_endpoint(self, dialect: Dialect, headers: Iterable[tuple[bytes, bytes]] = ()) -> Endpoint:
        """An endpoint of this provider; `headers` are added to those that every request of ours carries."""
        url = httpx.URL(self.base_url + dialect.path)
        return Endpoint(dialect, url, (*COMMON, (b"Content-Type", b"application/json"), *headers))


class _OpenAIModel(msgspec.Struct):
    id: str
    created: Any = 0


class _OpenAIListing(msgspec.Struct):
    data: list[_OpenAIModel]


_read_openai_listing: Callable[[bytes], _OpenAIListing] = msgspec.json.Decoder(_OpenAIListing).decode


def parse_openai_listing(body: bytes) -> list[ListedModel]:
    """`{"data":[{"id","created"}]}`, as OpenAI, OpenRouter, OpenCode, Kimi and llama.cpp answer."""
    return [
        ListedModel(item.id, int(item.created) if isinstance(item.created, int | float) else 0)
        for item in _read_openai_listing(body).data
    ]
