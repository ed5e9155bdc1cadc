"""A loop is found in the history of each form, and refused in that form's words, at which its clients stop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tools.kit.service_with_providers import ServiceWithProviders, answer_hello, open_service_with_providers
from tools.kit.sse import sse_documents

REPEATS = 4
ARGUMENTS, RESULT = '{"path": "a.py"}', "Error: no such file"
RUN = {"x-session-id": "run"}

Body = dict[str, Any]


def make_completion(count: int) -> Body:
    messages: list[Body] = [{"role": "user", "content": "Fix it."}]
    for number in range(count):
        call = {"id": f"c{number}", "type": "function", "function": {"name": "read", "arguments": ARGUMENTS}}
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        messages.append({"role": "tool", "tool_call_id": f"c{number}", "content": RESULT})
    return {"messages": messages}


def make_response(count: int) -> Body:
    items: list[Body] = [{"type": "message", "role": "user", "content": "Fix it."}]
    for number in range(count):
        items.append({"type": "function_call", "call_id": f"c{number}", "name": "read", "arguments": ARGUMENTS})
        items.append({"type": "function_call_output", "call_id": f"c{number}", "output": RESULT})
    return {"input": items}


def make_message(count: int) -> Body:
    """Only the newest content has a hint for the cache, as Claude Code writes it."""
    messages: list[Body] = [{"role": "user", "content": "Fix it."}]
    for number in range(count):
        call = {"type": "tool_use", "id": f"c{number}", "name": "read", "input": {"path": "a.py"}}
        result: Body = {"type": "tool_result", "tool_use_id": f"c{number}", "content": RESULT, "is_error": True}
        if number == count - 1:
            result |= {"cache_control": {"type": "ephemeral"}}
        messages += [{"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
    return {"messages": messages, "max_tokens": 100}


def make_ollama(count: int) -> Body:
    messages: list[Body] = [{"role": "user", "content": "Fix it."}]
    for _ in range(count):
        call = {"function": {"name": "read", "arguments": {"path": "a.py"}}}
        messages.append({"role": "assistant", "content": "", "tool_calls": [call]})
        messages.append({"role": "tool", "tool_name": "read", "content": RESULT})
    return {"messages": messages}


FORMS: dict[str, Callable[[int], Body]] = {
    "/v1/chat": make_completion,
    "/v1/chat/completions": make_completion,
    "/v1/responses": make_response,
    "/v1/messages": make_message,
    "/api/chat": make_ollama,
}


@pytest.fixture
async def up() -> AsyncIterator[ServiceWithProviders]:
    limits = {"same_tool_calls": REPEATS}
    opened = open_service_with_providers(
        scripts={"ollama": answer_hello}, observerd={"limits": limits}, gateway={"observerd_url": "http://127.0.0.1:9"}
    )
    async with opened as service:
        yield service


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", FORMS)
async def test_a_loop_is_refused_in_each_form(up: ServiceWithProviders, path: str, stream: bool) -> None:
    body = {"model": "m", "stream": stream, **FORMS[path](REPEATS)}
    refused = await up.client.post(path, json=body, headers=RUN)
    says = "the session run is over: it has broken the limit `same_tool_calls`: `read` was called"
    if refused.status_code == 200:
        *_, last = sse_documents(refused.text)
        assert (last["type"], last["response"]["error"]["code"]) == ("response.failed", "invalid_prompt")
        assert last["response"]["error"]["message"].startswith(says)
    else:
        assert refused.status_code == 400, refused.text
        error = refused.json()["error"]
        assert (error if isinstance(error, str) else error["message"]).startswith(says)
    assert up.requests == {}
    shorter = {"model": "m", "stream": stream, **FORMS[path](REPEATS - 1)}
    answered = await up.client.post(path, json=shorter, headers=RUN)
    assert answered.status_code == 200
    assert "Hel" in answered.text
    assert len(up.requests["ollama"]) == 1
