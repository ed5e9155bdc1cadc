"""The store: each index is a collection of Chroma, and one more collection has the descriptions of all indexes."""

from __future__ import annotations

import base64
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, aclosing, suppress
from functools import partial
from uuid import uuid4

import msgspec

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
from lakehouse.services.vector_stores.chroma.api import KEY_FIELD, MAX_RECORDS, ChromaApi, Collection
from lakehouse.services.vector_stores.chroma.catalog import Catalog, Description
from lakehouse.services.vector_stores.chroma.merging import merge_items
from lakehouse.services.vector_stores.chroma.records import read_fields, read_item, read_vector
from lakehouse.services.vector_stores.chroma.searching import CandidateFinder
from lakehouse.services.vector_stores.chroma.writing import read_pages, write_items
from lakehouse.services.vector_stores.remote.client import Refused, StoreClient
from lakehouse.services.vector_stores.remote.creation import wait_until_described
from lakehouse.services.vector_stores.remote.digest_lists import DigestLists
from lakehouse.services.vector_stores.remote.errors import translate_refusals
from lakehouse.services.vector_stores.remote.names import make_collection_name
from lakehouse.services.vector_stores.remote.versions import next_version

SPACES = {"cosine": "cosine", "dot": "ip", "euclidean": "l2"}
COUNTED_AT_ONCE = 8


