"""Two services, each with a folder of its own, over the indexes of one server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from lakehouse.core.errors import ErrConflict, ErrNotFound
from tests.services.warehouse.two_services import Service, open_service
from tools.kit.scaleout.vector_servers import VectorServer, configure_store

MARKDOWN = b"# Leave\n\nParental leave lasts fourteen months.\n\n# Travel\n\nTravel expenses are paid within a week.\n"


@asynccontextmanager
async def open_two(folder: Path, server: VectorServer) -> AsyncIterator[tuple[Service, Service]]:
    """Two services with the same name and server."""
    tables = configure_store(folder, server)
    lake, rest = tables.pop("lake"), tables
    async with (
        open_service(folder / "one", lake, **rest) as one,
        open_service(folder / "two", lake, **rest) as two,
    ):
        yield one, two


async def find(service: Service, index: str, text: str, **more: Any) -> list[str]:
    answer = await service.post("vectord", f"/vectors/index/{index}/search", {"text": text, **more})
    return [hit["id"] for hit in answer["results"]]


async def test_what_one_service_writes_the_other_finds_with_its_next_request(
    server: VectorServer, tmp_path: Path
) -> None:
    async with open_two(tmp_path, server) as (one, two):
        await one.post("vectord", "/vectors/index", {"name": "notes", "model": "default"})
        with pytest.raises(ErrConflict):
            await two.post("vectord", "/vectors/index", {"name": "notes", "model": "default"})
        items = [{"id": f"n{at}", "text": f"note {at} of the harbour", "metadata": {"n": at}} for at in range(20)]
        async with trio.open_nursery() as nursery:
            for service, part in ((one, items[:10]), (two, items[10:])):
                nursery.start_soon(service.post, "vectord", "/vectors/index/notes/add", {"items": part})
        search = {"corpora": ["notes"], "query_text": "the harbour", "mode": "vector", "k": 50}
        for service in (one, two):  # the second time from the cache, until a write of the other service
            assert len((await service.post("matrixd", "/matrix/search", search))["results"]) == 20
            assert len(await find(service, "notes", "harbour", filter={"n": {"lt": 5}})) == 5
        await two.post("vectord", "/vectors/index/notes/delete", {"filter": {"n": {"gte": 10}}})
        assert len((await one.post("matrixd", "/matrix/search", search))["results"]) == 10
        await two.call("vectord", "DELETE", "/vectors/index/notes")
        with pytest.raises(ErrNotFound):
            await find(one, "notes", "harbour")


async def test_an_index_is_kept_to_a_table_and_only_changes_are_written(server: VectorServer, tmp_path: Path) -> None:
    async with open_two(tmp_path, server) as (one, two):
        await one.ingest("words", "\n".join(f"k{at:03},the colour number{at}" for at in range(120)))
        await one.post("vectord", "/vectors/index", {"name": "words", "model": "default"})
        source = {"table": "words", "key": "id", "text": "word"}
        first = await one.post("vectord", "/vectors/index/words/sync", source)
        assert (first["added"], first["length"]) == (120, 120)
        assert (await find(two, "words", "number77"))[0] == "k077"
        await one.ingest("words", "k007,an entirely new animal\nk120,the colour number120", "&mode=upsert&key=id")
        again = await one.post("vectord", "/vectors/index/words/sync", {})
        assert (again["added"], again["replaced"], again["deleted"], again["length"]) == (1, 1, 0, 121)
        assert (await find(two, "words", "animal"))[0] == "k007"
        idle = await one.post("vectord", "/vectors/index/words/sync", {})
        assert (idle["added"], idle["replaced"], idle["deleted"]) == (0, 0, 0)


async def test_a_document_is_replaced_as_a_whole(server: VectorServer, tmp_path: Path) -> None:
    async with open_two(tmp_path, server) as (one, two):
        path = "/ingest?name=manual&format=markdown&source=handbook.md"
        await one.call("ingestd", "POST", path, MARKDOWN, content_type="text/markdown")
        question = {"corpora": ["manual"], "query_text": "how long is parental leave?"}
        context = await two.post("matrixd", "/matrix/context", question)
        assert "fourteen months" in context["text"]
        await two.call("ingestd", "POST", path, MARKDOWN.replace(b"fourteen", b"three"), content_type="text/markdown")
        context = await one.post("matrixd", "/matrix/context", question)
        assert "three months" in context["text"]
        assert "fourteen" not in context["text"]
