"""What failures look like: the class decides the status, whatever number the provider sent; in both forms, both modes."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import httpx
import pytest
import trio

from lakehouse.testing.upstreams import ReceivedRequest, never_answer, respond
from tools.kit.service_with_providers import (
    KEYS,
    MODELS,
    answer_in_turn,
    chunk,
    completion,
    events,
    line,
    lines,
    message,
    ollama,
    open_service_with_providers,
    streamed_response,
)
from tools.kit.sse import sse_documents

ERROR = ["code", "message", "status", "provider", "upstream_status", "class", "retryable", "request_id", "attempts"]


class Case(NamedTuple):
    """A refusal, what it is, and what the caller gets: natively, and in OpenAI's words (status, type, code)."""

    model: str
    status: int
    body: dict[str, object] | bytes
    error_class: str
    code: str
    answered: int
    openai: tuple[int, str, str | None]
    more: str = ""


def openai_error(text: str, **fields: object) -> dict[str, object]:
    """OpenAI's envelope, which others use as well."""
    return {"error": {"message": text, **fields}}


def zen(kind: str, text: str = "no") -> dict[str, object]:
    """OpenCode's envelope."""
    return {"type": "error", "error": {"type": kind, "message": text}}


SERVER = "server_error"
INVALID = "invalid_request_error"
GATE = {"message": "only available for Coding Agents such as Kimi CLI", "type": "access_terminated_error"}
SPENT = {"message": "reached your usage limit for this billing cycle", "type": "access_terminated_error"}
BUSY = {"message": "engine is currently overloaded", "type": "engine_overloaded_error"}

CASES = [
    # Under another number than one would think.
    Case("opencode/m", 401, zen("CreditsError"), "billing", "ErrUpstream", 502, (502, SERVER, "billing")),
    Case("opencode/m", 401, zen("ModelError", "Model m is not supported"), "model_not_found", "ErrUpstream", 502, (404, INVALID, "model_not_found")),
    Case("opencode/m", 403, zen("FreeTierError"), "client_not_allowed", "ErrUpstream", 502, (502, SERVER, "client_not_allowed")),
    Case("opencode/m", 400, zen("MissingSessionID"), "missing_header", "ErrUpstream", 502, (502, SERVER, "missing_header")),
    Case("opencode/m", 401, zen("ModelError", "m is not supported for format openai"), "wrong_endpoint", "ErrUpstream", 502, (502, SERVER, "wrong_endpoint")),
    Case("kimi/m", 403, {"error": SPENT}, "quota", "ErrRateLimited", 429, (429, "insufficient_quota", "insufficient_quota")),
    Case("kimi/m", 403, {"error": GATE}, "client_not_allowed", "ErrUpstream", 502, (502, SERVER, "client_not_allowed")),
    Case("kimi/m", 429, {"error": BUSY}, "overloaded", "ErrUpstream", 502, (502, SERVER, "overloaded")),
    Case("openrouter/v/m", 403, openai_error("Key limit exceeded (total limit)", code=403), "quota", "ErrRateLimited", 429, (429, "insufficient_quota", "insufficient_quota")),
    Case("openrouter/v/m", 403, openai_error("flagged", code=403, metadata={"reasons": ["violence"]}), "content_policy", "ErrBadRequest", 400, (400, INVALID, "content_filter")),
    Case("openrouter/v/m", 400, openai_error("x is not a valid model ID", code=400), "model_not_found", "ErrUpstream", 502, (404, INVALID, "model_not_found")),
    Case("ollama/m", 500, {"error": 'option "stop" must be of type array'}, "bad_request", "ErrBadRequest", 400, (400, INVALID, None)),
    # Under their own.
    Case("openrouter/v/m", 401, openai_error("User not found.", code=401), "auth", "ErrUpstream", 502, (502, SERVER, "auth")),
    Case("openrouter/v/m", 402, openai_error("Insufficient credits.", code=402), "billing", "ErrUpstream", 502, (502, SERVER, "billing")),
    Case("ollama_cloud/m", 403, {"error": "this model requires a subscription"}, "entitlement", "ErrUpstream", 502, (502, SERVER, "entitlement")),
    Case("ollama_cloud/m", 429, {"error": "you (u) have reached your weekly usage limit"}, "quota", "ErrRateLimited", 429, (429, "insufficient_quota", "insufficient_quota")),
    Case("openrouter/v/m", 403, openai_error("not available in your region", code=403), "forbidden", "ErrUpstream", 502, (502, SERVER, "forbidden")),
    Case("ollama/m", 404, {"error": "model 'm' not found"}, "model_not_found", "ErrUpstream", 502, (404, INVALID, "model_not_found")),
    Case("openrouter/v/m", 429, openai_error("Rate limit exceeded: free-models-per-min", code=429), "rate_limit", "ErrRateLimited", 429, (429, "rate_limit_error", "rate_limit_exceeded")),
    Case("opencode/m", 429, openai_error("slow down", code="rate_limit_exceeded"), "rate_limit", "ErrRateLimited", 429, (429, "rate_limit_error", "rate_limit_exceeded"), "retry-after: 7\r\n"),
    Case("ollama/m", 503, {"error": "server busy, please try again.  maximum pending requests exceeded"}, "overloaded", "ErrUpstream", 502, (502, SERVER, "overloaded")),
    Case("ollama/m", 500, {"error": "model runner has unexpectedly stopped"}, "server_error", "ErrUpstream", 502, (502, SERVER, "server_error")),
    Case("openrouter/v/m", 502, b"<html><title>Bad gateway</title></html>", "upstream_error", "ErrUpstream", 502, (502, SERVER, "upstream_error")),
    Case("openrouter/v/m", 408, openai_error("Request timed out", code=408), "timeout", "ErrTimeout", 504, (504, SERVER, "timeout")),
    Case("openrouter/v/m", 400, openai_error("This endpoint's maximum context length is 10 tokens.", code=400), "context_overflow", "ErrBadRequest", 400, (400, INVALID, "context_length_exceeded")),
    Case("ollama/m", 400, {"error": '"m" does not support thinking'}, "unsupported_parameter", "ErrBadRequest", 400, (400, INVALID, "unsupported_parameter")),
    Case("ollama/m", 400, {"error": "json: cannot unmarshal string"}, "bad_request", "ErrBadRequest", 400, (400, INVALID, None)),
    Case("ollama/m", 302, b"", "upstream_error", "ErrUpstream", 502, (502, SERVER, "upstream_error"), "location: https://example.invalid/\r\n"),
    Case("ollama/m", 403, b"", "forbidden", "ErrUpstream", 502, (502, SERVER, "forbidden")),
    Case("ollama_cloud/m", 500, b"Internal Server Error", "server_error", "ErrUpstream", 502, (502, SERVER, "server_error")),
]  # fmt: skip

