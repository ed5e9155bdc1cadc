"""The tab of the page for search and ask, used in a real browser. Its screenshots stay in `test-artifacts/`."""

from __future__ import annotations

import json

import pytest
import trio

from lakehouse.core.errors import ErrBadRequest
from tools.kit.chromium import PROGRAM, Browser, Tab
from tools.kit.matrices import spread
from tools.kit.page_service import PageService

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="chromium is not installed (apt-get install chromium)")


async def open_search_tab(service: PageService, browser: Browser, *, width: int = 1600, dark: bool = False) -> Tab:
    tab = await browser.tab()
    await tab.look(f"{service.url}/#search", width=width, dark=dark)
    await tab.until("document.querySelectorAll('#corpora input').length === 1")
    return tab


async def text(tab: Tab, name: str) -> str:
    shown: str = await tab.run(f"document.getElementById('{name}').innerText")
    return shown


async def enter(tab: Tab, question: str) -> None:
    await tab.run("document.getElementById('search-text').focus()")
    await tab.type(question)


async def click(tab: Tab, selector: str) -> None:
    await tab.run(f"document.querySelector('{selector}').click()")


async def test_a_search_shows_passages_with_their_sources(service: PageService, browser: Browser) -> None:
    tab = await open_search_tab(service, browser)
    assert await text(tab, "corpora") == "birds\n2 items", "an index without texts is no corpus to search"
    await enter(tab, "Who stands?")
    await click(tab, "#search-only")
    await tab.until("document.querySelectorAll('#passages > li').length === 2")
    asked = json.loads(service.lake.received[-1])
    assert asked == {"query_text": "Who stands?", "corpora": ["birds"], "k": 10, "max_tokens": 100_000}
    assert "[1] birds: heron.md#1, page 3 distance 0.211" in await text(tab, "passages")
    await click(tab, "#passages summary")
    assert (
        await tab.run("document.querySelector('#passages pre').innerText") == "A heron stands <still> in shallow water."
    )
    assert (await text(tab, "search-note")).startswith("2 passages · ")
    assert service.ask.asked == []
    assert tab.problems == []


async def test_an_answer_shows_its_citations_and_what_cites_nothing(service: PageService, browser: Browser) -> None:
    service.ask.go = trio.Event()
    service.lake.engines = ["trino", "duckdb"]
    tab = await open_search_tab(service, browser)
    await enter(tab, "Who stands?")
    await tab.press("Enter", ctrl=True)
    await tab.until("document.getElementById('cited-answer').innerText.startsWith('It stands <still> [1].')")
    assert not await tab.run("document.getElementById('search-thinking').hidden")
    service.ask.go.set()
    await tab.until("document.querySelectorAll('#cited-answer button').length === 2")
    assert service.ask.asked == [{"question": "Who stands?", "stream": True}]
    assert await tab.run("[...document.querySelectorAll('#cited-answer .uncited')].map(e => e.innerText)") == [
        "It is patient."
    ]
    assert not await tab.run("document.getElementById('uncited-note').hidden")
    assert await tab.run("document.querySelectorAll('#passages .cited').length") == 2
    assert (await text(tab, "search-note")).startswith("ollama · qwen3:8b · 2 of 3 passages cited · ")

    await click(tab, "#cited-answer button")
    assert await tab.run("document.querySelector('#passage-1 details').open"), "a citation opens its passage"
    assert await tab.run("document.activeElement === document.querySelector('#passage-1 summary')")
    await tab.screenshot("search-answer-1600")

    await tab.run("document.querySelectorAll('#cited-answer button')[1].click()")
    await click(tab, "#passage-3 details button")
    await tab.until("document.querySelectorAll('#grid tbody tr').length === 3")
    opened = json.loads(service.lake.received[-1])
    assert opened["sql"] == "SELECT * FROM sales AT (VERSION => 81) LIMIT 1 OFFSET 17"
    assert opened["engine"] == "duckdb", "whose dialect it is in"
    assert await tab.run("location.hash") == "#lake"
    assert tab.problems == []


