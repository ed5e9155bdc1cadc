"""OpenAI's own Python client against the service: its usual calls, and what it raises when things go wrong.

The client is synchronous and lives in a thread, as far from our event loop as a real one. It must not retry: what it sees
at its first try is what is tested.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

import openai as sdk
import pydantic
import pytest
import trio

from lakehouse.chat.api.protocols import ModelCard
from lakehouse.chat.model.pieces import ContentPiece, ReasoningPiece, ToolCallPiece
from lakehouse.chat.model.request import Message
from lakehouse.core.errors import ErrProviderNotFound, ErrTimeout, ErrUnauthorized, ErrUnavailable
from lakehouse.core.provider_failures import make_failure
from tools.kit.fake_dispatcher import CALL, FakeDispatcher, answer, chat_app, done_piece, serve
from tools.kit.matrices import spread

T = TypeVar("T")
HI: Any = [{"role": "user", "content": "Hi"}]
TOOL: Any = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
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


async def in_thread(call: Callable[[], T]) -> T:
    """The synchronous client's call, off the event loop."""
    return await trio.to_thread.run_sync(call)


async def test_create(client: sdk.OpenAI, dispatcher: FakeDispatcher) -> None:
    dispatcher.reply = answer("Hello!", reasoning="Hm.", reasoning_tokens=3)
    completion = await in_thread(lambda: client.chat.completions.create(model=MODEL, messages=HI, temperature=0.2))
    assert completion.model == "qwen3:8b"
    assert completion.choices[0].message.content == "Hello!"
    assert completion.choices[0].message.reasoning_content == "Hm."  # type: ignore[attr-defined]
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage is not None
    assert (completion.usage.prompt_tokens, completion.usage.total_tokens) == (12, 17)
    assert completion.usage.completion_tokens_details is not None
    assert completion.usage.completion_tokens_details.reasoning_tokens == 3
    assert dispatcher.requests[0].temperature == 0.2


async def test_an_answer_goes_back_as_history(client: sdk.OpenAI, dispatcher: FakeDispatcher) -> None:
    dispatcher.reply = answer("", reasoning="Hm.", tool_calls=(CALL,), finish_reason="tool_calls")

    def two_turns() -> None:
        message: Any = client.chat.completions.create(model=MODEL, messages=HI, tools=[TOOL]).choices[0].message
        (call,) = message.tool_calls
        result: Any = {"role": "tool", "tool_call_id": call.id, "content": "12 C"}
        client.chat.completions.create(model=MODEL, messages=[*HI, message, result], tools=[TOOL])
        client.chat.completions.create(model=MODEL, messages=[*HI, message.model_dump(), result], tools=[TOOL])

    await in_thread(two_turns)
    history = (
        Message(role="assistant", reasoning="Hm.", tool_calls=(CALL,)),
        Message(role="tool", tool_call_id="call_1", content="12 C"),
    )
    assert [asked.messages[1:] for asked in dispatcher.requests[1:]] == [history, history]


async def test_stream_with_usage(client: sdk.OpenAI, dispatcher: FakeDispatcher) -> None:
    dispatcher.script = [
        [ReasoningPiece(text="Hm."), ContentPiece(text="Hel")],
        [ContentPiece(text="lo")],
        [done_piece()],
    ]
    chunks = await in_thread(
        lambda: list(
            client.chat.completions.create(
                model=MODEL, messages=HI, stream=True, stream_options={"include_usage": True}
            )
        )
    )
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert (deltas[0].role, deltas[0].reasoning_content) == ("assistant", "Hm.")  # type: ignore[attr-defined]
    assert "".join(delta.content or "" for delta in deltas) == "Hello"
    assert (chunks[-2].choices[0].finish_reason, chunks[-1].choices) == ("stop", [])
    assert [chunk.usage and chunk.usage.total_tokens for chunk in chunks] == [None, None, None, None, 17]


