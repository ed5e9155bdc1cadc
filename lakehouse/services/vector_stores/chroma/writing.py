"""Writes to an index in Chroma: items before deletions, and the version of the index last.

A write that is cut may be there in parts; the same write again completes it. Writes of one service to an index follow
one another.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import msgspec

from lakehouse.services.contracts.filter_language import Filter
from lakehouse.services.contracts.retrieval import Written
from lakehouse.services.contracts.vector_store import StoreItem, StoreWrite
from lakehouse.services.vector_stores.chroma.api import MAX_RECORDS, ChromaApi, Document, Records
from lakehouse.services.vector_stores.chroma.catalog import Catalog, Description
from lakehouse.services.vector_stores.chroma.conditions import NUMBER_KINDS, render_filter, restrict_ranges
from lakehouse.services.vector_stores.chroma.records import Fields, Record, make_record, read_fields
from lakehouse.services.vector_stores.remote.conditions import Tokens, make_source_token, translate
from lakehouse.services.vector_stores.remote.requests import split_by_size
from lakehouse.services.vector_stores.remote.versions import next_version
from lakehouse.services.vector_stores.remote.words import add_lengths

MAX_REQUEST = 8 * 2**20
"""Bytes of one request."""
MAX_WRITTEN = 200
"""Records of one request: Chroma takes some milliseconds for each, and has to answer within the client's limit."""


async def write_items(api: ChromaApi, catalog: Catalog, description: Description, write: StoreWrite) -> Written:
    """Delete and add items of one index."""
    collection, options = description.collection, description.index
    deleted = await _find_deleted(api, description, write)
    known = await _read_known(api, collection, write.items)
    records = [
        make_record(
            item, write.replace_source or item.source, None if item.id in deleted else known.get(item.id), options
        )
        for item in write.items
    ]
    if not description.vectorless and any(not item.vector for item in write.items):
        await catalog.put(write.index, {"vectorless": True})
    await put_records(api, collection, records)
    written = {record.id for record in records}
    await delete_records(api, collection, [one for one in deleted if one not in written])
    version, lengths = next_version(description.version), add_lengths(description.lengths, write.items)
    changes: Document = {"version": version, "texts": lengths.texts, "words": lengths.words}
    if write.source_state:
        changes["source"] = write.source_state.decode()
    await catalog.put(write.index, changes)
    replaced = sum(one in known and one not in deleted for one in written)
    return Written(
        added=len(written) - replaced,
        replaced=replaced,
        deleted=len(deleted),
        length=await api.count(collection),
        version=version,
    )


async def _find_deleted(api: ChromaApi, description: Description, write: StoreWrite) -> dict[str, None]:
    """The ids that a write deletes and that are there."""
    found: dict[str, None] = {}
    ids = list(dict.fromkeys(write.delete_ids))
    for start in range(0, len(ids), MAX_RECORDS):
        records = await api.get(description.collection, ids=ids[start : start + MAX_RECORDS])
        found.update(dict.fromkeys(records.ids))
    where = write.delete_where
    if where is not None:
        condition, exact = render_conditions([where], description)
        include = () if exact else ("metadatas",)
        async with aclosing(read_pages(api, description.collection, condition, include)) as pages:
            async for page in pages:
                metadatas = page.metadatas or [None] * len(page.ids)
                passed = (
                    one
                    for one, metadata in zip(page.ids, metadatas, strict=True)
                    if exact or where.matches(read_fields(metadata).metadata)
                )
                found.update(dict.fromkeys(passed))
    if write.replace_source:
        kept = {item.id for item in write.items}
        condition = render_filter(Tokens((make_source_token(write.replace_source),)))
        async with aclosing(read_pages(api, description.collection, condition)) as pages:
            async for page in pages:
                found.update(dict.fromkeys(one for one in page.ids if one not in kept))
    return found


def render_conditions(filters: Sequence[Filter], description: Description) -> tuple[Document | None, bool]:
    """Filters as Chroma has them, and whether that lets through exactly what they do."""
    translated = translate(filters)
    declared = {name for name, kind in description.index.fields.items() if kind in NUMBER_KINDS}
    term, same = restrict_ranges(translated.term, declared)
    return render_filter(term), translated.exact and same


async def _read_known(api: ChromaApi, collection: str, items: Sequence[StoreItem]) -> dict[str, Fields]:
    """The records that items replace; with their metadata only where something of it stays."""
    found: dict[str, Fields] = {}
    complete = [item.id for item in items if item.text is not None and item.metadata]
    partial = [item.id for item in items if item.text is None or not item.metadata]
    for ids, include in ((complete, ()), (partial, ("metadatas",))):
        for start in range(0, len(ids), MAX_RECORDS):
            records = await api.get(collection, ids=ids[start : start + MAX_RECORDS], include=include)
            metadatas = records.metadatas or [None] * len(records.ids)
            found.update((one, read_fields(metadata)) for one, metadata in zip(records.ids, metadatas, strict=True))
    return found


async def put_records(api: ChromaApi, collection: str, records: Sequence[Record]) -> None:
    """Write records, a bounded number and size of them at once."""
    for part in split_by_size(records, _measure, max_bytes=MAX_REQUEST, max_items=MAX_WRITTEN):
        await api.upsert(
            collection,
            [record.id for record in part],
            [record.embedding for record in part],
            [record.metadata for record in part],
        )


async def delete_records(api: ChromaApi, collection: str, ids: Sequence[str]) -> None:
    """Delete records by their ids."""
    for start in range(0, len(ids), MAX_RECORDS):
        await api.delete_records(collection, ids[start : start + MAX_RECORDS])


def _measure(record: Record) -> int:
    return len(msgspec.json.encode(record))


async def read_pages(
    api: ChromaApi, collection: str, where: Document | None, include: Sequence[str] = ()
) -> AsyncGenerator[Records, None]:
    """All records that pass a filter, `MAX_RECORDS` at a time."""
    offset = 0
    while True:
        page = await api.get(collection, where=where, limit=MAX_RECORDS, offset=offset, include=include)
        yield page
        offset += len(page.ids)
        if len(page.ids) < MAX_RECORDS:
            return
