"""The tables with their real process: writes, reads of the past, changes of columns, names, drops."""

from __future__ import annotations

import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trio

from lakehouse.core.errors import ErrBadRequest, ErrConflict, ErrNotFound, ErrUnprocessable
from lakehouse.services.contracts.catalog import Column, dataset_id
from lakehouse.services.contracts.tables import ColumnChanges
from lakehouse.services.tables.messages import Describe
from tools.kit.child_processes import assert_nothing_left
from tools.kit.lake_tables import ScratchLake, in_shared_lake, open_lake

ROWS = "SELECT i AS id, 'row ' || i AS text FROM range({}) r(i)"


async def test_a_lake_without_tables_starts_no_process(tmp_path: Path) -> None:
    with assert_nothing_left():
        async with open_lake(tmp_path) as lake:
            assert await lake.tables.find("a") is None
            assert await lake.tables.list() == []
            with pytest.raises(ErrNotFound, match="no table 'a'"):
                await lake.tables.plan("a")
            assert lake.tables.process.pool.started == 0


async def test_rows_are_created_appended_replaced_and_read_at_every_snapshot(tmp_path: Path) -> None:
    with assert_nothing_left():
        async with open_lake(tmp_path) as lake:
            first = await lake.write("sales/2024.q1", ROWS.format(3), mode="replace")
            assert first.created
            manifest = first.manifest
            assert manifest.dataset_id == dataset_id("sales/2024.q1")
            assert re.fullmatch("[0-9a-f]{64}", manifest.schema_fingerprint)
            assert [(column.name, column.type) for column in manifest.columns] == [
                ("id", "BIGINT"),
                ("text", "VARCHAR"),
            ]
            assert [
                (entry.rows, entry.key.startswith("datasets/sales/2024.q1/data/")) for entry in manifest.objects
            ] == [(3, True)]
            assert manifest.objects[0].size == (tmp_path / manifest.objects[0].key).stat().st_size

            second = await lake.write("sales/2024.q1", ROWS.format(2))
            assert (second.created, second.manifest.row_count, second.warnings) == (False, 5, ())
            assert second.manifest.objects[0] == manifest.objects[0]  # the newest one is the last
            third = await lake.write("sales/2024.q1", ROWS.format(1), mode="replace")
            assert (third.manifest.row_count, third.manifest.created_at) == (1, manifest.created_at)

            calls = lake.tables.process.pool
            assert await lake.rows("sales/2024.q1") == [(0, "row 0")]
            assert [
                len(await lake.rows("sales/2024.q1", snapshot_id=each.manifest.snapshot_id))
                for each in (first, second, third)
            ] == [3, 5, 1]
            snapshots = await lake.tables.snapshots("sales/2024.q1")
            assert [(each.snapshot_id, each.operation, each.row_count) for each in snapshots] == [
                (third.manifest.snapshot_id, "overwrite", 1), (second.manifest.snapshot_id, "append", 5), (manifest.snapshot_id, "append", 3),
            ]  # fmt: skip
            with pytest.raises(ErrNotFound, match="no snapshot '17'"):
                await lake.tables.plan("sales/2024.q1", snapshot_id="17")
            assert list(await lake.tables.list()) == [third.manifest]
            assert calls.started == 1


@pytest.mark.extended
@in_shared_lake
async def test_an_empty_file_and_no_file_make_a_table_without_rows(lake: ScratchLake) -> None:
    await lake.write("empty", ROWS.format(0))
    assert await lake.rows("empty") == []
    plan = await lake.tables.prepare("none", [Column(name="a", type="DATE")], mode="create")
    commit = await lake.tables.commit(plan, [])
    assert (commit.manifest.row_count, commit.manifest.objects) == (0, ())


