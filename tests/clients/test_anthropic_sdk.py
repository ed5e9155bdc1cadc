"""Anthropic's own Python client against the service: its usual calls, and what it raises when things go wrong.

The client is synchronous and lives in a thread. It must not retry: what it sees at its first try is what is tested.

Its import takes more than a second of processor time, in each process that collects the tests: here it is imported by what
uses it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import pydantic
import pytest
import trio

from lakehouse.chat.api.protocols import ModelCard
from lakehouse.chat.model.pieces import (
    ContentPiece,
    ReasoningDetailsPiece,
    ReasoningPiece,
    SupplementPiece,
    ToolCallPiece,
)
from lakehouse.chat.model.request import Message
from lakehouse.chat.model.tool_calls import ToolCall
from lakehouse.core.errors import ErrProviderNotFound, ErrTimeout, ErrUnauthorized, ErrUnavailable
from lakehouse.core.provider_failures import make_failure
from tools.kit.doc_pages.client_page import find_blocks
from tools.kit.fake_dispatcher import CALL, FakeDispatcher, answer, chat_app, done_piece, serve
from tools.kit.matrices import spread

if TYPE_CHECKING:
    import anthropic as sdk

T = TypeVar("T")
HI: Any = [{"role": "user", "content": "Hi"}]
TOOL: Any = {"name": "get_weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}
MODEL = "ollama/qwen3:8b"
SIGNED = {"type": "thinking", "thinking": "Hm.", "signature": "Sig", "index": 0}
WEATHER = [CALL, ToolCall(id="call_2", function=CALL.function)]


@pytest.fixture
def dispatcher() -> FakeDispatcher:
    return FakeDispatcher()


@pytest.fixture
async def client(dispatcher: FakeDispatcher, nursery: trio.Nursery) -> Any:
    import anthropic as sdk

    url = await serve(nursery, chat_app(dispatcher, max_body=64_000))
    with sdk.Anthropic(base_url=url, auth_token="ours", max_retries=0, timeout=10) as client:
        yield client


async def in_thread(call: Callable[[], T]) -> T:
    """The synchronous client's call, off the event loop."""
    return await trio.to_thread.run_sync(call)


async def test_create(client: sdk.Anthropic, dispatcher: FakeDispatcher) -> None:
    dispatcher.reply = answer("Hello!", reasoning="Hm.", cached_tokens=4)
    message = await in_thread(lambda: client.messages.create(model=MODEL, max_tokens=100, messages=HI, system="Be."))
    blocks: Any = message.content
    thinking, text = blocks
    assert (thinking.type, text.type) == ("thinking", "text")
    assert (thinking.thinking, thinking.signature, text.text) == ("Hm.", "", "Hello!")
    assert (message.stop_reason, message.model) == ("end_turn", MODEL)
    assert (message.usage.input_tokens, message.usage.cache_read_input_tokens, message.usage.output_tokens) == (8, 4, 5)
    assert [asked.role for asked in dispatcher.requests[0].messages] == ["system", "user"]
    assert dispatcher.requests[0].max_tokens == 100
    context = dispatcher.contexts[0]
    assert context is not None
    assert message._request_id == context.id  # the SDK's own name, for reports of failures


async def test_citations_and_the_text_that_ended_an_answer(client: sdk.Anthropic, dispatcher: FakeDispatcher) -> None:
    cited = {
        "type": "url_citation",
        "url_citation": {"url": "https://x/", "title": "X", "start_index": 0, "end_index": 2},
    }
    dispatcher.reply = answer("Hi", annotations=(cited,), stop_sequence="###")
    dispatcher.script = [[ContentPiece("Hi")], [SupplementPiece(annotations=(cited,)), done_piece(stop_sequence="###")]]

    def stream() -> Any:
        with client.messages.stream(model=MODEL, max_tokens=100, messages=HI) as events:
            return events.get_final_message()

    whole: Any = await in_thread(lambda: client.messages.create(model=MODEL, max_tokens=100, messages=HI))
    streamed: Any = await in_thread(stream)
    for message in (whole, streamed):
        assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "###")
        (text,) = message.content
        (citation,) = text.citations
        assert (text.text, citation.type, citation.url, citation.title) == (
            "Hi", "web_search_result_location", "https://x/", "X")  # fmt: skip


