"""A dispatcher that plays a script, and the chat group over it on a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Literal

import hypercorn.trio
import trio
from hypercorn.config import Config
from quart import Blueprint

from lakehouse.asgi.middleware.request_lifetime import RequestLifetimeMiddleware
from lakehouse.asgi.types import App
from lakehouse.chat.api.application import ChatApplication
from lakehouse.chat.api.interface import ModelCard, ProviderState
from lakehouse.chat.model.answer import Answer
from lakehouse.chat.model.pieces import Done, Piece
from lakehouse.chat.model.request import Request
from lakehouse.chat.model.tool_calls import Function, ToolCall
from lakehouse.core.active_requests import ActiveRequests
from lakehouse.core.context import RequestContext
from lakehouse.core.errors import Attempt, LakehouseError
from lakehouse.server.listening import bind_socket
from lakehouse.server.server import BoundApp, serve_listeners

SERVED = Attempt(provider="ollama", model="qwen3:8b", status=200, ms=41.5)
FACTS = {
    "model": "qwen3:8b",
    "provider": "ollama",
    "finish_reason": "stop",
    "input_tokens": 12,
    "output_tokens": 5,
    "cached_tokens": None,
    "reasoning_tokens": None,
    "cost_usd": None,
    "latency_ms": 42.0,
    "attempts": (SERVED,),
}
CALL = ToolCall(id="call_1", function=Function(name="get_weather", arguments='{"city":"Ghent"}'))

Script = Iterable["Sequence[Piece] | Exception | float | trio.Event"]
"""What a stream does, in order: pieces that arrive together, a failure, seconds of silence, or waiting for an event."""


def answer(content: str = "Hello!", **facts: object) -> Answer:
    """An answer of the scripted provider."""
    return Answer(**{"content": content, "reasoning": "", "tool_calls": (), **FACTS, **facts})


def done_piece(**facts: object) -> Done:
    """The end of a stream of the scripted provider."""
    return Done(**{**FACTS, **facts})


class FakePieces:
    """The stream of a script."""

    provider = "ollama"
    model = "qwen3:8b"
    attempts = (SERVED,)

    def __init__(self, script: Script) -> None:
        self._steps = iter(script)

    def batches(self, meanwhile: object = None) -> FakePieces:
        return self

    def __aiter__(self) -> FakePieces:
        return self

    async def __anext__(self) -> Sequence[Piece]:
        for step in self._steps:
            if isinstance(step, Exception):
                raise step
            if isinstance(step, trio.Event):
                await step.wait()
            elif isinstance(step, (int, float)):
                await trio.sleep(step)
            else:
                await trio.lowlevel.checkpoint()
                return step
        raise StopAsyncIteration


class FakeDispatcher:
    """Remembers what it was asked; answers with `reply`, raises it or waits for it, and streams `script`."""

    def __init__(self, *, reply: Answer | Exception | trio.Event | None = None, script: Script = ()) -> None:
        self.reply = reply if reply is not None else answer()
        self.script = script
        self.requests: list[Request] = []
        self.contexts: list[RequestContext | None] = []
        self.under_way = 0
        self.begun = trio.Event()
        self.closed = trio.Event()
        self.cards: list[ModelCard] | LakehouseError = []

    async def __call__(self, request: Request, *, context: RequestContext | None = None) -> Answer:
        with self._call(request, context):
            await trio.lowlevel.checkpoint()
            if isinstance(self.reply, Exception):
                raise self.reply
            if isinstance(self.reply, trio.Event):
                await self.reply.wait()
                return answer()
            return self.reply

    @asynccontextmanager
    async def stream(self, request: Request, *, context: RequestContext | None = None) -> AsyncIterator[FakePieces]:
        with self._call(request, context):
            async with trio.open_nursery():  # as the real one: failures come in groups, scopes must nest
                yield FakePieces(self.script)

    @contextmanager
    def _call(self, request: Request, context: RequestContext | None) -> Iterator[None]:
        self.requests.append(request)
        self.contexts.append(context)
        self.under_way += 1
        self.begun.set()
        try:
            yield
        finally:
            self.under_way -= 1
            self.closed.set()

    def providers(self) -> list[ProviderState]:
        return [
            ProviderState(name="ollama", available=True, default=True),
            ProviderState(name="kimi", available=False, default=False),
        ]

    async def models(self) -> list[ModelCard]:
        if isinstance(self.cards, LakehouseError):
            raise self.cards
        return self.cards


def application(*blueprints: Blueprint) -> ChatApplication:
    """These routes in an application of their own."""
    app = ChatApplication()
    for blueprint in blueprints:
        app.register_blueprint(blueprint)
    return app


Server = Literal["ours", "hypercorn", "bare hypercorn"]
"""Our own connections under a lifeline, as `lakehouse serve` runs the group; stock Hypercorn with a lifeline, and without."""


async def serve(nursery: trio.Nursery, app: App, server: Server = "ours") -> str:
    """Serve the application in the nursery, on a free port of the loopback; gives its URL."""
    if server != "bare hypercorn":
        app = RequestLifetimeMiddleware(app, active_requests=ActiveRequests())
    if server == "ours":
        return str(await nursery.start(_serve_ours, app))
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.accesslog = config.errorlog = None
    urls = await nursery.start(partial(hypercorn.trio.serve, app, config))
    return str(urls[0])


async def _serve_ours(app: App, *, task_status: trio.TaskStatus[str]) -> None:
    with bind_socket("127.0.0.1", 0) as sock:
        site = BoundApp(app, sock)
        async with trio.open_nursery() as nursery:
            drain = partial(
                serve_listeners, stopping=trio.Event(), drain_timeout=1.0, expire=nursery.cancel_scope.cancel
            )
            await nursery.start(drain, [site])
            task_status.started(site.url)
