"""What comes back: whole answers and streams in both forms, the same from every provider."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio

from lakehouse.testing.upstreams import ReceivedRequest, respond
from tools.kit.service_with_providers import (
    HELLO,
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

ANSWER = [
    "model",
    "provider",
    "content",
    "reasoning",
    "tool_calls",
    "finish_reason",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "cost_usd",
    "latency_ms",
    "attempts",
]
DONE = ["type", *(name for name in ANSWER if name not in ("content", "reasoning", "tool_calls"))]


async def test_an_answer_has_exactly_these_fields_whoever_gave_it() -> None:
    async with open_service_with_providers() as there:
        for provider, model in MODELS.items():
            answer = await there.chat(model)
            assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
            assert answer.headers["x-lakehouse-attempts"] == "1"
            body = answer.json()
            assert list(body) == ANSWER
            asked_as = model.partition("/")[2]
            attempt = body["attempts"][0]
            assert attempt == {
                "provider": provider,
                "model": asked_as,
                "status": 200,
                "error": None,
                "ms": attempt["ms"],
            }
            assert 0 < attempt["ms"] <= body["latency_ms"] < 5000
            assert {name: value for name, value in body.items() if name not in ("latency_ms", "attempts")} == {
                "model": asked_as,
                "provider": provider,
                "content": "Hello.",
                "reasoning": "",
                "tool_calls": [],
                "finish_reason": "stop",
                "input_tokens": 7,
                "output_tokens": 3,
                "cached_tokens": None,
                "reasoning_tokens": None,
                "cost_usd": None,
            }


async def test_a_stream_is_pieces_and_exactly_one_end() -> None:
    async with open_service_with_providers() as there:
        for provider, model in MODELS.items():
            answer = await there.chat(model, stream=True)
            assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
            assert "server-timing" not in answer.headers
            assert answer.headers["x-lakehouse-attempts"] == "1"
            assert "[DONE]" not in answer.text
            *said, done = sse_documents(answer.text)
            assert {piece["type"] for piece in said} == {"content"}
            assert [list(piece) for piece in said] == [["type", "text"]] * len(said)
            assert "".join(piece["text"] for piece in said) == "Hello."
            assert list(done) == DONE
            assert done["type"] == "done"
            assert (done["provider"], done["model"]) == (provider, model.partition("/")[2])
            assert (done["finish_reason"], done["input_tokens"], done["output_tokens"]) == ("stop", 7, 3)
            assert done["attempts"][-1]["error"] is None
            assert done["attempts"][-1]["status"] == 200
        assert {asked.json["stream"] for requests in there.requests.values() for asked in requests} == {True}
        for provider in ("openrouter", "opencode"):
            assert there.requests[provider][0].json["stream_options"] == {"include_usage": True}


CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
TOOL_USE = {"type": "tool_use", "id": "call_1", "name": "f", "input": {"a": 1}}
OLLAMA_CALL = {"id": "call_1", "function": {"index": 0, "name": "f", "arguments": {"a": 1}}}

CALLING = {
    "ollama/m": (
        ollama("", thinking="Hm.", tool_calls=[OLLAMA_CALL]),
        lines(line(thinking="Hm."), line(tool_calls=[OLLAMA_CALL]), line(done=True)),
    ),
    "openrouter/v/m": (
        completion(None, finish="stop", reasoning="Hm.", tool_calls=[CALL]),
        events(
            chunk(reasoning="Hm."),
            chunk(tool_calls=[{"index": 0, "id": "call_1", "function": {"name": "f", "arguments": ""}}]),
            chunk(tool_calls=[{"index": 0, "function": {"arguments": '{"a"'}}]),
            chunk(tool_calls=[{"index": 0, "function": {"arguments": ":1}"}}]),
            chunk("stop"),
            {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}},
        ),
    ),
    "opencode/m": (
        completion(None, finish="tool_calls", reasoning_content="Hm.", tool_calls=[CALL]),
        events(
            chunk(reasoning_content="Hm."),
            chunk(tool_calls=[{"index": 0, **CALL}]),
            chunk("tool_calls"),
            {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}},
        ),
    ),
    "kimi/m": (
        message("", {"type": "thinking", "thinking": "Hm.", "signature": "s"}, TOOL_USE, stop="tool_use"),
        events(
            {"type": "message_start", "message": {"usage": {"input_tokens": 7, "output_tokens": 1}}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Hm."}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "s"}},
            {"type": "content_block_start", "index": 1, "content_block": {**TOOL_USE, "input": {}}},
            {
                "type": "content_block_delta",
                "index": 1,
                "delta": {"type": "input_json_delta", "partial_json": '{"a":1}'},
            },
            {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 3}},
            {"type": "message_stop"},
            end=b"",
        ),
    ),
}


@pytest.mark.parametrize("model", CALLING)
async def test_a_tool_call_is_openais_whoever_made_it(model: str) -> None:
    whole, stream = CALLING[model]
    provider = model.partition("/")[0]
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    script = {provider: answer_in_turn(whole, streamed_response(stream), whole, streamed_response(stream))}
    async with open_service_with_providers(scripts=script) as there:
        answer = (await there.chat(model, tools=tools)).json()
        assert (answer["content"], answer["reasoning"], answer["finish_reason"]) == ("", "Hm.", "tool_calls")
        assert parsed(answer["tool_calls"]) == parsed([CALL])
        told = sse_documents((await there.chat(model, tools=tools, stream=True)).text)
        assert [piece["type"] for piece in told] == ["reasoning", "tool_call", "done"]
        assert told[0] == {"type": "reasoning", "text": "Hm."}
        assert parsed([told[1]["tool_call"]]) == parsed([CALL])
        assert told[2]["finish_reason"] == "tool_calls"

        choice = (await there.complete(model, tools=tools)).json()["choices"][0]
        assert choice["finish_reason"] == "tool_calls"
        assert choice["message"]["content"] is None
        assert choice["message"]["reasoning_content"] == "Hm."
        assert parsed(choice["message"]["tool_calls"]) == parsed([CALL])
        told = sse_documents((await there.complete(model, tools=tools, stream=True)).text)
        deltas = [piece["choices"][0]["delta"] for piece in told]
        assert deltas[0] == {"role": "assistant", "reasoning_content": "Hm."}
        assert parsed([{key: value for key, value in deltas[1]["tool_calls"][0].items() if key != "index"}]) == parsed(
            [CALL]
        )
        assert deltas[1]["tool_calls"][0]["index"] == 0
        assert told[-1]["choices"][0]["finish_reason"] == "tool_calls"


def parsed(calls: list[Any]) -> list[Any]:
    """Calls with their arguments read, which must be a string."""
    found = []
    for call in calls:
        assert isinstance(call["function"]["arguments"], str)
        arguments = json.loads(call["function"]["arguments"])
        found.append({**call, "function": {**call["function"], "arguments": arguments}})
    return found


async def test_a_conversation_with_tools_goes_back_in_each_providers_way() -> None:
    """An answer of ours, in either form, is history again; reasoning is echoed where it is demanded."""
    native = [
        *HELLO,
        {"role": "assistant", "content": None, "reasoning": "Hm.", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "42"},
    ]
    openai = [
        *HELLO,
        {"role": "assistant", "content": None, "refusal": None, "reasoning_content": "Hm.", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "42"},
    ]
    result = {"role": "tool", "tool_call_id": "call_1", "content": "42"}
    blocks = [{"type": "thinking", "thinking": "Hm.", "signature": ""}, TOOL_USE]
    by_ollama = [
        *HELLO,
        {"role": "assistant", "content": "", "thinking": "Hm.", "tool_calls": [OLLAMA_CALL]},
        {**result, "tool_name": "f"},
    ]
    wanted: dict[str, list[Any]] = {
        "ollama/m": by_ollama,
        "ollama_cloud/m": by_ollama,
        "openrouter/v/m": [
            *HELLO,
            {"role": "assistant", "content": None, "reasoning": "Hm.", "reasoning_details": [], "tool_calls": [CALL]},
            result,
        ],
        "opencode/glm-5.2": [
            *HELLO,
            {"role": "assistant", "content": None, "reasoning_content": "Hm.", "tool_calls": [CALL]},
            result,
        ],
        "opencode/kimi-k3": [
            *HELLO,
            {"role": "assistant", "reasoning_content": "Hm.", "tool_calls": [CALL]},
            result,
        ],
        "kimi/m": [
            {"role": "user", "content": [{"type": "text", "text": "Hello?"}]},
            {"role": "assistant", "content": blocks},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": "42"}]},
        ],
    }
    async with open_service_with_providers() as there:
        for model, messages in wanted.items():
            for ask, history in ((there.chat, native), (there.complete, openai)):
                there.clear_requests()
                answer = await ask(model, messages=history)
                assert answer.status_code == 200, answer.text
                ((asked,),) = there.requests.values()
                assert asked.json["messages"] == messages, model


# Ends that are answers, and ends that are none. Whole first, then as a stream.
NO_WORDS: dict[str, tuple[dict[str, object], bytes]] = {
    "ollama/m": (
        {**ollama("", thinking="Hm"), "done_reason": "length"},
        lines(line(thinking="Hm"), {**line(done=True), "done_reason": "length"}),
    ),
    "openrouter/v/m": (
        completion("", finish="length", reasoning="Hm"),
        events(chunk(reasoning="Hm"), chunk("length")),
    ),
}


@pytest.mark.parametrize("model", NO_WORDS)
async def test_a_budget_that_went_into_reasoning_is_an_answer(model: str) -> None:
    whole, stream = NO_WORDS[model]
    async with open_service_with_providers(
        scripts={model.partition("/")[0]: answer_in_turn(whole, streamed_response(stream))}
    ) as there:
        answer = (await there.chat(model)).json()
        assert (answer["content"], answer["reasoning"], answer["finish_reason"]) == ("", "Hm", "length")
        reasoning, done = sse_documents((await there.chat(model, stream=True)).text)
        assert reasoning == {"type": "reasoning", "text": "Hm"}
        assert (done["type"], done["finish_reason"]) == ("done", "length")


EMPTY: dict[str, tuple[dict[str, object], bytes]] = {
    "ollama/m": (ollama(""), lines(line(done=True))),
    "openrouter/v/m": (completion(""), events(chunk(content=""), chunk("stop"))),
    "opencode/m": ({**completion(), "choices": []}, events({"choices": []})),
    "kimi/m": (message(""), events({"type": "message_start", "message": {}}, {"type": "message_stop"}, end=b"")),
}


@pytest.mark.parametrize("model", EMPTY)
async def test_an_answer_that_says_nothing_is_an_error(model: str) -> None:
    whole, stream = EMPTY[model]
    async with open_service_with_providers(
        scripts={model.partition("/")[0]: answer_in_turn(whole, streamed_response(stream))}
    ) as there:
        for mode in (False, True):
            answer = await there.chat(model, stream=mode)
            error = answer.json()["error"]
            assert (answer.status_code, error["code"], error["class"]) == (502, "ErrUpstream", "empty_response")


async def test_counts_and_money_are_the_providers_own_and_null_when_it_gave_none() -> None:
    usage = {
        "prompt_tokens": 20,
        "completion_tokens": 9,
        "prompt_tokens_details": {"cached_tokens": 5},
        "completion_tokens_details": {"reasoning_tokens": 4},
        "cost": 0.00125,
    }
    wanted = {
        "openrouter/v/m": ({**completion(), "usage": usage}, (20, 9, 5, 4, 0.00125)),
        "opencode/m": ({**completion(), "cost": "0.00030400"}, (7, 3, None, None, 0.000304)),
        "ollama/m": (
            {"model": "m", "message": {"role": "assistant", "content": "x"}, "done": True, "done_reason": "stop"},
            (None,) * 5,
        ),
        "kimi/m": (
            {**message(), "usage": {"input_tokens": 3, "cache_read_input_tokens": 10, "output_tokens": 4}},
            (13, 4, 10, None, None),
        ),
    }
    scripts = {model.partition("/")[0]: answer_in_turn(whole) for model, (whole, _) in wanted.items()}
    async with open_service_with_providers(scripts=scripts) as there:
        for model, (_, counts) in wanted.items():
            answer = (await there.chat(model)).json()
            assert tuple(answer[name] for name in ANSWER[6:11]) == counts, model


# The order of things in a stream, and when each leaves.


async def test_each_piece_leaves_as_it_arrives() -> None:
    go_on = trio.Event()

    async def slowly(_: ReceivedRequest, stream: trio.SocketStream) -> None:
        await stream.send_all(streamed_response(lines(line("one")), "application/x-ndjson"))
        await go_on.wait()
        await stream.send_all(lines(line("two"), line(done=True)))
        await stream.aclose()

    with trio.fail_after(20):
        async with open_service_with_providers(scripts={"ollama": slowly}) as there:
            body = {"model": "m", "messages": HELLO, "stream": True}
            async with there.client.stream("POST", "/v1/chat", json=body) as answer:
                parts = answer.aiter_text()
                first = await anext(parts)
                assert sse_documents(first) == [{"type": "content", "text": "one"}]
                go_on.set()
                rest = "".join([part async for part in parts])
            assert [piece["type"] for piece in sse_documents(rest)] == ["content", "done"]


async def test_a_whole_answer_to_a_stream_and_a_stream_for_a_whole_answer_are_both_understood() -> None:
    stream = streamed_response(events(chunk(content="Hello."), chunk("stop")))
    async with open_service_with_providers(
        scripts={"openrouter": answer_in_turn(respond(completion()), stream)}
    ) as there:
        *said, done = sse_documents((await there.chat("openrouter/v/m", stream=True)).text)
        assert "".join(piece["text"] for piece in said) == "Hello."
        assert done["type"] == "done"
        assert (await there.chat("openrouter/v/m")).json()["content"] == "Hello."


# OpenAI's form.


async def test_openais_form_of_a_whole_answer() -> None:
    async with open_service_with_providers(models={"hot": "openrouter/v/m"}) as there:
        for provider, model in {**MODELS, "openrouter": "hot"}.items():
            answer = await there.complete(model)
            assert answer.headers["content-type"] == "application/json"
            body = answer.json()
            assert body["object"] == "chat.completion"
            assert body["id"].startswith("chatcmpl-")
            assert isinstance(body["created"], int)
            assert body["model"] == ("v/m" if provider == "openrouter" else "m")
            (choice,) = body["choices"]
            assert (choice["index"], choice["finish_reason"]) == (0, "stop")
            assert choice["message"]["role"] == "assistant"
            assert choice["message"]["content"] == "Hello."
            assert body["usage"] == {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


@pytest.mark.parametrize("include", [None, False, True])
async def test_openais_form_of_a_stream(include: bool | None) -> None:
    options: dict[str, Any] = {} if include is None else {"stream_options": {"include_usage": include}}
    async with open_service_with_providers() as there:
        for provider, model in MODELS.items():
            answer = await there.complete(model, stream=True, **options)
            assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
            assert answer.text.endswith("data: [DONE]\n\n")
            assert answer.text.count("[DONE]") == 1
            chunks = sse_documents(answer.text)
            assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
            assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1
            assert chunks[0]["model"] == model.partition("/")[2]
            usage = [chunk for chunk in chunks if not chunk["choices"]]
            deltas = [chunk["choices"][0] for chunk in chunks if chunk["choices"]]
            assert deltas[0]["delta"]["role"] == "assistant"
            assert "".join(delta["delta"].get("content", "") for delta in deltas) == "Hello."
            assert [delta["finish_reason"] for delta in deltas] == [None] * (len(deltas) - 1) + ["stop"]
            if include:
                assert usage == chunks[-1:]
                assert usage[0]["usage"] == {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
                assert all(chunk["usage"] is None for chunk in chunks[:-1])
            else:
                assert usage == []
                assert not any("usage" in chunk for chunk in chunks)
            if provider in ("openrouter", "opencode"):
                assert there.requests[provider][-1].json["stream_options"] == {"include_usage": True}


SAMPLING: dict[str, Any] = {
    "presence_penalty": 0.5,
    "frequency_penalty": 0.25,
    "logit_bias": {"50256": -100},
    "logprobs": True,
    "top_logprobs": 3,
    "parallel_tool_calls": False,
    "service_tier": "flex",
    "metadata": {"a": "b"},
    "some_new_field": [1, {"x": None}],
}


async def test_openais_fields_are_taken_and_those_we_do_not_know_go_on_untouched() -> None:
    async with open_service_with_providers() as there:
        for model in ("openrouter/v/m", "opencode/m"):
            there.clear_requests()
            assert (await there.complete(model, n=1, **SAMPLING)).status_code == 200
            ((asked,),) = there.requests.values()
            assert {name: asked.json.get(name) for name in SAMPLING} == SAMPLING
            assert "n" not in asked.json
        there.clear_requests()
        for model in (
            "ollama/m",
            "kimi/m",
        ):  # no place for all of them, and none is left out that says what is answered
            refused = await there.complete(model, n=1, **SAMPLING)
            assert refused.status_code == 400
            assert refused.json()["error"]["param"] in SAMPLING
        assert there.requests == {}


async def test_openais_names_for_what_we_have() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    asked_for: dict[str, Any] = {
        "max_completion_tokens": 5,
        "reasoning_effort": "low",
        "stop": ["A"],
        "seed": 3,
        "user": "u",
        "stream": False,
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
    }
    async with open_service_with_providers(scripts={"ollama": answer_in_turn(ollama('{"a": 1}'))}) as there:
        answer = await there.complete("ollama/m", **asked_for)
        assert json.loads(answer.json()["choices"][0]["message"]["content"]) == {"a": 1}
        asked = there.only_request("ollama").json
        assert asked["options"] == {"num_predict": 5, "stop": ["A"], "seed": 3}
        assert (asked["think"], asked["format"]) == ("low", schema)


@pytest.mark.parametrize("n", [2, 0, 100, "2"])
async def test_more_than_one_choice_is_400(n: object) -> None:
    async with open_service_with_providers() as there:
        answer = await there.complete("m", n=n)
        assert answer.status_code == 400
        error = answer.json()["error"]
        assert (error["param"], error["type"]) == ("n", "invalid_request_error")
        assert there.requests == {}


async def test_models_are_the_registered_providers_own_and_tiers_come_first() -> None:
    async with open_service_with_providers(models={"hot": "qwen3:8b", "judge": ["m:cloud", "kimi/m"]}) as there:
        answer = await there.client.get("/v1/models")
        assert answer.status_code == 200
        assert answer.json()["object"] == "list"
        data = answer.json()["data"]
        assert [card["id"] for card in data[:2]] == ["hot", "judge"]
        assert {card["id"] for card in data[2:]} == {f"{provider}/m" for provider in MODELS}
        assert all(card["object"] == "model" for card in data)
        assert all({"id", "created", "owned_by"} <= set(card) for card in data)
        asked = {name: [one.target for one in requests] for name, requests in there.requests.items()}
        assert asked == {
            "ollama": ["/api/tags"],
            "ollama_cloud": ["/api/tags"],
            "openrouter": ["/api/v1/models"],
            "opencode": ["/zen/v1/models"],
            "kimi": ["/coding/v1/models"],
        }
        await there.client.get("/v1/models")
        assert [len(requests) for requests in there.requests.values()] == [1] * 5  # cached for a while


async def test_one_dead_provider_does_not_spoil_the_list() -> None:
    async def broken(_: ReceivedRequest, stream: trio.SocketStream) -> None:
        await stream.aclose()

    async with open_service_with_providers(
        scripts={"openrouter": broken, "kimi": answer_in_turn(respond(b"<html>", 500))}
    ) as there:
        listed = {card["id"] for card in (await there.client.get("/v1/models")).json()["data"]}
        assert listed == {"ollama/m", "ollama_cloud/m", "opencode/m"}


async def test_the_providers_are_exactly_the_registered_ones() -> None:
    async with open_service_with_providers() as there:
        body = (await there.client.get("/v1/chat/providers")).json()
        assert body == {
            "providers": [{"name": name, "available": True, "default": name == "ollama"} for name in MODELS],
            "default": "ollama",
        }
    async with open_service_with_providers(env={"KIMI_API_KEY": "sk-kimi-xxxxxxxx"}) as there:
        body = (await there.client.get("/v1/chat/providers")).json()
        assert [provider["name"] for provider in body["providers"]] == ["ollama", "kimi"]
        assert there.requests == {}


async def test_a_provider_with_an_open_circuit_is_not_available() -> None:
    policy = {"breaker_failures": 2, "breaker_cooldown": "60s"}
    async with open_service_with_providers(
        scripts={"kimi": answer_in_turn(respond(b"{}", 500))}, policy=policy
    ) as there:
        for _ in range(2):
            assert (await there.chat("kimi/m")).status_code == 502
        there.clear_requests()
        refused = await there.chat("kimi/m")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "ErrUnavailable")
        assert 0 < int(refused.headers["retry-after"]) <= 60
        assert refused.json()["error"]["attempts"] == []
        assert there.requests == {}
        listed = (await there.client.get("/v1/chat/providers")).json()["providers"]
        assert {provider["name"] for provider in listed if not provider["available"]} == {"kimi"}
        assert (await there.chat("kimi/other")).status_code == 502  # a circuit belongs to provider and model
