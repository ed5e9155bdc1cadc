"""Answers of `/v1/responses`, whole and streamed, from providers of every dialect."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lakehouse.chat.api.reasoning_envelope import decode_details
from tests.chat.api.open_responses.answers_kit import EVERYTHING, THINKING, delta, start, stop
from tests.chat.api.open_responses.responses_kit import MODELS, body, open_door, stream
from tests.chat.dialects.streams.stream_kit import REASONING_ITEM, RESPONSE, RESPONSE_EVENTS
from tools.kit.fake_providers import Script
from tools.kit.service_with_providers import chunk, completion, events, line, lines, message, ollama

DIALECTS = pytest.mark.parametrize("dialect", MODELS)
MODES = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])

USAGE = {
    "chat_completions": (10, 4, 1, 3, 2),
    "responses": (10, 4, 0, 20, 12),
    "messages": (10, 4, 1, 3, 0),
    "ollama": (7, 0, 0, 3, 0),
}
"""Input, cached, written to the cache, output, reasoning. Anthropic's input comes without the other two."""


def shown(item: dict[str, Any]) -> Any:
    match item["type"]:
        case "reasoning":
            return [part["text"] for part in item["summary"]]
        case "message":
            return "".join(part["text"] for part in item["content"])
        case "function_call":
            return item["call_id"], item["name"], json.loads(item["arguments"])
    return item["type"]


@DIALECTS
@MODES
async def test_reasoning_text_parallel_calls_and_usage(dialect: str, streamed: bool) -> None:
    async with open_door(dialect, EVERYTHING[dialect][streamed]) as door:
        response = await door.ask(stream=streamed)
    thought = "Think." if dialect == "responses" else "Hm."
    reasoning, text, *calls = map(shown, response["output"])
    assert (reasoning, text) == ([thought], "Hi")
    ids = {call[0] for call in calls}
    assert [call[1:] for call in calls] == [("f", {"a": 1}), ("g", {})]
    assert ids == {"call_1", "call_2"} if dialect != "ollama" else len(ids) == 2
    usage = response["usage"]
    inner, outer = usage["input_tokens_details"], usage["output_tokens_details"]
    counted = (usage["input_tokens"], inner["cached_tokens"], inner["cache_write_tokens"], usage["output_tokens"])
    assert (*counted, outer["reasoning_tokens"]) == USAGE[dialect]
    assert (response["status"], response["model"]) == ("completed", door.model.split("/", 1)[1])
    assert response["provider"] == MODELS[dialect][0]
    encrypted = response["output"][0].get("encrypted_content")
    carried = {"messages": [{**THINKING, "index": 0}], "responses": [REASONING_ITEM]}.get(dialect)
    assert (decode_details(encrypted) if encrypted else None) == carried


@DIALECTS
@MODES
async def test_the_response_repeats_the_request(dialect: str, streamed: bool) -> None:
    given: dict[str, Any] = {
        "instructions": "Be kind.",
        "tools": [{"type": "function", "name": "f", "description": "F.", "parameters": {"type": "object"}}],
        "tool_choice": "auto",
        "temperature": 0.5,
        "max_output_tokens": 2000,
        "metadata": {"a": "b"},
        "parallel_tool_calls": True,
        "prompt_cache_key": "key",
        "reasoning": {"effort": "low", "summary": "auto"},
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "safety_identifier": "someone",
        "truncation": "disabled",
    }
    async with open_door(dialect, EVERYTHING[dialect][streamed]) as door:
        response = await door.ask(stream=streamed, **given, store=True, include=["reasoning.encrypted_content"])
        assert {name: response[name] for name in given} == given
        assert ("metadata" in door.sent) == (dialect in ("responses", "messages"))  # there it has the end user's id
        bare = await door.ask(stream=streamed)
    assert (bare["tools"], bare["tool_choice"], bare["metadata"], bare["parallel_tool_calls"]) == ([], "auto", {}, True)
    assert (bare["instructions"], bare["text"]) == (None, {"format": {"type": "text"}})


