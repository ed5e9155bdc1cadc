"""Which path belongs to which upstream, and what the upstream is asked for. Pure functions of bytes.

Paths are compared as they stand on the wire: nothing is decoded, joined or normalised, and what is not refused goes on
byte for byte. Only what an upstream could read as a way out of its prefix is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from lakehouse.core.errors import ErrBadRequest

VERSION = b"/v1"
"""What stands before every route and is stripped on the way."""


@dataclass(frozen=True, slots=True)
class Route:
    """A prefix and the upstream behind it. `exact`: the prefix is itself a path, besides all that lies below it."""

    prefix: bytes
    upstream: str
    exact: bool = False
    name: str = field(init=False)

    def __post_init__(self) -> None:
        """The prefix as text, which is how logs and metrics have it."""
        object.__setattr__(self, "name", self.prefix.decode())


ROUTES = (
    Route(b"/v1/storage", "storaged"),
    Route(b"/v1/catalog", "catalogd"),
    Route(b"/v1/vectors", "vectord"),
    Route(b"/v1/pathway", "pathwayd"),
    Route(b"/v1/matrix", "matrixd"),
    Route(b"/v1/observer", "observerd"),
    Route(b"/v1/ingest", "ingestd", exact=True),
    Route(b"/v1/sql", "queryd", exact=True),
    Route(b"/v1/embed", "embedd", exact=True),
)
CHAT_ROUTES = (
    Route(b"/v1/chat", "chatd", exact=True),
    Route(b"/v1/models", "chatd", exact=True),
)
"""The chat group's paths, for when it runs in another process (`gateway.chatd_url`)."""


class Routes:
    """The table, with a look-up whose cost does not depend on its length."""

    def __init__(self, routes: Iterable[Route] = ROUTES) -> None:
        self._by_prefix = {route.prefix: route for route in routes}

    def find(self, path: bytes) -> Route | None:
        """The route of a raw path (without its query), or None."""
        end = path.find(b"/", len(VERSION) + 1)
        if end < 0:
            route = self._by_prefix.get(path)
            return route if route is not None and route.exact else None
        return self._by_prefix.get(path[:end])


def is_origin_form(path: bytes) -> bool:
    """Whether a request target is a plain absolute path: no URL, no authority, no ``*``, no fragment."""
    return path.startswith(b"/") and b"#" not in path


def upstream_target(route: Route, path: bytes, query: bytes) -> bytes:
    """What to ask the upstream for: path and query byte for byte, with ``/v1`` stripped.

    Raises ErrBadRequest if the path has dot segments with which it could leave the route's prefix.
    """
    if (b".." in path or b"%2" in path) and escapes_prefix(path[len(route.prefix) :]):
        raise ErrBadRequest(f"the path must stay below {route.prefix.decode()}: its dot segments lead out of it")
    return path[len(VERSION) :] + b"?" + query if query else path[len(VERSION) :]


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
