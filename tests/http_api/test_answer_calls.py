"""Tool calls as servers send them: the name in pieces, again or late, the id likewise, custom tools."""

from __future__ import annotations

from typing import Any

import openai as sdk
import pytest
import trio

from lakehouse.testing.upstreams import respond
from tools.kit.service_with_providers import (
    answer_in_turn,
    chunk,
    completion,
    events,
    open_service_with_providers,
    response,
    streamed_response,
)
from tools.kit.sse import sse_documents

TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}
    for name in ("get", "get_weather", "get_time", "f", "g")
]
WEATHER = ("get_weather", '{"city":"Ghent"}')
ONE = [("a", *WEATHER)]


def part(index: Any = 0, id: Any = "-", name: Any = "-", arguments: Any = "-", **more: Any) -> dict[str, Any]:  # noqa: A002
    """A fragment; `-` is not there."""
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value != "-"}
    given = {"index": index, "id": id, "function": function, **more}
    return {key: value for key, value in given.items() if value not in ("-", {})}


def custom(index: Any = 0, id: Any = "-", **fields: Any) -> dict[str, Any]:  # noqa: A002
    given = {"index": index, "id": id, "type": "custom", "custom": fields}
    return {key: value for key, value in given.items() if value != "-"}


HALVES = (part(arguments='{"city":'), part(arguments='"Ghent"}'))

