"""The chat group over scripted providers of every dialect, called in this process."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from lakehouse.asgi.middleware.lifetime_middleware import RequestLifetimeMiddleware
from lakehouse.core.active_requests import ActiveRequests
from lakehouse.services.host.errors import error_response
from tools.kit.fake_dispatcher import chat_app
from tools.kit.fake_providers import FakeProvider, Script, open_fake_dispatcher, settings
from tools.kit.responses_stream import check_response, check_stream

MODELS = {
    "chat_completions": ("openrouter", "openrouter/v/m"),
    "responses": ("opencode", "opencode/gpt-5"),
    "messages": ("kimi", "kimi/m"),
    "ollama": ("ollama", "ollama/m"),
}
"""A provider that speaks each dialect, and a name that leads to it."""


@dataclass
class Door:
    """A client of `/v1/responses`, and the provider behind it."""

    client: httpx.AsyncClient
    provider: FakeProvider
    model: str

    async def post(self, **fields: Any) -> httpx.Response:
        """Send a request; what is not said says hello."""
        return await self.client.post("/v1/responses", json={"model": self.model, "input": "Hello?", **fields})

    async def ask(self, *, stream: bool, **fields: Any) -> dict[str, Any]:
        """Return the response object, whole or from the end of a stream; both are checked."""
        answer = await self.post(**({"stream": True} if stream else {}), **fields)
        assert answer.status_code == 200, answer.text
        if stream:
            return check_stream(answer.text)
        response: dict[str, Any] = answer.json()
        check_response(response)
        return response

    @property
    def sent(self) -> dict[str, Any]:
        """The body of the last request that the provider was sent."""
        return self.provider.requests[-1].json


@asynccontextmanager
async def open_client(
    policy: Mapping[str, Any] | None = None, **providers: FakeProvider
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the chat group over these providers."""
    config = settings(policy={"retries": 0, **(policy or {})})
    scripted: Any = providers
    async with open_fake_dispatcher(config, **scripted) as dispatcher:
        app = RequestLifetimeMiddleware(
            chat_app(dispatcher, max_body=1_000_000), active_requests=ActiveRequests(), render_error=error_response
        )
        transport: Any = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            yield client


@asynccontextmanager
async def open_door(dialect: str, *scripts: Script, policy: Mapping[str, Any] | None = None) -> AsyncIterator[Door]:
    """`/v1/responses` over a provider of this dialect, which is not asked twice unless `policy` says so."""
    name, model = MODELS[dialect]
    provider = FakeProvider(*scripts)
    providers: Any = {name: provider}
    async with open_client(policy, **providers) as client:
        yield Door(client, provider, model)


def body(document: Any, **head: Any) -> Script:
    """A whole answer of a provider."""
    return Script(chunks=[(0, json.dumps(document).encode())], **head)


def stream(*pieces: bytes) -> Script:
    """A streamed answer of a provider."""
    return Script(chunks=[(0, piece) for piece in pieces])
