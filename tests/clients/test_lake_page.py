"""The tab of the page for the lake, used in a real browser. Its screenshots stay in `test-artifacts/`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trio

from lakehouse.core.errors import ErrBadRequest
from tools.kit.chromium import PROGRAM, Browser, Tab
from tools.kit.matrices import spread
from tools.kit.page_service import PageService, page_service

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="chromium is not installed (apt-get install chromium)")


async def open_lake_tab(service: PageService, browser: Browser, *, width: int = 1600, dark: bool = False) -> Tab:
    tab = await browser.tab()
    await tab.look(f"{service.url}/#lake", width=width, dark=dark)
    await tab.until(
        "document.getElementById('tables-note').innerText !== 'loading…' && document.getElementById('lake').checkVisibility()"
    )
    return tab


async def choose(tab: Tab, file: Path) -> None:
    """Choose a file as a person does, with the form's own control."""
    document = await tab.call("DOM.getDocument")
    field = await tab.call("DOM.querySelector", nodeId=document["root"]["nodeId"], selector="#file")
    await tab.call("DOM.setFileInputFiles", files=[str(file)], nodeId=field["nodeId"])


async def text(tab: Tab, name: str) -> str:
    shown: str = await tab.run(f"document.getElementById('{name}').innerText")
    return shown


async def test_the_tab_is_chosen_by_click_by_arrow_and_by_address(service: PageService, browser: Browser) -> None:
    tab = await browser.tab()
    await tab.look(f"{service.url}/", width=1200)
    await tab.until("document.querySelectorAll('#providers li').length === 4")
    assert await tab.run("tablesShown") is False, "the tables are asked for when the tab is opened, not before"
    await tab.run("document.getElementById('tab-lake').click()")
    await tab.until("document.querySelectorAll('#tables > li').length === 1")
    assert await tab.run("location.hash") == "#lake"
    assert await tab.run("document.getElementById('service').hidden")
    await tab.run("document.getElementById('tab-lake').focus()")
    await tab.run(
        "document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowLeft', bubbles: true}))"
    )
    assert await tab.run("document.activeElement.id") == "tab-service"
    assert await tab.run("document.getElementById('lake').hidden")
    await tab.run("location.hash = '#lake'")
    await tab.until("!document.getElementById('lake').hidden")
    assert await tab.run("document.getElementById('tab-lake').getAttribute('aria-selected')") == "true"


async def test_tables_show_their_columns_rows_and_size(service: PageService, browser: Browser) -> None:
    tab = await open_lake_tab(service, browser)
    assert "sales 1,204 rows · 3 columns · 18.4 kB" in " ".join((await text(tab, "tables")).split())
    await tab.run("document.querySelector('#tables summary').click()")
    assert "revenue\nDOUBLE" in await text(tab, "tables")
    await tab.run("document.querySelector('#tables button').click()")
    await tab.until("document.querySelectorAll('#grid tbody tr').length === 3")
    assert json.loads(service.lake.received[-1]) == {"sql": "SELECT * FROM sales LIMIT 100", "max_rows": 1000}


async def test_a_query_shows_a_grid_a_chart_and_curl(service: PageService, browser: Browser) -> None:
    tab = await open_lake_tab(service, browser)
    await tab.run("document.getElementById('sql').value = ''; document.getElementById('sql').focus()")
    await tab.type("SELECT shop, sum(revenue) AS revenue FROM sales GROUP BY ALL")
    await tab.press("Enter", ctrl=True)
    await tab.until("document.querySelectorAll('#grid tbody tr').length === 3")
    cells = await tab.run(
        "[...document.querySelectorAll('#grid tbody tr')].map(tr => [...tr.children].map(td => [td.innerText, td.className]))"
    )
    assert cells[0] == [["Berlin", ""], ["1820.5", "number"], ["NULL", "null"]]
    assert cells[1][2] == ["<b>two</b>", ""], "a value is text, whatever is in it"
    assert cells[2][2] == ["", ""], "the empty text is not NULL"
    assert (await text(tab, "query-note")).startswith("3 rows · 3.4 ms in the engine · ")
    assert "1,204 rows and 18.4 kB read" in await text(tab, "query-note")
    assert await tab.run("document.querySelectorAll('#drawing rect').length") == 3
    label = await tab.run("document.getElementById('drawing').getAttribute('aria-label')")
    assert label == "revenue by shop: 3 values from 240.25 to 1820.5. The table below has them."
    curl = await text(tab, "sql-curl")
    assert curl.startswith(f"curl '{service.url}/v1/sql' \\\n")
    assert json.loads(curl.split("-d '")[1].rstrip("'"))["sql"].startswith("SELECT shop")
    await tab.screenshot("lake-query-1600")
    assert tab.problems == []


