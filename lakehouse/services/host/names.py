"""The services by name: which of them are embedded, and what they need installed."""

from __future__ import annotations

from collections.abc import Iterable

from lakehouse.config import GatewayTable
from lakehouse.config.values import EMBEDDED
from lakehouse.core.extras import LAKE, missing_modules
from lakehouse.gateway.routes import ROUTES, GatewayRoute

SERVICES = ("storaged", "catalogd", "ingestd", "queryd", "embedd", "vectord", "matrixd", "pathwayd", "observerd")
"""The services behind the prefixes of the gateway, in the order in which they are listed."""


def is_embedded(table: GatewayTable, name: str) -> bool:
    """Whether the configuration has the service run in the services process, in place of a URL."""
    url: str = getattr(table, f"{name}_url")
    return url == EMBEDDED


def embedded_services(table: GatewayTable) -> tuple[str, ...]:
    """The embedded services of the configuration; none without the extra `lake`."""
    names = tuple(name for name in SERVICES if is_embedded(table, name))
    return names if names and not missing_modules(*LAKE) else ()


def routes_of(names: Iterable[str]) -> tuple[GatewayRoute, ...]:
    """The gateway's routes to these services."""
    wanted = set(names)
    return tuple(route for route in ROUTES if route.service in wanted)
