"""Every recorded answer of every provider, in the Responses form: whole, in any split, and cut anywhere."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from lakehouse.asgi.middleware.lifetime_middleware import RequestLifetimeMiddleware
from lakehouse.chat.api.open_responses import response
from lakehouse.chat.api.openai.errors import find_status
from lakehouse.chat.dispatch.open_dispatcher import open_service_dispatcher
from lakehouse.config import ChatTable, Config, KimiTable, PolicyTable
from lakehouse.core.active_requests import ActiveRequests
from lakehouse.core.provider_failures import make_failure
from tools.kit import wire_files
from tools.kit.fake_dispatcher import chat_app
from tools.kit.replayed_provider import BROKEN, KEYS, PROVIDERS, REFUSED, STREAMS, WHOLE, model_of, name, replay
from tools.kit.responses_stream import check_response, check_stream

COUNTS = {"prompt_tokens": "input_tokens", "completion_tokens": "output_tokens"}


@pytest.fixture(autouse=True)
def _fixed_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(response, "getrandbits", lambda _: 7)
    monkeypatch.setattr("lakehouse.chat.api.open_responses.response.time.time", lambda: 1_795_860_000.5)


@asynccontextmanager
async def client_of(entry: dict[str, Any], **how: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the service whose providers all answer with this entry; nothing is retried."""
    kimi = KimiTable(wire="messages" if "messages" in entry["file"] else "chat")
    config = Config(chatd=ChatTable(kimi=kimi, policy=PolicyTable(retries=0)))
    transports = dict.fromkeys(PROVIDERS, replay(entry, **how))
    async with open_service_dispatcher(config, env=KEYS, transports=transports) as dispatcher:
        app = RequestLifetimeMiddleware(chat_app(dispatcher, max_body=4096), active_requests=ActiveRequests())
        transport: Any = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            yield client


async def ask(entry: dict[str, Any], *, stream: bool, **how: Any) -> httpx.Response:
    async with client_of(entry, **how) as client:
        return await client.post("/v1/responses", json={"model": model_of(entry), "input": "Hi", "stream": stream})


def check(expect: dict[str, Any], answered: dict[str, Any]) -> None:
    items = answered["output"]
    parts = [part for item in items if item["type"] == "message" for part in item["content"]]
    text = "".join(part.get("text") or part.get("refusal") or "" for part in parts)
    thought = "".join(part["text"] for item in items if item["type"] == "reasoning" for part in item["summary"])
    calls = [[item["name"], json.loads(item["arguments"])] for item in items if item["type"] == "function_call"]
    assert text == expect.get("content", text)
    assert thought == expect.get("reasoning", thought)
    assert calls == expect.get("tool_calls", [])
    cut = expect["finish"] == "length" and not calls
    assert answered["status"] == ("incomplete" if cut else "completed")
    for key, field in COUNTS.items():
        assert key not in expect or answered["usage"][field] == expect[key]


@pytest.mark.parametrize("entry", WHOLE, ids=name)
async def test_a_whole_answer(entry: dict[str, Any]) -> None:
    answered = await ask(entry, stream=False)
    assert (answered.status_code, answered.headers["content-type"]) == (200, "application/json")
    check_response(answered.json())
    check(entry["expect"], answered.json())
    streamed = await ask(entry, stream=True)
    check(entry["expect"], check_stream(streamed.text))


def without_times(text: str) -> str:
    """The stream without what attempts took."""
    return "\n".join(line.partition(',"attempts":')[0] for line in text.splitlines())


@pytest.mark.parametrize("entry", STREAMS, ids=name)
async def test_a_stream_in_any_split(entry: dict[str, Any]) -> None:
    splits = [await ask(entry, stream=True, size=size) for size in (1, 7, 4096)]
    assert {answered.headers["content-type"] for answered in splits} == {"text/event-stream; charset=utf-8"}
    streams = [without_times(answered.text) for answered in splits]
    assert streams[0] == streams[1] == streams[2]
    check(entry["expect"], check_stream(splits[0].text))


@pytest.mark.parametrize("entry", BROKEN, ids=name)
async def test_a_broken_stream_ends_in_a_failure(entry: dict[str, Any]) -> None:
    answered = await ask(entry, stream=True)
    if answered.status_code == 200:
        assert check_stream(answered.text)["status"] == "failed"
    else:
        assert answered.status_code in (400, 429)


@pytest.mark.parametrize("entry", REFUSED, ids=name)
async def test_a_refusal_has_its_status_or_is_a_failed_stream(entry: dict[str, Any]) -> None:
    error_class = entry["expect"]["error_class"]
    failure = make_failure(error_class, "")
    whole = await ask(entry, stream=False)
    assert (whole.status_code, whole.json()["error"]["class"]) == (find_status(failure), error_class)
    streamed = await ask(entry, stream=True)
    if failure.status in (400, 429):
        assert (streamed.status_code, streamed.json()["error"]["class"]) == (failure.status, error_class)
    else:
        assert check_stream(streamed.text)["status"] == "failed"


@pytest.mark.parametrize("entry", STREAMS, ids=name)
async def test_a_stream_that_is_cut_at_any_event_is_no_complete_answer(entry: dict[str, Any]) -> None:
    body = wire_files.body_of(entry)
    whole = check_stream((await ask(entry, stream=True)).text)
    events = [place for place in range(1, len(body)) if body[place - 1 : place] == b"\n"]
    for end in events[:: max(1, len(events) // 6)]:
        answered = await ask(entry, stream=True, end=end)
        assert answered.status_code == 200
        cut = check_stream(answered.text)
        if cut["status"] != "failed":  # nothing but usage and the end mark was missing
            assert cut["output"] == whole["output"]
