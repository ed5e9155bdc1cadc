"""Every field of OpenAI's chat completions over every form that an upstream may have: it arrives in that form's words,
is refused by name, or is left out, and then the log says so. Through the running service, whole and streamed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from tools.kit.service_with_providers import ServiceWithProviders, open_service_with_providers
from tools.kit.telemetry_fixtures import CapturedLog

TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}

ROUTES = {
    "chat_completions": ("openrouter", "openrouter/v/m"),
    "messages": ("opencode", "opencode/claude-opus-4-5"),
    "responses": ("opencode", "opencode/gpt-5.6-sol"),
    "ollama": ("ollama", "ollama/m"),
}
"""Who is asked in each form, and under which name."""

REFUSED = "refused"
LEFT_OUT = "left out"

Outcome = str | dict[str, Any]


def alike(sent: Outcome) -> dict[str, Outcome]:
    """The same in every form that is not chat completions."""
    return dict.fromkeys(("messages", "responses", "ollama"), sent)


# The field, its value, and what it becomes in each form; chat completions get it as it is unless the row says so.
FIELDS: list[tuple[str, Any, dict[str, Outcome]]] = [
    ("audio", {"voice": "alloy", "format": "wav"}, alike(REFUSED)),
    ("frequency_penalty", 0, {**alike({"frequency_penalty": 0}), "messages": LEFT_OUT, "ollama": {"options": {"frequency_penalty": 0}}}),
    ("frequency_penalty", 0.5, {"messages": REFUSED, "responses": {"frequency_penalty": 0.5}, "ollama": {"options": {"frequency_penalty": 0.5}}}),
    ("presence_penalty", 0.0, {"messages": LEFT_OUT, "responses": {"presence_penalty": 0.0}, "ollama": {"options": {"presence_penalty": 0.0}}}),
    ("presence_penalty", -1, {"messages": REFUSED, "responses": {"presence_penalty": -1}, "ollama": {"options": {"presence_penalty": -1}}}),
    ("logit_bias", {}, {"chat_completions": {}, **alike({})}),
    ("logit_bias", {"50256": -100}, alike(REFUSED)),
    ("logprobs", False, {"messages": LEFT_OUT, "responses": {}, "ollama": {"logprobs": False}}),
    ("logprobs", True, {"messages": REFUSED, "responses": {"include": ["reasoning.encrypted_content", "message.output_text.logprobs"]}, "ollama": {"logprobs": True}}),
    ("top_logprobs", 3, {"messages": REFUSED, "responses": {"top_logprobs": 3}, "ollama": {"top_logprobs": 3}}),
    ("metadata", {"run": "7"}, {"messages": LEFT_OUT, "responses": {"metadata": {"run": "7"}}, "ollama": LEFT_OUT}),
    ("modalities", ["text"], alike(LEFT_OUT)),
    ("modalities", ["text", "audio"], alike(REFUSED)),
    ("parallel_tool_calls", True, {"messages": LEFT_OUT, "responses": {"parallel_tool_calls": True}, "ollama": LEFT_OUT}),
    ("prediction", {"type": "content", "content": "x"}, alike(LEFT_OUT)),
    ("prompt_cache_key", "k", {"messages": LEFT_OUT, "responses": {"prompt_cache_key": "k"}, "ollama": LEFT_OUT}),
    ("prompt_cache_retention", "24h", {"messages": LEFT_OUT, "responses": {"prompt_cache_retention": "24h"}, "ollama": LEFT_OUT}),
    ("safety_identifier", "s", {"messages": {"metadata": {"user_id": "s"}}, "responses": {"safety_identifier": "s"}, "ollama": LEFT_OUT}),
    ("user", "u", {"messages": {"metadata": {"user_id": "u"}}, "responses": {"user": "u"}, "ollama": LEFT_OUT}),
    ("service_tier", "auto", {"messages": {"service_tier": "auto"}, "responses": {"service_tier": "auto"}, "ollama": LEFT_OUT}),
    ("service_tier", "default", {"messages": {"service_tier": "standard_only"}, "responses": {"service_tier": "default"}, "ollama": LEFT_OUT}),
    ("service_tier", "flex", {"messages": LEFT_OUT, "responses": {"service_tier": "flex"}, "ollama": LEFT_OUT}),
    ("store", False, {"messages": LEFT_OUT, "responses": {"store": False}, "ollama": LEFT_OUT}),
    ("store", True, {"messages": REFUSED, "responses": {"store": True}, "ollama": REFUSED}),
    ("verbosity", "medium", {"messages": LEFT_OUT, "responses": {"text": {"verbosity": "medium"}}, "ollama": LEFT_OUT}),
    ("verbosity", "low", {"messages": REFUSED, "responses": {"text": {"verbosity": "low"}}, "ollama": REFUSED}),
    ("seed", 7, {"messages": LEFT_OUT, "responses": LEFT_OUT, "ollama": {"options": {"seed": 7}}}),
    ("n", 1, {"chat_completions": {}, **alike({})}),
    ("temperature", 0.5, {"messages": {"temperature": 0.5}, "responses": {"temperature": 0.5}, "ollama": {"options": {"temperature": 0.5}}}),
    ("top_p", 0.5, {"messages": {"top_p": 0.5}, "responses": {"top_p": 0.5}, "ollama": {"options": {"top_p": 0.5}}}),
    ("stop", "END", {"messages": {"stop_sequences": ["END"]}, "responses": REFUSED, "ollama": {"options": {"stop": ["END"]}}}),
    ("stop", ["A", "B"], {"messages": {"stop_sequences": ["A", "B"]}, "responses": REFUSED, "ollama": {"options": {"stop": ["A", "B"]}}}),
    ("max_completion_tokens", 99, {"chat_completions": {"max_tokens": 99}, "messages": {"max_tokens": 99}, "responses": {"max_output_tokens": 99}, "ollama": {"options": {"num_predict": 99}}}),
    ("max_tokens", 99, {"messages": {"max_tokens": 99}, "responses": {"max_output_tokens": 99}, "ollama": {"options": {"num_predict": 99}}}),
    ("web_search_options", {}, {"messages": {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "responses": {"tools": [{"type": "web_search"}]}, "ollama": REFUSED}),
    ("response_format", {"type": "text"}, alike({})),
    # Fields that are not OpenAI's, and that its clients send to those who know them.
    ("top_k", 40, {"messages": {"top_k": 40}, "responses": REFUSED, "ollama": {"options": {"top_k": 40}}}),
    ("min_p", 0.1, {"messages": REFUSED, "responses": REFUSED, "ollama": {"options": {"min_p": 0.1}}}),
    ("repetition_penalty", 1.1, {"messages": REFUSED, "responses": REFUSED, "ollama": {"options": {"repeat_penalty": 1.1}}}),
    ("options", {"num_ctx": 8192, "mirostat": 1}, {"messages": REFUSED, "responses": REFUSED, "ollama": {"options": {"num_ctx": 8192, "mirostat": 1}}}),
    ("num_ctx", 8192, {"messages": REFUSED, "responses": REFUSED, "ollama": {"options": {"num_ctx": 8192}}}),
    ("cache_control", {"type": "ephemeral"}, {"messages": {"cache_control": {"type": "ephemeral"}}, "responses": LEFT_OUT, "ollama": LEFT_OUT}),
    ("keep_alive", "10m", {"messages": LEFT_OUT, "responses": LEFT_OUT, "ollama": {"keep_alive": "10m"}}),
    ("truncate", False, {"messages": REFUSED, "responses": REFUSED, "ollama": {"truncate": False}}),
    ("thinking", {"type": "enabled", "budget_tokens": 2000}, {"messages": {"thinking": {"type": "enabled", "budget_tokens": 2000}}, "responses": REFUSED, "ollama": REFUSED}),
    ("truncation", "auto", {"messages": REFUSED, "responses": {"truncation": "auto"}, "ollama": REFUSED}),
    ("nobody_knows_this", 1, alike(REFUSED)),
]  # fmt: skip


def joined(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Objects as one, those of the same name within them as well."""
    whole: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            below = whole.get(name)
            whole[name] = joined(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return whole


async def ask(
    there: ServiceWithProviders, form: str, *, stream: bool, request_id: str = "", **fields: Any
) -> httpx.Response:
    """One request in OpenAI's form to the upstream of `form`, which is to be asked nothing else."""
    there.clear_requests()
    headers = {"x-request-id": request_id} if request_id else {}
    return await there.complete(ROUTES[form][1], headers, **fields, **({"stream": True} if stream else {}))


def sent(there: ServiceWithProviders) -> dict[str, Any]:
    """The body of the only request that an upstream got."""
    ((asked,),) = there.requests.values()
    return {"stream": False} | asked.json  # a relayed request has the field only if its client wrote it


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("form", ROUTES)
async def test_a_field_of_openais_arrives_or_is_refused_or_is_told_of(form: str, stream: bool) -> None:
    caught, told = CapturedLog(), {}
    async with open_service_with_providers(log=caught.log, observe={"log": "json"}) as there:
        await ask(there, form, stream=stream)
        plain = sent(there)
        for row, (name, value, outcomes) in enumerate(FIELDS):
            outcome = outcomes.get(form, {name: value})
            answer = await ask(there, form, stream=stream, request_id=f"row-{row}", **{name: value})
            if outcome == REFUSED:
                assert answer.status_code == 400, (name, value)
                error = answer.json()["error"]
                assert error["param"] == name
                assert f"`{name}`" in error["message"]
                assert there.requests == {}, name
                continue
            assert answer.status_code == 200, (name, value, answer.text)
            assert sent(there) == joined(plain, outcome if isinstance(outcome, dict) else {}), (name, value)
            told[f"row-{row}"] = [name] if outcome == LEFT_OUT else None
        logged = await caught.requests(1 + len(FIELDS))
    lines = {line["request_id"]: line.get("left_out") for line in logged}
    assert {name: lines[name] for name in told} == told