RETRYABLE = {"rate_limit", "overloaded", "upstream_error", "server_error", "timeout"}


@pytest.mark.parametrize(
    "case", CASES, ids=[f"{case.model.partition('/')[0]}-{case.status}-{case.error_class}" for case in CASES]
)
async def test_the_class_decides_the_status(case: Case) -> None:
    provider, _, asked_as = case.model.partition("/")
    content_type = "text/plain" if isinstance(case.body, bytes) else "application/json"
    script = answer_in_turn(respond(case.body, case.status, content_type=content_type, more=case.more))
    async with open_service_with_providers(scripts={provider: script}) as there:
        for stream in (False, True):
            answer = await there.chat(case.model, stream=stream)
            assert (answer.status_code, answer.headers["content-type"]) == (case.answered, "application/json")
            error = answer.json()["error"]
            assert list(error) == ERROR
            assert (error["code"], error["class"], error["status"]) == (case.code, case.error_class, case.answered)
            assert (error["provider"], error["upstream_status"]) == (provider, case.status)
            assert error["retryable"] == (case.error_class in RETRYABLE and case.status != 302)
            assert error["request_id"] == answer.headers["x-request-id"]
            (attempt,) = error["attempts"]
            assert attempt | {"ms": 0} == {
                "provider": provider,
                "model": asked_as,
                "status": case.status,
                "error": case.error_class,
                "ms": 0,
            }
            assert ("retry-after" in answer.headers) == ("retry-after" in case.more)
            assert_openai(await there.complete(case.model, stream=stream), case)


