"""OpenAI's Agents SDK against the whole service: an agent with a tool, whole and streamed, over `/v1/responses`.

Needs the package `openai-agents`: `nox -s clients` installs it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import openai
import pytest
import trio

from lakehouse.testing.upstreams import ReceivedRequest, respond
from tools.kit.service_with_providers import ServiceWithProviders, completion, open_service_with_providers

agents: Any = pytest.importorskip("agents", reason="openai-agents is not installed: nox -s clients installs it")

CITIES = ("Ghent", "Lyon")


async def use_tools(asked: ReceivedRequest, stream: trio.SocketStream) -> None:
    """Call the tool for two cities at once; when the results have come, repeat them."""
    messages: Any = asked.json["messages"]
    results = [message["content"] for message in messages if message["role"] == "tool"]
    if results:
        document: dict[str, Any] = completion(" ".join(results))
    else:
        document = completion("")
        functions = [{"name": "get_weather", "arguments": json.dumps({"city": city})} for city in CITIES]
        calls = [{"id": f"c{n}", "type": "function", "function": each} for n, each in enumerate(functions)]
        document["choices"] = [
            {
                "index": 0,
                "message": {"role": "assistant", "content": None, "tool_calls": calls},
                "finish_reason": "tool_calls",
            }
        ]
    await stream.send_all(respond(document))


async def run_whole(agent: Any, config: Any) -> str:
    result = await agents.Runner.run(agent, "How is the weather?", run_config=config)
    return str(result.final_output)


async def run_streamed(agent: Any, config: Any) -> str:
    result = agents.Runner.run_streamed(agent, "How is the weather?", run_config=config)
    async for _ in result.stream_events():
        pass
    return str(result.final_output)


def run_agent(there: ServiceWithProviders, run: Callable[[Any, Any], Awaitable[str]]) -> str:
    """The final output of an agent with one tool, in a loop of its own."""

    def get_weather(city: str) -> str:
        """The weather of a city."""
        return f"{city}: 3 C."

    async def main() -> str:
        async with openai.AsyncOpenAI(
            base_url=f"{there.service.urls[0]}/v1", api_key="none", max_retries=0, timeout=20
        ) as client:
            model = agents.OpenAIResponsesModel(model="openrouter/v/m", openai_client=client)
            agent = agents.Agent(
                name="weather", instructions="Be brief.", model=model, tools=[agents.function_tool(get_weather)]
            )
            return await run(agent, agents.RunConfig(tracing_disabled=True))

    return asyncio.run(main())


@pytest.mark.parametrize("run", [run_whole, run_streamed])
async def test_an_agent_calls_its_tool_twice_and_answers(run: Callable[[Any, Any], Awaitable[str]]) -> None:
    async with open_service_with_providers(scripts={"openrouter": use_tools}) as there:
        assert await trio.to_thread.run_sync(run_agent, there, run) == "Ghent: 3 C. Lyon: 3 C."
        first, second = there.providers["openrouter"].requests
    assert [message["role"] for message in first.json["messages"]] == ["system", "user"]
    roles = [message["role"] for message in second.json["messages"]]
    assert roles == ["system", "user", "assistant", "tool", "tool"]
