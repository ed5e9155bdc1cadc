"""JSON is asked for in the best way that a model takes, and what a model does not take is not asked of it twice."""

from __future__ import annotations

from typing import Any

import pytest
from trio.testing import MockClock

from lakehouse.chat.dispatch.policies.json_mode_fallback import MAX_MODELS, JsonModeFallback
from lakehouse.chat.providers.model_router import Target
from lakehouse.core.errors import ErrBadRequest, ErrUpstream
from lakehouse.core.provider_failures import make_failure
from tools.kit.fake_providers import (
    FakeProvider,
    Script,
    ask,
    completion,
    completion_stream,
    encode_json,
    ollama_answer,
    open_fake_dispatcher,
    read,
    settings,
    text_of,
)

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
REFUSED = Script(
    status=400,
    chunks=[
        (
            0,
            encode_json(
                {"error": {"message": "This response_format type is unavailable now", "type": "invalid_request_error"}}
            ),
        )
    ],
)
NO_ENDPOINTS = Script(
    status=404,
    chunks=[
        (
            0,
            encode_json(
                {"error": {"code": 404, "message": "No endpoints found that can handle the requested parameters."}}
            ),
        )
    ],
)
FITS = completion('{"city": "Ghent"}')


def step(body: dict[str, Any]) -> str:
    """How a request of chat completions asks for JSON."""
    if "response_format" in body:
        return str(body["response_format"]["type"])
    return "tool" if "tools" in body else "prompt"


async def test_a_rejected_json_mode_is_not_used_again(autojump_clock: MockClock) -> None:
    openrouter = FakeProvider(REFUSED, NO_ENDPOINTS, FITS)
    async with open_fake_dispatcher(settings(policy={"retries": 0}), openrouter=openrouter) as dispatcher:
        answer = await dispatcher(ask("openrouter/v/m", format=SCHEMA))
        assert answer.content == '{"city": "Ghent"}'
        await dispatcher(ask("openrouter/v/m", format=SCHEMA))
        await dispatcher(ask("openrouter/v/other", format=SCHEMA))
    steps = [step(asked.json) for asked in openrouter.requests]
    assert steps == ["json_schema", "json_object", "tool", "tool", "json_schema"]
    assert openrouter.times == [0.0] * 5
    assert [attempt.status for attempt in answer.attempts] == [400, 404, 200]


async def test_a_rejection_of_the_last_json_mode_is_raised(autojump_clock: MockClock) -> None:
    openrouter = FakeProvider(REFUSED)
    async with open_fake_dispatcher(settings(policy={"retries": 0}), openrouter=openrouter) as dispatcher:
        with pytest.raises(ErrBadRequest):
            await dispatcher(ask("openrouter/v/m", format=SCHEMA))
    assert [step(asked.json) for asked in openrouter.requests] == ["json_schema", "json_object", "tool", "prompt"]


OTHER_REFUSALS = [
    "temperature must be at most 2",
    "unsupported image format",
    "tools.function.parameters is not a valid moonshot flavored json schema, details: <at path 'x'>",
    "This endpoint's maximum context length is 8192 tokens. However, your json_schema needs more",
]


@pytest.mark.parametrize("message", OTHER_REFUSALS)
async def test_errors_about_tools_and_images_are_not_about_the_json_mode(
    autojump_clock: MockClock, message: str
) -> None:
    wrong = Script(status=400, chunks=[(0, encode_json({"error": {"message": message}}))])
    openrouter = FakeProvider(wrong)
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    async with open_fake_dispatcher(openrouter=openrouter) as dispatcher:
        with pytest.raises(ErrBadRequest):
            await dispatcher(ask("openrouter/v/m", format=SCHEMA, tools=(tool,)))
    assert len(openrouter.requests) == 1


async def test_a_rejection_of_a_format_is_not_retried_without_a_format(
    autojump_clock: MockClock,
) -> None:
    openrouter = FakeProvider(REFUSED)
    async with open_fake_dispatcher(openrouter=openrouter) as dispatcher:
        with pytest.raises(ErrBadRequest):
            await dispatcher(ask("openrouter/v/m"))
    assert len(openrouter.requests) == 1


async def test_a_schema_mismatch_moves_to_the_next_json_mode(autojump_clock: MockClock) -> None:
    ignored = completion('```json\n{"town": "Ghent"}\n```')
    openrouter = FakeProvider(ignored, FITS)
    async with open_fake_dispatcher(settings(policy={"retries": 0}), openrouter=openrouter) as dispatcher:
        answer = await dispatcher(ask("openrouter/v/m", format=SCHEMA))
    assert answer.content == '{"city": "Ghent"}'
    assert [step(asked.json) for asked in openrouter.requests] == ["json_schema", "json_object"]


async def test_a_lasting_schema_mismatch_is_an_error_that_names_the_place(autojump_clock: MockClock) -> None:
    openrouter = FakeProvider(completion('{"city": 7}'))
    config = settings(policy={"retries": 5, "breaker_failures": 3})
    async with open_fake_dispatcher(config, openrouter=openrouter) as dispatcher:
        with pytest.raises(
            ErrUpstream, match=r"does not fit `format`: at `\$\.city`: 7 is not of type \"string\""
        ) as raised:
            await dispatcher(ask("openrouter/v/m", format=SCHEMA))
        # Four steps, and on the last one once more: it may have been bad luck.
        assert len(raised.value.attempts) == 5
        assert all(state.available for state in dispatcher.providers())  # the route works, whatever the model says


async def test_a_stream_is_checked_as_well(autojump_clock: MockClock) -> None:
    openrouter = FakeProvider(completion_stream('{"city":', " 7}"), completion_stream('{"city":', ' "Ghent"}'))
    async with open_fake_dispatcher(settings(policy={"retries": 0}), openrouter=openrouter) as dispatcher:
        pieces, error = await read(dispatcher, "openrouter/v/m", format=SCHEMA)
        assert text_of(pieces) == '{"city": 7}'  # what was sent is sent; that it was done is not said of it
        assert isinstance(error, ErrUpstream)
        assert "does not fit" in error.message
        pieces, error = await read(dispatcher, "openrouter/v/m", format=SCHEMA)
    assert (text_of(pieces), error) == ('{"city": "Ghent"}', None)


async def test_ollama_gets_the_schema_in_format_and_in_the_prompt(autojump_clock: MockClock) -> None:
    ollama = FakeProvider(ollama_answer('{"city": "Ghent"}'))
    async with open_fake_dispatcher(ollama=ollama) as dispatcher:
        await dispatcher(ask(format=SCHEMA))
    assert ollama.requests[0].json["format"] == SCHEMA
    assert '"city"' in str(ollama.requests[0].json["messages"])


def test_the_number_of_remembered_models_is_bounded() -> None:
    json_modes = JsonModeFallback()
    refused = make_failure("bad_request", "no json_schema here", upstream_status=400)
    first = Target("openrouter", "first")
    assert json_modes.downgrade(first, "native", refused)
    assert json_modes.current_mode(first, "native") == "json_object"
    for number in range(MAX_MODELS):
        json_modes.downgrade(Target("openrouter", f"{number}"), "native", refused)
    assert json_modes.current_mode(first, "native") == "native"


def test_no_model_begins_above_the_first_mode_of_its_provider() -> None:
    json_modes = JsonModeFallback()
    target = Target("kimi", "k3")
    json_modes.downgrade(target, "native", make_failure("bad_request", "no json_schema here", upstream_status=400))
    assert json_modes.current_mode(target, "prompt") == "prompt"
