"""The table of prefixes and services, and the request targets for services. Pure functions of bytes.

A path is relayed as it stands on the wire: nothing is decoded, joined or normalised, and what is not refused goes on
byte for byte. Only a path that a service could read as leading out of its prefix is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from lakehouse.core.errors import ErrBadRequest

VERSION = b"/v1"
"""The first segment of every route, which a service does not see."""


@dataclass(frozen=True, slots=True)
class GatewayRoute:
    """A prefix and the name of the service behind it. `exact`: the prefix is itself a path, besides all below it."""

    prefix: bytes
    service: str
    exact: bool = False
    name: str = field(init=False)
    """The prefix as text, for logs and metrics."""

    def __post_init__(self) -> None:
        """Decode the name once, not in every request."""
        object.__setattr__(self, "name", self.prefix.decode())


ROUTES = (
    GatewayRoute(b"/v1/storage", "storaged"),
    GatewayRoute(b"/v1/catalog", "catalogd"),
    GatewayRoute(b"/v1/vectors", "vectord"),
    GatewayRoute(b"/v1/pathway", "pathwayd"),
    GatewayRoute(b"/v1/matrix", "matrixd"),
    GatewayRoute(b"/v1/observer", "observerd"),
    GatewayRoute(b"/v1/ingest", "ingestd", exact=True),
    GatewayRoute(b"/v1/sql", "queryd", exact=True),
    GatewayRoute(b"/v1/embed", "embedd", exact=True),
    GatewayRoute(b"/v1/embeddings", "embedd", exact=True),
    GatewayRoute(b"/v1/rerank", "embedd", exact=True),
)
CHAT_ROUTES = (
    GatewayRoute(b"/v1/chat", "chatd", exact=True),
    GatewayRoute(b"/v1/messages", "chatd", exact=True),
    GatewayRoute(b"/v1/models", "chatd", exact=True),
)
"""The chat group's paths, for when it runs in another process (`gateway.chatd_url`)."""


def upstream_target(prefix: bytes, path: bytes, query: bytes) -> bytes:
    """The target for the service behind `prefix`: raw path and query byte for byte, without the first segment.

    `path` is a raw path that was routed to `prefix`. Raises ErrBadRequest if it has dot segments with which it could
    leave the prefix.
    """
    if b".." in path or b"%" in path:
        check_path(prefix, path)
    if not path.startswith(VERSION + b"/"):  # a character of the version is percent-encoded
        path = VERSION + path[path.index(b"/", 1) :]
    return path[len(VERSION) :] + b"?" + query if query else path[len(VERSION) :]


def check_path(prefix: bytes, path: bytes) -> None:
    """Raises ErrBadRequest if a raw path that was routed to `prefix` could lead out of it."""
    if path.startswith(prefix):
        below = path[len(prefix) :]
    else:  # a character of the prefix is percent-encoded, no slash is
        segments = path.split(b"/", prefix.count(b"/") + 1)
        below = b"/" + segments[-1] if len(segments) > prefix.count(b"/") + 1 else b""
    if escapes_prefix(below):
        raise ErrBadRequest(f"the path must stay below {prefix.decode()}: its dot segments lead out of it")


_SLASH = re.compile(rb"[/\\]")
_ANY_SLASH = re.compile(rb"[/\\]|%2f|%5c", re.IGNORECASE)
_STAY = re.compile(rb"(?:\.|%2e)?(?:;.*)?", re.IGNORECASE)
_UP = re.compile(rb"(?:\.|%2e){2}(?:;.*)?", re.IGNORECASE)


def escapes_prefix(below: bytes) -> bool:
    r"""Whether the path below a prefix climbs out of it in any reading that an upstream may have of it.

    Upstreams differ in whether an encoded slash separates segments, so both readings count; all the rest is read to
    our disadvantage: ``%2e`` is a dot, a backslash is a slash (WHATWG URLs), parameters of a segment do not matter
    (``..;x``, servlet containers), and an empty segment is no level to climb from (Go's and nginx's cleaning).
    """
    return _escapes(_SLASH.split(below)) or _escapes(_ANY_SLASH.split(below))


def _escapes(segments: list[bytes]) -> bool:
    depth = 0
    for segment in segments:
        if _UP.fullmatch(segment):
            depth -= 1
            if depth < 0:
                return True
        elif not _STAY.fullmatch(segment):
            depth += 1
    return False
