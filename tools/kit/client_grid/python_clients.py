"""The Python clients of the grid: each makes its checks with one model.

The clients are synchronous, or have a loop of their own: they run in a thread, far from the service's event loop.
Anthropic's is imported by what uses it: that takes a second of processor time, in each process that collects the tests.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import json
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

import ollama
import openai
import trio

from tools.kit.client_grid.conversation import QUESTION, REFUSED, WEATHER
from tools.kit.client_grid.table import MODELS, GridRow
from tools.kit.not_installed import NotInstalled

Check = Callable[[], str]
"""Returns the text of the last answer."""

Checks = Mapping[str, Check]
"""By name: `whole` and `streamed` are rounds with a tool, `refused` is one request that the provider refuses."""

TIMEOUT = 60.0
"""Seconds for one request, which other tests may run beside."""
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
DESCRIPTION = "The weather in a city"
ASKED: Any = [{"role": "user", "content": QUESTION}]
REFUSING: Any = [{"role": "user", "content": REFUSED}]


def get_weather(city: str) -> str:
    """The weather in a city.

    Args:
        city: its name
    """
    if city != "Ghent":
        raise ValueError(city)
    return WEATHER


def expect_refusal(call: Callable[[], object], kind: type[Exception]) -> str:
    """The words of the error that the call raises. Raises `AssertionError` if it raises none."""
    try:
        call()
    except kind as error:
        return f"{error} {WEATHER if 'temperature' in str(error) else ''}"
    raise AssertionError(f"{kind.__name__} was not raised")


def open_openai(url: str) -> openai.OpenAI:
    """OpenAI's client, which makes one request only."""
    return openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=TIMEOUT)


def check_openai_chat(url: str, model: str) -> Checks:
    """Chat completions."""
    tools: Any = [
        {"type": "function", "function": {"name": "get_weather", "description": DESCRIPTION, "parameters": SCHEMA}}
    ]

    def run_round(ask: Callable[[Any], Any]) -> str:
        message = ask(ASKED).choices[0].message
        results = [
            {"role": "tool", "tool_call_id": call.id, "content": get_weather(**json.loads(call.function.arguments))}
            for call in message.tool_calls
        ]
        return str(ask([*ASKED, message, *results]).choices[0].message.content)

    def ask_whole(messages: Any) -> Any:
        with open_openai(url) as client:
            return client.chat.completions.create(model=model, messages=messages, tools=tools)

    def ask_streamed(messages: Any) -> Any:
        with (
            open_openai(url) as client,
            client.chat.completions.stream(model=model, messages=messages, tools=tools) as stream,
        ):
            return stream.get_final_completion()

    return {
        "whole": lambda: run_round(ask_whole),
        "streamed": lambda: run_round(ask_streamed),
        "refused": lambda: expect_refusal(lambda: ask_whole(REFUSING), openai.BadRequestError),
    }


def check_openai_responses(url: str, model: str) -> Checks:
    """Responses."""
    tools: Any = [
        {"type": "function", "name": "get_weather", "description": DESCRIPTION, "parameters": SCHEMA, "strict": False}
    ]

    def run_round(ask: Callable[[Any], Any]) -> str:
        output = ask(ASKED).output
        results = [
            {
                "type": "function_call_output",
                "call_id": item.call_id,
                "output": get_weather(**json.loads(item.arguments)),
            }
            for item in output
            if item.type == "function_call"
        ]
        return str(ask([*ASKED, *output, *results]).output_text)

    def ask_whole(messages: Any) -> Any:
        with open_openai(url) as client:
            return client.responses.create(model=model, input=messages, tools=tools, store=False)

    def ask_streamed(messages: Any) -> Any:
        with (
            open_openai(url) as client,
            client.responses.stream(model=model, input=messages, tools=tools, store=False) as stream,
        ):
            return stream.get_final_response()

    return {
        "whole": lambda: run_round(ask_whole),
        "streamed": lambda: run_round(ask_streamed),
        "refused": lambda: expect_refusal(lambda: ask_whole(REFUSING), openai.BadRequestError),
    }