async def test_a_planned_read_costs_no_call_and_another_program_is_noticed(tmp_path: Path) -> None:
    async with open_lake(tmp_path) as lake, open_lake(tmp_path) as other:
        await lake.write("t", ROWS.format(1))
        assert lake.tables.process.pool.started == 1
        assert (await other.tables.plan("t")).row_count == 1
        plan = await lake.tables.plan("t")
        requests: list[object] = []
        call = lake.tables.process.call

        async def record(request: Any, reply: Any) -> Any:
            requests.append(request)
            return await call(request, reply)

        lake.tables.process.call = record  # type: ignore[assignment,method-assign]
        assert await lake.tables.plan("t") is plan
        assert (await lake.tables.find("t")).snapshot_id == plan.snapshot_id  # type: ignore[union-attr]
        assert requests == []
        await other.write("t", ROWS.format(1))
        assert (await lake.tables.plan("t")).row_count == 2
        assert requests == [Describe(name="t")]


@in_shared_lake
async def test_every_type_that_a_table_stores_is_read_back(lake: ScratchLake) -> None:
    select = (
        "SELECT true AS b, 1::INTEGER AS i, (-9223372036854775807 - 1)::BIGINT AS big, 1.5::FLOAT AS f, 1e300::DOUBLE AS d,"
        " 12345678901234567890.1234567890::DECIMAL(38,10) AS dec, 0.5::DECIMAL(4,1) AS small, DATE '2024-02-29' AS day,"
        " TIMESTAMP '2024-02-29 12:00:00.123456' AS at, TIMESTAMPTZ '2024-02-29 12:00:00.5+02' AS zoned, 'ü' AS text,"
        " 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::UUID AS id, 'a\\x00b'::BLOB AS bytes, [1, NULL, 3]::BIGINT[] AS list,"
        " {'x': 1, 'y z': ['a']} AS struct, MAP {'k': {'v': 1.5}} AS map, 255::UTINYINT AS tiny,"
        " 18446744073709551615::UBIGINT AS huge, TIME '10:00:00.000001' AS clock, 'a'::ENUM('a', 'b') AS choice"
    )
    lake.connection.execute("SET TimeZone = 'UTC'")
    await lake.write("types", f"{select} UNION ALL SELECT {', '.join(['NULL'] * 20)}")
    expected = lake.connection.execute(f"SELECT COLUMNS(*)::VARCHAR FROM ({select})").fetchall()
    found = await lake.rows("types", "SELECT COLUMNS(*)::VARCHAR FROM t ORDER BY ALL NULLS LAST")
    assert found == [*expected, (None,) * 20]
    with pytest.raises(ErrUnprocessable, match="column 'span': a value of type INTERVAL") as caught:
        await lake.write("spans", "SELECT INTERVAL 1 DAY AS span")
    assert caught.value.details == {"column": "span"}
    assert await lake.tables.find("spans") is None


@in_shared_lake
async def test_another_schema_is_a_conflict_column_by_column_unless_it_may_evolve(lake: ScratchLake) -> None:
    await lake.write("t", "SELECT 1::INTEGER AS a, 'x' AS b, {'p': 1::INTEGER} AS s")
    upload = "SELECT DATE '2024-01-01' AS new, 5000000000 AS a, {'p': 2, 'q': 'deep'} AS s, 7 AS b"
    with pytest.raises(ErrConflict, match=r"new is new \(DATE\)") as caught:
        await lake.write("t", upload, mode="replace")
    assert caught.value.details == {
        "differences": [
            {"column": "a", "was": "INTEGER", "is": "BIGINT"},
            {"column": "b", "was": "VARCHAR", "is": "INTEGER"},
            {"column": "s", "was": "STRUCT(p INTEGER)", "is": "STRUCT(p INTEGER, q VARCHAR)"},
            {"column": "new", "was": None, "is": "DATE"},
        ]
    }
    before = await lake.tables.find("t")
    commit = await lake.write("t", upload, evolve=True)
    assert before is not None
    assert commit.manifest.schema_fingerprint != before.schema_fingerprint
    assert [column.type for column in commit.manifest.columns] == [
        "BIGINT",
        "VARCHAR",
        "STRUCT(p INTEGER, q VARCHAR)",
        "DATE",
    ]
    await lake.write("t", "SELECT 3 AS a, 'z' AS b", evolve=True)
    assert await lake.rows("t", "SELECT a, b, s::VARCHAR, new::VARCHAR FROM t ORDER BY a") == [
        (1, "x", "{'p': 1, 'q': NULL}", None),
        (3, "z", None, None),
        (5000000000, "7", "{'p': 2, 'q': deep}", "2024-01-01"),
    ]
    assert await lake.rows("t", "SELECT a, b FROM t", snapshot_id=before.snapshot_id) == [(1, "x")]
    with pytest.raises(ErrConflict, match="a was BIGINT and is VARCHAR"):
        await lake.write("t", "SELECT 'text' AS a", evolve=True)
    with pytest.raises(ErrConflict, match="A is new"):
        await lake.write("t", "SELECT 1 AS A", evolve=True)
    with pytest.raises(ErrUnprocessable, match="cannot be distinguished"):
        await lake.write("t", "SELECT 1 AS A, 1 AS a", evolve=True)
    with pytest.raises(ErrBadRequest, match="`key` names the column 'nope'"):
        await lake.write("t", "SELECT 1::BIGINT AS a", mode="upsert", evolve=True, key=["nope"])


