"""The store: each index is a collection of Qdrant, which also has the index's description."""

from __future__ import annotations

import base64
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, aclosing, suppress
from functools import partial
from uuid import uuid4

from lakehouse.core.errors import ErrConflict
from lakehouse.services.contracts.retrieval import Digest, IndexOptions, Merged, StoredItem, Written
from lakehouse.services.contracts.vector_store import (
    Candidates,
    CandidateSearch,
    StoredIndex,
    StoreStatus,
    StoreWrite,
    make_not_found,
    make_replaced,
    make_taken,
)
from lakehouse.services.lake.concurrency import run_all
from lakehouse.services.lake.name_locks import NameLocks
from lakehouse.services.vector_stores.qdrant.api import KEY_FIELD, Document, QdrantApi
from lakehouse.services.vector_stores.qdrant.merging import merge_items
from lakehouse.services.vector_stores.qdrant.points import (
    DESCRIPTIONS,
    Description,
    describe,
    describe_source,
    describe_version,
    make_point_id,
    number_key,
    read_description,
    read_item,
)
from lakehouse.services.vector_stores.qdrant.searching import find_candidates
from lakehouse.services.vector_stores.qdrant.writing import MAX_POINTS, scroll_pages, write_items
from lakehouse.services.vector_stores.remote.client import Refused, StoreClient
from lakehouse.services.vector_stores.remote.conditions import ALWAYS
from lakehouse.services.vector_stores.remote.creation import wait_until_described
from lakehouse.services.vector_stores.remote.digest_lists import DigestLists
from lakehouse.services.vector_stores.remote.errors import translate_refusals
from lakehouse.services.vector_stores.remote.names import make_collection_name
from lakehouse.services.vector_stores.remote.versions import next_version
from lakehouse.services.vector_stores.remote.words import TextLengths

OLDEST = (1, 10)
"""The first version with queries in batches, and with inverse document frequencies of sparse vectors."""
DISTANCES = {"cosine": "Cosine", "dot": "Dot", "euclidean": "Euclid"}
DESCRIBED_AT_ONCE = 8


