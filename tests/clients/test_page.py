"""The page, looked at in a real browser. Its screenshots stay in `test-artifacts/`."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest
import trio

from lakehouse.core.session_identity import make_identity
from tools.kit.chromium import PROGRAM, Browser
from tools.kit.page_service import PageService, page_service

in_a_browser = pytest.mark.skipif(PROGRAM is None, reason="chromium is not installed (apt-get install chromium)")


def at(url: str) -> str:
    return f"{url}/"


@in_a_browser
async def test_a_newcomer_sees_what_there_is(service: PageService, browser: Browser) -> None:
    tab = await browser.tab()
    await tab.look(at(service.url), width=1600)
    await tab.until("document.querySelectorAll('#providers li').length === 4")
    assert await tab.run("document.querySelectorAll('#upstreams li').length") == 9
    assert await tab.run("document.querySelector('#providers li').innerText.includes('ollama (default)')")
    assert await tab.run("[...document.querySelectorAll('#backends .chip')].every(c => c.innerText === 'quiet')")
    assert await tab.run("document.getElementById('state').innerText") == "running"
    assert await tab.run("document.getElementById('requests').innerText") == "Nothing is running."
    await tab.until("document.getElementById('model').value === 'qwen3:8b'")
    await tab.screenshot("page-quiet-1600")
    for width, dark in ((400, False), (400, True), (1600, True)):
        await tab.look(at(service.url), width=width, dark=dark)
        await tab.until("document.querySelectorAll('#upstreams li').length === 9")
        await tab.until("document.getElementById('model').value === 'qwen3:8b'")
        assert await tab.run("document.documentElement.scrollWidth") <= width
        await tab.screenshot(f"page-quiet-{width}{'-dark' if dark else ''}")
    assert tab.problems == []


def busy(service: PageService) -> None:
    chat = service.takes_off(
        "/v1/chat", ago=41.2, phase="streaming", upstream="openrouter", model="moonshotai/kimi-k2.6"
    )
    now = trio.current_time()
    for upstream, why, error, status in (("kimi", "first", "overloaded", 529), ("kimi", "retry", "timeout", None)):
        made = chat.record_attempt(upstream, "k2", now=now - 40, why=why)  # type: ignore[arg-type]
        made.ended, made.error, made.status = now - 38, error, status
    chat.record_attempt("openrouter", "moonshotai/kimi-k2.6", now=now - 30, why="fallback")
    service.takes_off("/v1/chat", ago=3.1, phase="waiting", upstream="ollama", model="qwen3:8b")
    service.takes_off("/v1/sql", ago=0.84, phase="waiting")
    service.takes_off("/v1/storage", ago=12.0, phase="streaming", left=float("inf"))
    service.takes_off("/v1/embed", ago=0.2, phase="queued")
    service.takes_off("/v1/chat", ago=1.7, phase="backoff", upstream="kimi", model="k2<script>alert(1)</script>")


@pytest.mark.extended
@in_a_browser
@pytest.mark.parametrize("dead", ["", "kimi"])
async def test_an_operator_sees_the_load_and_what_is_dead(service: PageService, browser: Browser, dead: str) -> None:
    busy(service)
    name = "page-dead-provider" if dead else "page-load"
    if dead:
        service.circuits["kimi"] = 1
    tab = await browser.tab()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(service.work, *((dead, "vectord") if dead else ()))
        await tab.look(at(service.url), width=1600)
        await tab.until("points.length > 0")
        # Minutes in seconds: one look after another, each a little later than the one before.
        await tab.run(
            "(async () => { while (points.length < 46) { await look(); await new Promise(next => setTimeout(next, 15)); } })()"
        )
        await tab.until("points.at(-1).done > 5")
        assert await tab.run("document.querySelectorAll('#requests > li').length") == 6
        first = await tab.run("document.querySelector('#requests li').innerText")
        for said in (
            "streaming",
            "POST /v1/chat · moonshotai/kimi-k2.6",
            "3 attempts",
            "first: kimi k2, overloaded (529)",
            "worker 0",
        ):
            assert said in first
        chips = dict(
            await tab.run(
                "[...document.querySelectorAll('#backends li')].map(li => [li.querySelector('b').innerText, li.querySelector('.chip').innerText])"
            )
        )
        assert next(iter(chips)) == ("kimi" if dead else "ollama (default)")
        assert chips["queryd"] == "answers"
        assert chips["kimi"] == ("circuit open" if dead else "answers")
        assert chips["vectord"] == ("failing" if dead else "answers")
        assert await tab.run("document.querySelectorAll('#p-latency path').length") >= 3
        assert "median" in await tab.run("document.querySelector('#p-latency svg').getAttribute('aria-label')")
        assert (await tab.run("document.getElementById('f-rate').innerText")).endswith("/s")
        assert await tab.run("document.querySelectorAll('script').length") == 1
        await tab.screenshot(f"{name}-1600")
        await tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
        await tab.screenshot(f"{name}-1600-dark")
        await tab.call("Emulation.setDeviceMetricsOverride", width=400, height=900, deviceScaleFactor=1, mobile=False)
        await tab.screenshot(f"{name}-400-dark")
        await tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "light"}])
        await tab.screenshot(f"{name}-400")
        assert await tab.run("document.documentElement.scrollWidth") <= 400
        nursery.cancel_scope.cancel()
    assert tab.problems == []


@in_a_browser
async def test_sessions_are_trees_with_a_button_that_stops_them(service: PageService, browser: Browser) -> None:
    for session, agent, parent in (
        ("run-7", "", ""),
        ("run-7", "plan", ""),
        ("run-7", "dig<b>", "plan"),
        ("other", "", ""),
    ):
        service.takes_off("/v1/chat", ago=9.0, model="qwen3:8b", session=make_identity(session, agent, parent))
    service.takes_off("/v1/sql", ago=3.0)
    tab = await browser.tab()
    await tab.look(at(service.url), width=1600)
    await tab.until("document.querySelectorAll('#sessions > li').length === 2")
    assert await tab.run("document.querySelectorAll('#requests > li').length") == 1
    await tab.run("look()")
    assert await tab.run("document.getElementById('f-in-flight').innerText") == "5"
    tree = "[...document.querySelectorAll('#sessions .agent')].map(li => [li.querySelector('b').innerText, li.querySelectorAll('.request').length])"
    assert await tab.run(tree) == [["plan", 2], ["dig<b>", 1]]
    assert "3 agents · 3 of 3 calls in flight" in await tab.run("document.getElementById('sessions').innerText")
    await tab.screenshot("page-sessions-1600")
    button = "[...document.querySelectorAll('#sessions button')].find(b => b.dataset.session === 'run-7')"
    await tab.run(f"{button}.focus()")
    await tab.press("Enter")
    await tab.until(f"{button}.innerText === 'Stop it?' && document.activeElement === {button}")
    assert len(service.active_requests) >= 5
    await tab.press("Enter")
    await tab.until("document.getElementById('sessions-status').innerText === 'run-7: 3 calls ended'")
    await tab.until("document.querySelectorAll('#sessions .agent').length === 0")
    chips = "[...document.querySelectorAll('#sessions > li')].map(li => li.querySelector('.chip').innerText).sort()"
    assert await tab.run(chips) == ["running", "stopped"]
    await tab.call("Emulation.setDeviceMetricsOverride", width=400, height=900, deviceScaleFactor=1, mobile=False)
    assert await tab.run("document.documentElement.scrollWidth") <= 400
    await tab.screenshot("page-sessions-400")
    assert tab.problems == []


@in_a_browser
async def test_a_chat_streams_into_the_page_and_curl_stands_beside_it(service: PageService, browser: Browser) -> None:
    service.model.go = trio.Event()
    service.model.end["latency_ms"] = 0.2  # the service was quick, the way to the reader was not
    tab = await browser.tab()
    await tab.look(at(service.url), width=1200)
    await tab.until("document.getElementById('model').value === 'qwen3:8b'")
    await tab.run("document.getElementById('prompt').value = ''; document.getElementById('prompt').focus()")
    await tab.type("It's me")
    curl = await tab.run("document.getElementById('curl').textContent")
    assert curl.startswith(f"curl -N '{service.url}/v1/chat' \\\n")
    assert "Authorization" not in curl
    assert r"""It'\''s me""" in curl
    await tab.press("Enter", ctrl=True)
    await tab.until(
        "document.getElementById('content').textContent === 'Hello, '"
    )  # it shows before the answer is whole
    assert await tab.run("document.getElementById('reasoning').textContent") == "Three greetings. "
    service.model.go.set()
    await tab.until("document.getElementById('facts').innerText.includes('9 out')")
    assert await tab.run("document.getElementById('content').textContent") == "Hello, bonjour & <b>hallo</b>."
    facts = await tab.run("document.getElementById('facts').innerText")
    assert "ollama · qwen3:8b · stop" in facts
    times = dict(re.findall(r"(first piece|whole) ([0-9.]+ (?:ms|s))", facts))
    assert in_seconds(times["first piece"]) <= in_seconds(times["whole"]), "it ended before it began"
    (asked,) = service.model.asked
    assert asked == {"model": "qwen3:8b", "messages": [{"role": "user", "content": "It's me"}], "stream": True}
    assert json.loads(curl.split("-d '")[1].rstrip("'").replace(r"'\''", "'")) == asked
    await tab.screenshot("page-chat-1200")
    assert tab.problems == []


def in_seconds(shown: str) -> float:
    number, unit = shown.split()
    return float(number) * {"ms": 0.001, "s": 1.0}[unit]


@in_a_browser
async def test_escape_stops_a_chat_and_the_service_knows(service: PageService, browser: Browser) -> None:
    service.model.go = trio.Event()
    tab = await browser.tab()
    await tab.look(at(service.url), width=1200)
    await tab.until("document.getElementById('model').value === 'qwen3:8b'")
    await tab.run("document.getElementById('send').click()")
    await tab.until("document.getElementById('content').textContent === 'Hello, '")
    await tab.press("Escape")
    with trio.fail_after(20):
        await service.model.left.wait()
    await tab.until("document.getElementById('facts').innerText === 'stopped'")
    assert await tab.run("document.getElementById('stop').disabled")


@in_a_browser
async def test_a_chat_that_fails_says_why(service: PageService, browser: Browser) -> None:
    error = {
        "message": "kimi is overloaded",
        "status": 502,
        "code": "ErrUpstream",
        "class": "overloaded",
        "request_id": "r-9",
    }
    service.model.end = {"type": "error", "error": error}
    tab = await browser.tab()
    await tab.look(at(service.url), width=1200)
    await tab.until("document.getElementById('model').value === 'qwen3:8b'")
    await tab.run("document.getElementById('send').click()")
    await tab.until("document.getElementById('facts').innerText === '502 · ErrUpstream · overloaded · r-9'")
    assert (await tab.run("document.getElementById('content').innerText")).endswith("kimi is overloaded")


@in_a_browser
async def test_everything_is_reached_by_keyboard_and_has_a_name(service: PageService, browser: Browser) -> None:
    tab = await browser.tab()
    await tab.look(at(service.url), width=1200)
    await tab.until("document.querySelectorAll('#upstreams li').length === 9")
    reached = []
    for _ in range(7):
        await tab.press("Tab")
        reached.append(await tab.run("document.activeElement.id || document.activeElement.className"))
    assert reached == ["skip", "tab-service", "model", "prompt", "send", "copy", "curl"]
    tree = (await tab.call("Accessibility.getFullAXTree"))["nodes"]
    named = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in tree
        if not node.get("ignored")
        and node["role"]["value"] in {"textbox", "combobox", "button", "img", "image", "region", "link"}
    ]
    assert len(named) > 12
    assert [role for role, name in named if not name] == []
    assert ("region", "Requests in flight") in named


@in_a_browser
async def test_a_closed_door_asks_for_the_token_and_shows_the_page_for_it(browser: Browser) -> None:
    async with page_service("sesame") as service:
        tab = await browser.tab()
        await tab.look(at(service.url), width=400, height=700)
        await tab.until("document.activeElement.id === 'token'")
        await tab.screenshot("sign-in-400")
        await tab.type("wrong")
        await tab.press("Enter")
        await tab.until("document.getElementById('problem').innerText.includes('not one of')")
        await tab.type("sesame")
        await tab.press("Enter")
        await tab.until("document.querySelectorAll('#providers li').length === 4")
        assert await tab.run("document.title") == "Lakehouse"
        curl = await tab.run("document.getElementById('curl').textContent")
        assert '-H "Authorization: Bearer $LAKEHOUSE_TOKEN"' in curl
        assert "sesame" not in await tab.run("document.documentElement.outerHTML")
        await tab.call("Page.reload")
        await tab.until("document.querySelectorAll('#providers li').length === 4")  # the tab remembers
        await tab.run("document.getElementById('send').click()")
        await tab.until("document.getElementById('facts').innerText.includes('9 out')")
        assert [problem for problem in tab.problems if "401" not in problem] == []


@in_a_browser
async def test_a_service_that_is_gone_is_said(browser: Browser) -> None:
    tab = await browser.tab()
    async with page_service() as service:
        await tab.look(at(service.url), width=1200)
        await tab.until("document.querySelectorAll('#providers li').length === 4")
    await tab.until("document.getElementById('alarm').innerText.startsWith('The service does not answer')")
    assert await tab.run("document.getElementById('state').innerText") == "no answer"


async def test_behind_a_closed_door_there_is_no_byte_of_the_page() -> None:
    async with page_service("sesame") as service, httpx.AsyncClient(base_url=service.url) as client:
        for path in ("/", "/metrics", "/v1/requests"):
            refused = await client.get(path)
            assert (refused.status_code, refused.headers["content-type"]) == (401, "application/json")
            assert refused.json()["error"]["code"] == "ErrUnauthorized"
        form = await client.get("/", headers={"Accept": "text/html"})
        assert form.status_code == 401
        assert form.headers["www-authenticate"].startswith("Bearer")
        assert "upstream" not in form.text
        assert (await client.get("/metrics", headers={"Accept": "text/html"})).headers[
            "content-type"
        ] == "application/json"
        page = await client.get("/", headers={"Authorization": "Bearer sesame"})
        assert page.status_code == 200
        assert "Requests in flight" in page.text


async def test_the_page_may_do_nothing_but_talk_to_us() -> None:
    async with page_service() as service, httpx.AsyncClient(base_url=service.url) as client:
        page = await client.get("/")
        policy: dict[str, Any] = dict(
            part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";")
        )
        assert policy["default-src"] == "'none'"
        assert policy["connect-src"] == "'self'"
        assert policy["frame-ancestors"] == "'none'"
        assert policy["script-src"].startswith("'sha256-")
        assert "unsafe" not in page.headers["content-security-policy"]
        assert page.headers["referrer-policy"] == "no-referrer"
        assert "https://" not in page.text  # it works without internet


@in_a_browser
async def test_an_operator_sees_each_host_and_key_of_a_provider(service: PageService, browser: Browser) -> None:
    service.replicas["kimi"] = [
        {"name": "10.0.0.5:8000, $KEY_A", "available": True, "in_flight": 3},
        {
            "name": "10.0.0.5:8000, $KEY_B",
            "available": False,
            "in_flight": 0,
            "reason": "rate_limit",
            "retry_after": 42,
        },
        {"name": "10.0.0.6:8000, <b>", "available": True, "in_flight": 0},
    ]
    tab = await browser.tab()
    await tab.look(at(service.url), width=1600)
    await tab.until("document.querySelectorAll('.replicas li').length === 3")
    shown = await tab.run(
        "[...document.querySelectorAll('.replicas li')].map(item => item.innerText.replace(/\\s+/g, ' '))"
    )
    assert shown == [
        "10.0.0.5:8000, $KEY_A 3 busy",
        "10.0.0.5:8000, $KEY_B rate limit, 42 s",
        "10.0.0.6:8000, <b> idle",
    ]
    await tab.screenshot("page-replicas-1600")
    await tab.look(at(service.url), width=400)
    await tab.until("document.querySelectorAll('.replicas li').length === 3")
    assert await tab.run("document.documentElement.scrollWidth") <= 400
    assert tab.problems == []