async def test_one_of_several_engines_is_chosen(service: PageService, browser: Browser) -> None:
    tab = await open_lake_tab(service, browser)
    await tab.until("document.getElementById('engine').options.length === 1")
    assert not await tab.run("document.getElementById('engine').checkVisibility()"), "there is no choice"
    service.lake.engines = ["trino", "duckdb", "spark"]
    await tab.run("document.getElementById('reload').click()")
    await tab.until("document.getElementById('engine').checkVisibility()")
    names = await tab.run("[...document.getElementById('engine').options].map(option => option.text)")
    assert (names, await tab.run("document.getElementById('engine').value")) == (["trino", "duckdb", "spark"], "trino")
    await tab.run("document.getElementById('run').click()")
    await tab.until("!document.getElementById('download').disabled")
    assert json.loads(service.lake.received[-1]) == {"sql": "SHOW TABLES", "max_rows": 1000, "engine": "trino"}
    await tab.run(
        "document.getElementById('engine').value = 'spark'; document.getElementById('engine').dispatchEvent(new Event('input', {bubbles: true}))"
    )
    curl = await text(tab, "sql-curl")
    assert json.loads(curl.split("-d '")[1].rstrip("'")) == {"sql": "SHOW TABLES", "engine": "spark"}
    await tab.run("document.getElementById('download').click()")
    await tab.until("document.getElementById('query-note').innerText === 'result.csv, 42 B'")
    assert json.loads(service.lake.received[-1]) == {"sql": "SHOW TABLES", "engine": "spark"}
    service.lake.engines = ["duckdb", "spark"]
    await tab.run("document.getElementById('reload').click()")
    await tab.until("document.getElementById('engine').options.length === 2")
    assert await tab.run("document.getElementById('engine').value") == "spark", "the choice stays"
    assert await tab.run("[identifier('sales'), identifier('eu/sales.2026')]") == ["sales", "eu.`sales~2026`"]
    await tab.run("document.getElementById('engine').value = 'duckdb'")
    assert await tab.run("[identifier('sales'), identifier('eu/sales.2026')]") == ["sales", '"eu/sales.2026"']
    await tab.screenshot("lake-engines-1600")
    assert tab.problems == []


async def test_all_rows_are_downloaded_as_csv(service: PageService, browser: Browser, tmp_path: Path) -> None:
    tab = await open_lake_tab(service, browser)
    assert await tab.run("document.getElementById('download').disabled"), "there is no result yet"
    await tab.run("document.getElementById('run').click()")
    await tab.until("!document.getElementById('download').disabled")
    await tab.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    await tab.run("document.getElementById('download').click()")
    await tab.until("document.getElementById('query-note').innerText === 'result.csv, 42 B'")
    with trio.fail_after(10):
        while not (tmp_path / "result.csv").exists():
            await trio.sleep(0.02)
    assert (tmp_path / "result.csv").read_text().split() == ["shop,revenue", "Berlin,1820.5", "Lagos,990.0"]
    assert json.loads(service.lake.received[-1]) == {"sql": "SHOW TABLES"}
    assert tab.problems == []


