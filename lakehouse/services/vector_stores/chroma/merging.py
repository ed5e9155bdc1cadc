"""Copies what one index has and another one lacks."""

from __future__ import annotations

from contextlib import aclosing

from lakehouse.services.contracts.retrieval import Merged
from lakehouse.services.vector_stores.chroma.api import ChromaApi, Records
from lakehouse.services.vector_stores.chroma.catalog import Catalog, Description
from lakehouse.services.vector_stores.chroma.records import finish_record, read_fields, read_vector
from lakehouse.services.vector_stores.chroma.writing import delete_records, put_records, read_pages
from lakehouse.services.vector_stores.remote.vectors import check_copied
from lakehouse.services.vector_stores.remote.versions import next_version

EVERYTHING = ("metadatas", "embeddings")


async def merge_items(
    api: ChromaApi, catalog: Catalog, source: Description, dest: Description, *, clear_source: bool
) -> Merged:
    """Copy items page by page, and then delete the copied ones from the source if that is wanted.

    A merge that is cut has copied a part; the same merge again copies the rest.
    """
    if (dest.index.distance == "cosine") != (source.index.distance == "cosine"):
        await _check_copied(api, source, dest)
    if source.vectorless:
        await catalog.put(dest.index.name, {"vectorless": True})
    copied: list[str] = []
    skipped = 0
    async with aclosing(read_pages(api, source.collection, None, EVERYTHING)) as pages:
        async for page in pages:
            have = set((await api.get(dest.collection, ids=page.ids)).ids) if page.ids else set()
            await put_records(
                api,
                dest.collection,
                [
                    finish_record(fields, vector, dest.index)
                    for fields, vector in (
                        (read_fields(metadata), read_vector(embedding, read_fields(metadata), source.index.distance))
                        for one, metadata, embedding in _list(page)
                        if one not in have
                    )
                ],
            )
            copied += [one for one in page.ids if one not in have]
            skipped += len(have)
    await catalog.put(dest.index.name, {"version": next_version(dest.version)})
    if clear_source and copied:
        await delete_records(api, source.collection, copied)
        await catalog.put(source.index.name, {"version": next_version(source.version)})
    return Merged(merged=len(copied), skipped=skipped, length=await api.count(dest.collection))


def _list(page: Records) -> list[tuple[str, dict[str, object] | None, list[float]]]:
    return list(zip(page.ids, page.metadatas or (), page.embeddings or (), strict=True))


async def _check_copied(api: ChromaApi, source: Description, dest: Description) -> None:
    """Refuse vectors that the destination cannot compare, before anything is copied."""
    async with aclosing(read_pages(api, source.collection, None, EVERYTHING)) as pages:
        async for page in pages:
            for one, metadata, embedding in _list(page):
                vector = read_vector(embedding, read_fields(metadata), source.index.distance)
                check_copied(one, vector, dest.index.distance)