class QdrantStore:
    """The indexes of one lake in Qdrant."""

    def __init__(self, api: QdrantApi, prefix: str) -> None:
        """`prefix` begins the names of the lake's collections."""
        self.api = api
        self.prefix = prefix
        self._options: dict[str, IndexOptions] = {}
        """Those that were read last; a search reads them again."""
        self._digests = DigestLists()
        self._locks = NameLocks()

    @property
    def name(self) -> str:
        """What and where the store is."""
        return self.api.client.name

    def close(self) -> None:
        """Close the idle connections."""
        self.api.client.close()

    async def check(self) -> StoreStatus:
        """Ask the server for its version."""
        with self._refusals():
            version = await self.api.read_version()
        parts = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
        fits = parts >= OLDEST
        return StoreStatus(version=f"Qdrant {version}", problem="" if fits else "needs Qdrant 1.10 or later")

    async def find_indexes(self, names: Sequence[str] | None = None) -> Sequence[StoredIndex]:
        """See `VectorStore`."""
        with self._refusals():
            if names is None:
                listed = await self.api.list_collections()
                collections = [name for name in listed if name.startswith(f"{self.prefix}.")]
            else:
                collections = [self._collection(name) for name in names]
            found: list[StoredIndex] = []

            async def read(collection: str) -> None:
                description = await self._read_description(collection)
                if description is not None:
                    found.append(await self._make_index(collection, description))

            await run_all(read, collections, at_once=DESCRIBED_AT_ONCE)
        return sorted(found, key=lambda index: index.options.name)

    async def create_index(self, options: IndexOptions) -> StoredIndex:
        """See `VectorStore`. A creation that is cut leaves a collection that the next creation replaces."""
        collection = self._collection(options.name)
        with self._refusals():
            if not await self.api.create_collection(collection, make_options(options)):
                if await wait_until_described(partial(self._is_described, collection)):
                    raise make_taken(options.name)
                await self.api.delete_collection(collection)
                if not await self.api.create_collection(collection, make_options(options)):
                    raise make_taken(options.name)
            await self.api.create_payload_index(collection, "tokens", "keyword")
            for name, kind in options.fields.items():
                if kind in ("int", "float"):
                    await self.api.create_payload_index(collection, number_key(name), "float")
            points = [
                describe_version(next_version(0), TextLengths()),
                describe_source(b""),
                describe(options, uuid4().hex, time.time_ns() // 1_000_000),
            ]
            await self.api.upsert(collection, points)
            return await self._make_index(collection, await self._describe(options.name))

    async def _is_described(self, collection: str) -> bool:
        return await self._read_description(collection) is not None

    async def delete_index(self, name: str) -> None:
        """See `VectorStore`."""
        with self._refusals():
            await self._describe(name)
            if not await self.api.delete_collection(self._collection(name)):
                raise make_not_found(name)

    async def write(self, write: StoreWrite) -> Written:
        """See `VectorStore`."""
        async with self._locks.hold(write.index):
            with self._refusals(write.index):
                description = await self._find_or_create(write)
                if description.options != write.options:
                    raise make_replaced(write.index)
                return await write_items(self.api, self._collection(write.index), description, write)

    async def _find_or_create(self, write: StoreWrite) -> Description:
        if not write.create:
            return await self._describe(write.index)
        description = await self._read_description(self._collection(write.index))
        if description is None:
            with suppress(ErrConflict):  # another service has created it at this moment
                await self.create_index(write.options)
            description = await self._describe(write.index)
        return description

    async def merge(self, source: str, dest: str, *, clear_source: bool = False) -> Merged:
        """See `VectorStore`."""
        async with self._locks.hold(source, dest):
            with self._refusals():
                descriptions = await self._describe(source), await self._describe(dest)
                collections = self._collection(source), self._collection(dest)
                return await merge_items(self.api, collections, descriptions, clear_source=clear_source)

    async def search(self, search: CandidateSearch) -> Candidates:
        """See `VectorStore`."""
        names = [corpus.index for corpus in search.corpora]
        with self._refusals(names[0] if len(names) == 1 else ""):
            for name in names:
                if name not in self._options:
                    await self._describe(name)
            collections = {name: self._collection(name) for name in names}
            return await find_candidates(self.api, search, collections, self._options)

    async def get_items(self, index: str, ids: Sequence[str], *, with_vector: bool = False) -> Mapping[str, StoredItem]:
        """See `VectorStore`."""
        found: dict[str, StoredItem] = {}
        with self._refusals(index):
            options = (await self._describe(index)).options
            for start in range(0, len(ids), MAX_POINTS):
                part = [make_point_id(one) for one in ids[start : start + MAX_POINTS]]
                vector = ("dense",) if with_vector else ()
                for point in await self.api.retrieve(self._collection(index), part, vector=vector):
                    item = read_item(point, options.distance, with_vector=with_vector)
                    found[item.id] = item
        return found

    async def list_digests(self, index: str, *, after: str = "", limit: int = 10_000) -> Sequence[Digest]:
        """See `VectorStore`."""

        async def read() -> AsyncIterator[Sequence[Digest]]:
            pages = scroll_pages(self.api, self._collection(index), ALWAYS, payload=("id", "digest"))
            async with aclosing(pages):
                async for points in pages:
                    yield [Digest(point.fields.id, base64.b64decode(point.fields.digest)) for point in points]

        with self._refusals(index):
            await self._describe(index)
            return await self._digests.page(index, after, limit, read)

    def _collection(self, index: str) -> str:
        return make_collection_name(self.prefix, index)

    async def _describe(self, name: str) -> Description:
        """The description of an index. Raises ErrNotFound."""
        description = await self._read_description(self._collection(name))
        if description is None:
            self._options.pop(name, None)
            raise make_not_found(name)
        return description

    async def _read_description(self, collection: str) -> Description | None:
        try:
            points = await self.api.retrieve(collection, DESCRIPTIONS)
        except Refused as refused:
            if refused.status == 404:
                return None
            raise
        description = read_description(points)
        if description is not None:
            self._options[description.options.name] = description.options
        return description

    async def _make_index(self, collection: str, description: Description) -> StoredIndex:
        return StoredIndex(
            options=description.options,
            identity=description.identity,
            created_ms=description.created_ms,
            length=await self.api.count(collection) - len(DESCRIPTIONS),
            version=description.version,
            source=description.source,
            exact=not description.options.approximate,
        )

    def _refusals(self, index: str = "") -> AbstractContextManager[None]:
        return translate_refusals(self.api.client, index)


def make_options(options: IndexOptions) -> Document:
    """The collection of an index. One shard, so that an upsert is one entry of the log; a graph only if it is used."""
    document: Document = {
        "vectors": {"dense": {"size": options.dimension, "distance": DISTANCES[options.distance]}},
        "shard_number": 1,
    }
    if options.keyword:
        document["sparse_vectors"] = {"words": {"modifier": "idf"}}
    if not options.approximate:
        document["hnsw_config"] = {"m": 0}
    return document


def make_qdrant_store(url: str, prefix: str, load_key: Callable[[], str]) -> QdrantStore:
    """The store at a URL of a server. It opens no connection before the first call.

    `prefix` begins the names of all collections; `load_key` gives the API key, an empty text for none.
    """
    client = StoreClient(url, name=f"the vector store {url}", key_field=KEY_FIELD, load_key=load_key)
    return QdrantStore(QdrantApi(client), prefix)