@in_shared_lake
async def test_files_are_replaced_singly_and_never_those_that_are_gone(lake: ScratchLake) -> None:
    await lake.write("t", ROWS.format(2))
    commit = await lake.write("t", "SELECT 10::BIGINT AS id, 'ten' AS text")
    old = commit.manifest.objects[0].key
    plan = await lake.tables.prepare("t", commit.manifest.columns, mode="upsert", key=["id"])
    files = lake.stage(plan, "SELECT 0::BIGINT AS id, 'zero' AS text", "SELECT 1::BIGINT AS id, 'one' AS text")
    done = await lake.tables.commit(plan, files, remove=[old], request_id="upload 1")
    assert await lake.rows("t") == [(0, "zero"), (1, "one"), (10, "ten")]
    assert await lake.tables.commit(plan, files, remove=[old]) == done  # a repeated commit is not done again
    assert await lake.tables.find_commit("t", "upload 1") == done
    assert await lake.tables.find_commit("t", "upload 2") is None
    plan = await lake.tables.prepare("t", commit.manifest.columns, mode="rewrite")
    with pytest.raises(ErrConflict, match="not in the table any more"):
        await lake.tables.commit(plan, lake.stage(plan, ROWS.format(1)), remove=[old])
    assert [path for path in lake.files() if path.endswith(".parquet")] == sorted(
        [old, *(entry.key for entry in done.manifest.objects)]
    )
    with pytest.raises(ErrConflict, match="there is a table 't' already"):
        await lake.tables.prepare("t", commit.manifest.columns, mode="create")


async def test_a_plan_from_before_another_programs_commit_is_refused_where_it_matters(tmp_path: Path) -> None:
    async with open_lake(tmp_path) as lake, open_lake(tmp_path) as other:
        columns = (await lake.write("t", ROWS.format(2))).manifest.columns
        append = await lake.tables.prepare("t", columns, mode="append")
        upsert = await lake.tables.prepare("t", columns, mode="upsert", key=["id"])
        replace = await lake.tables.prepare("t", columns, mode="replace")
        await other.write("t", "SELECT 7::BIGINT AS id, 'seven' AS text")
        with pytest.raises(ErrConflict, match="rows of 't' were changed by another program"):
            await lake.tables.commit(upsert, lake.stage(upsert, "SELECT 7::BIGINT AS id, 'again' AS text"))
        assert (await lake.tables.commit(append, lake.stage(append, ROWS.format(1)))).manifest.row_count == 4
        assert (await lake.tables.commit(replace, lake.stage(replace, ROWS.format(1)))).manifest.row_count == 1
        append = await lake.tables.prepare("t", columns, mode="append")
        await other.tables.change_columns("t", ColumnChanges(drop=["text"]))
        with pytest.raises(ErrConflict, match="columns of 't' were changed by another program"):
            await lake.tables.commit(append, lake.stage(append, ROWS.format(1)))
        await other.tables.drop("t")
        append = await lake.tables.prepare("t", columns, mode="append")
        await other.write("T", ROWS.format(1))
        with pytest.raises(ErrConflict, match="cannot be distinguished from that of the table 'T'"):
            await lake.tables.commit(append, lake.stage(append, ROWS.format(1)))