async def test_a_series_in_time_is_drawn_as_a_line(service: PageService, browser: Browser) -> None:
    rows = [[f"2026-11-03 {hour:02}:00:00", 40 + (hour - 12) ** 2 * 0.5, hour * 3] for hour in range(24)]
    columns = [
        {"name": name, "type": type_} for name, type_ in (("hour", "TIMESTAMP"), ("p50", "DOUBLE"), ("n", "BIGINT"))
    ]
    service.lake.answer = service.lake.answer | {"columns": columns, "rows": rows, "row_count": 24, "truncated": True}
    for width, dark in ((1600, True), (400, False)):
        tab = await open_lake_tab(service, browser, width=width, dark=dark)
        await tab.run("document.getElementById('run').click()")
        await tab.until("document.querySelectorAll('#drawing path').length === 1")
        texts = await tab.run("[...document.querySelectorAll('#drawing text')].map(t => t.textContent)")
        assert {"00:00", "23:00"} <= set(texts)
        assert (await text(tab, "query-note")).startswith("the first 24 rows")
        assert await tab.run("document.documentElement.scrollWidth") <= width
        await tab.screenshot(f"lake-line-{width}{'-dark' if dark else ''}")
    await tab.run(
        "document.getElementById('chart-y').value = '2'; document.getElementById('chart-y').dispatchEvent(new Event('change'))"
    )
    assert (await tab.run("document.getElementById('drawing').getAttribute('aria-label')")).startswith(
        "n by hour: 24 values"
    )
    await tab.run("document.getElementById('chart-hide').click()")
    assert await tab.run("document.getElementById('chart-hide').getAttribute('aria-expanded')") == "false"


@pytest.mark.parametrize("how", spread(["Escape", "cancel"], 2))
async def test_cancel_ends_the_query_in_the_service(service: PageService, browser: Browser, how: str) -> None:
    service.lake.go = trio.Event()
    tab = await open_lake_tab(service, browser)
    await tab.run("document.getElementById('run').click()")
    with trio.fail_after(20):
        await service.lake.waiting.wait()
    assert await text(tab, "query-note") == "running…"
    if how == "Escape":
        await tab.press("Escape")
    else:
        await tab.run("document.getElementById('cancel').click()")
    with trio.fail_after(20):
        await service.lake.cancelled.wait()
    await tab.until("document.getElementById('query-note').innerText === 'cancelled'")
    assert await tab.run("document.getElementById('cancel').disabled")
    assert not await tab.run("document.getElementById('run').disabled")


async def test_a_statement_that_does_not_bind_is_marked_where_it_fails(service: PageService, browser: Browser) -> None:
    service.lake.error = ErrBadRequest('Referenced column "colour" not found', details={"position": 17})
    tab = await open_lake_tab(service, browser)
    await tab.run("document.getElementById('sql').value = 'SELECT shop,\\n    colour FROM sales'")
    await tab.run("document.getElementById('run').click()")
    await tab.until("!document.getElementById('query-error').hidden")
    shown = await tab.run("document.getElementById('query-error').textContent")
    assert shown == 'Referenced column "colour" not found\n\n    colour FROM sales\n    ^'
    assert (await text(tab, "query-note")).startswith("400 · ErrBadRequest · ")
    await tab.screenshot("lake-error-1600")


async def test_an_upload_shows_its_warnings_and_the_new_table(
    service: PageService, browser: Browser, tmp_path: Path
) -> None:
    service.lake.warnings = [
        {"column": "zip", "line": 17, "message": "'00123' would lose its zeros: the column is text"}
    ]
    file = tmp_path / "Q3 sales (final).csv.gz"
    file.write_bytes(b"zip,n\n00123,1\n")
    tab = await open_lake_tab(service, browser)
    await tab.run("document.getElementById('send-file').click()")
    await choose(tab, file)
    await tab.until("document.getElementById('table-name').value === 'Q3_sales_final'")
    await tab.run("document.getElementById('mode').value = 'append'")
    await tab.run("document.getElementById('send-file').click()")
    await tab.until(
        "document.getElementById('upload-note').innerText.startsWith('Q3_sales_final: 1,204 rows, 50 kB stored as 18.4 kB')"
    )
    assert service.lake.queries[-1] == {"name": "Q3_sales_final", "mode": "append"}
    assert b'name="file"; filename="Q3 sales (final).csv.gz"' in service.lake.received[-1]
    assert b"zip,n\n00123,1\n" in service.lake.received[-1]
    assert await text(tab, "upload-warnings") == "line 17, zip: '00123' would lose its zeros: the column is text"
    await tab.until("document.querySelectorAll('#tables > li').length === 2")
    assert await tab.run("document.getElementById('sql').value") == "SELECT * FROM Q3_sales_final LIMIT 100"
    await tab.screenshot("lake-upload-1600")