CUT_RESPONSE = {**RESPONSE, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
CUT_MESSAGE = events(
    start(0, {"type": "text", "text": ""}),
    delta(0, "text_delta", text="Hi"),
    stop(0),
    {"type": "message_delta", "delta": {"stop_reason": "max_tokens"}},
    {"type": "message_stop"},
    end=b"",
)
LENGTHS: dict[str, tuple[Script, Script]] = {
    "chat_completions": (body(completion("Hi", finish="length")), stream(events(chunk(content="Hi"), chunk("length")))),
    "responses": (
        body({**CUT_RESPONSE, "output": RESPONSE["output"][:2]}),
        stream(
            events(
                *RESPONSE_EVENTS[:11],
                {"type": "response.incomplete", "response": {**CUT_RESPONSE, "output": []}},
            )
        ),
    ),
    "messages": (
        body(message("Hi", stop="max_tokens")),
        stream(CUT_MESSAGE),
    ),
    "ollama": (
        body({**ollama("Hi"), "done_reason": "length"}),
        stream(lines(line("Hi"), {**line(done=True), "done_reason": "length"})),
    ),
}


@DIALECTS
@MODES
async def test_the_limit_of_tokens(dialect: str, streamed: bool) -> None:
    async with open_door(dialect, LENGTHS[dialect][streamed]) as door:
        response = await door.ask(stream=streamed)
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert [item["status"] for item in response["output"] if item["type"] == "message"] == ["incomplete"]


FILTERED = stream(events(chunk(content="Hi"), chunk("content_filter")))
REFUSED = stream(events(chunk(refusal="I will "), chunk(refusal="not."), chunk("stop")))


async def test_a_content_filter_ends_a_stream_as_a_failure_that_stops_clients() -> None:
    async with open_door("chat_completions", FILTERED, body(completion("Hi", finish="content_filter"))) as door:
        response = await door.ask(stream=True)
        assert response["status"] == "failed"
        assert response["error"]["code"] == "invalid_prompt"
        assert "content filter" in response["error"]["message"]
        assert shown(response["output"][0]) == "Hi"
        whole = await door.ask(stream=False)
    assert (whole["status"], whole["incomplete_details"]) == ("incomplete", {"reason": "content_filter"})


@MODES
async def test_a_refusal_is_a_complete_answer(streamed: bool) -> None:
    script = REFUSED if streamed else body(completion(None, refusal="I will not."))
    async with open_door("chat_completions", script) as door:
        response = await door.ask(stream=streamed)
    assert response["status"] == "completed"
    assert response["output"][0]["content"] == [{"type": "refusal", "refusal": "I will not."}]


LOGPROB = {"token": "Hi", "logprob": -0.1, "bytes": [72, 105], "top_logprobs": []}
CITATION = {
    "type": "url_citation",
    "url_citation": {"url": "https://x/", "title": "X", "start_index": 0, "end_index": 2},
}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}}
LINK = {"type": "image_url", "image_url": {"url": "https://x/y.png"}}


@MODES
async def test_probabilities_citations_and_images(streamed: bool) -> None:
    beside: dict[str, Any] = {"annotations": [CITATION], "images": [PICTURE, LINK]}
    whole = completion("Hi", **beside)
    whole["choices"][0]["logprobs"] = {"content": [LOGPROB]}  # type: ignore[index]
    probable = chunk(content="Hi")
    probable["choices"][0]["logprobs"] = {"content": [LOGPROB]}  # type: ignore[index]
    script = stream(events(probable, chunk(**beside), chunk("stop"))) if streamed else body(whole)
    async with open_door("chat_completions", script) as door:
        response = await door.ask(stream=streamed, include=["message.output_text.logprobs"], top_logprobs=2)
        assert (door.sent["logprobs"], door.sent["top_logprobs"]) == (True, 2)
    first, *rest = response["output"]
    part = first["content"][0]
    assert part["annotations"] == [{"type": "url_citation", **CITATION["url_citation"]}]  # type: ignore[dict-item]
    assert part["logprobs"] == [LOGPROB]
    assert [item["result"] for item in rest if item["type"] == "image_generation_call"] == ["iVBORw=="]
    texts = "".join(shown(item) for item in (first, *rest) if item["type"] == "message")
    assert texts.replace("\n", "") == "Hi![image](https://x/y.png)"
