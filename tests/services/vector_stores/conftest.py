"""Stores on servers of their own; tests with them are skipped where the servers are not installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lakehouse.services.vector_stores.chroma.store import ChromaStore, make_chroma_store
from lakehouse.services.vector_stores.qdrant.store import QdrantStore, make_qdrant_store
from tests.services.real_servers import skip_without
from tools.kit.scaleout.vector_servers import VectorServer, find_missing_stores, open_chroma, open_qdrant

Store = QdrantStore | ChromaStore
OPENERS = {"qdrant": open_qdrant, "chroma": open_chroma}


@pytest.fixture(scope="module", params=OPENERS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VectorServer]:
    """Each of the servers."""
    skip_without(find_missing_stores())
    with OPENERS[request.param](tmp_path_factory.mktemp("servers") / request.param) as found:
        yield found


@pytest.fixture
def store(server: VectorServer, tmp_path: Path) -> Iterator[Store]:
    """A store without indexes."""
    found = make_store(server, f"test_{tmp_path.name}"[:40])
    yield found
    found.close()


def make_store(server: VectorServer, prefix: str, key: str | None = None) -> Store:
    """A store on a server."""
    given = server.key if key is None else key
    if server.kind == "qdrant":
        return make_qdrant_store(server.url, prefix, lambda: given)
    return make_chroma_store(server.url, prefix, lambda: given)