async def test_a_stream_as_the_helper_puts_it_together(client: sdk.Anthropic, dispatcher: FakeDispatcher) -> None:
    dispatcher.script = [
        [ReasoningPiece(text="Hm.")],
        [ReasoningDetailsPiece((SIGNED,)), ContentPiece(text="Let me ")],
        [ContentPiece(text="look.")],
        [*map(ToolCallPiece, WEATHER)],
        [done_piece(finish_reason="tool_calls")],
    ]

    def stream() -> tuple[str, Any]:
        with client.messages.stream(model=MODEL, max_tokens=100, messages=HI, tools=[TOOL]) as events:
            return "".join(events.text_stream), events.get_final_message()

    text, message = await in_thread(stream)
    assert text == "Let me look."
    thinking, said, *calls = message.content
    assert (thinking.thinking, thinking.signature, said.text) == ("Hm.", "Sig", text)
    assert [(call.id, call.name, call.input) for call in calls] == [
        ("call_1", "get_weather", {"city": "Ghent"}),
        ("call_2", "get_weather", {"city": "Ghent"}),
    ]
    assert (message.stop_reason, message.usage.input_tokens, message.usage.output_tokens) == ("tool_use", 12, 5)


async def test_an_answer_goes_back_as_history(client: sdk.Anthropic, dispatcher: FakeDispatcher) -> None:
    dispatcher.reply = answer(
        "", reasoning="Hm.", reasoning_details=(SIGNED,), tool_calls=(CALL,), finish_reason="tool_calls"
    )

    def two_turns() -> None:
        message = client.messages.create(model=MODEL, max_tokens=100, messages=HI, tools=[TOOL])
        result: Any = {"type": "tool_result", "tool_use_id": "call_1", "content": "12 C"}
        history: Any = [*HI, {"role": "assistant", "content": message.content}, {"role": "user", "content": [result]}]
        client.messages.create(model=MODEL, max_tokens=100, messages=history, tools=[TOOL])

    await in_thread(two_turns)
    signed = {name: value for name, value in SIGNED.items() if name != "index"}
    assert dispatcher.requests[1].messages[1:] == (
        Message(role="assistant", content="", reasoning="Hm.", reasoning_details=(signed,), tool_calls=(CALL,)),
        Message(role="tool", tool_call_id="call_1", content="12 C"),
    )


class City(pydantic.BaseModel):
    name: str
    people: int


async def test_a_parsed_answer(client: sdk.Anthropic, dispatcher: FakeDispatcher) -> None:
    dispatcher.reply = answer('{"name":"Ghent","people":265000}')
    parsed = await in_thread(
        lambda: client.messages.parse(model=MODEL, max_tokens=100, messages=HI, output_format=City)
    )
    assert parsed.parsed_output == City(name="Ghent", people=265_000)
    schema: Any = dispatcher.requests[0].format
    assert set(schema["properties"]) == {"name", "people"}


async def test_the_tool_runner_sends_the_whole_history(client: sdk.Anthropic, dispatcher: FakeDispatcher) -> None:
    from anthropic import beta_tool

    @beta_tool
    def get_weather(city: str) -> str:
        """The weather in a city."""
        dispatcher.reply = answer(f"{city}: 12 C")
        return "12 C"

    dispatcher.reply = answer("", tool_calls=(CALL,), finish_reason="tool_calls")

    def run() -> Any:
        return client.beta.messages.tool_runner(
            model=MODEL, max_tokens=100, messages=HI, tools=[get_weather]
        ).until_done()

    message = await in_thread(run)
    assert message.content[0].text == "Ghent: 12 C"
    assert [[asked.role for asked in request.messages] for request in dispatcher.requests] == [
        ["user"],
        ["user", "assistant", "tool"],
    ]


async def test_tokens_and_models(client: sdk.Anthropic, dispatcher: FakeDispatcher) -> None:
    names = ["claude-team", *(f"ollama/m{n}" for n in range(30))]
    dispatcher.cards = [ModelCard(id=name, owned_by="ollama", created=1_700_000_000) for name in names]

    def look() -> tuple[int, list[str], Any]:
        counted = client.messages.count_tokens(model=MODEL, messages=HI, tools=[TOOL])
        return (
            counted.input_tokens,
            [model.id for model in client.models.list(limit=8)],
            client.models.retrieve("ollama/m1"),
        )

    tokens, listed, model = await in_thread(look)
    assert tokens > 10
    assert listed == names, "all pages of them"
    assert (model.id, model.created_at.year) == ("ollama/m1", 2023)


