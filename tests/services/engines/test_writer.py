"""The write engine beside its uploads: cancelled calls, children that die, conditions, files with deleted rows."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
import trio

from lakehouse.core.errors import ErrUnprocessable
from lakehouse.process.calls.rpc_child import CallError
from lakehouse.services.contracts.catalog import Column
from lakehouse.services.contracts.tables import DataFile, TableField, TablePlan, WritePlan
from lakehouse.services.contracts.write_engine import ParseOptions
from lakehouse.services.engines.table_files import FieldInfo
from lakehouse.services.engines.writer_child.conditions import check_condition
from lakehouse.services.engines.writer_child.data_files import MAX_ROWS, MIN_ROWS, count_rows_of_group
from tests.services.ingest.engine_kit import Engine, make_plan, open_engine
from tools.kit.child_processes import children, wait_until_idle

OPTIONS = ParseOptions(format="csv")


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    async with open_engine(tmp_path / "lake") as engine:
        yield engine


def long_upload(engine: Engine) -> Path:
    """An upload that takes the engine a second at least."""
    row = b",".join([b"12345.678"] * 20) + b"\n"
    return engine.stage(b",".join(b"c%d" % number for number in range(20)) + b"\n" + row * 300_000)


@pytest.mark.alone  # measures processor time
async def test_a_cancelled_call_leaves_the_engine_idle_and_the_folder_as_it_was(engine: Engine) -> None:
    """In the scan, in the check of the types and in the conversion; the next call is answered."""
    others = children()
    await engine.load(b"a,b\n1,2\n", OPTIONS)
    upload = long_upload(engine)
    (child,) = children() - others
    for delay in (0.02, 0.15, 0.4):
        with trio.move_on_after(delay) as scope:
            inspection = await engine.writer.inspect(upload, OPTIONS)
            await engine.writer.convert(inspection, make_plan(inspection))
        assert scope.cancelled_caught
        # An engine that was killed starts anew, which takes processor time as well.
        await wait_until_idle(lambda: children() - others, seconds=5)
        assert [path.name for path in upload.parent.iterdir()] == ["upload"]
    inspection, files = await engine.load(b"a,b\n1,2\n", OPTIONS)
    assert [file.rows for file in files] == [1]
    assert child


async def test_a_child_that_dies_is_an_error_of_the_file_and_is_replaced(engine: Engine) -> None:
    others = children()
    await engine.load(b"a,b\n1,2\n", OPTIONS)
    upload = long_upload(engine)
    (child,) = children() - others

    async def kill() -> None:
        await trio.sleep(0.1)
        os.kill(child, signal.SIGKILL)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(kill)
        with pytest.raises(ErrUnprocessable, match="the write engine ended"):
            await engine.writer.inspect(upload, OPTIONS)
    _, files = await engine.load(b"a,b\n1,2\n", OPTIONS)
    assert [file.rows for file in files] == [1]
    assert child not in children()


async def test_files_carry_field_ids_and_are_compressed(engine: Engine) -> None:
    _, files = await engine.load(b"a,b\n1,x\n2,y\n", OPTIONS)
    (file,) = files
    rows = engine.reader.execute(
        f"SELECT name, field_id FROM parquet_schema('{file.path}') WHERE field_id IS NOT NULL"
    ).fetchall()
    assert rows == [("a", 1), ("b", 2)]
    (codec,) = engine.reader.execute(f"SELECT DISTINCT compression FROM parquet_metadata('{file.path}')").fetchall()
    assert codec == ("ZSTD",)


async def test_a_table_gets_its_own_columns_and_no_changed_value(engine: Engine) -> None:
    """A column that the upload lacks is NULL; a number that a wider type cannot hold is refused."""
    inspection = await engine.writer.inspect(engine.stage(b"a,b\n1,2\n9007199254740993,3\n"), OPTIONS)
    columns = [Column(name="b", type="DOUBLE"), Column(name="new", type="DATE"), Column(name="a", type="BIGINT")]
    files = await engine.writer.convert(inspection, plan_of(columns))
    assert engine.ask("FROM t ORDER BY b", inspection, files) == [(2.0, None, 1), (3.0, None, 9007199254740993)]
    with pytest.raises(ErrUnprocessable, match="9007199254740993"):
        await engine.writer.convert(inspection, plan_of([Column(name="a", type="DOUBLE")]))


def plan_of(columns: list[Column]) -> WritePlan:
    ids = ", ".join(f'"{column.name}": {number}' for number, column in enumerate(columns, 1))
    return WritePlan(name="t", mode="append", existing=True, columns=columns, field_ids=f"{{{ids}}}", token=b"")


def write_table(engine: Engine) -> TablePlan:
    """A table of two files, the first of which has a row that a file of position deletes removes."""
    folder = engine.directory.datasets / "t"
    folder.mkdir()
    for number, rows in enumerate((((1, "a"), (2, "b"), (3, "c")), ((4, "d"), (5, "e")))):
        values = ", ".join(f"({key}, '{text}')" for key, text in rows)
        engine.reader.execute(
            f"COPY (SELECT * FROM (VALUES {values}) v(id, s)) TO '{folder}/{number}.parquet' "
            "(FORMAT parquet, FIELD_IDS {id: 1, s: 2})"
        )
    engine.reader.execute(f"COPY (SELECT 'memo:/0' AS file_path, 1 AS pos) TO '{folder}/deletes.parquet'")
    files = [
        DataFile(
            path="datasets/t/0.parquet", size=1, rows=3, deletes=["datasets/t/deletes.parquet"], recorded_path="memo:/0"
        ),
        DataFile(path="datasets/t/1.parquet", size=1, rows=2),
    ]
    fields = [TableField(id=1, name="id", type="INTEGER"), TableField(id=2, name="s", type="VARCHAR")]
    return TablePlan(name="t", snapshot_id="1", fields=fields, files=files, row_count=4)


TABLE_COLUMNS = [Column(name="id", type="INTEGER"), Column(name="s", type="VARCHAR")]


async def test_a_rewrite_replaces_only_files_with_such_rows(engine: Engine) -> None:
    table = write_table(engine)
    plan = plan_of(TABLE_COLUMNS)
    result = await engine.writer.rewrite(table, plan, table.files, where="id >= 5 -- the last one")
    assert (list(result.replaced), result.rows_left_out) == (["datasets/t/1.parquet"], 1)
    inspection = await engine.writer.inspect(engine.stage(b"id,s\n"), OPTIONS)
    assert engine.ask("FROM t", inspection, result.files) == [(4, "d")]
    none = await engine.writer.rewrite(table, plan, table.files, where="s = 'b'")  # deleted already
    assert (list(none.files), list(none.replaced), none.rows_left_out) == ([], [], 0)
    merged = await engine.writer.rewrite(table, plan, table.files)
    assert engine.ask("FROM t ORDER BY id", inspection, merged.files) == [(1, "a"), (3, "c"), (4, "d"), (5, "e")]
    assert len(merged.files) == 1
    emptied = await engine.writer.rewrite(table, plan, table.files, where="true")
    assert (list(emptied.files), emptied.rows_left_out) == ([], 4)


async def test_an_upsert_writes_the_touched_files_and_the_new_rows(engine: Engine) -> None:
    """The last row of a key wins; a row with NULL in the key, and a deleted row, do not come back."""
    table = write_table(engine)
    inspection = await engine.writer.inspect(engine.stage(b"s,id\nx,9\nB,2\nC,3\ny,9\n"), OPTIONS)
    files, touched = await engine.writer.upsert(inspection, plan_of(TABLE_COLUMNS), table, ["id"])
    assert touched == ["datasets/t/0.parquet"]
    assert engine.ask("FROM t ORDER BY id", inspection, files) == [(1, "a"), (2, "B"), (3, "C"), (9, "y")]
    inspection = await engine.writer.inspect(engine.stage(b"id,s\n1,x\n,y\n"), OPTIONS)
    with pytest.raises(ErrUnprocessable, match="NULL in the key"):
        await engine.writer.upsert(inspection, plan_of(TABLE_COLUMNS), table, ["id"])


CONDITIONS: dict[str, int] = {
    "id = 1": 0,
    "id IN (1, 2) AND s LIKE 'a%' OR s IS NULL": 0,
    "length(s) > 2 -- and so on": 0,
    "list_contains([1, 2], id)": 0,
    "": 400,
    "id =": 400,
    "nope = 1": 400,
    "id": 0,
    "'x'": 400,
    "id = 1; DROP TABLE t": 400,
    "true) OR (true": 400,
    "true GROUP BY 1": 400,
    "true LIMIT 1": 400,
    "true UNION SELECT 1 FROM t": 403,
    "true HAVING true": 400,
    "true /* and so on": 400,
    "true; SELECT 1": 400,
    "count(*) > 1": 400,
    "row_number() OVER () = 1": 400,
    "id IN (SELECT 1)": 403,
    "EXISTS (FROM read_csv('x'))": 403,
    "getenv('HOME') = s": 403,
    "current_setting('memory_limit') = s": 403,
    "abs(" * 900 + "id" + ")" * 900 + " > 0": 400,
}


@pytest.mark.parametrize(("where", "status"), CONDITIONS.items(), ids=lambda value: str(value)[:40])
def test_a_condition_is_one_expression_over_the_row(where: str, status: int) -> None:
    fields = [FieldInfo(1, "id", "INTEGER"), FieldInfo(2, "s", "VARCHAR")]
    with duckdb.connect() as connection:
        connection.execute("SET errors_as_json = true")
        try:
            check_condition(connection, where, fields)
            found = 0
        except CallError as error:
            found = {"bad request": 400, "forbidden": 403}[error.failure.kind]
    assert found == status


def test_row_groups_hold_about_as_many_bytes() -> None:
    sizes: list[Any] = [(0, MAX_ROWS), (50, MAX_ROWS), (800, 41_943), (1_000_000, MIN_ROWS)]
    assert [(size, count_rows_of_group(size)) for size, _ in sizes] == sizes


@pytest.mark.extended
async def test_an_engine_without_memory_is_replaced(tmp_path: Path) -> None:
    """A file that needs more memory than the engine has is refused, and the next one is taken."""
    async with open_engine(tmp_path / "lake", memory=256 * 2**20) as engine:
        header = b",".join(b"c%d" % number for number in range(9_000)) + b"\n"
        row = b",".join([b"x" * 900] * 9_000) + b"\n"
        upload = engine.stage(header + row * 30)
        with pytest.raises(ErrUnprocessable, match="memory"):
            inspection = await engine.writer.inspect(upload, OPTIONS)
            await engine.writer.convert(inspection, make_plan(inspection))
        _, files = await engine.load(b"a,b\n1,2\n", OPTIONS)
        assert [file.rows for file in files] == [1]
        assert engine.writer.pool.started == 2


@pytest.mark.extended
async def test_a_wide_file_is_written_in_slices(engine: Engine) -> None:
    """The columns keep their order, types and ids, and the rows theirs."""
    names = [f"c{number}" for number in range(901)]
    lines = [",".join(names), *(",".join(str(row * 1000 + number) for number in range(901)) for row in range(3000))]
    inspection, files = await engine.load("\n".join(lines).encode(), OPTIONS)
    (file,) = files
    assert file.rows == 3000
    found = engine.ask("SELECT * FROM t WHERE c0 IN (0, 2047000, 2999000)", inspection, files)
    assert [list(row) for row in found] == [list(range(row * 1000, row * 1000 + 901)) for row in (0, 2047, 2999)]
    ids = engine.reader.execute(
        f"SELECT name, type, field_id FROM parquet_schema('{file.path}') WHERE field_id IS NOT NULL"
    ).fetchall()
    assert ids == [(name, "INT64", number) for number, name in enumerate(names, 1)]
    assert [path.name for path in file.path.parent.iterdir()] == [file.path.name]