STREAMS: dict[str, tuple[list[Any], list[tuple[str, str, str]]]] = {
    "as documented": ([part(id="a", name="get_weather", arguments=""), *HALVES], ONE),
    "the name in two pieces": ([part(id="a", name="get_", arguments=""), part(name="weather"), *HALVES], ONE),
    "the name letter by letter": ([part(id="a", name="g"), *(part(name=letter) for letter in "et_weather"), *HALVES], ONE),
    "the name in pieces with empty arguments": (
        [part(id="a", name="get_", arguments=""), part(name="weather", arguments=""), *HALVES],
        ONE,
    ),
    "the name in pieces, the last with arguments": (
        [part(id="a", name="get_"), part(name="weather", arguments='{"city":'), HALVES[1]],
        ONE,
    ),
    "the name in pieces, each with the id": (
        [part(id="a", name="get_", arguments=""), part(id="a", name="weather", arguments=""), *HALVES],
        ONE,
    ),
    "the name in pieces among the arguments": (
        [part(id="a", name="get_", arguments='{"city":'), part(name="weather", arguments='"Ghent"}')],
        ONE,
    ),
    "a piece of the name that is a tool's": ([part(id="a", name="get", arguments=""), part(name="_weather"), *HALVES], ONE),
    "the name in pieces, without an index": (
        [part(None, "a", "get_"), part(None, name="weather"), part(None, arguments='{"city":'), part(None, arguments='"Ghent"}')],
        ONE,
    ),
    "the name grows": ([part(id="a", name="get_"), part(id="a", name="get_wea"), part(id="a", name="get_weather"), *HALVES], ONE),
    "the name in every chunk": (
        [part(id="a", name="get_weather", arguments=given) for given in ("", '{"city":', '"Ghent"}', "")],
        ONE,
    ),
    "the name in every chunk, the id once": (
        [part(id="a", name="get_weather", arguments=""), *(part(name="get_weather", arguments=given) for given in ('{"city":', '"Ghent"}', ""))],
        ONE,
    ),
    "the name in every chunk, another id each": (
        [part(id="a", name="get_weather", arguments='{"city"'), part(id="b", name="get_weather", arguments=":"), part(id="c", name="get_weather", arguments='"Ghent"}')],
        ONE,
    ),
    "the name in every chunk, without an index": (
        [part(None, "a", "get_weather", given) for given in ("", '{"city":', '"Ghent"}', "")],
        ONE,
    ),
    "the name again at the end": ([part(id="a", name="get_weather"), *HALVES, part(name="get_weather")], ONE),
    "the name again at the end, with blank arguments": (
        [part(id="a", name="get_weather"), *HALVES, part(name="get_weather", arguments=" ")],
        [("a", "get_weather", '{"city":"Ghent"} ')],
    ),
    "the name late": ([part(id="a", arguments='{"city":'), part(name="get_weather", arguments='"Ghent"}')], ONE),
    "the name last": ([part(id="a", arguments='{"city":"Ghent"}'), part(name="get_weather")], ONE),
    "the name late and in pieces": ([part(id="a", arguments='{"city":'), part(name="get_"), part(name="weather", arguments='"Ghent"}')], ONE),
    "the name null and empty at first": ([part(id="a", name=None), part(name=""), part(name="get_weather"), *HALVES], ONE),
    "the name and the id null and empty afterwards": (
        [part(id="a", name="get_weather"), part(id=None, name=None, arguments='{"city":'), part(id="", name="", arguments='"Ghent"}')],
        ONE,
    ),
    "the id late": ([part(name="get_weather"), HALVES[0], part(id="a", arguments='"Ghent"}')], ONE),
    "the id last": ([part(name="get_weather"), *HALVES, part(id="a")], ONE),
    "the id empty at first": ([part(id="", name="get_weather"), part(id="a", arguments='{"city":'), HALVES[1]], ONE),
    "the id in every chunk": ([part(id="a", name="get_weather"), part(id="a", arguments='{"city":'), part(id="a", arguments='"Ghent"}')], ONE),
    "another id in every chunk": ([part(id="a", name="get_weather"), part(id="b", arguments='{"city":'), part(id="c", arguments='"Ghent"}')], ONE),
    "no id at all": ([part(name="get_weather"), *HALVES], [("call_…", *WEATHER)]),
    "an empty id": ([part(id="", name="get_weather"), *HALVES], [("call_…", *WEATHER)]),
    "the index at the function": ([{"id": "a", "function": {"index": 0, "name": "get_", "arguments": ""}}, {"function": {"index": 0, "name": "weather", "arguments": '{"city":"Ghent"}'}}], ONE),
    "two calls, each name in pieces": (
        [part(0, "a", "get_"), part(0, name="weather"), part(0, arguments='{"city":"Ghent"}'), part(1, "b", "get_"), part(1, name="time"), part(1, arguments="{}")],
        [*ONE, ("b", "get_time", "{}")],
    ),
    "two calls at once, each name in pieces": (
        [[part(0, "a", "get_"), part(1, "b", "get_")], [part(0, name="weather"), part(1, name="time")], [part(0, arguments='{"city":"Ghent"}'), part(1, arguments="{}")]],
        [*ONE, ("b", "get_time", "{}")],
    ),
    "two calls of one tool, the name in every chunk": (
        [part(index, name, "f", given) for index, name in ((0, "a"), (1, "b")) for given in ("", '{"x":', "1}")],
        [("a", "f", '{"x":1}'), ("b", "f", '{"x":1}')],
    ),
    "two calls numbered 0 without ids": (
        [part(name="f", arguments='{"x":1}'), part(name="f", arguments=""), part(arguments='{"x":2}')],
        [("call_…", "f", '{"x":1}'), ("call_…", "f", '{"x":2}')],
    ),
    "two tools numbered 0 without ids": (
        [part(name="f", arguments=""), part(name="g", arguments="")],
        [("call_…", "f", "{}"), ("call_…", "g", "{}")],
    ),
    "two tools at once without index, id and arguments": (
        [[part(None, name="f"), part(None, name="g")]],
        [("call_…", "f", "{}"), ("call_…", "g", "{}")],
    ),
    "no arguments": ([part(id="a", name="f")], [("a", "f", "{}")]),
    "a custom tool": (
        [custom(id="a", name="run", input=""), custom(name="run", input="print("), custom(input="1)")],
        [("a", "run", "print(1)")],
    ),
    "a custom tool whose input looks like JSON": ([custom(id="a", name="run", input='{"x"'), custom(input=":1} ")], [("a", "run", '{"x":1} ')]),
    "a custom tool without input": ([custom(id="a", name="run", input="")], [("a", "run", "")]),
    "a function and a custom tool": (
        [part(0, "a", "f", "{}"), custom(1, "b", name="run", input="x")],
        [("a", "f", "{}"), ("b", "run", "x")],
    ),
}  # fmt: skip


