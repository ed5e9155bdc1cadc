"""How often each SDK asks after each way in which an answer can fail, with its own retries, and what it raises.

`docs/clients.md` has the tables. Codex is in `test_codex.py`; agents that no test runs are measured by
`python -m tools.client_endings`. Several failures of one SDK are asked for at once, because it waits between its requests.
`nox -s clients` runs them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any

import ollama
import openai
import pytest
import trio

from tests.clients.markers import in_clients_session
from tools.kit.failing_providers import FAILURES, fail_as_named
from tools.kit.service_with_providers import open_service_with_providers
from tools.kit.wires import PREFIXES, PROVIDERS, Wire

pytestmark = in_clients_session  # the SDKs wait between their requests: 20 s in all

HI: Any = [{"role": "user", "content": "Hi"}]
TIMEOUT = 60.0
"""Seconds for one request of an SDK. All ask at once, and other tests run beside them."""

AT_ONCE = 6
"""Requests of an SDK at the same time: it has this process's interpreter in common with the service that must answer."""

Ask = Callable[[str, str], str]
"""Asks a model at a URL for a stream and reads it; returns the code of a failure that is no exception."""


def ask_chat(url: str, model: str) -> str:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", timeout=TIMEOUT) as client:
        list(client.chat.completions.create(model=model, messages=HI, stream=True))
    return ""


def ask_responses(url: str, model: str) -> str:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", timeout=TIMEOUT) as client:
        last: Any = [*client.responses.create(model=model, input=HI, stream=True, store=False)][-1]
    return "" if last.response.error is None else str(last.response.error.code)


def ask_messages(url: str, model: str) -> str:
    import anthropic  # takes a second of processor time, in each process that collects the tests

    with (
        anthropic.Anthropic(base_url=url, auth_token="none", timeout=TIMEOUT) as client,
        client.messages.stream(model=model, max_tokens=100, messages=HI) as stream,
    ):
        stream.until_done()
    return ""


def ask_ollama(url: str, model: str) -> str:
    with closing(ollama.Client(url, timeout=TIMEOUT, trust_env=False)) as client:
        list(client.chat(model, HI, stream=True))
    return ""


FORMS: dict[str, tuple[Ask, tuple[Wire, Wire]]] = {
    "chat completions": (ask_chat, ("chat_completions", "ollama")),
    "responses": (ask_responses, ("responses", "chat_completions")),
    "messages": (ask_messages, ("messages", "chat_completions")),
    "Ollama": (ask_ollama, ("ollama", "chat_completions")),
}
"""The SDK of a form, and two protocols of providers: in the first the answer is relayed, over the second rebuilt."""

THREE = {
    "chat completions": {"rate-limit", "rate-limit-1s", "error-500", "overload-503", "overload-529"},
    "responses": {"rate-limit", "rate-limit-1s"},
    "messages": {"rate-limit", "rate-limit-1s", "error-500", "overload-503", "overload-529"},
    "Ollama": set[str](),
}
"""Failures after which the SDK of a form asks twice more. The provider has billed nothing, and may recover."""

RAISED: dict[str, tuple[str, str, str]] = {
    # OpenAI's SDK in its two forms, Anthropic's
    "bad-request": ("BadRequestError", "BadRequestError", "BadRequestError"),
    "too-long": ("BadRequestError", "BadRequestError", "BadRequestError"),
    "bad-key": ("InternalServerError", "invalid_prompt", "InternalServerError"),
    "unpaid-bill": ("InternalServerError", "insufficient_quota", "InternalServerError"),
    "unknown-model": ("NotFoundError", "model_not_found", "NotFoundError"),
    "rate-limit": ("RateLimitError", "RateLimitError", "RateLimitError"),
    "rate-limit-1s": ("RateLimitError", "RateLimitError", "RateLimitError"),
    "rate-limit-1h": ("RateLimitError", "RateLimitError", "RateLimitError"),
    "spent-quota": ("RateLimitError", "RateLimitError", "RateLimitError"),
    "error-500": ("InternalServerError", "invalid_prompt", "InternalServerError"),
    "overload-503": ("InternalServerError", "invalid_prompt", "OverloadedError"),
    "overload-529": ("InternalServerError", "invalid_prompt", "OverloadedError"),
    "late": ("InternalServerError", "invalid_prompt", "GatewayTimeoutError"),
    "empty": ("InternalServerError", "invalid_prompt", "InternalServerError"),
    "cut-in-thought": ("APIError", "invalid_prompt", "APIStatusError"),
    "error-in-thought": ("APIError", "invalid_prompt", "APIStatusError"),
    "cut": ("APIError", "invalid_prompt", "APIStatusError"),
    "error-within": ("APIError", "invalid_prompt", "APIStatusError"),
    "filter": ("", "invalid_prompt", ""),
    "token-limit": ("", "", ""),
}
"""What is raised, or the code of the failed response. Ollama's SDK has one exception."""


def expect(form: str, failure: str) -> tuple[int, str]:
    """The number of requests, and what is raised."""
    requests = 3 if failure in THREE[form] else 1
    if form == "Ollama":
        return requests, "ResponseError" if RAISED[failure][0] else ""
    return requests, RAISED[failure][["chat completions", "responses", "messages"].index(form)]


async def ask_for_all(ask: Ask, wire: Wire) -> dict[str, tuple[int, str]]:
    """For each failure the number of requests that reached the provider, and what was raised."""
    raised: dict[str, str] = {}

    def ask_for(url: str, failure: str) -> None:
        try:
            raised[failure] = ask(url, PREFIXES[wire] + failure)
        except Exception as error:  # noqa: BLE001 - its name is what is tested
            raised[failure] = type(error).__name__

    provider = PROVIDERS[wire]
    limiter = trio.CapacityLimiter(AT_ONCE)
    async with open_service_with_providers(scripts={provider: fail_as_named}) as there:
        async with trio.open_nursery() as nursery:
            for failure in FAILURES:
                ask_in_thread = partial(trio.to_thread.run_sync, limiter=limiter)
                nursery.start_soon(ask_in_thread, ask_for, there.service.urls[0], failure)
        asked = [request.json["model"] for request in there.requests[provider]]
    return {failure: (sum(model.endswith(failure) for model in asked), raised[failure]) for failure in FAILURES}


@pytest.mark.parametrize("form", FORMS)
async def test_how_often_an_sdk_asks_and_what_it_raises(form: str) -> None:
    ask, wires = FORMS[form]
    expected = {failure: expect(form, failure) for failure in FAILURES}
    found = {wire: await ask_for_all(ask, wire) for wire in wires}
    assert found == dict.fromkeys(wires, expected)
