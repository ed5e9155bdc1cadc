"""OpenAI's form over real HTTP, with a dispatcher that plays a script."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
import pytest
import trio

from lakehouse.chat.api.errors import MAX_RETRY_AFTER
from lakehouse.chat.api.openai.errors import find_status
from lakehouse.chat.api.protocols import ModelCard
from lakehouse.chat.dialects.errors.retry_after import parse_retry_after
from lakehouse.chat.model.parts import ImagePart, ImageUrl, TextPart
from lakehouse.chat.model.pieces import ContentPiece, ReasoningPiece, ToolCallPiece
from lakehouse.chat.model.request import Message, OpenAIMessage, OpenAIRequest
from lakehouse.chat.model.tool_calls import Function, ToolCall
from lakehouse.core.errors import Attempt, ErrProviderNotFound, ErrTimeout, ErrUnavailable, ErrUpstream, LakehouseError
from lakehouse.core.provider_failures import make_failure
from tools.kit.fake_dispatcher import CALL, FakeDispatcher, answer, chat_app, done_piece, serve
from tools.kit.sse import sse_events

HI = [{"role": "user", "content": "Hi"}]
ASK = {"model": "ollama/qwen3:8b", "messages": HI}
STREAM = {**ASK, "stream": True}
PATH = "/v1/chat/completions"
LIMIT = 64_000
OTHER_CALL = ToolCall(id="call_2", function=Function(name="get_time", arguments="{}"))
SERVED = {"provider": "ollama", "model": "qwen3:8b", "status": 200, "error": None, "ms": 41.5}


@pytest.fixture
def dispatcher() -> FakeDispatcher:
    return FakeDispatcher()


@pytest.fixture
async def client(dispatcher: FakeDispatcher, nursery: trio.Nursery) -> Any:
    url = await serve(nursery, chat_app(dispatcher, max_body=LIMIT))
    async with httpx.AsyncClient(base_url=url, timeout=10, trust_env=False) as client:
        yield client


async def test_a_whole_answer(client: httpx.AsyncClient, dispatcher: FakeDispatcher) -> None:
    dispatcher.reply = answer("Hello!", reasoning="Hm.", cached_tokens=4, reasoning_tokens=2, cost_usd=0.5)
    response = await client.post(PATH, json=ASK)
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    assert response.headers["x-lakehouse-attempts"] == "1"
    document = response.json()
    assert document.pop("id").startswith("chatcmpl-")
    assert abs(document.pop("created") - time.time()) < 60
    assert document == {
        "object": "chat.completion",
        "model": "qwen3:8b",
        "provider": "ollama",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello!", "refusal": None, "reasoning_content": "Hm."},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 12,
            "completion_tokens": 5,
            "total_tokens": 17,
            "prompt_tokens_details": {"cached_tokens": 4},
            "completion_tokens_details": {"reasoning_tokens": 2},
            "cost": 0.5,
        },
        "attempts": [SERVED],
    }


async def test_answers_have_names_of_their_own(client: httpx.AsyncClient) -> None:
    names = {(await client.post(PATH, json=ASK)).json()["id"] for _ in range(3)}
    assert len(names) == 3


async def test_tool_calls_stand_in_place_of_content(client: httpx.AsyncClient, dispatcher: FakeDispatcher) -> None:
    dispatcher.reply = answer("", tool_calls=(CALL,), finish_reason="tool_calls")
    choice = (await client.post(PATH, json=ASK)).json()["choices"][0]
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Ghent"}'}}
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"] == {"role": "assistant", "content": None, "refusal": None, "tool_calls": [call]}


UNCOUNTED: dict[str, tuple[dict[str, Any], Any]] = {
    "everything counted": ({}, {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}),
    "no output": ({"output_tokens": None}, None),
    "no input": ({"input_tokens": None, "cached_tokens": 3}, None),
    "nothing": ({"input_tokens": None, "output_tokens": None}, None),
    "nothing but the cost": ({"input_tokens": None, "output_tokens": None, "cost_usd": 0.5}, None),
    "zero is a count": ({"output_tokens": 0}, {"prompt_tokens": 12, "completion_tokens": 0, "total_tokens": 12}),
}


@pytest.mark.parametrize(("facts", "usage"), UNCOUNTED.values(), ids=UNCOUNTED)
async def test_what_was_not_counted_is_left_out(
    client: httpx.AsyncClient, dispatcher: FakeDispatcher, facts: dict[str, Any], usage: Any
) -> None:
    dispatcher.reply = answer(**facts)
    assert (await client.post(PATH, json=ASK)).json().get("usage") == usage
    dispatcher.script = [[ContentPiece(text="Hello")], [done_piece(**facts)]]
    response = await client.post(PATH, json={**STREAM, "stream_options": {"include_usage": True}})
    *chunks, end = sse_events(response.text)
    assert end == "[DONE]"
    assert [chunk["usage"] for chunk in chunks] == [None, None, *([usage] if usage else [])]


async def test_a_stream(client: httpx.AsyncClient, dispatcher: FakeDispatcher) -> None:
    dispatcher.script = [
        [ReasoningPiece(text="Hm."), ContentPiece(text="Hel")],
        [ContentPiece(text="lo")],
        [ToolCallPiece(tool_call=CALL), ToolCallPiece(tool_call=OTHER_CALL)],
        [done_piece(finish_reason="tool_calls")],
    ]
    response = await client.post(PATH, json=STREAM)
    assert (response.status_code, response.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert response.headers["x-lakehouse-attempts"] == "1"
    *chunks, end = sse_events(response.text)
    assert end == "[DONE]"
    assert [chunk["choices"][0].pop("delta") for chunk in chunks] == [
        {"role": "assistant", "reasoning_content": "Hm."},
        {"content": "Hel"},
        {"content": "lo"},
        {"tool_calls": [delta(0, CALL)]},
        {"tool_calls": [delta(1, OTHER_CALL)]},
        {},
    ]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None] * 5 + ["tool_calls"]
    assert chunks[-1].pop("attempts") == [SERVED]
    for chunk in chunks:
        assert chunk.pop("choices")[0]["index"] == 0
    assert chunks == [chunks[0]] * 6
    assert chunks[0].keys() == {"id", "object", "created", "model", "provider"}
    assert (chunks[0]["object"], chunks[0]["model"]) == ("chat.completion.chunk", "qwen3:8b")


def delta(index: int, call: ToolCall) -> object:
    function = {"name": call.function.name, "arguments": call.function.arguments}
    return {"index": index, "id": call.id, "type": "function", "function": function}


async def test_usage_ends_a_stream_that_asks_for_it(client: httpx.AsyncClient, dispatcher: FakeDispatcher) -> None:
    dispatcher.script = [[ContentPiece(text="Hello")], [done_piece(cached_tokens=3)]]
    response = await client.post(PATH, json={**STREAM, "stream_options": {"include_usage": True}})
    first, finish, counted, end = sse_events(response.text)
    assert (first["usage"], finish["usage"], end) == (None, None, "[DONE]")
    assert (finish["choices"][0]["finish_reason"], counted["choices"]) == ("stop", [])
    assert counted["usage"] == {
        "prompt_tokens": 12,
        "completion_tokens": 5,
        "total_tokens": 17,
        "prompt_tokens_details": {"cached_tokens": 3},
    }


@pytest.mark.parametrize("extra", [{}, {"stream_options": {}}, {"stream_options": {"include_usage": False}}])
async def test_usage_is_not_sent_unasked(client: httpx.AsyncClient, dispatcher: FakeDispatcher, extra: Any) -> None:
    dispatcher.script = [[ContentPiece(text="Hello"), done_piece()]]
    response = await client.post(PATH, json={**STREAM, **extra})
    assert len(sse_events(response.text)) == 3
    assert "usage" not in response.text


async def test_a_stream_that_breaks_ends_in_the_envelope_and_no_end_mark(
    client: httpx.AsyncClient, dispatcher: FakeDispatcher
) -> None:
    dispatcher.script = [[ContentPiece(text="Hel")], make_failure("incomplete_stream", "cut", provider="kimi")]
    response = await client.post(PATH, json=STREAM)
    _, last = sse_events(response.text)
    assert response.status_code == 200
    assert (last["error"]["message"], last["error"]["code"]) == ("cut", "incomplete_stream")
    assert (last["error"]["type"], last["error"]["provider"]) == ("server_error", "kimi")


async def test_the_listing(client: httpx.AsyncClient, dispatcher: FakeDispatcher) -> None:
    dispatcher.cards = [
        ModelCard(id="judge", owned_by="lakehouse"),
        ModelCard(id="openrouter/deepseek/v4", owned_by="openrouter", created=1795165200),
    ]
    cards = [
        {"id": "judge", "object": "model", "created": 0, "owned_by": "lakehouse"},
        {"id": "openrouter/deepseek/v4", "object": "model", "created": 1795165200, "owned_by": "openrouter"},
    ]
    assert (await client.get("/v1/models")).json() == {"object": "list", "data": cards}
    assert (await client.get("/v1/models/openrouter/deepseek/v4")).json() == cards[1]
    missing = await client.get("/v1/models/openrouter/other")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")


async def test_the_prefix_is_a_choice(dispatcher: FakeDispatcher, nursery: trio.Nursery) -> None:
    url = await serve(nursery, chat_app(dispatcher, max_body=LIMIT, prefix=""))
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        assert (await client.post("/chat/completions", json=ASK)).status_code == 200
        assert (await client.get("/models")).status_code == 200


@pytest.mark.parametrize(
    ("error", "status", "kind", "code", "param", "stops"),
    [
        (make_failure("model_not_found", "?"), 404, "invalid_request_error", "model_not_found", "model", True),
        (ErrProviderNotFound("?"), 404, "invalid_request_error", "model_not_found", "model", False),
        (
            make_failure("context_overflow", "?"),
            400,
            "invalid_request_error",
            "context_length_exceeded",
            "messages",
            True,
        ),
        (make_failure("content_policy", "?"), 400, "invalid_request_error", "content_filter", None, True),
        (make_failure("unsupported_parameter", "?"), 400, "invalid_request_error", "unsupported_parameter", None, True),
        (make_failure("bad_request", "?"), 400, "invalid_request_error", None, None, True),
        (make_failure("rate_limit", "?"), 429, "rate_limit_error", "rate_limit_exceeded", None, False),
        (make_failure("quota", "?"), 429, "insufficient_quota", "insufficient_quota", None, True),
        (make_failure("auth", "?", upstream_status=401), 502, "server_error", "auth", None, True),
        (make_failure("billing", "?"), 502, "server_error", "billing", None, True),
        (make_failure("overloaded", "?"), 502, "server_error", "overloaded", None, False),
        (make_failure("empty_response", "?"), 502, "server_error", "empty_response", None, True),
        (make_failure("timeout", "?"), 504, "server_error", "timeout", None, True),
        (ErrTimeout("?"), 504, "server_error", "timeout", None, True),
        (ErrUnavailable("?"), 503, "server_error", "unavailable", None, False),
        (ErrUpstream("?"), 502, "server_error", "upstream_error", None, False),
        (LakehouseError("?"), 500, "server_error", "internal_error", None, False),
    ],
)
@pytest.mark.parametrize("body", [ASK, STREAM])
async def test_failures_in_openai_words(
    client: httpx.AsyncClient,
    dispatcher: FakeDispatcher,
    body: object,
    error: LakehouseError,
    status: int,
    kind: str,
    code: str | None,
    param: str | None,
    stops: bool,
) -> None:
    dispatcher.reply, dispatcher.script = error, [error]
    response = await client.post(PATH, json=body)
    told = response.json()["error"]
    assert (response.status_code, told["status"]) == (status, status)
    assert (told["message"], told["type"], told["code"], told["param"]) == ("?", kind, code, param)
    assert response.headers.get("x-should-retry") == ("false" if stops else None)
    assert list(told)[:4] == ["message", "type", "param", "code"]


async def test_a_failure_keeps_our_own_fields_and_headers(
    client: httpx.AsyncClient, dispatcher: FakeDispatcher
) -> None:
    error = make_failure("rate_limit", "slow", provider="kimi", upstream_status=429, retry_after=7)
    error.attempts = (Attempt(provider="kimi", model="k2", status=429, error="rate_limit", ms=1),) * 2
    dispatcher.reply = error
    response = await client.post(PATH, json=ASK)
    assert (response.headers["retry-after"], response.headers["x-lakehouse-attempts"]) == ("7", "2")
    told = response.json()["error"]
    assert (told["class"], told["provider"], told["upstream_status"], told["retryable"]) == (
        ("rate_limit", "kimi", 429, True)
    )
    assert (len(told["attempts"]), told["retry_after"]) == (2, 7)


@pytest.mark.parametrize("path", [PATH, "/v1/responses", "/v1/messages"])
async def test_a_long_wait_is_in_no_header_so_that_no_client_waits_in_silence(
    client: httpx.AsyncClient, dispatcher: FakeDispatcher, path: str
) -> None:
    asked = {"input": "?"} if path == "/v1/responses" else {"messages": HI, "max_tokens": 9}
    body = {"model": ASK["model"], **asked}
    for error in (
        make_failure("quota", "spent", retry_after=3600),
        make_failure("rate_limit", "slow", retry_after=MAX_RETRY_AFTER + 1),
        ErrUnavailable("no key is left", retry_after=3600),
    ):
        dispatcher.reply = error
        response = await client.post(path, json=body)
        assert response.status_code == find_status(error)
        assert ("retry-after" in response.headers, response.headers["x-should-retry"]) == (False, "false")
        told = response.json()["error"]
        assert path == "/v1/messages" or parse_retry_after({}, told, now=0) == error.retry_after


async def test_a_defect_is_told_in_the_envelope(client: httpx.AsyncClient, dispatcher: FakeDispatcher) -> None:
    dispatcher.reply = KeyError("secret")
    response = await client.post(PATH, json=ASK)
    assert (response.status_code, response.json()["error"]["type"]) == (500, "server_error")
    assert "secret" not in response.text


@pytest.mark.parametrize(
    ("body", "param", "says"),
    [
        (b"nonsense", None, "the body is not JSON"),
        (b"[]", None, "expected `object`, got `array`"),
        (b"\xff", None, "the body is not JSON"),
        ({"messages": HI}, "model", "is required"),
        ({"model": "m"}, "messages", "is required"),
        ({"model": "m", "messages": []}, "messages", "must not be empty"),
        ({"model": "m", "messages": [{"role": "user"}]}, "messages[0]", "`content` is required"),
        ({"model": "m", "messages": [{"role": "function", "content": ""}]}, "messages[0].role", "function"),
        ({"model": "m", "messages": [{"role": "tool", "content": ""}]}, "messages[0]", "`tool_call_id` is required"),
        (
            {"model": "m", "messages": [{"role": "user", "content": [{"type": "input_video"}]}]},
            "messages[0].content[0].type",
            "input_video",
        ),
        ({**ASK, "temperature": "warm"}, "temperature", "expected `float | null`, got `str`"),
        ({**ASK, "presence_penalty": "x"}, "presence_penalty", "expected `float | null`, got `str`"),
        ({**ASK, "max_completion_tokens": 0}, "max_completion_tokens", "at least 1"),
        ({**ASK, "n": 2}, "n", "must be 1, got 2"),
        ({**ASK, "functions": [{"name": "f"}]}, "functions", "use `tools`"),
        ({**ASK, "response_format": {"type": "grammar"}}, "response_format.type", "grammar"),
        (
            {**ASK, "response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
            "response_format.json_schema.schema",
            "is required",
        ),
        ({**ASK, "fallbacks": "other"}, "fallbacks", "expected `array | null`, got `str`"),
    ],
)
async def test_a_wrong_body_is_refused_with_the_name_of_the_field(
    client: httpx.AsyncClient, dispatcher: FakeDispatcher, body: Any, param: str | None, says: str
) -> None:
    response = await client.post(PATH, content=body if isinstance(body, bytes) else json.dumps(body))
    error = response.json()["error"]
    assert (response.status_code, error["type"], error["param"]) == (400, "invalid_request_error", param)
    assert says in error["message"]
    assert dispatcher.requests == []


async def test_a_body_over_the_limit_is_refused(client: httpx.AsyncClient) -> None:
    response = await client.post(PATH, content=b" " * (LIMIT + 1))
    assert (response.status_code, response.json()["error"]["code"]) == (413, "request_too_large")


SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA, "strict": True}}


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ({"temperature": 0, "top_p": 0.5, "seed": 7}, {"temperature": 0.0, "top_p": 0.5, "seed": 7}),
        ({"max_tokens": 9}, {"max_tokens": 9}),
        ({"max_completion_tokens": 9, "max_tokens": 5}, {"max_tokens": 9}),
        ({"stop": "END"}, {"stop": "END"}),
        ({"stop": ["A", "B"]}, {"stop": ("A", "B")}),
        ({"n": 1, "user": "u-1"}, {"user": "u-1"}),
        ({"response_format": {"type": "text"}}, {}),
        ({"response_format": {"type": "json_object"}}, {"format": "json"}),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "c", "strict": True, "schema": SCHEMA},
                }
            },
            {"format": SCHEMA, "format_label": {"name": "c", "strict": True}},
        ),
        ({"reasoning_effort": "high"}, {"think": "high"}),
        ({"reasoning_effort": "none"}, {"think": False}),
        ({"tools": [TOOL], "tool_choice": "required"}, {"tools": (TOOL,), "tool_choice": "required"}),
        ({"tools": [], "tool_choice": None}, {}),
        ({"fallbacks": ["a", "b"]}, {"fallbacks": ("a", "b")}),
        (
            {"presence_penalty": 1, "logit_bias": {"50256": -100}, "logprobs": True, "parallel_tool_calls": False},
            {
                "extra": {
                    "presence_penalty": 1,
                    "logit_bias": {"50256": -100},
                    "logprobs": True,
                    "parallel_tool_calls": False,
                }
            },
        ),
        (
            {"service_tier": "flex", "provider": {"order": ["a"]}, "models": None},
            {"extra": {"service_tier": "flex", "provider": {"order": ["a"]}}},
        ),
        (
            dict.fromkeys(["temperature", "stop", "seed", "n", "stream", "stream_options", "response_format", "tools"]),
            {},
        ),
    ],
)
async def test_what_a_request_becomes(
    client: httpx.AsyncClient, dispatcher: FakeDispatcher, given: Any, asked: Any
) -> None:
    response = await client.post(PATH, json={**ASK, **given})
    assert response.status_code == 200, response.text
    assert dispatcher.requests == [
        OpenAIRequest(model="ollama/qwen3:8b", messages=(Message(role="user", content="Hi"),), **asked)
    ]


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ({"role": "developer", "content": "Be brief."}, Message(role="developer", content="Be brief.")),
        (
            {
                "role": "user",
                "name": "ann",
                "content": [
                    {"type": "text", "text": "What is it?", "cache_control": {"type": "ephemeral"}},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}},
                ],
            },
            Message(
                role="user",
                name="ann",
                content=(
                    TextPart(text="What is it?", cache_control={"type": "ephemeral"}),
                    ImagePart(image_url=ImageUrl(url="data:image/png;base64,AA==", detail="low")),
                ),
            ),
        ),
        (
            {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "12 C"}]},
            Message(role="tool", tool_call_id="call_1", content=(TextPart(text="12 C"),)),
        ),
        (
            {"role": "assistant", "content": None, "refusal": "No.", "annotations": [], "audio": None},
            Message(role="assistant", refusal="No."),
        ),
        (
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
            Message(role="assistant", content=(TextPart(text="No."),)),
        ),
        (
            {"role": "assistant", "content": "Hello", "reasoning": "Hm.", "reasoning_details": [{"signature": "s"}]},
            Message(role="assistant", content="Hello", reasoning="Hm.", reasoning_details=({"signature": "s"},)),
        ),
        (
            {"role": "assistant", "content": "{", "prefix": True},
            OpenAIMessage(role="assistant", content="{", extra={"prefix": True}),
        ),
    ],
)
async def test_what_a_message_becomes(
    client: httpx.AsyncClient, dispatcher: FakeDispatcher, given: Any, asked: Message
) -> None:
    response = await client.post(PATH, json={"model": "m", "messages": [given]})
    assert response.status_code == 200, response.text
    assert dispatcher.requests[0].messages == (asked,)


@pytest.mark.parametrize(
    ("reply", "comes_back_as"),
    [
        (
            answer("Hello!", reasoning="Hm.", reasoning_details=({"signature": "s"},)),
            Message(role="assistant", content="Hello!", reasoning="Hm.", reasoning_details=({"signature": "s"},)),
        ),
        (
            answer("", reasoning="Hm.", tool_calls=(CALL,), finish_reason="tool_calls"),
            Message(role="assistant", content=None, reasoning="Hm.", tool_calls=(CALL,)),
        ),
        (
            answer("", reasoning="I thought for too long", finish_reason="length"),
            Message(role="assistant", content="", reasoning="I thought for too long"),
        ),
    ],
)
async def test_our_own_answers_come_back_as_history(
    client: httpx.AsyncClient, dispatcher: FakeDispatcher, reply: Any, comes_back_as: Message
) -> None:
    dispatcher.reply = reply
    message = (await client.post(PATH, json=ASK)).json()["choices"][0]["message"]
    response = await client.post(PATH, json={"model": "m", "messages": [*HI, message, *HI]})
    assert response.status_code == 200, response.text
    assert dispatcher.requests[1].messages[1] == comes_back_as
