"""Thinking that is left to the model is not asked of a model that does not think; thinking that is asked for is."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from lakehouse.testing.upstreams import ReceivedRequest, respond
from tools.kit.service_with_providers import HELLO, WHOLE, format_of, open_service_with_providers

REFUSALS: dict[str, dict[str, object]] = {
    "ollama/m": {"error": '"m" does not support thinking'},
    "openrouter/v/m": {"error": {"message": "Unsupported parameter: 'reasoning.effort'", "code": "unsupported_parameter"}},
    "opencode/gpt-5.2": {"error": {"message": "Unrecognized request argument supplied: reasoning", "code": None}},
}  # fmt: skip


@pytest.mark.parametrize("model", REFUSALS)
async def test_a_model_that_does_not_think_is_asked_again_without(model: str) -> None:
    async def refuse(asked: ReceivedRequest, stream: trio.SocketStream) -> None:
        thinks = asked.json.get("think") or asked.json.get("reasoning") or asked.json.get("reasoning_effort")
        await stream.send_all(respond(REFUSALS[model], 400) if thinks else respond(dict(WHOLE[format_of(asked)])))

    provider = model.partition("/")[0]
    async with open_service_with_providers(scripts={provider: refuse}) as there:

        async def ask(**fields: Any) -> tuple[int, str]:
            body = {"model": model, "max_tokens": 4000, "messages": HELLO, **fields}
            answer = await there.client.post("/v1/messages", json=body)
            return answer.status_code, answer.headers["x-lakehouse-attempts"]

        left_to_the_model = {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}
        assert await ask(**left_to_the_model) == (200, "2")
        assert await ask(**left_to_the_model) == (200, "1"), "it is remembered"
        assert await ask(output_config={"effort": "low"}, stream=True) == (200, "1")
        assert await ask(thinking={"type": "enabled", "budget_tokens": 2000}) == (400, "1")


async def test_a_refusal_of_something_else_is_the_clients() -> None:
    async def refuse(_: ReceivedRequest, stream: trio.SocketStream) -> None:
        await stream.send_all(respond({"error": "invalid image"}, 400))

    async with open_service_with_providers(scripts={"ollama": refuse}) as there:
        body = {"model": "ollama/m", "max_tokens": 9, "messages": HELLO, "output_config": {"effort": "low"}}
        answer = await there.client.post("/v1/messages", json=body)
        assert (answer.status_code, answer.headers["x-lakehouse-attempts"]) == (400, "1")