def error_type(name: str) -> type[sdk.APIStatusError]:
    """An exception of the client."""
    import anthropic as sdk

    found: type[sdk.APIStatusError] = getattr(sdk, name)
    return found


RAISED = [
    (make_failure("bad_request", "no"), "BadRequestError", 400, "invalid_request_error"),
    (make_failure("context_overflow", "too many"), "BadRequestError", 400, "invalid_request_error"),
    (ErrUnauthorized("who?"), "AuthenticationError", 401, "authentication_error"),
    (ErrProviderNotFound("none"), "NotFoundError", 404, "not_found_error"),
    (make_failure("rate_limit", "slow"), "RateLimitError", 429, "rate_limit_error"),
    (make_failure("quota", "spent"), "RateLimitError", 429, "rate_limit_error"),
    (make_failure("auth", "our key"), "InternalServerError", 502, "api_error"),
    (make_failure("overloaded", "busy"), "OverloadedError", 529, "overloaded_error"),
    (ErrUnavailable("later"), "ServiceUnavailableError", 503, "api_error"),
    (ErrTimeout("late"), "GatewayTimeoutError", 504, "timeout_error"),
]


@pytest.mark.parametrize(
    ("error", "raised", "status", "kind"), spread(RAISED, 2), ids=lambda value: value if isinstance(value, str) else ""
)
async def test_errors_raise_the_client_s_exceptions(
    client: sdk.Anthropic, dispatcher: FakeDispatcher, error: Exception, raised: str, status: int, kind: str
) -> None:  # fmt: skip
    dispatcher.reply, dispatcher.script = error, [error]
    for stream in (False, True):
        ask = partial(client.messages.create, model=MODEL, max_tokens=9, messages=HI, stream=stream)
        with pytest.raises(error_type(raised)) as caught:
            await in_thread(ask)
        body: Any = caught.value.body
        assert (caught.value.status_code, caught.value.type, body["error"]["type"]) == (status, kind, kind)
        assert caught.value.request_id == body["request_id"]


async def test_a_spent_quota_is_asked_for_once_and_an_overload_again(
    client: sdk.Anthropic, dispatcher: FakeDispatcher
) -> None:
    patient = client.with_options(max_retries=2)
    for error, requests in (
        (make_failure("quota", "spent"), 1),
        (make_failure("overloaded", "busy", retry_after=0), 3),
    ):
        dispatcher.requests.clear()
        dispatcher.reply = error
        with pytest.raises(error_type("APIStatusError")):
            await in_thread(lambda: patient.messages.create(model=MODEL, max_tokens=9, messages=HI))
        assert len(dispatcher.requests) == requests


async def test_a_stream_that_breaks_raises(client: sdk.Anthropic, dispatcher: FakeDispatcher) -> None:
    dispatcher.script = [[ContentPiece(text="Hel")], make_failure("incomplete_stream", "it was cut")]

    def read() -> None:
        with client.messages.stream(model=MODEL, max_tokens=9, messages=HI) as events:
            for _ in events:
                pass

    with pytest.raises(error_type("APIStatusError"), match="it was cut"):
        await in_thread(read)


async def test_leaving_a_stream_ends_the_call(client: sdk.Anthropic, dispatcher: FakeDispatcher) -> None:
    dispatcher.script = [[ContentPiece(text="Once")], trio.Event()]
    left = threading.Event()

    def abandon() -> None:
        with client.messages.stream(model=MODEL, max_tokens=9, messages=HI) as events:
            assert next(iter(events.text_stream)) == "Once"
        left.set()

    await in_thread(abandon)
    with trio.fail_after(20):
        await dispatcher.closed.wait()
    assert left.is_set()
    assert dispatcher.under_way == 0


async def test_the_program_of_the_documentation_runs(client: sdk.Anthropic, dispatcher: FakeDispatcher) -> None:
    (block,) = find_blocks("Anthropic's SDKs", "python")
    program = block.replace("http://HOST:PORT", str(client.base_url))
    names: dict[str, Any] = {}
    await in_thread(lambda: exec(program, names))
    assert names["message"].content[0].text == "Hello!"
    assert dispatcher.requests[0].model == "ollama/qwen3:8b"
