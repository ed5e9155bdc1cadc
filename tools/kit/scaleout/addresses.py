"""Servers that several processes share: who has started them writes down where they are, and the others read it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tools.kit.scaleout.object_storage import ObjectStorage
from tools.kit.scaleout.postgres import Postgres
from tools.kit.scaleout.vector_servers import VectorServer

VARIABLE = "LAKEHOUSE_TEST_SERVERS"


@dataclass(frozen=True, kw_only=True)
class ServerAddresses:
    """Where the servers are that run; None: that one does not."""

    object_storage: ObjectStorage | None = None
    postgres: Postgres | None = None
    qdrant: VectorServer | None = None
    chroma: VectorServer | None = None


def read_addresses() -> ServerAddresses:
    """The servers in the file that a variable of the environment names; none without it."""
    path = os.environ.get(VARIABLE)
    return msgspec.json.decode(Path(path).read_bytes(), type=ServerAddresses) if path else ServerAddresses()


def write_addresses(path: Path, addresses: ServerAddresses) -> dict[str, str]:
    """Write the servers, with their keys and passwords, into a file for this user. Returns the variable that names it."""
    path.touch(mode=0o600)
    path.write_bytes(msgspec.json.encode(addresses))
    return {VARIABLE: str(path)}
