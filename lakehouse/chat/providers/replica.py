"""A replica: one host of a provider with one of its keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from lakehouse.chat.providers.keys import Key


@dataclass(frozen=True, slots=True)
class Replica:
    """Which of a provider's replicas this is: its host and port, and where its key was found, as far as they differ.

    Hosts that differ in the scheme alone, or in `/v1`, are named by their URLs.
    `weight` is its share of the requests beside the others.
    """

    host: str
    key_source: str
    weight: int

    def __str__(self) -> str:
        """The replica, for people: `10.0.0.5:8000`, `$KEY_A`, or both."""
        return ", ".join(filter(None, (self.host, self.key_source)))


def make_replica(base_url: str, key: Key | None, weight: int, *, hosts: Sequence[str], keys: int) -> Replica | None:
    """The replica at a base URL, one of `hosts`, with a key, one of so many; None for the only one of its provider."""
    if len(hosts) <= 1 and keys <= 1:
        return None
    host = _name_host(base_url, hosts) if len(hosts) > 1 else ""
    return Replica(host, key.source if key is not None and keys > 1 else "", weight)


def _name_host(base_url: str, hosts: Sequence[str]) -> str:
    """The short name of a base URL; the URL itself if another of the hosts has the same name."""
    name = _shorten(base_url)
    return base_url if any(_shorten(other) == name for other in hosts if other != base_url) else name


def _shorten(base_url: str) -> str:
    """The host, the port and the path, if it is not the usual one."""
    parts = urlsplit(base_url)
    return f"{parts.netloc}{parts.path.removesuffix('/v1')}"
