"""Chats whose provider speaks the client's form, over real sockets: the bytes stay, and every policy holds all the same."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
import trio

from lakehouse.testing.upstreams import ReceivedRequest, respond
from tools.kit.http_stream import HttpStream
from tools.kit.service_with_providers import (
    ServiceWithProviders,
    answer_hello,
    answer_in_turn,
    open_service_with_providers,
    streamed_response,
)
from tools.kit.sse import sse_events

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
UPSTREAM = {CHAT: "openrouter", MESSAGES: "kimi"}
MODEL = {CHAT: "openrouter/v/m", MESSAGES: "kimi/m"}
SENT = {CHAT: "v/m", MESSAGES: "m"}
SHOWN = {CHAT: "v/m", MESSAGES: "kimi/m"}
"""The model's name in answers."""
REQUEST: dict[str, dict[str, Any]] = {
    CHAT: {"messages": [{"role": "user", "content": "Hello?"}], "nobody": {"model": "knows this"}},
    MESSAGES: {"max_tokens": 99, "messages": [{"role": "user", "content": "Hello?"}], "context_management": {"edits": []}},
}  # fmt: skip
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def whole(form: str) -> bytes:
    """An answer with fields that this service does not know."""
    if form == CHAT:
        choice = {"index": 0, "message": {"role": "assistant", "content": 'Hé. "model"'}, "finish_reason": "stop"}
        return json.dumps(
            {"id": "c-1", "object": "chat.completion", "created": 1, "nobody": {"model": "knows"}, "choices": [choice],
             "usage": USAGE, "model": "vendor/m-2026"}, indent=1, ensure_ascii=False,
        ).encode()  # fmt: skip
    return json.dumps(
        {"type": "message", "id": "msg_1", "model": "vendor/m-2026", "role": "assistant", "nobody": [1.50],
         "content": [{"type": "text", "text": "Hé."}], "stop_reason": "end_turn", "stop_sequence": None,
         "usage": {"input_tokens": 7, "output_tokens": 3, "service_tier": "standard"}}, indent=1,
    ).encode()  # fmt: skip