async def test_tools_in_a_stream_as_the_helper_puts_them_together(
    client: sdk.OpenAI, dispatcher: FakeDispatcher
) -> None:
    dispatcher.script = [
        [ToolCallPiece(tool_call=CALL)],
        [ToolCallPiece(tool_call=CALL), done_piece(finish_reason="tool_calls")],
    ]

    def stream() -> Any:
        with client.chat.completions.stream(model=MODEL, messages=HI, tools=[TOOL]) as events:
            for _ in events:
                pass
            return events.get_final_completion()

    message = (await in_thread(stream)).choices[0].message
    assert message.content is None
    assert [(call.id, call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls] == [
        ("call_1", "get_weather", {"city": "Ghent"})
    ] * 2


async def test_a_schema_from_a_model_class(client: sdk.OpenAI, dispatcher: FakeDispatcher) -> None:
    dispatcher.reply = answer('{"city":"Ghent","population":267709}')
    completion = await in_thread(lambda: client.chat.completions.parse(model=MODEL, messages=HI, response_format=City))
    assert completion.choices[0].message.parsed == City(city="Ghent", population=267709)
    asked = dispatcher.requests[0].format
    assert isinstance(asked, dict)
    assert asked["required"] == ["city", "population"]


async def test_models(client: sdk.OpenAI, dispatcher: FakeDispatcher) -> None:
    dispatcher.cards = [ModelCard(id="judge", owned_by="lakehouse"), ModelCard(id="kimi/k2", owned_by="kimi")]
    assert [model.id for model in await in_thread(lambda: list(client.models.list()))] == ["judge", "kimi/k2"]
    assert (await in_thread(lambda: client.models.retrieve("kimi/k2"))).owned_by == "kimi"
    with pytest.raises(sdk.NotFoundError):
        await in_thread(lambda: client.models.retrieve("kimi/k3"))


@pytest.mark.parametrize(
    ("error", "raises", "code"),
    spread(
        [
            (make_failure("bad_request", "no"), sdk.BadRequestError, None),
            (make_failure("context_overflow", "too long"), sdk.BadRequestError, "context_length_exceeded"),
            (make_failure("content_policy", "no"), sdk.BadRequestError, "content_filter"),
            (ErrUnauthorized("whose token is this?"), sdk.AuthenticationError, "invalid_api_key"),
            (make_failure("auth", "bad key", upstream_status=401), sdk.InternalServerError, "auth"),
            (
                make_failure("model_not_found", "no such model", upstream_status=404),
                sdk.NotFoundError,
                "model_not_found",
            ),
            (ErrProviderNotFound("kimi is not registered"), sdk.NotFoundError, "model_not_found"),
            (make_failure("rate_limit", "slow down", retry_after=1), sdk.RateLimitError, "rate_limit_exceeded"),
            (make_failure("quota", "spent"), sdk.RateLimitError, "insufficient_quota"),
            (make_failure("overloaded", "busy", upstream_status=429), sdk.InternalServerError, "overloaded"),
            (ErrUnavailable("draining"), sdk.InternalServerError, "unavailable"),
            (ErrTimeout("too late"), sdk.InternalServerError, "timeout"),
        ],
        2,
    ),
)
@pytest.mark.parametrize("stream", [False, True])
async def test_each_failure_raises_its_class(
    client: sdk.OpenAI,
    dispatcher: FakeDispatcher,
    error: Exception,
    raises: type[sdk.APIStatusError],
    code: str | None,
    stream: bool,
) -> None:
    dispatcher.reply, dispatcher.script = error, [error]
    with pytest.raises(raises) as raised:
        await in_thread(lambda: client.chat.completions.create(model=MODEL, messages=HI, stream=stream))
    assert type(raised.value) is raises
    assert raised.value.code == code
    assert str(error) in raised.value.message


async def test_a_client_that_retries_leaves_what_is_hopeless(client: sdk.OpenAI, dispatcher: FakeDispatcher) -> None:
    patient = client.with_options(max_retries=1)
    for error, tries in ((make_failure("quota", "spent"), 1), (make_failure("overloaded", "busy", retry_after=0.0), 2)):
        dispatcher.requests.clear()
        dispatcher.reply = error
        with pytest.raises(sdk.APIStatusError):
            await in_thread(lambda: patient.chat.completions.create(model=MODEL, messages=HI))
        assert len(dispatcher.requests) == tries


async def test_a_stream_that_breaks_raises(client: sdk.OpenAI, dispatcher: FakeDispatcher) -> None:
    dispatcher.script = [[ContentPiece(text="Hel")], make_failure("incomplete_stream", "the stream was cut")]
    seen: list[Any] = []

    def read() -> None:
        chunks = client.chat.completions.create(model=MODEL, messages=HI, stream=True)
        seen.extend(chunk.choices[0].delta.content for chunk in chunks)

    with pytest.raises(sdk.APIError, match="the stream was cut") as raised:
        await in_thread(read)
    assert (seen, raised.value.code) == (["Hel"], "incomplete_stream")


async def test_abandoning_a_stream_ends_it_upstream(client: sdk.OpenAI, dispatcher: FakeDispatcher) -> None:
    dispatcher.script = [[ContentPiece(text="Hel")], trio.Event()]

    def abandon() -> None:
        with client.chat.completions.create(model=MODEL, messages=HI, stream=True) as stream:
            assert next(stream).choices[0].delta.content == "Hel"

    await in_thread(abandon)
    with trio.fail_after(20):
        await dispatcher.closed.wait()
