"""A lake without a server, in a trio program: uploads, SQL, exceptions, cancellation, and the folder's lock."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

import lakehouse
from lakehouse.services.host import library
from lakehouse.services.lake.directory import open_lake_directory
from tools.kit.child_processes import children

CSV = b"id,shop,revenue\n1,a,1.5\n2,b,2.5\n3,a,4\n"


async def test_a_file_becomes_a_table_and_sql_reads_it(tmp_path: Path) -> None:
    before = children()
    file = tmp_path / "sales.csv"
    file.write_bytes(CSV)
    async with lakehouse.open_lake(tmp_path / "lake") as lake:
        assert lake.folder == tmp_path / "lake"
        assert children() == before  # nothing has been asked yet
        made = await lake.ingest("sales", file)
        assert (made.row_count, made.existing, [column.type for column in made.columns]) == (
            3, False, ["BIGINT", "VARCHAR", "DOUBLE"],
        )  # fmt: skip
        more = await lake.ingest("sales", _pieces(b"id,shop,revenue\n", b"4,c,1.5\n"), mode="append", format="csv")
        assert (more.row_count, more.rows_added, more.existing) == (4, 1, True)

        result = await lake.sql("SELECT shop, sum(revenue) FROM sales WHERE id < ? GROUP BY 1 ORDER BY 1", [4])
        assert result.rows == (("a", 5.5), ("b", 2.5))
        assert result.columns[0].name == "shop"
        cut = await lake.sql("FROM sales ORDER BY id", max_rows=1)
        assert (cut.rows, cut.truncated) == (((1, "a", 1.5),), True)

        async with lake.stream_sql("SELECT id, shop FROM sales ORDER BY id") as rows:
            assert [row async for row in rows][-1] == {"id": 4, "shop": "c"}
        async with lake.export_sql("SELECT id FROM sales ORDER BY id", format="csv") as pieces:
            assert b"".join([piece async for piece in pieces]).split() == [b"id", b"1", b"2", b"3", b"4"]

        with pytest.raises(lakehouse.ErrBadRequest) as caught:
            await lake.sql("SELEC 1")
        assert caught.value.details is not None
        assert caught.value.details["position"] == 0
        with pytest.raises(lakehouse.ErrForbidden):
            await lake.sql("DROP TABLE sales")
        with pytest.raises(lakehouse.ErrUnprocessable):
            await lake.ingest("broken", b"a,b\n1,\xff\n", format="csv")
        with pytest.raises(FileNotFoundError):
            await lake.ingest("missing", tmp_path / "missing.csv")
        with pytest.raises(lakehouse.ErrConflict):
            await lake.ingest("sales", b"other\n1\n", format="csv", mode="append")
    assert children() == before


async def test_documents_become_a_corpus_that_is_searched(tmp_path: Path) -> None:
    before = children()
    file = tmp_path / "birds.md"
    file.write_bytes(b"# Owls\n\nThe owl hunts mice at night.")
    async with lakehouse.open_lake(tmp_path / "lake") as lake:
        made = await lake.ingest_document("docs", file)
        assert (made.source, made.format, made.passages, made.existing) == ("birds.md", "markdown", 1, False)
        pieces = _pieces(b"The heron waits ", b"for fish.")
        more = await lake.ingest_document("docs", pieces, source="sub/heron.txt", format="text")
        assert (more.source, more.length, more.existing) == ("sub/heron.txt", 2, True)
        found = await lake.search("docs", "what waits for fish?", k=1)
        assert [hit.id for hit in found.results] == ["sub/heron.txt#1"]
        assert (await lake.remove_document("docs", "birds.md")).length == 1
        with pytest.raises(lakehouse.ErrNotFound):
            await lake.remove_document("docs", "birds.md")
        with pytest.raises(lakehouse.ErrBadRequest, match="ingest_document"):
            await lake.ingest("docs", file)
        with pytest.raises(lakehouse.ErrBadRequest, match="format"):
            await lake.ingest_document("docs", b"text")
        with pytest.raises(lakehouse.ErrUnprocessable, match="not a PDF"):
            await lake.ingest_document("docs", b"text", format="pdf")
    assert children() == before


@pytest.mark.extended
async def test_the_first_upload_starts_what_it_needs_and_an_engine_for_the_first_query(tmp_path: Path) -> None:
    before = children()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"id\n"
        with trio.fail_after(20):
            while len(children() - before) < 3:  # the tables and two engines, before the upload has arrived
                await trio.sleep(0.01)
        yield b"1\n"

    async with lakehouse.open_lake(tmp_path / "lake") as lake:
        await lake.ingest("ids", pieces(), format="csv")
        started = children()
        assert (await lake.sql("FROM ids")).rows == ((1,),)
        assert children() == started
    assert children() == before


async def test_a_cancelled_upload_leaves_no_child_that_was_being_started(tmp_path: Path) -> None:
    before = children()

    async def endless() -> AsyncIterator[bytes]:
        yield b"id\n"
        scope.cancel()
        await trio.sleep_forever()

    async with lakehouse.open_lake(tmp_path / "lake") as lake:
        with trio.CancelScope() as scope:
            await lake.ingest("ids", endless(), format="csv")
        assert scope.cancelled_caught
    assert children() == before


async def test_a_cancelled_query_leaves_a_lake_that_answers(tmp_path: Path) -> None:
    async with lakehouse.open_lake(tmp_path / "lake") as lake:
        await lake.sql("SELECT 1")
        with trio.move_on_after(0.2) as scope:
            await lake.sql("SELECT sum(a.range * b.range) FROM range(1000000) a, range(1000000) b")
        assert scope.cancelled_caught
        with trio.fail_after(10):
            assert (await lake.sql("SELECT 2")).rows == ((2,),)
        with pytest.raises(lakehouse.ErrTimeout):
            await lake.sql("SELECT sum(a.range * b.range) FROM range(1000000) a, range(1000000) b", timeout=0.2)


async def test_a_stream_that_is_left_early_ends_its_query(tmp_path: Path) -> None:
    async with lakehouse.open_lake(tmp_path / "lake") as lake:
        async with lake.stream_sql("SELECT range AS n FROM range(100000000)") as rows:
            async for row in rows:
                assert row == {"n": 0}
                break
        with trio.fail_after(10):
            assert (await lake.sql("SELECT 1")).row_count == 1


async def test_a_lake_in_use_is_refused_and_a_configuration_names_the_folder(tmp_path: Path) -> None:
    config = lakehouse.parse_config({"lake": {"path": str(tmp_path / "lake")}}).config
    with open_lake_directory(tmp_path / "lake"):
        with pytest.raises(lakehouse.LakeError, match=rf"in use by process {os.getpid()}"):
            async with lakehouse.open_lake(config):
                raise AssertionError("it opened")
    async with lakehouse.open_lake(config) as lake:
        assert lake.folder == tmp_path / "lake"


async def test_without_the_extra_the_error_has_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "missing_modules", lambda *_: ["duckdb"])
    with pytest.raises(lakehouse.LakeError, match=r"pip install '\.\[lake\]'"):
        async with lakehouse.open_lake(tmp_path / "lake"):
            raise AssertionError("it opened")
    assert not (tmp_path / "lake").exists()


async def _pieces(*data: bytes) -> AsyncIterator[bytes]:
    for piece in data:
        await trio.lowlevel.checkpoint()
        yield piece


async def test_indexes_are_made_searched_and_kept_to_a_table(tmp_path: Path) -> None:
    before = children()
    async with lakehouse.open_lake(tmp_path / "lake") as lake:
        await lake.create_index("notes")
        items: list[dict[str, object]] = [
            {"id": "t", "text": "Tea is picked by hand.", "metadata": {"year": 2026}},
            {"id": "i", "text": "Iron ore"},
        ]
        assert await lake.add("notes", items) == lakehouse.AddResult(added=2, replaced=0, length=2)
        found = await lake.search("notes", "who picks tea?", mode="vector")
        assert (found.exact, found.results[0].id, found.results[0].text) == (True, "t", "Tea is picked by hand.")
        assert found.results[0].metadata == {"year": 2026}
        assert [hit.id for hit in (await lake.search("notes", "tea", filter={"year": {"gte": 2027}})).results] == []
        assert await lake.delete_items("notes", filter={"year": 2026}) == lakehouse.DeleteResult(deleted=1, length=1)

        await lake.create_index("numbers", dimension=2, distance="euclidean")
        await lake.add("numbers", [{"id": "a", "vector": (3, 4)}, {"id": "b", "vector": (0, 1)}])
        assert [(hit.id, hit.distance) for hit in (await lake.search("numbers", vector=(0, 0), k=5)).results] == [
            ("b", 1.0), ("a", 5.0),
        ]  # fmt: skip

        await lake.ingest("shops", b"id,note\n1,red apples\n2,raw steel\n", format="csv")
        synced = await lake.sync("notes", "shops", key="id", text="note")
        assert (synced.added, synced.deleted, synced.length) == (2, 0, 3)
        await lake.ingest("shops", b"id,note\n2,raw steel\n3,fresh pears\n", format="csv")
        again = await lake.sync("notes")
        assert (again.added, again.deleted, again.from_snapshot) == (1, 1, synced.to_snapshot)
        assert [hit.id for hit in (await lake.search("notes", "pears", k=1)).results] == ["3"]

        with pytest.raises(lakehouse.ErrNotFound):
            await lake.search("none", "tea")
        with pytest.raises(lakehouse.ErrBadRequest) as caught:
            await lake.add("numbers", [{"id": "c", "vector": [1, 2]}, {"id": "d", "vector": [1]}])
        assert (caught.value.field, (caught.value.details or {})["item"]) == ("items[1].vector", 1)
        await lake.delete_index("numbers")
        with pytest.raises(lakehouse.ErrNotFound):
            await lake.delete_index("numbers")
    assert children() == before