async def test_two_services_append_at_once_and_nothing_is_lost(tmp_path: Path) -> None:
    async with open_lake(tmp_path) as lake, open_lake(tmp_path) as other:
        await lake.write("t", ROWS.format(1))

        async def append(writer: object, times: int) -> None:
            for _ in range(times):
                await writer.write("t", ROWS.format(1))  # type: ignore[attr-defined]

        async with trio.open_nursery() as nursery:
            for each in (lake, lake, other, other):
                nursery.start_soon(append, each, 5)
        manifest = await lake.tables.find("t")
        assert manifest is not None
        assert manifest.row_count == len(manifest.objects) == 21
        assert manifest == await other.tables.find("t")


@in_shared_lake
async def test_names_that_sql_cannot_tell_apart_are_conflicts_and_slashes_are_namespaces(lake: ScratchLake) -> None:
    for name in ("a", "a/b", "a/data/x", "b.c"):
        await lake.write(name, ROWS.format(1))
    for name in ("A", "a.b", "a/B", "b/c"):
        with pytest.raises(ErrConflict, match="cannot be distinguished from that of the table"):
            await lake.write(name, ROWS.format(1))
    assert [manifest.name for manifest in await lake.tables.list()] == ["a", "a/b", "a/data/x", "b.c"]
    with pytest.raises(ErrBadRequest, match="reserved"):
        await lake.write("main/x", ROWS.format(1))


@in_shared_lake
async def test_columns_are_added_dropped_renamed_widened_and_restored_with_the_rows(lake: ScratchLake) -> None:
    commit = await lake.write("t", "SELECT 1::INTEGER AS n, 'x' AS text, 1.5::DECIMAL(4,1) AS d")
    start = commit.manifest.snapshot_id

    async def change(**changes: object) -> list[tuple[str, str]]:
        commit = await lake.tables.change_columns("t", ColumnChanges(**changes))  # type: ignore[arg-type]
        return [(column.name, column.type) for column in commit.manifest.columns]

    assert (await change(add=[Column(name="new", type="UTINYINT[]")]))[-1] == ("new", "INTEGER[]")
    assert (await change(rename=[("text", "words")]))[1] == ("words", "VARCHAR")
    assert (await change(widen=[("n", "BIGINT"), ("d", "DECIMAL(10,1)")]))[0] == ("n", "BIGINT")
    assert await change(drop=["d"]) == [("n", "BIGINT"), ("words", "VARCHAR"), ("new", "INTEGER[]")]
    await change(add=[Column(name="d", type="DATE")])  # another column than the former one
    assert await lake.rows("t") == [(1, "x", None, None)]
    refused = [
        ({"drop": ["nope"]}, ErrUnprocessable, "no column 'nope'"),
        ({"drop": ["n", "words", "new", "d"]}, ErrUnprocessable, "at least one column"),
        ({"add": [Column(name="N", type="DATE")]}, ErrConflict, "there is a column 'n' already"),
        ({"add": [Column(name="x", type="NOPE")]}, ErrUnprocessable, "column 'x': a value of type NOPE"),
        ({"rename": [("n", "WORDS")]}, ErrConflict, "differ in case only"),
        ({"widen": [("n", "DOUBLE")]}, ErrUnprocessable, "from BIGINT to DOUBLE"),
    ]
    for changes, kind, says in refused:
        with pytest.raises(kind, match=says):
            await change(**changes)  # type: ignore[arg-type]
    assert len(await lake.tables.snapshots("t")) == 6  # each change is one, and can be restored

    restored = await lake.tables.restore("t", start)
    assert [(column.name, column.type) for column in restored.columns] == [
        ("n", "INTEGER"),
        ("text", "VARCHAR"),
        ("d", "DECIMAL(4,1)"),
    ]
    assert restored.schema_fingerprint == commit.manifest.schema_fingerprint
    assert await lake.rows("t", "SELECT d::VARCHAR, n FROM t") == [("1.5", 1)]
    await lake.write("t", "SELECT 2::INTEGER AS n, 'y' AS text, 2.5::DECIMAL(4,1) AS d")
    assert await lake.rows("t", "SELECT n FROM t ORDER BY n") == [(1,), (2,)]