async def test_what_is_chosen_is_asked_for(service: PageService, browser: Browser) -> None:
    tab = await open_search_tab(service, browser)
    await enter(tab, "Who?")
    await click(tab, "#corpora input")
    await tab.run("document.getElementById('search-tables').value = ' sales, a/b ,'")
    await tab.run("document.getElementById('search-model').value = 'judge'")
    await click(tab, "#ask-lake")
    await tab.until("document.querySelectorAll('#passages > li').length === 3")
    chosen = {"question": "Who?", "corpora": [], "tables": ["sales", "a/b"], "model": "judge", "stream": True}
    assert service.ask.asked == [chosen]
    curl = await text(tab, "ask-curl")
    assert curl.startswith(f"curl -N '{service.url}/v1/ask' \\\n")
    assert json.loads(curl.split("-d '")[1].rstrip("'")) == chosen
    await click(tab, "#search-only")
    assert await text(tab, "search-note") == "Choose a corpus first."


async def test_without_a_passage_the_page_says_so(service: PageService, browser: Browser) -> None:
    service.ask.pieces = []
    service.ask.end = {"type": "done", "answer": None, "passages": [], "citations": [], "claims": [], "warnings": []}
    tab = await open_search_tab(service, browser)
    await enter(tab, "Who?")
    await click(tab, "#ask-lake")
    await tab.until(
        "document.getElementById('search-note').innerText === 'no passage was found, so no model was asked'"
    )
    assert await tab.run("document.getElementById('cited-answer').hidden")


@pytest.mark.parametrize("how", spread(["Escape", "cancel"], 2))
@pytest.mark.parametrize("what", ["search", "ask"])
async def test_cancel_ends_the_search_and_the_ask_in_the_service(
    service: PageService, browser: Browser, what: str, how: str
) -> None:
    service.lake.go, service.ask.go = trio.Event(), trio.Event()
    tab = await open_search_tab(service, browser)
    await enter(tab, "Who?")
    if what == "search":
        await click(tab, "#search-only")
        with trio.fail_after(20):
            await service.lake.waiting.wait()
    else:
        await click(tab, "#ask-lake")
        await tab.until("document.getElementById('search-note').innerText === 'answering…'")
    if how == "Escape":
        await tab.press("Escape")
    else:
        await click(tab, "#cancel-search")
    with trio.fail_after(20):
        await (service.lake.cancelled if what == "search" else service.ask.left).wait()
    await tab.until("document.getElementById('search-note').innerText === 'cancelled'")
    assert await tab.run("document.getElementById('cancel-search').disabled")
    assert not await tab.run("document.getElementById('ask-lake').disabled")


async def test_a_search_that_fails_says_why(service: PageService, browser: Browser) -> None:
    service.lake.error = ErrBadRequest("the index is of another model")
    tab = await open_search_tab(service, browser)
    await enter(tab, "Who?")
    await click(tab, "#search-only")
    await tab.until("!document.getElementById('search-error').hidden")
    assert await text(tab, "search-error") == "the index is of another model"
    assert (await text(tab, "search-note")).startswith("400 · ErrBadRequest · ")


async def test_every_control_of_the_search_has_a_name(service: PageService, browser: Browser) -> None:
    tab = await open_search_tab(service, browser, width=400, dark=True)
    await enter(tab, "Who?")
    await click(tab, "#ask-lake")
    await tab.until("document.querySelectorAll('#cited-answer button').length === 2")
    assert await tab.run("document.documentElement.scrollWidth") <= 400
    await tab.screenshot("search-400-dark")
    nodes = (await tab.call("Accessibility.getFullAXTree"))["nodes"]
    roles = {"textbox", "combobox", "button", "checkbox", "log", "group", "tab", "tabpanel", "list"}
    named = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node.get("ignored") and node["role"]["value"] in roles
    ]
    assert [role for role, name in named if not name and role not in ("list", "group")] == []
    assert {("textbox", "Question"), ("tab", "Search"), ("button", "Passage 1"), ("list", "Passages")} <= set(named)
