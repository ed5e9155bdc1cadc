"""Sessions over HTTP: forty calls in three levels of agents and one DELETE, each form, and who may not notice."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import trio

from lakehouse.testing.upstreams import ReceivedRequest, open_upstream, respond
from tools.kit.service_with_providers import (
    HELLO,
    ServiceWithProviders,
    line,
    lines,
    ollama,
    open_service_with_providers,
    streamed_response,
)
from tools.kit.sse import sse_documents
from tools.kit.telemetry_fixtures import CapturedLog


@dataclass
class Provider:
    """Ollama and the data services at once: silent for the model `silent` and below `/silent`, else friendly."""

    waiting: int = 0

    async def answer(self, asked: ReceivedRequest, stream: trio.SocketStream) -> None:
        document = json.loads(asked.body) if asked.body else {}
        silent = "silent" in asked.target or document.get("model") == "silent"
        if not silent and not document.get("stream"):
            await stream.send_all(respond(ollama()))
            return
        if document.get("stream"):
            await stream.send_all(streamed_response(lines(line("Hel"))))
        self.waiting += 1
        try:
            await stream.receive_some()
        finally:
            self.waiting -= 1

    async def wait_for(self, count: int) -> None:
        """Wait until so many requests wait for an answer."""
        while self.waiting != count:
            await trio.sleep(0.001)


@dataclass
class Scene:
    """The service, its provider, and the answers to the calls of clients."""

    up: ServiceWithProviders
    provider: Provider
    nursery: trio.Nursery
    answers: list[httpx.Response] = field(default_factory=list)

    @property
    def client(self) -> httpx.AsyncClient:
        return self.up.client

    def call(self, headers: dict[str, str], *, path: str = "/v1/chat", **fields: Any) -> None:
        """Send a request that waits for its answer, in a task of its own."""
        self.nursery.start_soon(self._call, headers, path, fields)

    async def _call(self, headers: dict[str, str], path: str, fields: dict[str, Any]) -> None:
        if path.startswith("/v1/chat"):
            body = {"model": "silent", "messages": HELLO, **fields}
            self.answers.append(await self.client.post(path, json=body, headers=headers))
        else:
            self.answers.append(await self.client.get(path, headers=headers))

    async def sessions(self, path: str = "") -> Any:
        response = await self.client.get(f"/v1/sessions{path}")
        assert response.status_code == 200, response.text
        return response.json()

    async def stop(self, path: str) -> Any:
        """The receipt of DELETE."""
        response = await self.client.delete(f"/v1/sessions/{path}")
        assert response.status_code == 200, response.text
        return response.json()


@asynccontextmanager
async def scene(**tables: Any) -> AsyncIterator[Scene]:
    provider = Provider()
    with trio.fail_after(20):
        async with open_upstreams(provider, **tables) as up, trio.open_nursery() as nursery:
            yield Scene(up, provider, nursery)
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_upstreams(provider: Provider, **tables: Any) -> AsyncIterator[ServiceWithProviders]:
    async with open_upstream(provider.answer) as data:
        gateway = {f"{name}_url": data.url for name in ("storaged", "queryd", "matrixd")}
        async with open_service_with_providers(scripts={"ollama": provider.answer}, gateway=gateway, **tables) as up:
            yield up


def claude(session: str, agent: str = "", parent: str = "") -> dict[str, str]:
    """The headers of Claude Code."""
    names = {"session": session, "agent": agent, "parent-agent": parent}
    return {f"x-claude-code-{name}-id": value for name, value in names.items() if value}


def names(tree: dict[str, Any]) -> dict[str, Any]:
    """The agents below one, by name."""
    return {agent["agent"]: names(agent) for agent in tree["agents"]}


async def test_forty_calls_in_three_levels_of_agents_are_ended_by_one_delete() -> None:
    async with scene() as there:
        for number in range(8):
            there.call(claude("run"))
            for agent, parent in (("a", ""), ("b", "a"), ("c", "a"), ("d", "b")):
                path = f"/v1/storage/silent/{number}" if agent == "d" else "/v1/chat"
                there.call(claude("run", agent, parent), path=path, stream=agent == "c" and path == "/v1/chat")
        there.call(claude("other"))
        await there.provider.wait_for(41)
        session = await there.sessions("/run")
        assert {name: session[name] for name in ("state", "calls", "in_flight", "agents")} == {
            "state": "running",
            "calls": 40,
            "in_flight": 40,
            "agents": 5,
        }
        receipt = await there.stop("run")
        await there.provider.wait_for(1)
        assert (receipt["calls"], receipt["agents"], receipt["known"], receipt["silent"]) == (40, 5, True, 0)
        assert {call["phase"] for call in receipt["ended"]} <= {"waiting", "streaming"}
        while len(there.answers) < 40:
            await trio.sleep(0.001)
        whole = [answer for answer in there.answers if answer.status_code == 400]
        streams = [answer for answer in there.answers if answer.status_code == 200]
        assert (len(whole), len(streams)) == (32, 8)
        assert {answer.json()["error"]["code"] for answer in whole} == {"ErrSessionStopped"}
        for answer in streams:
            *_, last = sse_documents(answer.text)
            assert (last["type"], last["error"]["code"]) == ("error", "ErrSessionStopped")
        listed = (await there.client.get("/v1/requests")).json()["requests"]
        assert [row["session"] for row in listed] == ["other", None]  # and the one that asks
        again = await there.up.chat(headers=claude("run", "new", "b"))
        assert (again.status_code, again.json()["error"]["details"]) == (400, {"session": "run"})
        session = await there.sessions("/run")
        assert (session["state"], session["in_flight"], session["failed"], session["refused"]) == ("stopped", 0, 40, 1)
        assert names(session["tree"]) == {"a": {"b": {"d": {}, "new": {}}, "c": {}}}
        assert (await there.up.chat("m", headers=claude("other"))).status_code == 200
        assert there.provider.waiting == 1


async def test_the_sums_of_a_session_are_those_of_its_log_lines() -> None:
    caught = CapturedLog()
    async with scene(log=caught.log, observe={"log": "json"}) as there:
        for headers in (claude("run"), claude("run", "a"), {"session-id": "codex", "thread-id": "t"}, {}):
            assert (await there.up.chat("m", headers=headers)).status_code == 200
        body = {"model": "m", "messages": HELLO, "session": {"id": "run", "agent": "b", "parent_agent": "a"}}
        assert (await there.client.post("/v1/chat", json=body)).status_code == 200
        assert (await there.client.post("/v1/chat", json=body, headers={"x-session-id": "x"})).status_code == 200
        (await there.client.get("/v1/storage/x", headers=claude("run"))).raise_for_status()
        listed = await there.sessions("?tree=1")
        assert [(one["id"], one["calls"]) for one in listed["sessions"]] == [("run", 4), ("x", 1), ("codex", 1)]
        run = listed["sessions"][0]
        assert (run["input_tokens"], run["output_tokens"], run["failed"], run["state"]) == (21, 9, 0, "idle")
        assert names(run["tree"]) == {"a": {"b": {}}}
        assert [one["id"] for one in (await there.sessions("?limit=1"))["sessions"]] == ["run"]
    rows = [row for row in caught.lines if row.get("route") in ("/v1/chat", "/v1/storage")]
    named = [(row.get("session"), row.get("agent")) for row in rows]
    assert sorted(named, key=str) == sorted(
        [("run", None), ("run", "a"), ("codex", "t"), (None, None), ("run", "b"), ("x", None), ("run", None)], key=str
    )


async def test_a_request_that_is_refused_has_the_name_of_its_route() -> None:
    caught = CapturedLog()
    async with scene(log=caught.log, observe={"log": "json"}) as there:
        await there.stop("run")
        for path in ("/v1/storage/get/x", "/nowhere/x", "/v1/ch%61t"):
            assert (await there.client.get(path, headers=claude("run"))).status_code == 400
        assert (await there.client.get("/v1/sql/x", headers={b"x-session-id": "é".encode()})).status_code == 400
        foreign = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "cors", "origin": "https://elsewhere.example"}
        assert (await there.client.get("/v1/matrix/x", headers=foreign)).status_code == 403
        metrics = (await there.client.get("/metrics")).text
    refused = [row["route"] for row in caught.lines if row.get("status") in (400, 403)]
    assert refused == ["/v1/storage", "", "/v1/chat", "/v1/sql", "/v1/matrix"]
    series = 'lakehouse_requests_total{{outcome="answered",route="{}",status="4xx"}} 1.0'
    assert all(series.format(route) in metrics for route in ("/v1/storage", "/v1/chat", "/v1/sql", "other"))


async def test_a_request_without_the_token_has_the_name_of_its_route(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("alice=sk-one\n")
    caught = CapturedLog()
    tables: dict[str, Any] = {"observe": {"log": "json"}, "auth": {"token_file": str(tmp_path / "tokens")}}
    async with scene(log=caught.log, **tables) as there:
        for path in ("/v1/sql", "/v1/stranger", "/"):
            answer = await there.client.get(path, headers={"accept": "text/html"})
            assert answer.status_code == 401
    refused = [(row["route"], row.get("principal")) for row in caught.lines if row.get("status") == 401]
    assert refused == [("/v1/sql", None), ("", None), ("/", None)]


FORMS: dict[str, Any] = {
    "/v1/chat": {"messages": HELLO},
    "/v1/chat/completions": {"messages": HELLO},
    "/v1/responses": {"input": "Hello?"},
    "/v1/messages": {"messages": HELLO, "max_tokens": 100},
    "/api/chat": {"messages": HELLO},
}

OVER = "the session run is over: it was stopped by DELETE /v1/sessions"


def error_of(form: str, answer: httpx.Response) -> dict[str, Any]:
    """The error that an answer is, or that a stream ends with."""
    stream = not answer.headers["content-type"].startswith("application/json")
    if form == "/api/chat":
        return {"message": json.loads(answer.text.strip().splitlines()[-1])["error"]}
    if form in ("/v1/responses", "/v1/messages") and stream:
        *_, last = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
        document = json.loads(last)
        error: dict[str, Any] = document["response"]["error"] if form == "/v1/responses" else document["error"]
    else:
        error = sse_documents(answer.text)[-1]["error"] if stream else answer.json()["error"]
    return error


@pytest.mark.parametrize("stream", [False, True])
async def test_each_form_says_that_its_session_is_over(stream: bool) -> None:
    """To the call in flight, and to the next one, in a way at which its clients stop."""
    async with scene() as there:
        ended: dict[str, httpx.Response] = {}

        async def call(path: str) -> None:
            body = {"model": "silent", "stream": stream, **FORMS[path]}
            ended[path] = await there.client.post(path, json=body, headers={"x-session-id": "run"})

        for path in FORMS:
            there.nursery.start_soon(call, path)
        await there.provider.wait_for(len(FORMS))
        await there.stop("run")
        while len(ended) < len(FORMS):
            await trio.sleep(0.001)
        for path, body in FORMS.items():
            refused = await there.client.post(
                path, json={"model": "m", "stream": stream, **body}, headers={"x-session-id": "run"}
            )
            assert ended[path].status_code == (200 if stream else 400), path
            assert refused.status_code == 400, path
            for error in (error_of(path, ended[path]), error_of(path, refused)):
                assert {name: error[name] for name in EXPECTED[path]} == EXPECTED[path], (path, error)
                assert error["message"] == OVER
            if path == "/v1/responses":  # the codes at which Codex stops
                assert error_of(path, refused)["code"] == "session_stopped"
                assert error_of(path, ended[path])["code"] == ("invalid_prompt" if stream else "session_stopped")
            if path not in ("/v1/chat", "/api/chat"):
                assert refused.headers["x-should-retry"] == "false"


EXPECTED: dict[str, dict[str, str]] = {
    "/v1/chat": {"code": "ErrSessionStopped"},
    "/v1/chat/completions": {"type": "invalid_request_error", "code": "session_stopped"},
    "/v1/responses": {"message": OVER},
    "/v1/messages": {"type": "invalid_request_error"},
    "/api/chat": {},
}


async def test_one_agent_can_be_stopped_with_those_below_it() -> None:
    async with scene() as there:
        for agent, parent in (("", ""), ("a", ""), ("b", "a"), ("c", "")):
            there.call(claude("run", agent, parent))
        await there.provider.wait_for(4)
        receipt = await there.stop("run?agent=a")
        await there.provider.wait_for(2)
        assert sorted(call["agent"] for call in receipt["ended"]) == ["a", "b"]
        assert (await there.up.chat("m", headers=claude("run", "b"))).status_code == 400
        assert (await there.up.chat("m", headers=claude("run", "c"))).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "field"),
    [
        ("GET", "/v1/sessions/unknown", 404, None),
        ("GET", "/v1/sessions/two%20words", 400, "session"),
        ("GET", "/v1/sessions/%ff", 400, "session"),
        ("GET", "/v1/sessions/", 404, None),
        ("DELETE", "/v1/sessions", 405, None),
        ("DELETE", "/v1/sessions/r?agent=two+words", 400, "agent"),
        ("DELETE", "/v1/sessions/r?agents=x", 400, "agents"),
        ("POST", "/v1/sessions/r", 405, None),
        ("GET", "/v1/sessions?limit=0", 400, "limit"),
        ("GET", "/v1/sessions?limit=1001", 400, "limit"),
        ("GET", "/v1/sessions?limit=1&limit=2", 400, "limit"),
        ("GET", "/v1/sessions?limit=" + "9" * 5000, 400, "limit"),
        ("GET", "/v1/sessions?limit=" + "0" * 8 + "1" * 5000, 400, "limit"),
    ],
)
async def test_mistakes_of_callers(one: Scene, method: str, path: str, status: int, field: str | None) -> None:
    answer = await one.client.request(method, path)
    assert answer.status_code == status, answer.text
    if field:
        assert f"`{field}`" in answer.json()["error"]["message"] or field in answer.json()["error"]["message"]


@pytest.fixture
async def one() -> AsyncIterator[Scene]:
    async with scene() as there:
        yield there


async def test_names_with_slashes_and_a_header_that_names_itself(one: Scene) -> None:
    odd = {"x-session-id": "a|b#7?x=%41"}
    assert (await one.up.chat("m", headers=odd)).status_code == 200
    assert (await one.sessions(f"/{quote(odd['x-session-id'], safe='')}"))["id"] == odd["x-session-id"]
    headers = {"x-session-id": "team/run:7"}
    assert (await one.up.chat("m", headers=headers)).status_code == 200
    assert (await one.sessions("/team%2Frun:7"))["id"] == "team/run:7"
    assert (await one.sessions("/team/run:7"))["calls"] == 1
    answer = await one.client.delete("/v1/sessions/team/run:7", headers=headers)  # which is no call of its session
    assert (answer.status_code, answer.json()["calls"], answer.json()["known"]) == (200, 0, True)
    bad = await one.up.chat("m", headers={"x-session-id": "two words"})
    assert (bad.status_code, "x-session-id" in bad.text) == (400, True)
    never = (await one.client.delete("/v1/sessions/never")).json()
    assert (never["known"], never["state"]) == (False, "stopped")