@in_shared_lake
async def test_a_dropped_table_comes_back_until_its_name_is_taken_or_it_expires(lake: ScratchLake) -> None:
    tables = lake.tables
    first = (await lake.write("a/b", ROWS.format(2))).manifest
    await lake.write("a/b", ROWS.format(3))
    dropped = await tables.drop("a/b")
    assert dropped is not None
    assert await tables.drop("a/b") is None
    assert await tables.find("a/b") is None
    assert await tables.list() == []
    with pytest.raises(ErrNotFound, match="was dropped at"):
        await tables.snapshots("a/b")
    assert list(await tables.list_dropped("a/b")) == [dropped]
    assert (await tables.restore("a/b", first.snapshot_id)).row_count == 2
    assert (await tables.restore("a/b", dropped.snapshot_id)).row_count == 5

    await tables.drop("a/b")
    await lake.write("a.b", ROWS.format(1))
    with pytest.raises(ErrConflict):
        await tables.restore("a/b", dropped.snapshot_id)
    await tables.drop("a.b")
    with pytest.raises(ErrNotFound, match="was dropped at"):
        await tables.restore("a/b", "17")
    removed = await tables.expire(datetime.now(UTC) + timedelta(seconds=1))
    assert removed.tables == 2
    assert await tables.list_dropped() == []
    assert lake.files() == []


@in_shared_lake
async def test_a_renamed_table_has_its_files_below_the_new_name(lake: ScratchLake) -> None:
    for rows in (1, 2):
        await lake.write("old", ROWS.format(rows))
    await lake.tables.change_columns("old", ColumnChanges(drop=["text"]))
    before = await lake.tables.find("old")
    assert before is not None
    manifest = await lake.tables.rename("old", "new/er")
    assert manifest.dataset_id == dataset_id("new/er") != before.dataset_id
    assert [entry.rows for entry in manifest.objects] == [1, 2]
    assert all(entry.key.startswith("datasets/new/er/data/") for entry in manifest.objects)
    assert await lake.tables.find("old") is None
    assert await lake.rows("new/er") == await lake.rows("new/er", snapshot_id=before.snapshot_id) == [(0,), (0,), (1,)]
    await lake.write("new/er", "SELECT 9::BIGINT AS id")
    await lake.write("taken", ROWS.format(1))
    with pytest.raises(ErrConflict, match="there is a table 'taken' already"):
        await lake.tables.rename("new/er", "taken")
    with pytest.raises(ErrNotFound):
        await lake.tables.rename("old", "x")
    assert (
        await lake.tables.rename("taken", "TAKEN")
    ).row_count == 1  # of the names that cannot be told apart it has one
    await lake.tables.expire(datetime.now(UTC) + timedelta(seconds=1))
    assert await lake.rows("new/er") == [(0,), (0,), (1,), (9,)]
    assert not [path for path in lake.files() if path.startswith("datasets/old/data")]


@pytest.mark.extended
async def test_a_moved_folder_is_read_and_written_at_its_new_place(tmp_path: Path) -> None:
    async with open_lake(tmp_path / "here") as lake:
        first = (await lake.write("a/b", ROWS.format(2))).manifest
    shutil.move(tmp_path / "here", tmp_path / "there")
    async with open_lake(tmp_path / "there") as lake:
        assert await lake.tables.find("a/b") == first
        assert (await lake.write("a/b", ROWS.format(1))).manifest.row_count == 3
        assert len(await lake.rows("a/b")) == 3
        assert len(await lake.rows("a/b", snapshot_id=first.snapshot_id)) == 2
