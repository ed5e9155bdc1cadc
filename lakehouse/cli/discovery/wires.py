"""Which wires an endpoint answers.

A wire is tried with an empty document, which no server takes for a chat: one that knows the path complains about the
document, one that does not answers as to a path that nobody has. Nothing is generated, so nothing is paid for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from lakehouse.cli.discovery.endpoint_client import EndpointClient
from lakehouse.cli.discovery.listed_models import ListedFacts, describe_with_ollama, read_models
from lakehouse.config.provider_values import QuirkName, WireName

PATHS: dict[WireName, str] = {
    "chat_completions": "/chat/completions",
    "responses": "/responses",
    "messages": "/messages",
}
"""Of the wires below one base URL. Ollama's API has another root than its imitations of these."""

ENDPOINT_PATHS = (*PATHS.values(), "/models", "/api/chat", "/api/tags", "/api/generate")
UNKNOWN_PATH = "/lakehouse-asks-for-a-path-that-nobody-has"

OLLAMA_GREETING = b"Ollama is running"
"""The answer to `GET /`. Its other paths exist elsewhere too, on a Lakehouse for instance."""

_ABSENT = frozenset({0, 404, 405, 410, 501})
_REFUSED = frozenset({401, 403})
_ELSEWHERE = frozenset({429, 502, 503, 504})
"""Of a proxy or a limit in front of the server, which does not say whether there is one for the path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoveredProvider:
    """What an endpoint speaks. `refused`: it refuses requests without a (better) key, so nothing can be told."""

    base_url: str = ""
    wires: tuple[WireName, ...] = ()
    quirks: tuple[QuirkName, ...] = ()
    models: Sequence[ListedFacts] = field(default_factory=tuple)
    refused: bool = False


def split_base_url(url: str) -> tuple[str, str]:
    """The origin of a URL, and its path without the paths of endpoints that people copy along."""
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    for suffix in ENDPOINT_PATHS:
        path = path.removesuffix(suffix)
    return f"{parts.scheme}://{parts.netloc}", path


async def discover(client: EndpointClient, origin: str, path: str) -> DiscoveredProvider:
    """Ask what is spoken at a path, and below `/v1` of it."""
    root = path.removesuffix("/v1")
    if (await client.get(f"{root}/", client.bearer())).body.startswith(OLLAMA_GREETING):
        models = await describe_with_ollama(client, root)
        return DiscoveredProvider(base_url=origin + root, wires=("ollama",), models=models)
    refused = False
    for base in dict.fromkeys((path, f"{root}/v1")):
        found = await _discover_below(client, origin, base)
        if found.wires:
            return found
        refused = refused or found.refused
    return DiscoveredProvider(refused=refused)


async def _discover_below(client: EndpointClient, origin: str, base: str) -> DiscoveredProvider:
    unknown = (await client.post(base + UNKNOWN_PATH, client.bearer(), {})).status
    wires: list[WireName] = []
    quirks: list[QuirkName] = []
    refused = unknown in _REFUSED
    for wire, path in PATHS.items():
        status = (await client.post(base + path, _authenticate(client, wire), {})).status
        if wire == "messages" and status in _REFUSED and client.key:
            with_bearer = (await client.post(base + path, client.bearer(), {})).status
            if _answers(with_bearer, unknown):
                status = with_bearer
                quirks.append("bearer_key")
        refused = refused or status in _REFUSED
        if _answers(status, unknown):
            wires.append(wire)
    if not wires:
        return DiscoveredProvider(refused=refused)
    listing = await client.get(f"{base}/models", _authenticate(client, wires[0]))
    return DiscoveredProvider(
        base_url=origin + base, wires=tuple(wires), quirks=tuple(quirks), models=read_models(listing.document)
    )


def _authenticate(client: EndpointClient, wire: WireName) -> tuple[tuple[bytes, bytes], ...]:
    return client.api_key() if wire == "messages" else client.bearer()


def _answers(status: int, unknown: int) -> bool:
    """Whether a status shows that the server knows the path: it differs from that of a path that nobody has."""
    is_redirect = 300 <= status < 400
    return status not in _ABSENT | _REFUSED | _ELSEWHERE and not is_redirect and status != unknown