async def test_a_document_becomes_the_passages_of_a_corpus(
    service: PageService, browser: Browser, tmp_path: Path
) -> None:
    service.lake.warnings = [{"column": None, "line": None, "message": "page 2 without text"}]
    file = tmp_path / "User guide.pdf"
    file.write_bytes(b"%PDF-1.7")
    tab = await open_lake_tab(service, browser)
    await choose(tab, file)
    await tab.until("document.getElementById('table-name').value === 'User_guide'")
    assert await tab.run("document.getElementById('mode').disabled")
    await tab.run("document.getElementById('send-file').click()")
    await tab.until(
        "document.getElementById('upload-note').innerText.startsWith('User_guide: 2 passages of User guide.pdf')"
    )
    assert service.lake.queries[-1] == {"name": "User_guide", "source": "User+guide.pdf"}
    assert await text(tab, "upload-warnings") == "page 2 without text"


async def test_an_upload_that_is_refused_says_where_and_one_that_is_cancelled_ends(
    service: PageService, browser: Browser, tmp_path: Path
) -> None:
    differences = [{"column": "n", "was": "BIGINT", "is": "VARCHAR"}, {"column": "m", "was": None, "is": "DATE"}]
    service.lake.error = ErrBadRequest(
        "the columns differ", details={"differences": differences, "line": 3, "column": "n", "value": "x"}
    )
    file = tmp_path / "n.csv"
    file.write_bytes(b"n\n1\n")
    tab = await open_lake_tab(service, browser)
    await choose(tab, file)
    await tab.run("document.getElementById('send-file').click()")
    await tab.until("document.getElementById('upload-note').classList.contains('failed')")
    shown = await tab.run("document.getElementById('upload-note').textContent")
    assert shown.split("\n") == [
        "the columns differ",
        'line 3, column "n", value "x"',
        "n: was BIGINT, is VARCHAR",
        "m: was absent, is DATE",
    ]
    service.lake.go, service.lake.waiting = trio.Event(), trio.Event()
    await tab.run("document.getElementById('send-file').click()")
    with trio.fail_after(20):
        await service.lake.waiting.wait()
    await tab.run("document.getElementById('cancel-upload').click()")
    with trio.fail_after(20):
        await service.lake.cancelled.wait()
    await tab.until("document.getElementById('upload-note').innerText === 'cancelled'")


async def test_every_control_of_the_lake_has_a_name(service: PageService, browser: Browser) -> None:
    tab = await open_lake_tab(service, browser, width=400)
    assert await tab.run("document.documentElement.scrollWidth") <= 400
    await tab.run("document.getElementById('run').click()")
    await tab.until("document.querySelectorAll('#grid tbody tr').length === 3")
    await tab.screenshot("lake-400")
    nodes = (await tab.call("Accessibility.getFullAXTree"))["nodes"]
    roles = {"textbox", "combobox", "button", "img", "image", "region", "link", "tab", "tabpanel", "columnheader"}
    named = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node.get("ignored") and node["role"]["value"] in roles
    ]
    assert [role for role, name in named if not name] == []
    assert {("textbox", "Statement"), ("tab", "Lake"), ("region", "Result"), ("button", "Run")} <= set(named)


async def test_with_a_token_the_lake_is_used_with_it(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "sales.csv"
    file.write_bytes(b"n\n1\n")
    async with page_service("sesame") as service:
        tab = await browser.tab()
        await tab.look(f"{service.url}/#lake", width=900)
        await tab.until("document.activeElement.id === 'token'")
        await tab.type("sesame")
        await tab.press("Enter")
        await tab.until("document.querySelectorAll('#tables > li').length === 1")
        await tab.run("document.getElementById('run').click()")
        await tab.until("document.querySelectorAll('#grid tbody tr').length === 3")
        assert '-H "Authorization: Bearer $LAKEHOUSE_TOKEN"' in await text(tab, "sql-curl")
        await choose(tab, file)
        await tab.run("document.getElementById('send-file').click()")
        await tab.until("document.getElementById('upload-note').innerText.startsWith('sales: ')")
