"""What one engine needs beside the common things: its statements, its client in the child, its feed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from lakehouse.services.engines.remote.dialects import Dialect
from lakehouse.services.engines.remote.feed import FeedSource, NoFeeds
from lakehouse.services.engines.remote.secrets import Secrets
from lakehouse.services.engines.remote_messages import SourceSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerVersion:
    """The version of a server, and whether it is one of those that are `needed`."""

    version: str
    fits: bool
    needed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """One engine: where it is, and what its children may do.

    `mapped` are bytes of address space for the libraries of the client, `environment` further variables of a child.
    With `network` a child opens connections itself. `files` are absolute paths that the client reads. `read_version`
    asks the server; it raises LakehouseError. `modules` are what a child imports, and `extra` is the extra that has
    them. A child that works has `cancel_time` seconds to cancel its statement on the server, one that waits has
    `max_cancel_time`, before it is killed.
    """

    dialect: Dialect
    settings: SourceSettings
    max_queries: int
    read_version: Callable[[Secrets], Awaitable[ServerVersion]]
    feeds: FeedSource = field(default_factory=NoFeeds)
    network: bool = False
    files: tuple[str, ...] = ()
    mapped: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)
    modules: tuple[str, ...] = ()
    extra: str = ""
    cancel_time: float = 0.5
    max_cancel_time: float = 1.0
