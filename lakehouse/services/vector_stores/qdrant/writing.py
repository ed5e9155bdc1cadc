"""Writes to an index in Qdrant: as few requests as there can be, in an order in which a part of them does no harm.

The last upsert has the new version, so a write that fits into one request is there as a whole or not at all. Of a
larger one a part may be there when it is cut; items come before deletions, and the same write again completes it.
Writes of one service to an index follow one another.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing

import msgspec

from lakehouse.services.contracts.retrieval import Written
from lakehouse.services.contracts.vector_store import StoreItem, StoreWrite
from lakehouse.services.vector_stores.qdrant.api import Document, Point, QdrantApi, WrittenPoint
from lakehouse.services.vector_stores.qdrant.conditions import render_items
from lakehouse.services.vector_stores.qdrant.points import (
    DESCRIPTIONS,
    Description,
    describe_source,
    describe_version,
    make_point,
    make_point_id,
    read_metadata,
)
from lakehouse.services.vector_stores.remote.conditions import Term, Tokens, make_source_token, translate
from lakehouse.services.vector_stores.remote.requests import split_by_size
from lakehouse.services.vector_stores.remote.versions import next_version
from lakehouse.services.vector_stores.remote.words import add_lengths

MAX_REQUEST = 8 * 2**20
"""Bytes of one request, of 32 MiB that a server takes by default."""
COMPONENT_BYTES = 24
"""Bytes of a component of a vector in JSON, at most."""
MAX_POINTS = 1000
"""Points that are read or deleted at once."""


async def write_items(api: QdrantApi, collection: str, description: Description, write: StoreWrite) -> Written:
    """Delete and add items of one index."""
    deleted_ids = await _find_deleted(api, collection, write)
    known = await _read_known(api, collection, write.items, deleted_ids)
    lengths, points = add_lengths(description.lengths, write.items), []
    for item in write.items:
        point_id = make_point_id(item.id)
        replaced = None if point_id in deleted_ids else known.get(point_id)
        points.append(
            make_point(item, write.replace_source or item.source, replaced, description.options, lengths.average)
        )
    written = {point.id for point in points}
    version = next_version(description.version)
    last = [describe_version(version, lengths)]
    if write.source_state:
        last.append(describe_source(write.source_state))
    await _send(api, collection, points, last, [one for one in deleted_ids if one not in written])
    replaced_count = sum(one in known and one not in deleted_ids for one in written)
    return Written(
        added=len(points) - replaced_count,
        replaced=replaced_count,
        deleted=len(deleted_ids),
        length=await api.count(collection) - len(DESCRIPTIONS),
        version=version,
    )


async def _find_deleted(api: QdrantApi, collection: str, write: StoreWrite) -> dict[str, None]:
    """The ids of the points that a write deletes and that are there."""
    found: dict[str, None] = {}
    ids = [make_point_id(one) for one in write.delete_ids]
    for start in range(0, len(ids), MAX_POINTS):
        points = await api.retrieve(collection, ids[start : start + MAX_POINTS], payload=False)
        found.update((str(point.id), None) for point in points)
    where = write.delete_where
    if where is not None:
        translated = translate([where])
        async with aclosing(scroll_pages(api, collection, translated.term, payload=("id", "metadata"))) as pages:
            async for points in pages:
                passed = (one for one in points if translated.exact or where.matches(read_metadata(one)))
                found.update((str(point.id), None) for point in passed)
    if write.replace_source:
        kept = {item.id for item in write.items}
        token = Tokens((make_source_token(write.replace_source),))
        async with aclosing(scroll_pages(api, collection, token, payload=("id",))) as pages:
            async for points in pages:
                found.update((str(point.id), None) for point in points if point.fields.id not in kept)
    return found


async def _read_known(
    api: QdrantApi, collection: str, items: Sequence[StoreItem], deleted: Mapping[str, None]
) -> dict[str, Point]:
    """The points that items replace; with their payload only where something of it stays."""
    found: dict[str, Point] = {}
    complete = [item for item in items if item.text is not None and item.metadata]
    partial = [item for item in items if item.text is None or not item.metadata]
    for part, payload in ((complete, False), (partial, True)):
        ids = [one for one in (make_point_id(item.id) for item in part) if one not in deleted]
        for start in range(0, len(ids), MAX_POINTS):
            points = await api.retrieve(
                collection, ids[start : start + MAX_POINTS], payload=payload, vector=("words",) if payload else ()
            )
            found.update((str(point.id), point) for point in points)
    return found


async def _send(
    api: QdrantApi,
    collection: str,
    points: Sequence[WrittenPoint],
    last: Sequence[WrittenPoint],
    deleted: Sequence[str],
) -> None:
    parts = list(split_points(points)) or [[]]
    for part in parts[:-1]:
        await api.upsert(collection, part)
    operations: list[Document] = [{"upsert": {"points": [*parts[-1], *last]}}]
    operations += [
        {"delete": {"points": deleted[start : start + MAX_POINTS]}} for start in range(0, len(deleted), MAX_POINTS)
    ]
    await api.update_batch(collection, operations)


def split_points(points: Iterable[WrittenPoint]) -> Iterator[list[WrittenPoint]]:
    """The points of each request."""
    return split_by_size(points, _measure, max_bytes=MAX_REQUEST)


def _measure(point: WrittenPoint) -> int:
    size = len(msgspec.json.encode(point.payload)) + COMPONENT_BYTES * len(point.vector.dense or ()) + 256
    return size + 40 * (len(point.vector.words.indices) if point.vector.words else 0)


async def scroll_pages(
    api: QdrantApi, collection: str, term: Term, *, payload: bool | Sequence[str], vector: Sequence[str] = ()
) -> AsyncGenerator[list[Point], None]:
    """All items that pass a filter, in the order of their points' ids, `MAX_POINTS` at a time."""
    offset: str | int | None = None
    while True:
        page = await api.scroll(
            collection, render_items(term), limit=MAX_POINTS, offset=offset, payload=payload, vector=vector
        )
        yield page.points
        offset = page.next_page_offset
        if offset is None:
            return
