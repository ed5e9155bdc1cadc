"""The requests of Chroma's REST API, version 2, that the store makes, and what is read of the answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from lakehouse.services.vector_stores.remote.client import Refused, StoreClient

KEY_FIELD = "x-chroma-token"
Document = dict[str, Any]
MAX_RECORDS = 1000
"""Records of one request; the server has a limit of its own, `max_batch_size`, of 5,461."""


class Collection(msgspec.Struct, frozen=True):
    """A collection: records are addressed by its id."""

    id: str
    name: str


class Records(msgspec.Struct, frozen=True):
    """The answer of `get`: lists of equal length."""

    ids: list[str]
    metadatas: list[dict[str, Any] | None] | None = None
    embeddings: list[list[float]] | None = None


class Nearest(msgspec.Struct, frozen=True):
    """The answer of `query` to one vector: lists of equal length, in lists of one element."""

    ids: list[list[str]]
    distances: list[list[float | None]]
    metadatas: list[list[dict[str, Any] | None]] | None = None


class Checklist(msgspec.Struct, frozen=True):
    """What the server can do."""

    max_batch_size: int
    supports_base64_encoding: bool = False


class Nothing(msgspec.Struct, frozen=True):
    """An answer of which nothing is read."""


class ChromaApi:
    """The collections of one database. Every call raises `Refused`, and what `StoreClient.call` raises."""

    def __init__(
        self, client: StoreClient, *, tenant: str = "default_tenant", database: str = "default_database"
    ) -> None:
        self.client = client
        self._base = f"/api/v2/tenants/{quote(tenant, safe='')}/databases/{quote(database, safe='')}/collections"

    async def read_checklist(self) -> Checklist:
        """What the server can do; Refused with 404 by one that has not this version of the API."""
        return await self.client.call("GET", "/api/v2/pre-flight-checks", Checklist)

    async def create_collection(self, name: str, space: str, *, get: bool = False) -> Collection | None:
        """Create a collection; None if there is one, which `get` returns instead."""
        hnsw = {"space": space, "ef_construction": 200, "ef_search": 200, "max_neighbors": 32}
        document = {"name": name, "get_or_create": get, "configuration": {"hnsw": hnsw}}
        try:
            return await self.client.call("POST", self._base, Collection, document)
        except Refused as refused:
            if refused.status == 409:
                return None
            raise

    async def delete_collection(self, name: str) -> bool:
        """Delete a collection; False if there is none."""
        try:
            await self.client.call("DELETE", f"{self._base}/{quote(name, safe='')}", Nothing)
        except Refused as refused:
            if refused.status == 404:
                return False
            raise
        return True

    async def upsert(
        self, collection: str, ids: Sequence[str], embeddings: Sequence[str], metadatas: Sequence[Document]
    ) -> None:
        """Write records; the keys of a record that was there and that `metadatas` does not name stay. `embeddings` are
        float32 in Base64."""
        document = {"ids": ids, "embeddings": embeddings, "metadatas": metadatas}
        await self.client.call("POST", f"{self._base}/{collection}/upsert", Nothing, document)

    async def delete_records(self, collection: str, ids: Sequence[str]) -> None:
        """Delete records; unknown ids are ignored."""
        await self.client.call("POST", f"{self._base}/{collection}/delete", Nothing, {"ids": ids})

    async def get(
        self,
        collection: str,
        *,
        ids: Sequence[str] | None = None,
        where: Document | None = None,
        limit: int | None = None,
        offset: int = 0,
        include: Sequence[str] = (),
    ) -> Records:
        """Records by their ids or by a filter, in the order in which they were made."""
        document = {"ids": ids, "where": where, "limit": limit, "offset": offset, "include": include}
        given = {name: value for name, value in document.items() if value is not None}
        return await self.client.call("POST", f"{self._base}/{collection}/get", Records, given)

    async def query(self, collection: str, vector: Sequence[float], k: int, where: Document | None) -> Nearest:
        """The nearest records, with their metadata."""
        document: Document = {"query_embeddings": [vector], "n_results": k, "include": ["distances", "metadatas"]}
        if where is not None:
            document["where"] = where
        return await self.client.call("POST", f"{self._base}/{collection}/query", Nearest, document)

    async def count(self, collection: str) -> int:
        """The number of records."""
        return await self.client.call("GET", f"{self._base}/{collection}/count", int)