def events(form: str) -> list[bytes]:
    """A stream with fields that this service does not know."""
    if form == CHAT:
        head = {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "vendor/m-2026"}
        deltas = [({"role": "assistant"}, None), ({"content": "Hel"}, None), ({"content": "lo."}, None), ({}, "stop")]
        chunks: list[dict[str, Any]] = [
            {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": end}], "x": 1.50}
            for delta, end in deltas
        ]
        lines = [b"data: " + json.dumps(chunk).encode() for chunk in [*chunks, {**head, "choices": [], "usage": USAGE}]]
        return [line + b"\n\n" for line in [*lines, b"data: [DONE]"]]
    message: dict[str, Any] = {"id": "msg_1", "type": "message", "role": "assistant", "model": "vendor/m-2026", "content": [],
               "stop_reason": None, "usage": {"input_tokens": 7, "output_tokens": 1}}  # fmt: skip
    documents: list[dict[str, Any]] = [
        {"type": "message_start", "message": message},
        {"type": "ping"},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hel"}, "nobody": 1},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "lo."}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
        {"type": "message_stop"},
    ]
    return [b"event: %b\ndata: %b\n\n" % (one["type"].encode(), json.dumps(one).encode()) for one in documents]


def renamed(form: str, data: bytes) -> bytes:
    return data.replace(b'"vendor/m-2026"', json.dumps(SHOWN[form]).encode())


def body_of(form: str, model: str | None = None, **fields: Any) -> bytes:
    """A request with white space in it, and `model` in the middle."""
    request = {**REQUEST[form], "model": model or MODEL[form], **fields}
    return json.dumps(request, indent=1).encode()  # white space that no encoder of this service writes


async def post(there: ServiceWithProviders, form: str, body: bytes, **headers: str) -> httpx.Response:
    return await there.client.post(form, content=body, headers={"content-type": "application/json", **headers})


@pytest.mark.parametrize("form", [CHAT, MESSAGES])
async def test_a_whole_chat_keeps_its_bytes_but_for_the_models_name(form: str) -> None:
    scripts = {UPSTREAM[form]: answer_in_turn(respond(whole(form)))}
    async with open_service_with_providers(scripts=scripts) as there:
        answer = await post(there, form, body_of(form))
        assert answer.content == renamed(form, whole(form))
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-lakehouse-provider"] == UPSTREAM[form]
        assert ("request-id" in answer.headers) == (form == MESSAGES)
        assert answer.headers["x-lakehouse-attempts"] == "1"
        assert there.only_request(UPSTREAM[form]).body == body_of(form, SENT[form])


@pytest.mark.parametrize("form", [CHAT, MESSAGES])
async def test_a_stream_keeps_its_bytes_but_for_the_models_name(form: str) -> None:
    scripts = {UPSTREAM[form]: answer_in_turn(streamed_response(b"".join(events(form))))}
    options: dict[str, Any] = {"stream": True, **({"stream_options": {"include_usage": True}} if form == CHAT else {})}
    async with open_service_with_providers(scripts=scripts) as there:
        answer = await post(there, form, body_of(form, **options))
        assert answer.content == renamed(form, b"".join(events(form)))
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["x-lakehouse-provider"] == UPSTREAM[form]
        assert ("request-id" in answer.headers) == (form == MESSAGES)
        assert there.only_request(UPSTREAM[form]).body == body_of(form, SENT[form], **options)


async def test_usage_is_requested_for_the_client_and_not_shown_to_it() -> None:
    scripts = {"openrouter": answer_in_turn(streamed_response(b"".join(events(CHAT))))}
    async with open_service_with_providers(scripts=scripts) as there:
        answer = await post(there, CHAT, body_of(CHAT, stream=True, fallbacks=["ollama/m"]))
        *chunks, _, done = events(CHAT)
        assert answer.content == renamed(CHAT, b"".join([*chunks, done]))
        sent = there.only_request("openrouter").json
        assert sent == {**REQUEST[CHAT], "model": "v/m", "stream": True, "stream_options": {"include_usage": True}}


async def test_headers_of_the_form_are_sent_on_and_no_others() -> None:
    scripts = {UPSTREAM[form]: answer_in_turn(respond(whole(form))) for form in (CHAT, MESSAGES)}
    async with open_service_with_providers(scripts=scripts) as there:
        headers = [("anthropic-beta", "a-1"), ("anthropic-beta", "b-2"), ("anthropic-version", "2026-10-21"),
                   ("openai-beta", "x=1"), ("cookie", "c")]  # fmt: skip
        for form in (CHAT, MESSAGES):
            await there.client.post(form, content=body_of(form), headers=headers)
            sent = there.only_request(UPSTREAM[form]).headers
            assert "cookie" not in sent
            assert sent.get("openai-beta") == ("x=1" if form == CHAT else None)
            assert sent.get("anthropic-version") == ("2026-10-21" if form == MESSAGES else None)
            there.clear_requests()
        rebuilt = body_of(MESSAGES, model="kimi/m", temperature=0.5)  # the provider takes none
        await there.client.post(MESSAGES, content=rebuilt, headers=headers)
        asked = there.only_request("kimi")
        assert "temperature" not in asked.json
        assert asked.headers["anthropic-version"] == "2026-10-21"


# What the provider says about a failure


def refusal(message: str, **more: Any) -> bytes:
    """An error of Anthropic's shape, which OpenAI's clients can read as well."""
    error = {"type": "invalid_request_error", "message": message, "nobody": 1, **more}
    return json.dumps({"type": "error", "error": error, "request_id": "req_1"}, indent=1).encode()


FAILURES: dict[str, tuple[int, bytes, int, str]] = {
    # status and body, then the status that the client gets, and the words
    "a request that is refused": (400, refusal("messages.0: no"), 400, "messages.0: no"),
    "a long message": (400, refusal("no " * 400), 400, "no " * 400),
    "a limit": (429, refusal("slow down", type="rate_limit_error"), 429, "slow down"),
    "a failure": (500, refusal("it broke", type="api_error"), 502, "it broke"),
    "not about the client": (401, refusal("invalid x-api-key", type="authentication_error"), 502, ""),
    "not an object": (500, b"<html><title>Oops</title></html>", 502, "an HTML page: Oops"),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("form", [CHAT, MESSAGES])
@pytest.mark.parametrize(("status", "body", "sent", "words"), FAILURES.values(), ids=FAILURES)
async def test_the_words_of_the_upstream_reach_the_client(
    form: str, stream: bool, status: int, body: bytes, sent: int, words: str
) -> None:
    scripts = {UPSTREAM[form]: answer_in_turn(respond(body, status))}
    async with open_service_with_providers(scripts=scripts) as there:
        answer = await post(there, form, body_of(form, stream=stream))
        assert answer.status_code == sent
        assert answer.headers["x-lakehouse-attempts"] == "1"
        error = answer.json()["error"]
        if words:
            assert error["message"] == words
        else:
            assert error["type"] != "authentication_error"
        own_body = form == MESSAGES and b"nobody" in body and bool(words)
        assert (answer.content == body) is own_body
        if form == CHAT and words and b"nobody" in body:
            assert error["nobody"] == 1
            assert error["class"]


async def test_no_secret_is_among_the_words() -> None:
    key = "bench-secret-of-kimi"
    told = refusal(f"no: {key}", api_key=key, seen=["Bearer abcdefgh12345678", {"deep": f"<{key}>"}])
    env = {"KIMI_API_KEY": key, "OPENROUTER_API_KEY": key}
    scripts = {name: answer_in_turn(respond(told, 400)) for name in ("kimi", "openrouter")}
    async with open_service_with_providers(scripts=scripts, env=env) as there:
        for form in (CHAT, MESSAGES):
            answer = await post(there, form, body_of(form))
            assert answer.status_code == 400
            assert key not in answer.text
            assert "abcdefgh12345678" not in answer.text
            assert answer.json()["error"]["message"] == "no: ***"
            assert answer.json()["error"]["nobody"] == 1


# Every policy, on both ways

REBUILT_BY: dict[str, dict[str, Any]] = {CHAT: {"user": ""}, MESSAGES: {"temperature": 0.5}}
"""A field because of which the request is rebuilt."""

WAYS = [(form, relayed) for form in (CHAT, MESSAGES) for relayed in (True, False)]
BUSY = respond({"error": {"message": "overloaded, try again", "type": "overloaded_error"}}, 529)


def ask_of(form: str, relayed: bool, **fields: Any) -> bytes:
    return body_of(form, **({} if relayed else REBUILT_BY[form]), **fields)


def text_of(form: str, answer: httpx.Response) -> str:
    document = answer.json()
    if form == CHAT:
        return str(document["choices"][0]["message"]["content"])
    return "".join(block.get("text", "") for block in document["content"])


@pytest.mark.parametrize(("form", "relayed"), WAYS)
async def test_a_retry_before_the_first_byte(form: str, relayed: bool) -> None:
    scripts = {UPSTREAM[form]: answer_in_turn(BUSY, respond(whole(form)))}
    async with open_service_with_providers(scripts=scripts, policy={"retries": 1, "backoff": "1ms"}) as there:
        answer = await post(there, form, ask_of(form, relayed))
        assert (answer.status_code, answer.headers["x-lakehouse-attempts"]) == (200, "2")
        assert (answer.content == renamed(form, whole(form))) is relayed


@pytest.mark.parametrize(("form", "relayed"), WAYS)
async def test_a_fallback_of_another_form_is_rebuilt(form: str, relayed: bool) -> None:
    scripts = {UPSTREAM[form]: answer_in_turn(BUSY), "ollama": answer_hello}
    models = {"chain": [MODEL[form], "ollama/m"]}
    async with open_service_with_providers(scripts=scripts, models=models) as there:
        known: dict[str, Any] = {"nobody": None} if form == CHAT and not relayed else {}
        body = ask_of(form, relayed, model="chain", **known).replace(
            b',\n "nobody": {\n  "model": "knows this"\n }', b""
        )
        answer = await post(there, form, body)
        assert (answer.status_code, answer.headers["x-lakehouse-attempts"]) == (200, "2")
        assert text_of(form, answer) == "Hello."
        assert "x-lakehouse-provider" not in answer.headers
        assert there.requests["ollama"][0].target == "/api/chat"


ERRORS = {
    CHAT: b'data: {"error":{"message":"out of memory","code":500}}\n\n',
    MESSAGES: b'event: error\ndata: {"type":"error","error":{"type":"api_error","message":"out of memory"}}\n\n',
}


@pytest.mark.parametrize("how", ["error", "cut"])
@pytest.mark.parametrize(("form", "relayed"), WAYS)
async def test_a_stream_that_fails_ends_as_its_form_says(form: str, relayed: bool, how: str) -> None:
    begun = events(form)[: 2 if form == CHAT else 4]
    lie = ERRORS[form] + b"".join(events(form)[len(begun) :]) if how == "error" else events(form)[len(begun)][:-30]
    scripts = {UPSTREAM[form]: answer_in_turn(streamed_response(b"".join(begun) + lie))}
    async with open_service_with_providers(scripts=scripts) as there:
        answer = await post(there, form, ask_of(form, relayed, stream=True))
        assert answer.status_code == 200
        shown, _, last = answer.text.removesuffix("\n\n").rpartition("\n\n")
        assert "lo." not in shown
        assert "[DONE]" not in answer.text
        assert "message_stop" not in answer.text
        error = json.loads(last.partition("data: ")[2])["error"]
        assert ("out of memory" in error["message"]) is (how == "error")
        if relayed:
            assert shown.encode() + b"\n\n" == renamed(form, b"".join(begun))


@pytest.mark.parametrize(("form", "relayed"), WAYS)
async def test_the_upstream_is_gone_when_the_client_is(form: str, relayed: bool) -> None:
    gone = trio.Event()

    async def script(_: ReceivedRequest, stream: trio.SocketStream) -> None:
        await stream.send_all(HEAD)
        for event in events(form)[:4]:
            await stream.send_all(b"%x\r\n%b\r\n" % (len(event), event))
        try:
            await stream.receive_some()
        finally:
            gone.set()

    async with open_service_with_providers(scripts={UPSTREAM[form]: script}) as there:
        body = ask_of(form, relayed, stream=True)
        async with HttpStream(await trio.open_tcp_stream("127.0.0.1", there.client.base_url.port or 0)) as client:
            head = f"POST {form} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
            await client.send(head.encode() + body)
            await client.until(b"Hel")
        with trio.fail_after(20):
            await gone.wait()


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(("form", "relayed"), WAYS)
async def test_failures_open_the_circuit(form: str, relayed: bool) -> None:
    scripts = {UPSTREAM[form]: answer_in_turn(BUSY)}
    async with open_service_with_providers(scripts=scripts, policy={"breaker_failures": 2}) as there:
        for _ in range(2):
            assert (await post(there, form, ask_of(form, relayed))).status_code >= 500
        refused = await post(there, form, ask_of(form, relayed))
        assert "circuit" in refused.text
        assert len(there.requests[UPSTREAM[form]]) == 2


@pytest.mark.parametrize(("form", "relayed"), WAYS)
async def test_usage_and_outcome_are_in_the_metrics(form: str, relayed: bool) -> None:
    scripts = {UPSTREAM[form]: answer_in_turn(respond(whole(form)))}
    async with open_service_with_providers(scripts=scripts) as there:
        assert (await post(there, form, ask_of(form, relayed))).status_code == 200
        metrics = (await there.client.get("/metrics")).text
        counts = [line for line in metrics.splitlines() if "tokens" in line and UPSTREAM[form] in line]
        assert sorted(float(line.rpartition(" ")[2]) for line in counts if "_total" in line)[-2:] == [3, 7]


async def test_a_stream_in_both_ways_reads_the_same() -> None:
    texts = []
    for relayed in (True, False):
        scripts = {"openrouter": answer_in_turn(streamed_response(b"".join(events(CHAT))))}
        async with open_service_with_providers(scripts=scripts) as there:
            answer = await post(there, CHAT, ask_of(CHAT, relayed, stream=True))
            *chunks, end = sse_events(answer.text)
            assert end == "[DONE]"
            assert {chunk["model"] for chunk in chunks} == {"v/m"}
            texts.append("".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks))
    assert texts == ["Hello.", "Hello."]
