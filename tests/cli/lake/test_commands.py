"""`lakehouse ingest`, `sql` and `tables` as a person or a script has them, with a service that has the folder open."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from lakehouse.core.errors import ErrBadRequest
from tools.kit.command import ROOT, lakehouse, lakehouse_on_a_terminal
from tools.kit.matrices import spread
from tools.kit.scripted_lake import BY_SHOP, SALES, ScriptedLake, scripted_lake


@pytest.fixture
async def lake(tmp_path: Path) -> AsyncIterator[ScriptedLake]:
    (tmp_path / "lakehouse.toml").write_text('[lake]\npath = "lake"\n')
    async with scripted_lake(tmp_path / "lake") as running:
        yield running


async def test_sql_prints_csv_into_a_pipe_and_json_when_asked(lake: ScriptedLake, tmp_path: Path) -> None:
    ran = await lakehouse("sql", "FROM sales", cwd=tmp_path)
    assert (ran.status, ran.out, ran.err) == (0, "shop,revenue\r\nBerlin,1820.5\r\nLagos,990.0\r\n", "")
    assert json.loads(lake.received[-1]) == {"sql": "FROM sales"}
    ran = await lakehouse(
        "sql", "--json", "--max-rows", "5", "--timeout", "10.5", "-", cwd=tmp_path, stdin="FROM\n sales"
    )
    assert (ran.status, json.loads(ran.out), ran.err) == (0, BY_SHOP, "")
    assert json.loads(lake.received[-1]) == {"sql": "FROM\n sales", "max_rows": 5, "timeout": 10.5}


async def test_sql_prints_a_table_on_a_terminal(lake: ScriptedLake, tmp_path: Path) -> None:
    lake.answer = BY_SHOP | {"truncated": True}
    ran = await lakehouse_on_a_terminal("sql", "FROM sales", cwd=tmp_path)
    assert ran.status == 0
    assert ran.out.splitlines() == [
        "shop     revenue  note",
        "VARCHAR   DOUBLE  VARCHAR",
        "-------  -------  ----------",
        "Berlin    1820.5  NULL",
        "Chicago   240.25  <b>two</b>",
        "Lagos        990",
        "the first 3 rows (--max-rows N shows more, --csv all) in 3.4 ms",
    ]
    assert json.loads(lake.received[-1]) == {"sql": "FROM sales", "max_rows": 200}


async def test_sql_that_fails_is_marked_and_is_status_1(lake: ScriptedLake, tmp_path: Path) -> None:
    lake.error = ErrBadRequest('column "colour" not found', details={"position": 17})
    ran = await lakehouse("sql", "SELECT shop,\n    colour\nFROM sales", cwd=tmp_path)
    assert (ran.status, ran.out) == (1, "")
    assert ran.err == 'lakehouse: ErrBadRequest: column "colour" not found\n      colour\n      ^\n'


async def test_a_csv_that_breaks_off_is_status_1(lake: ScriptedLake, tmp_path: Path) -> None:
    lake.cut = True
    ran = await lakehouse("sql", "--csv", "FROM sales", cwd=tmp_path)
    assert ran.status == 1
    assert ran.out.split() == ["shop,revenue", "Berlin,1820.5"]
    assert ran.err.startswith("lakehouse: ErrUpstream: the lake ")


@pytest.mark.parametrize("number", spread([signal.SIGINT, signal.SIGTERM], 2))
async def test_an_interrupt_cancels_the_query_in_the_service(lake: ScriptedLake, tmp_path: Path, number: int) -> None:
    lake.go = trio.Event()
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "lakehouse", "sql", "SELECT 1"]
    process = await trio.lowlevel.open_process(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path, env=env
    )
    with trio.fail_after(20):
        await lake.waiting.wait()
        process.send_signal(number)
        await lake.cancelled.wait()
        assert process.stderr is not None
        assert b"".join([piece async for piece in process.stderr]) == b""
        assert await process.wait() == 130


async def test_no_statement_is_status_2(lake: ScriptedLake, tmp_path: Path) -> None:
    ran = await lakehouse("sql", cwd=tmp_path, stdin=" \n")
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith("lakehouse sql: there is no statement")


async def test_ingest_uploads_each_file_and_shows_warnings(lake: ScriptedLake, tmp_path: Path) -> None:
    lake.warnings = [
        {"column": "zip", "line": 17, "message": "00123 would lose its zeros: the column is text"},
        {"column": None, "line": None, "message": "2 short rows were completed with NULL"},
    ]
    (tmp_path / "Q3 sales.csv").write_bytes(b"zip\n00123\n")
    (tmp_path / "b.ndjson").write_bytes(b'{"a": 1}\n')
    options = [
        "--evolve",
        "--null",
        "NA",
        "--no-header",
        "--skip",
        "2",
        "--type",
        "zip=VARCHAR",
        "--type",
        "a=b=DOUBLE",
    ]
    ran = await lakehouse("ingest", *options, "Q3 sales.csv", "b.ndjson", cwd=tmp_path)
    assert ran.status == 0
    assert ran.out.splitlines() == [
        "Q3_sales: 1,204 rows, 3 columns, 50 kB stored as 18.4 kB",
        "b: 1,204 rows, 3 columns, 50 kB stored as 18.4 kB",
    ]
    assert ran.err.splitlines()[:2] == [
        "warning: Q3 sales.csv:17: zip: 00123 would lose its zeros: the column is text",
        "warning: Q3 sales.csv: 2 short rows were completed with NULL",
    ]
    assert b'filename="Q3 sales.csv"' in lake.received[0]
    assert b"zip\n00123\n" in lake.received[0]
    assert lake.queries[0] == {
        "name": "Q3_sales", "mode": "replace", "evolve": "true", "null": "NA", "header": "false", "skip": "2",
        "types": "%7B%22zip%22%3A%22VARCHAR%22%2C%22a%3Db%22%3A%22DOUBLE%22%7D",
    }  # fmt: skip


async def test_ingest_reads_standard_input_and_prints_json(lake: ScriptedLake, tmp_path: Path) -> None:
    ran = await lakehouse(
        "ingest", "--json", "--name", "a/b", "--mode", "upsert", "--key", "x,y", "-", cwd=tmp_path, stdin="x\n1\n"
    )
    assert (ran.status, ran.err) == (0, "")
    assert json.loads(ran.out)["name"] == "a%2Fb"
    assert lake.queries[-1] == {"name": "a%2Fb", "mode": "upsert", "key": "x%2Cy"}
    assert b"x\n1\n" in lake.received[-1]


async def test_a_file_that_is_refused_does_not_stop_the_others(lake: ScriptedLake, tmp_path: Path) -> None:
    (tmp_path / "good.csv").write_bytes(b"a\n1\n")
    ran = await lakehouse("ingest", "missing.csv", "good.csv", cwd=tmp_path)
    assert ran.status == 1
    assert ran.err == "missing.csv: No such file or directory\n"
    assert ran.out.startswith("good: 1,204 rows")
    lake.error = ErrBadRequest(
        "the columns differ",
        details={"line": 3, "value": "x", "differences": [{"column": "n", "was": None, "is": "DATE"}]},
    )
    ran = await lakehouse("ingest", "good.csv", cwd=tmp_path)
    assert (ran.status, ran.out) == (1, "")
    assert ran.err == "good.csv: ErrBadRequest: the columns differ\n  at line 3, value 'x'\n  n: was absent, is DATE\n"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    spread(
        [
            (("--mode", "upsert", "f"), "--mode upsert needs --key"),
            (("--key", "a", "f"), "--key belongs to --mode upsert"),
            (("-",), "standard input has no name"),
            (("--type", "zip", "f"), "--type takes COLUMN=TYPE"),
            (("a.csv", "a.json"), "two files would be the same table"),
        ],
        2,
    ),
)
async def test_arguments_that_do_not_fit_together_are_status_2(
    tmp_path: Path, arguments: tuple[str, ...], problem: str
) -> None:
    ran = await lakehouse("ingest", *arguments, cwd=tmp_path)
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith(f"lakehouse ingest: {problem}")


async def test_tables_lists_them_and_shows_the_columns_of_one(lake: ScriptedLake, tmp_path: Path) -> None:
    ran = await lakehouse("tables", cwd=tmp_path)
    assert (ran.status, ran.err) == (0, "")
    assert [line.split() for line in ran.out.splitlines()] == [
        ["name", "rows", "columns", "size", "files", "updated"],
        ["-----", "-----", "-------", "-------", "-----", "-------------------"],
        ["sales", "1,204", "3", "18.4", "kB", "1", "2026-11-02", "09:30:00"],
    ]
    ran = await lakehouse("tables", "sales", cwd=tmp_path)
    assert (
        ran.out.splitlines()[0]
        == "sales: 1,204 rows, 18.4 kB in 1 file, snapshot 8123456789012345678 of 2026-11-02 09:30:00"
    )
    assert [line.split() for line in ran.out.splitlines()[-3:]] == [
        ["day", "DATE"],
        ["shop", "VARCHAR"],
        ["revenue", "DOUBLE"],
    ]
    ran = await lakehouse("tables", "--json", "sales", cwd=tmp_path)
    assert json.loads(ran.out) == SALES
    ran = await lakehouse("tables", "none", cwd=tmp_path)
    assert (ran.status, ran.err) == (1, "lakehouse: ErrNotFound: there is no such table\n")
    lake.manifests = []
    ran = await lakehouse("tables", cwd=tmp_path)
    assert ran.out == "the lake has no tables yet: `lakehouse ingest FILE` makes one\n"


async def test_an_upload_shows_its_progress_on_a_terminal(lake: ScriptedLake, tmp_path: Path) -> None:
    (tmp_path / "sales.csv").write_bytes(b"a\n1\n")
    lake.go = trio.Event()

    async def let_go() -> None:
        await lake.waiting.wait()
        await trio.sleep(0.4)  # as long as a few updates of the line
        lake.go.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(let_go)
        ran = await lakehouse_on_a_terminal("ingest", "sales.csv", cwd=tmp_path)
    assert ran.status == 0
    assert "sales  4 B sent, being read  0." in ran.out
    assert ran.out.endswith("\r\x1b[Ksales: 1,204 rows, 3 columns, 50 kB stored as 18.4 kB\n")


@pytest.mark.parametrize("command", spread(["sql", "tables"], 2))
async def test_without_the_extra_the_line_that_installs_it_is_shown(tmp_path: Path, command: str) -> None:
    hide = "import sys; sys.modules.update(duckdb=None); import lakehouse.cli as c; sys.exit(c.main())"
    done = await trio.run_process(
        [sys.executable, "-c", hide, command, "--lake", "lake", "x"],
        check=False,
        capture_stdout=True,
        capture_stderr=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode().startswith(
        "lakehouse: the lake needs the extra `lake`, of which duckdb cannot be found: pip "
    )
    assert not (tmp_path / "lake").exists()


async def test_a_folder_that_cannot_be_a_lake_is_said(tmp_path: Path) -> None:
    pytest.importorskip("duckdb", reason="the extra `lake` is not installed")
    (tmp_path / "lake").mkdir()
    (tmp_path / "lake" / "photo.jpg").touch()
    ran = await lakehouse("tables", "--lake", "lake", cwd=tmp_path)
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.startswith(f"lakehouse: the folder {tmp_path / 'lake'} has files and no lake in it")
