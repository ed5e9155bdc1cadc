"""Anthropic's form over the whole service: every dialect, whole and streamed, with real sockets on both sides."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
import trio

from lakehouse.testing.upstreams import ReceivedRequest, UpstreamScript, never_answer, respond
from tools.kit.message_stream import check_message, read_stream
from tools.kit.service_with_providers import (
    HELLO,
    STREAMS,
    WHOLE,
    ServiceWithProviders,
    answer_hello,
    answer_in_turn,
    chunk,
    completion,
    events,
    format_of,
    message,
    ollama,
    open_service_with_providers,
    response,
    streamed_response,
)

BODY: dict[str, Any] = {"max_tokens": 1000, "messages": HELLO}
VERSION = {"anthropic-version": "2023-06-01"}
NAMES = {
    "/api/chat": "ollama/m",
    "/chat/completions": "openrouter/v/m",
    "/messages": "opencode/claude-sonnet-4-5",
    "/responses": "opencode/gpt-5.2",
}
"""A model that is served in each dialect."""

PROVIDERS = {
    "/api/chat": "ollama",
    "/chat/completions": "openrouter",
    "/messages": "opencode",
    "/responses": "opencode",
}
TOOL_USE = {"type": "tool_use", "id": "tu_1", "name": "look", "input": {"at": "a"}}
FUNCTION = {"name": "look", "arguments": '{"at":"a"}'}
CALLING: dict[str, Mapping[str, object]] = {
    "/api/chat": ollama("", tool_calls=[{"id": "tu_1", "function": {"index": 0, "name": "look", "arguments": {"at": "a"}}}]),
    "/chat/completions": completion(None, finish="tool_calls", tool_calls=[{"id": "tu_1", "type": "function", "function": FUNCTION}]),
    "/messages": message("", TOOL_USE, stop="tool_use"),
    "/responses": {**response(), "output": [{"type": "function_call", "id": "fc_1", "call_id": "tu_1", **FUNCTION}]},
}  # fmt: skip


async def ask(there: ServiceWithProviders, model: str, **fields: Any) -> Any:
    """A message, whole or put together from its stream by the state machine."""
    answer = await there.client.post("/v1/messages?beta=true", json={"model": model, **BODY, **fields}, headers=VERSION)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-lakehouse-attempts"] == "1"
    assert answer.headers["request-id"] == answer.headers["x-request-id"]  # an SDK's `_request_id`
    if fields.get("stream"):
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        return read_stream(answer.text)
    check_message(answer.json())
    return answer.json()


async def answer_or_call(asked: ReceivedRequest, stream: trio.SocketStream) -> None:
    """Calls the tool that is offered once, and says hello when it has the result. A whole body also answers a request
    for a stream."""
    form = format_of(asked)
    history: Any = asked.json.get("messages") or asked.json["input"]
    has_result = "tu_1" in json.dumps(history)
    await stream.send_all(respond(dict(WHOLE[form] if has_result or not asked.json.get("tools") else CALLING[form])))


async def test_text_and_a_round_of_tools_over_every_dialect() -> None:
    tools = [{"name": "look", "input_schema": {"type": "object"}}]
    scripts: dict[str, UpstreamScript] = dict.fromkeys(PROVIDERS.values(), answer_or_call)
    async with open_service_with_providers(scripts=scripts) as there:
        for form, model in NAMES.items():
            for stream in (False, True):
                hello = await ask(there, model, stream=stream)
                assert hello["content"] == [{"type": "text", "text": "Hello."}]
                assert (hello["stop_reason"], hello["model"]) == ("end_turn", model)
                assert (hello["usage"]["input_tokens"], hello["usage"]["output_tokens"]) == (7, 3)
                calling = await ask(there, model, tools=tools, stream=stream)
                assert calling["content"] == [TOOL_USE], form
                turn = [{"role": "assistant", "content": calling["content"]}]
                result = {"type": "tool_result", "tool_use_id": calling["content"][0]["id"], "content": "a door"}
                history = [*HELLO, *turn, {"role": "user", "content": [result]}]
                told = await ask(there, model, tools=tools, messages=history, stream=stream)
                assert told["content"] == [{"type": "text", "text": "Hello."}]


async def test_streams_of_every_dialect() -> None:
    async with open_service_with_providers() as there:
        for form, model in NAMES.items():
            assert (await ask(there, model, stream=True))["content"] == [{"type": "text", "text": "Hello."}], form
            assert there.requests[PROVIDERS[form]][-1].json["stream"] is True
        assert set(STREAMS) == set(NAMES)


FAILURES: list[tuple[int, dict[str, object], int, str, str | None]] = [
    # status, body, then what the client gets: status, type, x-should-retry
    (500, {"error": {"message": "broken"}}, 502, "api_error", None),
    (401, {"error": {"message": "bad key"}}, 502, "api_error", "false"),
    (429, {"error": {"message": "slow down", "type": "rate_limit_error"}}, 429, "rate_limit_error", None),
    (529, {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}, 529, "overloaded_error", None),
    (400, {"error": {"message": "prompt is too long: 9 tokens > 8 maximum"}}, 400, "invalid_request_error", "false"),
]


async def test_errors_before_an_answer() -> None:
    for status, body, sent, kind, retry in FAILURES:
        failing: UpstreamScript = answer_in_turn(respond(body, status=status))
        async with open_service_with_providers(scripts=dict.fromkeys(PROVIDERS.values(), failing)) as there:
            for model in NAMES.values():
                for stream in (False, True):
                    answer = await there.client.post(
                        "/v1/messages", json={"model": model, **BODY, "stream": stream}, headers=VERSION
                    )
                    document = answer.json()
                    assert (answer.status_code, document["type"], document["error"]["type"]) == (sent, "error", kind)
                    assert answer.headers.get("x-should-retry") == retry
                    assert answer.headers["x-request-id"] == answer.headers["request-id"]
                    if document != body:  # one in this form is passed on as it is
                        assert document["request_id"] == answer.headers["request-id"]


async def test_a_stream_that_breaks_ends_with_an_error() -> None:
    cut = answer_in_turn(streamed_response(events(chunk(role="assistant", content="Hel"), end=b"")))
    async with open_service_with_providers(scripts={"openrouter": cut}) as there:
        assert (await ask(there, "openrouter/v/m", stream=True))["error"]["type"] == "api_error"


async def list_models_only(asked: ReceivedRequest, stream: trio.SocketStream) -> None:
    await (answer_hello if asked.method == "GET" else never_answer)(asked, stream)


async def test_errors_of_the_service_itself() -> None:
    async with open_service_with_providers(
        env={"LAKEHOUSE_TOKEN": "ours"}, scripts={"ollama": list_models_only}
    ) as there:
        post, get = there.client.post, there.client.get
        body = {"model": "ollama/m", **BODY}
        key, bearer = {"x-api-key": "ours"}, {"authorization": "Bearer ours"}
        late = {**key, "x-request-timeout-ms": "50"}
        refusals = [
            (await post("/v1/messages", json=body), 401, "authentication_error"),
            (await post("/v1/messages", json=body, headers={"x-api-key": "theirs"}), 401, "authentication_error"),
            (await post("/v1/messages", json=body, headers={**key, "authorization": "Bearer theirs"}), 401, "authentication_error"),
            (await post("/v1/messages", json=body, headers=late), 504, "timeout_error"),
            (await post("/v1/messages", json=body | {"model": "kimi/m"}, headers=bearer), 404, "not_found_error"),
            (await post("/v1/messages", content=b"{", headers=key), 400, "invalid_request_error"),
            (await post("/v1/messages/count_tokens", json={"model": "m"}, headers=key), 400, "invalid_request_error"),
            (await get("/v1/messages", headers=key), 405, "invalid_request_error"),
            (await get("/v1/models/none", headers=key | VERSION), 404, "not_found_error"),
            (await get("/v1/models?limit=0", headers=key | VERSION), 400, "invalid_request_error"),
            (await get("/v1/models?after_id=none", headers=key | VERSION), 404, "not_found_error"),
        ]  # fmt: skip
        stop = {answer.headers.get("x-should-retry") for answer, status, _ in refusals if status == 401}
        assert stop == {"false"}, "Claude Code would ask for minutes"
        for answer, status, kind in refusals:
            assert (answer.status_code, answer.json()["type"], answer.json()["error"]["type"]) == (
                status,
                "error",
                kind,
            )
        for path in ("/v1/chat/providers", "/v1/requests", "/metrics"):
            assert (await get(path, headers=key)).status_code == 401, "a key is for the paths of Anthropic's clients"
        thread = await post("/v1/messages", json={**body, "thread": {"type": "create"}}, headers=key)
        assert thread.json()["error"]["details"] == {"error_code": "thread_unsupported_request"}


async def test_tokens_are_estimated_and_marked_so() -> None:
    async with open_service_with_providers() as there:
        counted = await there.client.post("/v1/messages/count_tokens", json={"model": "m", "messages": HELLO})
        assert counted.json()["input_tokens"] > 0
        assert counted.headers["x-lakehouse-estimated"] == "input_tokens"
        assert there.requests == {}
        assert (await there.client.head("/")).status_code == 200


async def test_the_list_of_models_is_paged() -> None:
    async with open_service_with_providers(models={"claude-team": ["ollama/m"]}) as there:
        openai = [model["id"] for model in (await there.client.get("/v1/models")).json()["data"]]

        async def page(query: str) -> tuple[list[str], bool]:
            document = (await there.client.get(f"/v1/models?{query}", headers=VERSION)).json()
            ids = [model["id"] for model in document["data"]]
            assert (document["first_id"], document["last_id"]) == ((ids[0], ids[-1]) if ids else (None, None))
            return ids, document["has_more"]

        assert await page("limit=1000") == (openai, False)
        assert openai[0] == "claude-team"
        assert await page("limit=2") == (openai[:2], True)
        assert await page(f"limit=2&after_id={openai[1]}") == (openai[2:4], True)
        assert await page(f"limit=2&before_id={openai[3]}") == (openai[1:3], True)
        assert await page(f"limit=2&before_id={openai[1]}") == (openai[:1], False)
        assert await page(f"after_id={openai[-1]}") == ([], False)
        one = (await there.client.get("/v1/models/claude-team", headers=VERSION)).json()
        assert one == {"type": "model", "id": "claude-team", "display_name": "claude-team",
                       "created_at": "1970-01-01T00:00:00.000Z", "lifecycle": "active"}  # fmt: skip


@pytest.mark.parametrize("form", NAMES)
async def test_a_client_that_leaves_ends_the_providers_connection(form: str) -> None:
    async def begin(asked: ReceivedRequest, stream: trio.SocketStream) -> None:
        kind = "application/x-ndjson" if form == "/api/chat" else "text/event-stream"
        await stream.send_all(streamed_response(STREAMS[form][: len(STREAMS[form]) // 2], kind))
        await stream.receive_some()  # until the connection is closed

    async with open_service_with_providers(scripts={PROVIDERS[form]: begin}) as there:
        body = {"model": NAMES[form], **BODY, "stream": True}
        async with there.client.stream("POST", "/v1/messages", json=body) as answer:
            assert answer.status_code == 200, "the first pieces have come"
        with trio.fail_after(20):
            while not there.providers[PROVIDERS[form]].closed:
                await trio.sleep(0.001)
