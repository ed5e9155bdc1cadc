"""Copies what one index has and another one lacks."""

from __future__ import annotations

from contextlib import aclosing

from lakehouse.services.contracts.retrieval import IndexOptions, Merged
from lakehouse.services.vector_stores.qdrant.api import Point, QdrantApi
from lakehouse.services.vector_stores.qdrant.points import (
    DESCRIPTIONS,
    Description,
    copy_point,
    describe_version,
    read_vector,
)
from lakehouse.services.vector_stores.qdrant.writing import MAX_POINTS, scroll_pages, split_points
from lakehouse.services.vector_stores.remote.conditions import ALWAYS
from lakehouse.services.vector_stores.remote.vectors import check_copied
from lakehouse.services.vector_stores.remote.versions import next_version

VECTORS = ("dense", "words")


async def merge_items(
    api: QdrantApi, collections: tuple[str, str], descriptions: tuple[Description, Description], *, clear_source: bool
) -> Merged:
    """Copy items page by page, and then delete the copied ones from the source if that is wanted.

    A merge that is cut has copied a part; the same merge again copies the rest.
    """
    (source, dest), (from_index, to_index) = collections, descriptions
    if (to_index.options.distance == "cosine") != (from_index.options.distance == "cosine"):
        await _check_copied(api, source, from_index.options, to_index.options)
    copied: list[str] = []
    skipped = 0
    async with aclosing(scroll_pages(api, source, ALWAYS, payload=True, vector=VECTORS)) as pages:
        async for points in pages:
            lacking = await _find_lacking(api, dest, points)
            made = [copy_point(point, from_index.options, to_index.options) for point in lacking]
            for part in split_points(made):
                await api.upsert(dest, part)
            copied += [str(point.id) for point in lacking]
            skipped += len(points) - len(lacking)
    await api.upsert(dest, [describe_version(next_version(to_index.version), to_index.lengths)])
    if clear_source and copied:
        for start in range(0, len(copied), MAX_POINTS):
            await api.delete_points(source, copied[start : start + MAX_POINTS])
        await api.upsert(source, [describe_version(next_version(from_index.version), from_index.lengths)])
    return Merged(merged=len(copied), skipped=skipped, length=await api.count(dest) - len(DESCRIPTIONS))


async def _find_lacking(api: QdrantApi, dest: str, points: list[Point]) -> list[Point]:
    """The points that the destination does not have."""
    if not points:
        return []
    have = {point.id for point in await api.retrieve(dest, [point.id for point in points], payload=False)}
    return [point for point in points if point.id not in have]


async def _check_copied(api: QdrantApi, source: str, from_index: IndexOptions, to_index: IndexOptions) -> None:
    """Refuse vectors that the destination cannot compare, before anything is copied."""
    async with aclosing(scroll_pages(api, source, ALWAYS, payload=("id", "norm"), vector=("dense",))) as pages:
        async for points in pages:
            for point in points:
                check_copied(point.fields.id, read_vector(point, from_index.distance), to_index.distance)
