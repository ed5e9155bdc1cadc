"""The commands, the demonstration and the page over the real services."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from lakehouse.cli.lake.demo_corpus import QUESTION
from lakehouse.services.host.library import open_lake
from lakehouse.services.lake.folder_lock import find_holder
from lakehouse.testing.upstreams import open_upstream
from tools.kit.chromium import PROGRAM, browser_at, chromium
from tools.kit.command import ROOT, lakehouse, lakehouse_on_a_terminal
from tools.kit.scaleout.processes import find_free_ports
from tools.kit.service_with_providers import answer_in_turn, line, lines, streamed_response

pytest.importorskip("duckdb", reason="the extra `lake` is not installed")

FALLBACKS = (
    "SELECT date_trunc('hour', time) AS hour, count(*) FILTER (fallback) AS fallbacks, round(median(latency_ms)) AS median_ms "
    "FROM requests GROUP BY hour ORDER BY hour"
)
SALES = "day,shop,zip,revenue\n2026-11-01,Berlin,00123,10.5\n2026-11-02,Berlin,00123,7\n2026-11-02,Lagos,23401,9.25\n"
BY_SHOP = "SELECT shop, sum(revenue) AS revenue FROM sales GROUP BY shop ORDER BY shop"


async def test_a_file_is_a_table_without_any_service(tmp_path: Path) -> None:
    (tmp_path / "sales.csv").write_text(SALES)
    (tmp_path / "notes.txt").write_text("Tea is picked by hand.\nIron ore is mined.\n")
    ran = await lakehouse("ingest", "--lake", "lake", "sales.csv", "notes.txt", cwd=tmp_path)
    assert ran.status == 0, ran.err
    warning, hint = ran.err.splitlines()
    assert warning.startswith("warning: sales.csv:2: zip: ")
    assert hint == "notes.txt was read as a table of one column: --format text stores it as a document"
    assert ran.out.splitlines()[0].startswith("sales: 3 rows, 4 columns, 104 B stored as ")
    assert ran.out.splitlines()[1].startswith("notes: 1 row, 1 column, 42 B stored as ")
    ran = await lakehouse_on_a_terminal("sql", "--lake", "lake", "FROM sales ORDER BY ALL", cwd=tmp_path)
    assert re.sub(r" in [\d.,]+ ms", "", ran.out).splitlines() == [
        "day         shop     zip      revenue",
        "DATE        VARCHAR  VARCHAR   DOUBLE",
        "----------  -------  -------  -------",
        "2026-11-01  Berlin   00123       10.5",
        "2026-11-02  Berlin   00123        7.0",
        "2026-11-02  Lagos    23401       9.25",
        "3 rows",
    ]


async def test_an_index_is_searched_without_any_service(tmp_path: Path) -> None:
    async with open_lake(tmp_path / "lake") as lake:
        await lake.create_index("notes")
        await lake.add(
            "notes", [{"id": "t", "text": "Tea is picked by hand."}, {"id": "i", "text": "Iron ore is mined."}]
        )
    ran = await lakehouse("search", "--lake", "lake", "-k", "1", "who", "picks", "tea?", cwd=tmp_path)
    assert ran.status == 0, ran.err
    assert [line.split()[0] for line in ran.out.splitlines()[2:]] == ["t"]


class Served:
    """`lakehouse serve` as a process: its address, and what of its log has not been read yet."""

    def __init__(self, process: trio.Process, url: str) -> None:
        self.process = process
        self.url = url
        self.said = ""

    async def until(self, beginning: str) -> str:
        """Read the log until an event that begins so, and return it."""
        assert self.process.stderr is not None
        with trio.fail_after(60):
            while True:
                while "\n" in self.said:
                    line, _, self.said = self.said.partition("\n")
                    event: str = json.loads(line)["event"]
                    if event.startswith(beginning):
                        return event
                piece = await self.process.stderr.receive_some()
                assert piece, f"it ended without {beginning!r}"
                self.said += piece.decode()


async def serve(*arguments: str, cwd: Path) -> Served:
    command = [sys.executable, "-m", "lakehouse", "serve", "--bind", "127.0.0.1:0", *arguments]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(cwd)}
    process = await trio.lowlevel.open_process(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=cwd, env=env
    )
    assert process.stdout is not None
    with trio.fail_after(30):
        line = (await process.stdout.receive_some()).decode()
    return Served(process, line.split()[-1])


async def stop(served: Served) -> int:
    served.process.send_signal(signal.SIGTERM)
    with trio.fail_after(30):
        return await served.process.wait()


@pytest.mark.extended
async def test_the_commands_find_the_service_that_has_the_lake_open(tmp_path: Path) -> None:
    (tmp_path / "lakehouse.toml").write_text('[lake]\npath = "lake"\nstart = "eager"\n[chatd]\nollama_url = ""\n')
    (tmp_path / "sales.csv").write_text(SALES)
    served = await serve(cwd=tmp_path)
    try:
        holder = json.loads((tmp_path / "lake/lake.lock").read_bytes())
        assert holder["state"] == "open"
        ran = await lakehouse("ingest", "sales.csv", cwd=tmp_path)
        assert ran.status == 0, ran.err
        ran = await lakehouse("sql", "SELECT count(*) AS n FROM sales", cwd=tmp_path)
        assert (ran.status, ran.out.split(), ran.err) == (0, ["n", "3"], "")
        ran = await lakehouse("sql", "--json", BY_SHOP, cwd=tmp_path)
        answer = json.loads(ran.out)
        assert answer["rows"] == [["Berlin", 17.5], ["Lagos", 9.25]]
        assert answer["columns"] == [{"name": "shop", "type": "VARCHAR"}, {"name": "revenue", "type": "DOUBLE"}]
        ran = await lakehouse("tables", "sales", cwd=tmp_path)
        assert [line.split() for line in ran.out.splitlines()[-4:]] == [
            ["day", "DATE"], ["shop", "VARCHAR"], ["zip", "VARCHAR"], ["revenue", "DOUBLE"],
        ]  # fmt: skip
        ran = await lakehouse("sql", "SELECT colour FROM sales", cwd=tmp_path)
        assert ran.status == 1
        assert re.search(r"ErrBadRequest: .*colour.*\n  SELECT colour FROM sales\n         \^\n", ran.err, re.DOTALL), (
            ran.err
        )
        ran = await lakehouse("search", "--index", "none", "tea", cwd=tmp_path)
        assert (ran.status, ran.out) == (1, "")
        assert ran.err.startswith("lakehouse: ErrNotFound: ")
        assert json.loads((tmp_path / "lake/lake.lock").read_bytes())["pid"] == holder["pid"]
    finally:
        assert await stop(served) == 0


async def test_a_service_that_has_not_opened_its_lake_opens_it_for_the_commands_and_answers_asks(
    tmp_path: Path,
) -> None:
    answer = streamed_response(lines(line("At nine [1]."), line(done=True)), "application/x-ndjson")
    address = f"127.0.0.1:{find_free_ports(1)[0]}"
    settings = f'[gateway]\nbind = "{address}"\n[lake]\npath = "lake"\n[chatd]\nollama_url = '
    (tmp_path / "lakehouse.toml").write_text(f'{settings}""\n')  # the commands know no model
    (tmp_path / "guide.md").write_text("# Watch\n\nThe watch changes every Monday at nine.\n")
    async with open_upstream(answer_in_turn(answer)) as model:
        (tmp_path / "service.toml").write_text(f'{settings}"{model.url}"\n')
        served = await serve("-c", "service.toml", "--bind", address, cwd=tmp_path)
        try:
            assert not (tmp_path / "lake").exists()
            ran = await lakehouse("ingest", "guide.md", cwd=tmp_path)
            assert ran.status == 0, ran.err
            holder = find_holder(tmp_path / "lake")
            assert holder is not None
            assert holder.service == served.url
            ran = await lakehouse("ask", "-m", "m", "When does the watch change?", cwd=tmp_path)
            assert ran.out.startswith("At nine [1].\n\nSources\n[1] guide: guide.md#1"), ran.err
            assert model.requests[-1].json["model"] == "m"
        finally:
            assert await stop(served) == 0


async def test_the_demonstration_asks_itself_a_chat_a_query_and_a_search_and_leaves_nothing(tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp", reason="the extra `local` is not installed")
    env = {"TMPDIR": str(tmp_path), "LAKEHOUSE_TOKEN": "door"}
    ran = await lakehouse("serve", "--demo", "--bind", "127.0.0.1:0", "--ask", "It's me", cwd=tmp_path, env=env)
    assert ran.status == 0, ran.err
    chat, query, search = ran.out.split("\n\n$ curl ")
    listening, request, *answer = chat.splitlines()
    assert listening.startswith("listening on http://127.0.0.1:")
    assert request.startswith("$ curl http://127.0.0.1:")
    assert json.loads("\n".join(answer))["provider"] == "local"
    result = json.loads(query[query.index("\n") :])
    assert [column["name"] for column in result["columns"]] == ["team", "requests", "usd"]
    assert sum(row[1] for row in result["rows"]) == 3812
    found = json.loads(search[search.index("\n") :])
    assert [passage["id"] for passage in found["passages"]] == ["incidents.md#1", "incidents.md#3"]
    assert "door" not in ran.out + ran.err
    assert list(tmp_path.glob("lakehouse-demo-*")) == []


async def test_a_demonstration_that_is_interrupted_ends_without_complaint(tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp", reason="the extra `local` is not installed")
    served = await serve("--demo", "--ask", "Hello", cwd=tmp_path)
    served.process.send_signal(signal.SIGINT)
    assert served.process.stderr is not None
    with trio.fail_after(60):
        said = b"".join([piece async for piece in served.process.stderr])
        assert await served.process.wait() == 0
    assert [line for line in said.splitlines() if not line.startswith(b"{")] == []
    assert list(tmp_path.glob("lakehouse-demo-*")) == []


async def look_at_the_page(url: str) -> None:
    """Query a table on the page, see that an hour of the outage stands out, and ask what the handbook says about it."""
    with chromium() as program:
        async with browser_at(program) as browser:
            tab = await browser.tab()
            await tab.look(f"{url}/#lake", width=1600)
            await tab.until("document.querySelectorAll('#tables > li').length === 3")
            await tab.run(f"document.getElementById('sql').value = {json.dumps(FALLBACKS)}")
            await tab.run("document.getElementById('run').click()")
            await tab.until("document.querySelectorAll('#drawing path').length === 1")
            rows = await tab.run("result.rows")
            worst = max(rows, key=lambda row: row[1])
            assert worst[0] == "2026-11-03 14:00:00"
            await tab.screenshot("lake-demo-1600")
            await tab.run("document.getElementById('tab-search').click()")
            await tab.until("document.querySelectorAll('#corpora input').length === 1")
            await tab.run(f"document.getElementById('search-text').value = {json.dumps(QUESTION)}")
            await tab.run("document.getElementById('ask-lake').click()")
            await tab.until("document.querySelectorAll('#passages > li').length === 6")
            assert "incidents.md#1, Outage of borealis" in await tab.run(
                "document.getElementById('passages').innerText"
            )
            assert await tab.run("document.getElementById('cited-answer').innerText.length") > 0
            await tab.screenshot("search-demo-1600")
            assert tab.problems == []


@pytest.mark.extended
async def test_the_demonstration_says_what_to_try(tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp", reason="the extra `local` is not installed")
    served = await serve("--demo", cwd=tmp_path)
    try:
        await served.until("demonstration tables: models (5 rows), requests (3,812 rows), teams (5 rows)")
        command = (await served.until("try: curl ")).removeprefix("try: ")
        done = await trio.run_process(["sh", "-c", f"{command} -sS"], capture_stdout=True)
        assert json.loads(done.stdout)["row_count"] == 5
        if PROGRAM is not None:
            await look_at_the_page(served.url)
    finally:
        assert await stop(served) == 0
    assert list(tmp_path.glob("lakehouse-demo-*")) == []