class ChromaStore:
    """The indexes of one lake in Chroma."""

    def __init__(self, api: ChromaApi, prefix: str) -> None:
        """`prefix` begins the names of the lake's collections."""
        self.api = api
        self.prefix = prefix
        self._catalog = Catalog(api, f"{prefix}.indexes")
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
        """Ask the server what it can do: the version that it names is that of its API."""
        try:
            checklist = await self.api.read_checklist()
        except Refused as refused:
            return StoreStatus(version="", problem=f"has not version 2 of Chroma's API ({refused.status})")
        fits = checklist.supports_base64_encoding and checklist.max_batch_size >= MAX_RECORDS
        return StoreStatus(version="Chroma, API 2", problem="" if fits else "needs Chroma 1.5 or later")

    async def find_indexes(self, names: Sequence[str] | None = None) -> Sequence[StoredIndex]:
        """See `VectorStore`."""
        found: list[StoredIndex] = []

        async def count(description: Description) -> None:
            try:
                found.append(make_index(description, await self.api.count(description.collection)))
            except Refused as refused:
                if refused.status != 404:  # deleted at this moment
                    raise

        with self._refusals():
            if names is None or names:
                await run_all(count, await self._catalog.find(names), at_once=COUNTED_AT_ONCE)
        return sorted(found, key=lambda index: index.options.name)

    async def create_index(self, options: IndexOptions) -> StoredIndex:
        """See `VectorStore`. A creation that is cut leaves a collection that the next creation replaces."""
        with self._refusals():
            made = await self._create_collection(options)
            encoded, version = msgspec.json.encode(options).decode(), next_version(0)
            description = Description(
                options=encoded,
                identity=uuid4().hex,
                collection=made.id,
                created=time.time_ns() // 1_000_000,
                version=version,
            )
            await self._catalog.put(options.name, msgspec.structs.asdict(description))
        return make_index(description, 0)

    async def _create_collection(self, options: IndexOptions) -> Collection:
        name, space = make_collection_name(self.prefix, options.name), SPACES[options.distance]
        made = await self.api.create_collection(name, space)
        if made is None:
            if await wait_until_described(partial(self._is_described, options.name)):
                raise make_taken(options.name)
            await self.api.delete_collection(name)
            made = await self.api.create_collection(name, space)
        if made is None:
            raise make_taken(options.name)
        return made

    async def _is_described(self, name: str) -> bool:
        return bool(await self._catalog.find([name]))

    async def delete_index(self, name: str) -> None:
        """See `VectorStore`."""
        with self._refusals():
            await self._describe(name)
            await self._catalog.delete(name)
            await self.api.delete_collection(make_collection_name(self.prefix, name))

    async def write(self, write: StoreWrite) -> Written:
        """See `VectorStore`."""
        async with self._locks.hold(write.index):
            with self._refusals(write.index):
                description = await self._find_or_create(write)
                if description.index != write.options:
                    raise make_replaced(write.index)
                return await write_items(self.api, self._catalog, description, write)

    async def _find_or_create(self, write: StoreWrite) -> Description:
        if write.create and not await self._catalog.find([write.index]):
            with suppress(ErrConflict):  # another service has created it at this moment
                await self.create_index(write.options)
        return await self._describe(write.index)

    async def merge(self, source: str, dest: str, *, clear_source: bool = False) -> Merged:
        """See `VectorStore`."""
        async with self._locks.hold(source, dest):
            with self._refusals():
                descriptions = await self._describe(source), await self._describe(dest)
                return await merge_items(self.api, self._catalog, *descriptions, clear_source=clear_source)

    async def search(self, search: CandidateSearch) -> Candidates:
        """See `VectorStore`."""
        names = list(dict.fromkeys(corpus.index for corpus in search.corpora))
        with self._refusals(names[0] if len(names) == 1 else ""):
            descriptions = {one.index.name: one for one in await self._catalog.find(names)}
            for corpus in search.corpora:
                if corpus.index not in descriptions:
                    raise make_not_found(corpus.index)
                if descriptions[corpus.index].identity != corpus.identity:
                    raise make_replaced(corpus.index)
            return await CandidateFinder(self.api, search, descriptions).run()

    async def get_items(self, index: str, ids: Sequence[str], *, with_vector: bool = False) -> Mapping[str, StoredItem]:
        """See `VectorStore`."""
        found: dict[str, StoredItem] = {}
        include = ("metadatas", "embeddings") if with_vector else ("metadatas",)
        with self._refusals(index):
            description = await self._describe(index)
            for start in range(0, len(ids), MAX_RECORDS):
                records = await self.api.get(
                    description.collection, ids=ids[start : start + MAX_RECORDS], include=include
                )
                embeddings = records.embeddings or [[]] * len(records.ids)
                for metadata, embedding in zip(records.metadatas or (), embeddings, strict=True):
                    fields = read_fields(metadata)
                    vector = read_vector(embedding, fields, description.index.distance) if with_vector else b""
                    found[fields.id] = read_item(fields, vector)
        return found

    async def list_digests(self, index: str, *, after: str = "", limit: int = 10_000) -> Sequence[Digest]:
        """See `VectorStore`."""
        with self._refusals(index):
            collection = (await self._describe(index)).collection

            async def read() -> AsyncIterator[Sequence[Digest]]:
                async with aclosing(read_pages(self.api, collection, None, ("metadatas",))) as pages:
                    async for page in pages:
                        fields = [read_fields(metadata) for metadata in page.metadatas or ()]
                        yield [Digest(one.id, base64.b64decode(one.digest)) for one in fields]

            return await self._digests.page(index, after, limit, read)

    async def _describe(self, name: str) -> Description:
        """The description of an index. Raises ErrNotFound."""
        found = await self._catalog.find([name])
        if not found:
            raise make_not_found(name)
        return found[0]

    def _refusals(self, index: str = "") -> AbstractContextManager[None]:
        return translate_refusals(self.api.client, index)


def make_index(description: Description, length: int) -> StoredIndex:
    """An index as the store has it."""
    return StoredIndex(
        options=description.index,
        identity=description.identity,
        created_ms=description.created,
        length=length,
        version=description.version,
        source=description.source.encode(),
        exact=False,
    )


def make_chroma_store(url: str, prefix: str, load_key: Callable[[], str]) -> ChromaStore:
    """The store at a URL of a server. It opens no connection before the first call.

    `prefix` begins the names of all collections; `load_key` gives the token, an empty text for none.
    """
    client = StoreClient(url, name=f"the vector store {url}", key_field=KEY_FIELD, load_key=load_key)
    return ChromaStore(ChromaApi(client), prefix)