ONLY_KNOWN = [STREAMS["two tools numbered 0 without ids"]]
"""What the names of the tools decide: without them two names that follow each other are taken for one."""


def shown(calls: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    found = []
    for call in calls:
        what = call[call["type"]]
        assert call.keys() - {"index"} == {"id", "type", call["type"]}
        name = "call_…" if call["id"].startswith("call_") else call["id"]
        found.append((name, what["name"], what["input"] if call["type"] == "custom" else what["arguments"]))
    return found


def body_of(fragments: list[Any]) -> bytes:
    deltas = [fragment if isinstance(fragment, list) else [fragment] for fragment in fragments]
    return events(chunk(role="assistant"), *(chunk(tool_calls=delta) for delta in deltas), chunk("tool_calls"))


@pytest.mark.parametrize(("fragments", "expected"), STREAMS.values(), ids=STREAMS)
async def test_a_call_is_one_with_the_right_name(fragments: list[Any], expected: list[tuple[str, str, str]]) -> None:
    body = streamed_response(body_of(fragments))
    async with open_service_with_providers(
        scripts={"openrouter": answer_in_turn(body), "opencode": answer_in_turn(body)}
    ) as there:
        for model in ("openrouter/v/m", "opencode/m"):
            requests: list[dict[str, Any]] = [{"tools": TOOLS}]
            if (fragments, expected) not in ONLY_KNOWN:
                requests.append({})
            for tools in requests:
                whole = (await there.chat(model, **tools)).json()
                assert (shown(whole["tool_calls"]), whole["finish_reason"]) == (expected, "tool_calls")
                told = sse_documents((await there.chat(model, stream=True, **tools)).text)
                assert shown([event["tool_call"] for event in told if event["type"] == "tool_call"]) == expected
                choice = (await there.complete(model, **tools)).json()["choices"][0]
                assert shown(choice["message"]["tool_calls"]) == expected
                chunks = sse_documents((await there.complete(model, stream=True, **tools)).text)
                deltas = [call for each in chunks for call in each["choices"][0]["delta"].get("tool_calls", ())]
                assert shown(deltas) == expected
                assert [call["index"] for call in deltas] == list(range(len(expected)))


LEGACY: dict[str, list[dict[str, Any]]] = {
    "as documented": [{"name": "get_weather", "arguments": ""}, {"arguments": '{"city":'}, {"arguments": '"Ghent"}'}],
    "the name in pieces": [{"name": "get_"}, {"name": "weather"}, {"arguments": '{"city":"Ghent"}'}],
    "the name in every chunk": [{"name": "get_weather", "arguments": '{"city":'}, {"name": "get_weather", "arguments": '"Ghent"}'}],
    "the name late": [{"arguments": '{"city":"Ghent"}'}, {"name": "get_weather"}],
}  # fmt: skip


@pytest.mark.parametrize("fragments", LEGACY.values(), ids=LEGACY)
async def test_the_function_call_of_old_servers(fragments: list[dict[str, Any]]) -> None:
    body = events(*(chunk(function_call=fragment) for fragment in fragments), chunk("function_call"))
    async with open_service_with_providers(scripts={"openrouter": answer_in_turn(streamed_response(body))}) as there:
        answer = (await there.chat("openrouter/v/m")).json()
        assert shown(answer["tool_calls"]) == [("call_…", *WEATHER)]


CUSTOM = {"id": "a", "type": "custom", "custom": {"name": "run", "input": "print(1)"}}


async def test_a_custom_call_of_a_whole_answer() -> None:
    async with open_service_with_providers(
        scripts={"openrouter": answer_in_turn(completion(None, tool_calls=[CUSTOM]))}
    ) as there:
        assert (await there.chat("openrouter/v/m")).json()["tool_calls"] == [CUSTOM]
        message = (await there.complete("openrouter/v/m")).json()["choices"][0]["message"]
        assert (message["tool_calls"], message["content"]) == ([CUSTOM], None)
        url = str(there.client.base_url)

        def typed() -> Any:
            with sdk.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
                asked: Any = [{"role": "user", "content": "?"}]
                return client.chat.completions.create(model="openrouter/v/m", messages=asked)

        answer = await trio.to_thread.run_sync(typed)
        call = answer.choices[0].message.tool_calls[0]
        assert (call.type, call.custom.name, call.custom.input) == ("custom", "run", "print(1)")


def item(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "call_id": "a", **fields}


RESPONSES: dict[str, tuple[list[dict[str, Any]], tuple[str, str, str]]] = {
    "arguments in pieces": (
        [
            {"type": "response.output_item.added", "output_index": 0, "item": item("function_call", name="get_weather", arguments="")},
            {"type": "response.function_call_arguments.delta", "output_index": 0, "delta": '{"city":'},
            {"type": "response.function_call_arguments.delta", "output_index": 0, "delta": '"Ghent"}'},
            {"type": "response.function_call_arguments.done", "output_index": 0, "arguments": '{"city":"Ghent"}'},
            {"type": "response.output_item.done", "output_index": 0, "item": item("function_call", name="get_weather", arguments='{"city":"Ghent"}')},
        ],
        ("a", *WEATHER),
    ),
    "arguments at once, and no end of the item": (
        [
            {"type": "response.output_item.added", "output_index": 0, "item": item("function_call", name="get_weather", arguments="")},
            {"type": "response.function_call_arguments.done", "output_index": 0, "arguments": '{"city":"Ghent"}'},
        ],
        ("a", *WEATHER),
    ),
    "the item's end only": (
        [{"type": "response.output_item.done", "output_index": 0, "item": item("function_call", name="get_weather", arguments='{"city":"Ghent"}')}],
        ("a", *WEATHER),
    ),
    "the name late": (
        [
            {"type": "response.output_item.added", "output_index": 0, "item": item("function_call", arguments="")},
            {"type": "response.function_call_arguments.delta", "output_index": 0, "delta": '{"city":"Ghent"}'},
            {"type": "response.output_item.done", "output_index": 0, "item": item("function_call", name="get_weather", arguments='{"city":"Ghent"}')},
        ],
        ("a", *WEATHER),
    ),
    "a custom tool in pieces": (
        [
            {"type": "response.output_item.added", "output_index": 0, "item": item("custom_tool_call", name="run", input="")},
            {"type": "response.custom_tool_call_input.delta", "output_index": 0, "delta": "print("},
            {"type": "response.custom_tool_call_input.delta", "output_index": 0, "delta": "1)"},
            {"type": "response.custom_tool_call_input.done", "output_index": 0, "input": "print(1)"},
            {"type": "response.output_item.done", "output_index": 0, "item": item("custom_tool_call", name="run", input="print(1)")},
        ],
        ("a", "run", "print(1)"),
    ),
    "a custom tool's end only": (
        [{"type": "response.output_item.done", "output_index": 0, "item": item("custom_tool_call", name="run", input="print(1)")}],
        ("a", "run", "print(1)"),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("told", "expected"), RESPONSES.values(), ids=RESPONSES)
async def test_calls_of_the_responses_form(told: list[dict[str, Any]], expected: tuple[str, str, str]) -> None:
    done = {"type": "response.completed", "response": {**response(), "output": []}}
    whole = {**response(), "output": [item("custom_tool_call", name="run", input="print(1)")]}
    if expected[1] != "run":
        whole = {**response(), "output": [item("function_call", name=expected[1], arguments=expected[2])]}
    script = answer_in_turn(streamed_response(events(*told, done, end=b"")), respond(whole))
    async with open_service_with_providers(scripts={"opencode": script}) as there:
        events_told = sse_documents((await there.chat("opencode/gpt-5.4", stream=True)).text)
        assert shown([event["tool_call"] for event in events_told if event["type"] == "tool_call"]) == [expected]
        assert shown((await there.chat("opencode/gpt-5.4")).json()["tool_calls"]) == [expected]
