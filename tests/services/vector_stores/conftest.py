"""Stores on servers; tests with them are skipped where the servers are not installed."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from lakehouse.services.vector_stores.chroma.store import ChromaStore, make_chroma_store
from lakehouse.services.vector_stores.qdrant.store import QdrantStore, make_qdrant_store
from tools.kit.scaleout.vector_servers import VectorServer

Store = QdrantStore | ChromaStore


@pytest.fixture(scope="module", params=["qdrant", "chroma"])
def server(request: pytest.FixtureRequest) -> VectorServer:
    """Each of the servers, which other tests use as well."""
    found: VectorServer = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def store(server: VectorServer) -> Iterator[Store]:
    """A store without indexes."""
    found = make_store(server, f"test_{secrets.token_hex(8)}")
    yield found
    found.close()


def make_store(server: VectorServer, prefix: str, key: str | None = None) -> Store:
    """A store on a server."""
    given = server.key if key is None else key
    if server.kind == "qdrant":
        return make_qdrant_store(server.url, prefix, lambda: given)
    return make_chroma_store(server.url, prefix, lambda: given)
