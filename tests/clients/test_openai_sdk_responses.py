"""OpenAI's own Python client against `/v1/responses`: its usual calls, its helpers, and what it raises."""

from __future__ import annotations

from typing import Any

import openai as sdk
import pydantic
import pytest
import trio

from lakehouse.chat.model.pieces import ContentPiece, ReasoningDetailsPiece, ReasoningPiece, ToolCallPiece
from lakehouse.chat.model.tool_calls import Function, ToolCall
from lakehouse.core.errors import ErrProviderNotFound, ErrTimeout, ErrUnavailable
from lakehouse.core.provider_failures import make_failure
from tools.kit.fake_dispatcher import CALL, FakeDispatcher, answer, chat_app, done_piece, serve

TOOL: Any = {"type": "function", "name": "get_weather", "parameters": {"type": "object"}, "strict": False}
SPACE: Any = {"type": "namespace", "name": "sky", "description": "Sky.", "tools": [{**TOOL, "name": "look"}]}
LOOK = ToolCall(id="call_2", function=Function(name="sky__look", arguments="{}"))
SIGNED = ({"type": "thinking", "thinking": "Hm.", "signature": "S"},)
MODEL = "ollama/qwen3:8b"


class City(pydantic.BaseModel):
    city: str
    population: int


@pytest.fixture
def dispatcher() -> FakeDispatcher:
    return FakeDispatcher()


@pytest.fixture
async def client(dispatcher: FakeDispatcher, nursery: trio.Nursery) -> Any:
    url = await serve(nursery, chat_app(dispatcher, max_body=64_000))
    with sdk.OpenAI(base_url=f"{url}/v1", api_key="ours", max_retries=0, timeout=10) as client:
        yield client


async def test_a_round_of_tools(client: sdk.OpenAI, dispatcher: FakeDispatcher) -> None:
    dispatcher.reply = answer(
        "", reasoning="Hm.", reasoning_details=SIGNED, tool_calls=(CALL, LOOK), finish_reason="tool_calls"
    )

    def two_turns() -> Any:
        create = client.responses.create
        first = create(model=MODEL, input="Hi", tools=[TOOL, SPACE], instructions="Be kind.", store=False)
        given: Any = [{"role": "user", "content": "Hi"}, *first.output]
        given += [
            {"type": "function_call_output", "call_id": item.call_id, "output": "12 C"}
            for item in first.output
            if item.type == "function_call"
        ]
        create(model=MODEL, input=given, tools=[TOOL, SPACE], include=["reasoning.encrypted_content"])
        return first

    first = await trio.to_thread.run_sync(two_turns)
    reasoning, weather, look = first.output
    assert (reasoning.type, reasoning.summary[0].text) == ("reasoning", "Hm.")
    assert (weather.name, weather.namespace, weather.arguments) == ("get_weather", None, '{"city":"Ghent"}')
    assert (look.name, look.namespace) == ("look", "sky")
    assert (first.usage.input_tokens, first.usage.total_tokens) == (12, 17)
    _, turn, *results = dispatcher.requests[1].messages
    assert (turn.reasoning, turn.reasoning_details, turn.tool_calls) == ("Hm.", SIGNED, (CALL, LOOK))
    assert [(result.tool_call_id, result.content) for result in results] == [("call_1", "12 C"), ("call_2", "12 C")]


async def test_a_stream_as_the_helper_puts_it_together(client: sdk.OpenAI, dispatcher: FakeDispatcher) -> None:
    dispatcher.script = [
        [ReasoningPiece("Hm."), ReasoningDetailsPiece(SIGNED), ContentPiece("Hel")],
        [ContentPiece("lo")],
        [ToolCallPiece(CALL), done_piece(finish_reason="tool_calls", cached_tokens=4)],
    ]

    def stream() -> Any:
        with client.responses.stream(model=MODEL, input="Hi", tools=[TOOL]) as events:
            kinds = [event.type for event in events]
            return kinds, events.get_final_response()

    kinds, final = await trio.to_thread.run_sync(stream)
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
    assert final.output_text == "Hello"
    assert [item.type for item in final.output] == ["reasoning", "message", "function_call"]
    assert final.output[2].arguments == CALL.function.arguments
    assert final.usage.input_tokens_details.cached_tokens == 4


async def test_a_structured_answer_is_parsed(client: sdk.OpenAI, dispatcher: FakeDispatcher) -> None:
    dispatcher.reply = answer('{"city":"Ghent","population":270000}')
    parsed = await trio.to_thread.run_sync(
        lambda: client.responses.parse(model=MODEL, input="Hi", text_format=City).output_parsed
    )
    assert parsed == City(city="Ghent", population=270_000)
    assert dispatcher.requests[0].format["title"] == "City"  # type: ignore[index]


RAISED: list[tuple[Exception, type[sdk.APIStatusError], str]] = [
    (make_failure("context_overflow", "too long"), sdk.BadRequestError, "context_length_exceeded"),
    (make_failure("bad_request", "no"), sdk.BadRequestError, "invalid_prompt"),
    (make_failure("quota", "spent"), sdk.RateLimitError, "insufficient_quota"),
    (make_failure("model_not_found", "no model"), sdk.NotFoundError, "model_not_found"),
    (ErrProviderNotFound("no provider"), sdk.NotFoundError, "model_not_found"),
    (make_failure("auth", "our key"), sdk.InternalServerError, "auth"),
    (ErrUnavailable("draining"), sdk.InternalServerError, "unavailable"),
    (ErrTimeout("late"), sdk.InternalServerError, "timeout"),
]


async def test_what_is_raised(client: sdk.OpenAI, dispatcher: FakeDispatcher) -> None:
    for error, kind, code in RAISED:
        dispatcher.reply = error
        with pytest.raises(kind) as caught:
            await trio.to_thread.run_sync(lambda: client.responses.create(model=MODEL, input="Hi"))
        assert (type(caught.value), caught.value.code) == (kind, code)
    with pytest.raises(sdk.BadRequestError, match="`previous_response_id` is not supported") as stateful:
        await trio.to_thread.run_sync(
            lambda: client.responses.create(model=MODEL, input="Hi", previous_response_id="resp_1")
        )
    assert (stateful.value.code, stateful.value.param) == ("invalid_prompt", "previous_response_id")


async def test_a_stream_that_breaks_ends_in_a_failed_response(client: sdk.OpenAI, dispatcher: FakeDispatcher) -> None:
    dispatcher.script = [[ContentPiece("Hel")], make_failure("incomplete_stream", "the stream was cut")]
    events = await trio.to_thread.run_sync(lambda: list(client.responses.create(model=MODEL, input="Hi", stream=True)))
    assert events[-1].type == "response.failed"
    assert events[-1].response.error is not None
    assert events[-1].response.error.message == "the stream was cut"


async def test_retries_end_where_they_cannot_help(dispatcher: FakeDispatcher, nursery: trio.Nursery) -> None:
    url = await serve(nursery, chat_app(dispatcher, max_body=64_000))
    with sdk.OpenAI(base_url=f"{url}/v1", api_key="ours", max_retries=2, timeout=10) as client:
        for error in (make_failure("quota", "spent"), make_failure("auth", "our key")):
            dispatcher.reply = error
            dispatcher.requests.clear()
            with pytest.raises(sdk.APIStatusError):
                await trio.to_thread.run_sync(lambda: client.responses.create(model=MODEL, input="Hi"))
            assert len(dispatcher.requests) == 1
