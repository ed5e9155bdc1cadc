"""The version of a Trino server, and whether it fits."""

from __future__ import annotations

import re

import msgspec

from lakehouse.core.errors import ErrUpstream
from lakehouse.services.engines.remote.client import ServerVersion
from lakehouse.services.engines.remote.trino.coordinator import Coordinator
from lakehouse.services.engines.remote.trino.messages import NAME

OLDEST = 418
"""The first version with EXECUTE IMMEDIATE, by which parameters are bound."""


class _NodeVersion(msgspec.Struct, frozen=True):
    version: str


class _Info(msgspec.Struct, frozen=True, rename="camel"):
    node_version: _NodeVersion


async def read_version(coordinator: Coordinator) -> ServerVersion:
    """Ask a server. Raises LakehouseError."""
    try:
        version = msgspec.json.decode(await coordinator.read_info(), type=_Info).node_version.version
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ErrUpstream(f"{NAME} sent a document that cannot be read: {error}", provider=NAME) from None
    number = re.match(r"\d+", version)
    fits = number is None or int(number[0]) >= OLDEST  # a build without a number is somebody's own
    return ServerVersion(version=version, fits=fits, needed=f"{OLDEST} or later")