def check_anthropic(url: str, model: str) -> Checks:
    """Messages, by the SDK's tool runner."""
    import anthropic

    def run_round(*, stream: bool) -> str:
        with anthropic.Anthropic(base_url=url, auth_token="none", max_retries=0, timeout=TIMEOUT) as client:
            runner: Any = client.beta.messages.tool_runner(
                model=model, max_tokens=1000, messages=ASKED, tools=[anthropic.beta_tool(get_weather)], stream=stream
            )
            last = [each.get_final_message() if stream else each for each in runner][-1]
            return str(last.content[0].text)

    def refuse() -> None:
        with anthropic.Anthropic(base_url=url, auth_token="none", max_retries=0, timeout=TIMEOUT) as client:
            client.messages.create(model=model, max_tokens=1000, messages=REFUSING)

    return {
        "whole": lambda: run_round(stream=False),
        "streamed": lambda: run_round(stream=True),
        "refused": lambda: expect_refusal(refuse, anthropic.BadRequestError),
    }


def check_ollama(url: str, model: str) -> Checks:
    """Ollama's `/api/chat`."""

    def ask(messages: Any, *, stream: bool = False) -> Any:
        with closing(ollama.Client(url, timeout=TIMEOUT, trust_env=False)) as client:
            if not stream:
                return client.chat(model, messages, tools=[get_weather]).message
            parts = [part.message for part in client.chat(model, messages, tools=[get_weather], stream=True)]
        calls = [call for part in parts for call in part.tool_calls or ()]
        text = "".join(part.content or "" for part in parts)
        return ollama.Message(role="assistant", content=text, tool_calls=calls or None)

    def run_round(*, stream: bool) -> str:
        said = ask(ASKED, stream=stream)
        results = [
            {"role": "tool", "tool_name": call.function.name, "content": get_weather(**call.function.arguments)}
            for call in said.tool_calls
        ]
        return str(ask([*ASKED, said, *results], stream=stream).content)

    return {
        "whole": lambda: run_round(stream=False),
        "streamed": lambda: run_round(stream=True),
        "refused": lambda: expect_refusal(lambda: ask(REFUSING), ollama.ResponseError),
    }


def check_agents(url: str, model: str) -> Checks:
    """Responses, by OpenAI's Agents SDK, which is imported here because it is not always installed."""
    agents = importlib.import_module("agents")

    async def run_agent(question: str, *, stream: bool) -> str:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=TIMEOUT) as client:
            used = agents.OpenAIResponsesModel(model=model, openai_client=client)
            agent = agents.Agent(name="weather", model=used, tools=[agents.function_tool(get_weather)])
            config = agents.RunConfig(tracing_disabled=True)
            if not stream:
                return str((await agents.Runner.run(agent, question, run_config=config)).final_output)
            result = agents.Runner.run_streamed(agent, question, run_config=config)
            async for _ in result.stream_events():
                pass
            return str(result.final_output)

    return {
        "whole": lambda: asyncio.run(run_agent(QUESTION, stream=False)),
        "streamed": lambda: asyncio.run(run_agent(QUESTION, stream=True)),
        "refused": lambda: expect_refusal(
            lambda: asyncio.run(run_agent(REFUSED, stream=False)), openai.BadRequestError
        ),
    }


PYTHON_CLIENTS: dict[tuple[str, str], tuple[str, Callable[[str, str], Checks]]] = {
    ("`openai`, Python", "chat completions"): ("openai", check_openai_chat),
    ("`openai`, Python", "responses"): ("openai", check_openai_responses),
    ("`anthropic`, Python", "messages"): ("anthropic", check_anthropic),
    ("`ollama`, Python", "Ollama"): ("ollama", check_ollama),
    ("`openai-agents`, Python", "responses"): ("openai-agents", check_agents),
}
"""By client and form: the package, and what makes its checks."""


async def measure_python_client(client: str, form: str, url: str) -> GridRow:
    """The row of one client. Raises `NotInstalled`."""
    package, make_checks = PYTHON_CLIENTS[client, form]
    try:
        version = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        raise NotInstalled(f"the package {package} is not installed") from None
    problems = {}
    for wire, model in MODELS.items():
        checks = make_checks(url, model)
        problems[wire] = {name: await trio.to_thread.run_sync(find_problem, checks[name]) for name in checks}
    return GridRow(client=client, form=form, version=version, problems=problems)


def find_problem(check: Check) -> str:
    """What is wrong with a check; an empty text if nothing is."""
    try:
        said = check()
    except Exception as error:  # noqa: BLE001 - it is reported
        return f"{type(error).__name__}: {error}"
    return "" if WEATHER in said else f"the last answer is {said!r}"