def assert_openai(answer: httpx.Response, case: Case) -> None:
    """In OpenAI's form: its envelope, with the status and code by which its SDKs choose what they raise."""
    status, kind, code = case.openai
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")
    error = answer.json()["error"]
    assert list(error)[:4] == ["message", "type", "param", "code"]
    assert (error["type"], error["code"]) == (kind, code)
    if "retry-after" in case.more:
        assert answer.headers["retry-after"] == "7"


# Status 200, and no answer.
LIES: list[tuple[str, bytes | dict[str, object], str]] = [
    ("ollama/m", b"", "empty_response"),
    ("ollama/m", b"<html><title>Sign in</title></html>", "upstream_error"),
    ("ollama/m", b'{"model":"m","message":{"role":"assist', "upstream_error"),
    ("ollama/m", b"[]", "upstream_error"),
    ("ollama/m", b"{}", "upstream_error"),
    ("ollama/m", {"error": "model runner has unexpectedly stopped"}, "server_error"),
    ("openrouter/v/m", {"error": {"code": 502, "message": "Provider returned error"}}, "upstream_error"),
    ("openrouter/v/m", {"error": {"code": 429, "message": "Rate limit exceeded"}}, "rate_limit"),
    ("openrouter/v/m", {**completion(), "choices": []}, "empty_response"),
    ("openrouter/v/m", {"id": "x"}, "upstream_error"),
    ("opencode/m", zen("CreditsError"), "billing"),
    ("kimi/m", {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, "overloaded"),
    ("kimi/m", {"type": "message", "content": None}, "upstream_error"),
]


@pytest.mark.parametrize(("model", "body", "error_class"), LIES, ids=[str(index) for index in range(len(LIES))])
async def test_an_answer_that_is_none_is_an_error_that_says_so(
    model: str, body: bytes | dict[str, object], error_class: str
) -> None:
    async with open_service_with_providers(scripts={model.partition("/")[0]: answer_in_turn(respond(body))}) as there:
        for stream in (False, True):
            answer = await there.chat(model, stream=stream)
            error = answer.json()["error"]
            assert error["class"] in (error_class, "incomplete_stream" if stream else error_class), answer.text
            assert answer.status_code == (429 if error_class == "rate_limit" else 502)
            assert len(error["message"]) < 450


# Streams that break half-way: the pieces, then exactly one error, never `done` and never `[DONE]`.
HALF = "Half"
BROKEN: list[tuple[str, bytes, str]] = [
    ("ollama/m", lines(line(HALF)), "incomplete_stream"),
    ("ollama/m", lines(line(HALF), {"error": "model runner has unexpectedly stopped"}), "server_error"),
    ("ollama/m", lines(line(HALF)) + b'{"model":"m","mess', "incomplete_stream"),
    ("ollama_cloud/m", lines(line(HALF), {"error": "Server overloaded, please retry shortly"}), "overloaded"),
    ("openrouter/v/m", events(chunk(content=HALF), end=b""), "incomplete_stream"),
    ("openrouter/v/m", events(chunk(content=HALF)), "incomplete_stream"),  # `[DONE]`, and nobody says why
    ("openrouter/v/m", events(chunk(content=HALF), {"error": {"code": 502, "message": "x"}}, end=b""), "upstream_error"),
    ("openrouter/v/m", events(chunk(content=HALF), chunk("error"), end=b""), "upstream_error"),
    ("openrouter/v/m", events(chunk(content=HALF), {"choices": [], "usage": {"prompt_tokens": 1}}), "incomplete_stream"),
    ("opencode/m", events(chunk(content=HALF), end=b""), "incomplete_stream"),
    ("opencode/m", events(chunk(content=HALF), end=b'event: error\ndata: {"error":{"message":"x"}}\n\n'), "upstream_error"),
    ("kimi/m", events({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": HALF}}, end=b""), "incomplete_stream"),
    ("kimi/m", events({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": HALF}}, {"type": "error", "error": {"type": "overloaded_error", "message": "x"}}, end=b""), "overloaded"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("model", "body", "error_class"), BROKEN, ids=[f"{row[0]}-{index}" for index, row in enumerate(BROKEN)]
)
async def test_a_stream_that_breaks_ends_in_one_error(model: str, body: bytes, error_class: str) -> None:
    provider = model.partition("/")[0]
    async with open_service_with_providers(scripts={provider: answer_in_turn(streamed_response(body))}) as there:
        answer = await there.chat(model, stream=True)
        assert answer.status_code == 200
        told = sse_documents(answer.text)
        assert [piece["type"] for piece in told] == ["content", "error"]
        assert told[0]["text"] == HALF
        error = told[1]["error"]
        assert list(error) == ERROR
        assert (error["class"], error["provider"]) == (error_class, provider)
        assert error["request_id"] == answer.headers["x-request-id"]
        assert error["attempts"][-1]["error"] == error_class
        assert list(told[1]) == ["type", "error"]

        answer = await there.complete(model, stream=True)
        assert "[DONE]" not in answer.text
        first, last = sse_documents(answer.text)
        assert first["choices"][0]["delta"]["content"] == HALF
        assert list(last) == ["error"]
        assert list(last["error"])[:4] == ["message", "type", "param", "code"]


HONEST: list[tuple[str, bytes]] = [
    ("opencode/m", events(chunk(content="x"), {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}, end=b"")),
    ("opencode/m", events(chunk(content="x"), chunk("stop"), end=b"")),
    ("openrouter/v/m", events(chunk(content="x"), chunk("stop"), end=b"")),
    ("openrouter/v/m", b": OPENROUTER PROCESSING\n\n" + events(chunk(content="x"), chunk("stop"))),
    ("opencode/m", events(chunk(content="x"), chunk("stop")) + events({"choices": [], "cost": "0.5"}, end=b"")),
]  # fmt: skip


@pytest.mark.parametrize(("model", "body"), HONEST, ids=range(len(HONEST)))
async def test_an_honest_end_is_done(model: str, body: bytes) -> None:
    async with open_service_with_providers(
        scripts={model.partition("/")[0]: answer_in_turn(streamed_response(body))}
    ) as there:
        said, done = sse_documents((await there.chat(model, stream=True)).text)
        assert (said["text"], done["type"], done["finish_reason"]) == ("x", "done", "stop")
        assert done["cost_usd"] == (0.5 if b"cost" in body else None)
        assert (await there.complete(model, stream=True)).text.endswith("data: [DONE]\n\n")


# Time, and our own limits.


async def test_the_deadline_of_the_call_is_504_in_both_forms() -> None:
    async with open_service_with_providers(scripts={"ollama": never_answer}, chatd={"timeout": "400ms"}) as there:
        for stream in (False, True):
            answer = await there.chat("m", stream=stream)
            error = answer.json()["error"]
            assert (answer.status_code, error["code"], error["class"]) == (504, "ErrTimeout", "timeout")
            assert "0.4 s" in error["message"]
            assert [attempt["error"] for attempt in error["attempts"]] == ["timeout"]
            assert (await there.complete("m", stream=stream)).status_code == 504


async def test_the_callers_own_deadline_is_504_and_says_what_was_tried() -> None:
    async with open_service_with_providers(scripts={"ollama": never_answer}) as there:
        for stream in (False, True):
            answer = await there.chat("m", {"x-request-timeout-ms": "80"}, stream=stream)
            error = answer.json()["error"]
            assert (answer.status_code, error["code"], error["class"]) == (504, "ErrTimeout", "timeout")
            assert "X-Request-Timeout-Ms" in error["message"]
            (attempt,) = error["attempts"]
            assert (attempt["provider"], attempt["model"], attempt["error"]) == ("ollama", "m", "timeout")
            assert 0 < attempt["ms"] < 2000
            openai = await there.complete("m", {"x-request-timeout-ms": "80"}, stream=stream)
            assert (openai.status_code, openai.json()["error"]["type"]) == (504, "server_error")


@pytest.mark.parametrize("value", ["0", "-5", "1.5", "soon", "", "1e3"])
async def test_a_callers_deadline_that_is_none_is_400(value: str) -> None:
    async with open_service_with_providers() as there:
        answer = await there.chat("m", {"x-request-timeout-ms": value})
        assert answer.status_code == 400
        assert "X-Request-Timeout-Ms" in answer.json()["error"]["message"]
        assert there.requests == {}


async def test_a_callers_deadline_may_be_as_far_away_as_it_likes() -> None:
    async with open_service_with_providers() as there:
        for digits in (12, 400, 5000):
            assert (await there.chat("m", {"x-request-timeout-ms": "9" * digits})).status_code == 200


async def test_a_callers_deadline_can_only_shorten_ours() -> None:
    async with open_service_with_providers(scripts={"ollama": never_answer}, chatd={"timeout": "100ms"}) as there:
        with trio.fail_after(20):
            answer = await there.chat("m", {"x-request-timeout-ms": "60000"})
        assert "0.1 s" in answer.json()["error"]["message"]


async def test_our_own_queue_is_503_with_retry_after_and_waiters_leave_with_their_client() -> None:
    settings = {"max_connections": 1, "max_waiting": 1}
    async with (
        open_service_with_providers(scripts={"ollama": never_answer}, chatd=settings) as there,
        trio.open_nursery() as nursery,
    ):
        for _ in range(2):
            nursery.start_soon(there.chat, "m")
        while (await in_flight(there.client)).count("queued") < 1:
            await trio.sleep(0.01)
        answer = await there.chat("m")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "ErrUnavailable")
        assert int(answer.headers["retry-after"]) >= 1
        nursery.start_soon(there.chat, "openrouter/v/m")  # nobody else's queue
        with trio.fail_after(20):
            while "openrouter" not in there.requests:
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()


async def in_flight(client: httpx.AsyncClient) -> list[str]:
    """The phases of the requests in flight."""
    return [row["phase"] for row in (await client.get("/v1/requests")).json()["requests"]]


async def test_a_provider_that_is_down_is_502() -> None:
    async def reset(_: ReceivedRequest, stream: trio.SocketStream) -> None:
        await stream.aclose()

    for chatd, scripts in (({"ollama_url": "http://127.0.0.1:9"}, {}), ({}, {"ollama": reset})):
        async with open_service_with_providers(chatd=chatd, scripts=scripts) as there:
            error = (await there.chat("m")).json()["error"]
            assert (error["status"], error["class"], error["upstream_status"]) == (502, "upstream_error", None)
            assert "ollama" in error["message"]
            (attempt,) = error["attempts"]
            assert (attempt["status"], attempt["error"]) == (None, "upstream_error")


# Secrets.


async def test_a_key_that_a_provider_repeats_is_never_passed_on(capfd: pytest.CaptureFixture[str]) -> None:
    own = dict(zip(("ollama_cloud", "openrouter", "opencode", "kimi"), KEYS.values(), strict=True))

    def tells(key: str) -> dict[str, object]:
        return {"error": {"message": f"key {key} is bad: Authorization: Bearer {key}, x-api-key={key}", "code": 401}}

    scripts = {name: answer_in_turn(respond(tells(key), 401)) for name, key in own.items()}
    async with open_service_with_providers(scripts=scripts, observe={"log": "json"}) as there:
        seen = ""
        for model in MODELS.values():
            for stream in (False, True):
                seen += (await there.chat(model, stream=stream)).text
                seen += (await there.complete(model, stream=stream)).text
        seen += (await there.client.get("/v1/models")).text
        for path in ("/v1/requests", "/metrics", "/v1/chat/providers", "/"):
            seen += (await there.client.get(path)).text
    out, err = capfd.readouterr()
    assert '"event":"request"' in err
    for key in KEYS.values():
        assert key not in seen
        assert key not in out + err
    assert "***" in seen


# Structured output.

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
FITS, FENCED, MISMATCH, PROSE = '{"a": 1}', 'Here:\n```json\n{"a": 1}\n```', '{"a": "one"}', "I'd rather not."

TOOL_CALL = {"function": {"name": "structured_answer", "arguments": {"a": 1}}}
STRUCTURED: dict[str, tuple[dict[str, object], dict[str, Any]]] = {
    "ollama/m": (ollama(FITS), {"format": SCHEMA}),
    "openrouter/v/m": (
        completion(FITS),
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True},
            },
            "provider": {"require_parameters": True},
        },
    ),
    "opencode/deepseek-v4-flash": (completion(FITS), {"response_format": {"type": "json_object"}}),
}


@pytest.mark.parametrize("model", STRUCTURED)
async def test_a_schema_is_asked_for_as_the_provider_honours_it(model: str) -> None:
    answer, wanted = STRUCTURED[model]
    async with open_service_with_providers(scripts={model.partition("/")[0]: answer_in_turn(answer)}) as there:
        got = await there.chat(model, format=SCHEMA)
        assert got.status_code == 200, got.text
        assert json.loads(got.json()["content"]) == {"a": 1}
        ((asked,),) = there.requests.values()
        assert {name: asked.json.get(name) for name in wanted} == wanted


async def test_what_stands_below_an_unknown_keyword_of_a_schema_is_nobodys_business() -> None:
    for required in ([[1]], 5, {"a": 1}):
        odd = {**SCHEMA, "x-note": {"type": "object", "additionalProperties": False, "required": required}}
        async with open_service_with_providers(scripts={"openrouter": answer_in_turn(completion(FITS))}) as there:
            answer = await there.chat("openrouter/v/m", format=odd)
            assert answer.status_code == 200, answer.text


async def test_a_provider_that_ignores_schemas_is_given_a_tool() -> None:
    by_tool = ollama("", tool_calls=[TOOL_CALL])
    async with open_service_with_providers(scripts={"ollama_cloud": answer_in_turn(by_tool)}) as there:
        answer = (await there.chat("ollama_cloud/m", format=SCHEMA)).json()
        assert (json.loads(answer["content"]), answer["tool_calls"], answer["finish_reason"]) == ({"a": 1}, [], "stop")
        asked: dict[str, Any] = there.only_request("ollama_cloud").json
        assert "format" not in asked
        (tool,) = asked["tools"]
        assert tool["function"]["parameters"] == SCHEMA


SHAPES: dict[str, Any] = {
    "ollama/m": ollama,
    "ollama_cloud/m": ollama,
    "openrouter/v/m": completion,
    "opencode/deepseek-v4-flash": completion,
    "kimi/m": message,
}


@pytest.mark.parametrize("model", SHAPES)
async def test_an_answer_that_does_not_fit_is_an_error_that_says_where(model: str) -> None:
    make = SHAPES[model]
    provider = model.partition("/")[0]
    async with open_service_with_providers(scripts={provider: answer_in_turn(make(MISMATCH))}) as there:
        for ask in (there.chat, there.complete):
            wanted = {"format": SCHEMA} if ask == there.chat else {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}}  # fmt: skip
            answer = await ask(model, **wanted)
            error = answer.json()["error"]
            assert (answer.status_code, error["class"]) == (502, "upstream_error")
            assert "$.a" in error["message"]
    for text in (FENCED, "<think>Hm {</think>" + FITS):
        async with open_service_with_providers(scripts={provider: answer_in_turn(make(text))}) as there:
            assert json.loads((await there.chat(model, format=SCHEMA)).json()["content"]) == {"a": 1}
    async with open_service_with_providers(scripts={provider: answer_in_turn(make(PROSE))}) as there:
        answer = await there.chat(model, format="json")
        assert answer.status_code == 502
        assert "not JSON" in answer.json()["error"]["message"]


async def test_a_way_of_asking_that_is_refused_is_left_for_the_next_and_remembered() -> None:
    refusal = respond({"error": {"message": "This response_format type is unavailable now"}}, 400)
    async with open_service_with_providers(scripts={"opencode": answer_in_turn(refusal, completion(FITS))}) as there:
        for _ in range(2):
            answer = await there.chat("opencode/mimo", format=SCHEMA)
            assert answer.status_code == 200, answer.text
        kinds = [asked.json["response_format"]["type"] for asked in there.requests["opencode"]]
        assert kinds == ["json_schema", "json_object", "json_object"]


async def test_a_streamed_answer_that_does_not_fit_ends_in_an_error() -> None:
    async with open_service_with_providers(
        scripts={"ollama": answer_in_turn(streamed_response(lines(line(MISMATCH), line(done=True))))}
    ) as there:
        *said, last = sse_documents((await there.chat("m", format=SCHEMA, stream=True)).text)
        assert [piece["type"] for piece in said] == ["content"]
        assert (last["type"], last["error"]["class"]) == ("error", "upstream_error")
        assert "$.a" in last["error"]["message"]


async def test_a_refusal_says_no_more_than_300_characters_of_the_provider() -> None:
    async with open_service_with_providers(
        scripts={"ollama": answer_in_turn(respond({"error": "x" * 100_000}, 500))}
    ) as there:
        message = (await there.chat("m")).json()["error"]["message"]
        assert 250 <= message.count("x") <= 300
