"""Responses over a provider that speaks Responses: the bytes stay as they are, in both directions."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lakehouse.chat.api.reasoning_envelope import encode_details
from tests.chat.api.open_responses.answers_kit import EVERYTHING
from tests.chat.api.open_responses.responses_kit import MODELS, Door, body, open_client, open_door, stream
from tools.kit.fake_providers import FakeProvider, Script
from tools.kit.responses_stream import check_stream, read_stream

WHOLE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "status": "completed",
    "model": "gpt-5-2026-08-01",
    "error": None,
    "output": [
        {"type": "mcp_list_tools", "id": "mcpl_1", "novel": {"model": "inner"}},
        {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [
            {"type": "output_text", "text": 'Hi "model": "x"', "annotations": [], "logprobs": []}]},
    ],
    "usage": {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10, "novel": 1},
    "novel": [None],
}  # fmt: skip
ASKED: dict[str, Any] = {
    "input": [{"role": "user", "content": "Hello?"}, {"type": "mcp_call", "id": "mcp_1", "name": "x"}],
    "tools": [
        {"type": "mcp", "server_label": "s", "server_url": "https://x"},
        {"type": "web_search"},
        {"type": "namespace", "name": "n", "description": "", "tools": []},
    ],
    "novel": {"model": "y"},
    "include": ["reasoning.encrypted_content"],
    "store": False,
}
"""A request that no other form could carry."""


def same_but_for_the_model(sent: bytes, given: bytes) -> bool:
    return sent == given.replace(b'"opencode/gpt-5"', b'"gpt-5"')


async def test_a_whole_answer_and_its_request() -> None:
    written = json.dumps(WHOLE, indent=1).encode()
    async with open_door("responses", Script(chunks=[(0, written)])) as door:
        answer = await door.post(**ASKED)
        sent = door.provider.requests[0].request
    assert answer.content == written.replace(b'"gpt-5-2026-08-01"', b'"gpt-5"')
    assert answer.headers["x-lakehouse-provider"] == "opencode"
    asked = json.dumps({"model": door.model, **ASKED}, ensure_ascii=False, separators=(",", ":")).encode()
    assert same_but_for_the_model(sent.content, asked)


async def native_stream(*scripts: Script) -> bytes:
    """A stream with every event of the form, as a provider sends it: with fields that nobody here knows."""
    async with open_door("messages", *scripts) as door:
        answer = await door.post(stream=True)
    named = answer.content.replace(b'"model":"m","output"', b'"model":"gpt-5-x","novel":{"model":"in"},"output"')
    return named.replace(b'"content_index":0', b'"content_index":0,"obfuscation":"abc"')


@pytest.mark.parametrize("size", [1, 7, 1000, 10**6])
async def test_a_stream_in_any_split(size: int) -> None:
    given = await native_stream(EVERYTHING["messages"][True])
    parts = [given[at : at + size] for at in range(0, len(given), size)]
    async with open_door("responses", stream(*parts)) as door:
        answer = await door.post(**ASKED, stream=True)
    assert answer.content == given.replace(b'"model":"gpt-5-x"', b'"model":"gpt-5"')
    assert (answer.headers["x-lakehouse-provider"], answer.headers["x-lakehouse-attempts"]) == ("opencode", "1")
    assert check_stream(answer.text)["status"] == "completed"


async def test_a_stream_that_is_cut_anywhere_ends_in_a_failure_of_the_same_response() -> None:
    given = await native_stream(EVERYTHING["messages"][True])
    renamed = given.replace(b'"model":"gpt-5-x"', b'"model":"gpt-5"')
    step = len(given) // 50
    cuts = [given[:at] for at in range(1, given.index(b"event: response.completed"), step)]
    async with open_door("responses", *map(stream, cuts), policy={"breaker_failures": 10_000}) as door:
        for cut in cuts:
            answer = await door.post(**ASKED, stream=True)
            failed = check_stream(answer.text)  # one response, its items, and numbers without a gap
            assert (failed["status"], failed["error"]["code"]) == ("failed", "invalid_prompt")
            passed, _, end = answer.content.rpartition(b"event: response.failed")
            assert end
            assert renamed.startswith(passed) or len(read_stream(answer.text)) == 3, cut[-50:]


ENDS: dict[str, dict[str, Any]] = {
    "response.failed": {
        "response": {"status": "failed", "error": {"code": "server_error", "message": "out of memory"}}
    },
    "error": {"code": "server_error", "message": "out of memory"},
}


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("kind", ENDS)
async def test_a_failure_of_the_provider_within_the_stream_stops_the_client(kind: str, line_end: bytes) -> None:
    given = await native_stream(EVERYTHING["messages"][True])
    half = given[: given.index(b"event: response.function_call_arguments.done")].replace(b"\n", line_end)
    failure = f"event: {kind}\ndata: {json.dumps({'type': kind, 'sequence_number': 99, **ENDS[kind]})}\n\n".encode()
    async with open_door("responses", stream(half + failure)) as door:
        answer = await door.post(**ASKED, stream=True)
    failed = check_stream(answer.text.replace("\r\n", "\n"))
    assert (failed["error"]["code"], "out of memory" in failed["error"]["message"]) == ("invalid_prompt", True)
    assert [item["type"] for item in failed["output"]] == ["reasoning", "message"]


@pytest.mark.parametrize("reason", ["max_output_tokens", "content_filter"])
async def test_a_filter_ends_the_stream_in_a_failure_that_stops_the_client(reason: str) -> None:
    given = (await native_stream(EVERYTHING["messages"][True])).replace(b'"model":"gpt-5-x"', b'"model":"gpt-5"')
    passed, _, _ = given.rpartition(b"event: response.completed")
    last = read_stream(given.decode())[-1]
    whole = last["response"]
    last["response"] = {**whole, "status": "incomplete", "incomplete_details": {"reason": reason}}
    last["type"] = "response.incomplete"
    end = f"event: response.incomplete\ndata: {json.dumps(last)}\n\n".encode()
    async with open_door("responses", stream(passed + end), stream(passed, end)) as door:
        for _ in range(2):
            answer = await door.post(**ASKED, stream=True)
            if reason == "max_output_tokens":
                assert answer.content == passed + end
                continue
            assert answer.content.startswith(passed + b"event: response.failed")
            failed = check_stream(answer.text)
            error = failed.pop("error")
            assert {**failed, "status": "completed", "error": None} == whole
            assert (error["code"], "content filter" in error["message"]) == ("invalid_prompt", True)


async def is_relayed(door: Door, **fields: Any) -> bool:
    """Whether what only bytes can carry reached the provider, or was refused."""
    answer = await door.post(**{**ASKED, **fields})
    assert answer.status_code == 200 or b"mcp" in answer.content, answer.text
    return answer.status_code == 200


SCHEMA = {"type": "object", "properties": {}, "additionalProperties": False}
REBUILT: dict[str, dict[str, Any]] = {
    "a response that would be stored": {"store": True},
    "a response that would be stored by default": {"store": None},
    "reasoning of another form": {"input": [
        {"type": "reasoning", "summary": [], "encrypted_content": encode_details([{"type": "thinking", "signature": "S"}])},
        *ASKED["input"]]},
    "a schema": {"text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA}}},
    "a limit that the provider refuses": {"max_output_tokens": 3},
}  # fmt: skip


async def test_which_requests_are_relayed() -> None:
    async with open_door("responses", body(WHOLE)) as door:
        assert await is_relayed(door)
        assert await is_relayed(door, reasoning={"effort": "max", "novel": 1}, temperature=1, max_output_tokens=16)
        assert await is_relayed(door, fallbacks=["opencode/gpt-5"])
        assert b"fallbacks" not in door.provider.requests[-1].request.content
        for name, fields in REBUILT.items():
            assert not await is_relayed(door, **fields), name


async def test_a_fallback_of_another_form_is_rebuilt() -> None:
    broken = FakeProvider(body({"error": {"message": "boom"}}, status=500))
    async with open_client(opencode=broken, ollama=FakeProvider(EVERYTHING["ollama"][True])) as client:
        request = {"model": MODELS["responses"][1], "input": "Hello?", "store": False, "stream": True}
        answer = await client.post("/v1/responses", json={**request, "fallbacks": [MODELS["ollama"][1]]})
    response = check_stream(answer.text)
    assert (response["status"], response["provider"], response["model"]) == ("completed", "ollama", "m")
    assert [attempt["provider"] for attempt in response["attempts"]] == ["opencode", "ollama"]


async def test_an_answer_of_nothing_but_a_call_for_the_client_is_no_empty_one() -> None:
    for kind in ("mcp_approval_request", "computer_call", "apply_patch_call"):
        async with open_door("responses", body({**WHOLE, "output": [{"type": kind, "id": "x_1"}]})) as door:
            answer = await door.post(**ASKED)
            assert (answer.status_code, answer.json()["output"][0]["type"]) == (200, kind)
    async with open_door("responses", body({**WHOLE, "output": [{"type": "web_search_call", "id": "x_1"}]})) as door:
        assert (await door.post(**ASKED)).json()["error"]["class"] == "empty_response"


async def test_a_stream_that_does_not_begin_as_one_of_this_form_is_rebuilt() -> None:
    async with open_door("responses", EVERYTHING["responses"][True]) as door:
        response = check_stream((await door.post(stream=True, store=False)).text)
    assert [item["type"] for item in response["output"]] == ["reasoning", "message", "function_call", "function_call"]
