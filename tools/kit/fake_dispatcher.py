"""A dispatcher that plays a script, and the chat group over it on a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from math import inf
from typing import Any, Literal

import hypercorn.trio
import trio
from hypercorn.config import Config
from quart_trio import QuartTrio

from lakehouse.asgi.lazy import LazyApp
from lakehouse.asgi.middleware.lifetime_middleware import RequestLifetimeMiddleware
from lakehouse.asgi.router import Router
from lakehouse.asgi.sse import KEEP_ALIVE
from lakehouse.asgi.types import App
from lakehouse.chat.api.protocols import Dispatcher, ModelCard, ProviderState
from lakehouse.chat.api.routes import VERSION, chat_routes
from lakehouse.chat.model.answer import Answer
from lakehouse.chat.model.pieces import Done, Piece
from lakehouse.chat.model.raw_request import RawRequest
from lakehouse.chat.model.request import Request
from lakehouse.chat.model.tool_calls import Function, ToolCall
from lakehouse.core.active_requests import ActiveRequests
from lakehouse.core.context import RequestContext
from lakehouse.core.errors import Attempt, LakehouseError
from lakehouse.runtime.app import load_views
from lakehouse.server.listening import bind_socket
from lakehouse.server.server import BoundApp, serve_listeners
from lakehouse.services.host.errors import error_response

SERVED = Attempt(provider="ollama", model="qwen3:8b", status=200, ms=41.5)
FACTS: dict[str, Any] = {
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


def answer(content: str = "Hello!", **facts: Any) -> Answer:
    """An answer of the scripted provider."""
    return Answer(**{"content": content, "reasoning": "", "tool_calls": (), **FACTS, **facts})


def done_piece(**facts: Any) -> Done:
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

    async def relay(self, request: Request, raw: RawRequest, *, context: RequestContext | None = None) -> Answer:
        """As `__call__`: the scripted provider speaks another form."""
        return await self(request, context=context)

    @asynccontextmanager
    async def stream(
        self, request: Request, *, context: RequestContext | None = None, raw: RawRequest | None = None
    ) -> AsyncIterator[FakePieces]:
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


def chat_app(
    dispatcher: Dispatcher,
    *,
    max_body: int,
    timeout: float = inf,
    idle_timeout: float = 300.0,
    keep_alive: float = KEEP_ALIVE,
    prefix: str = VERSION,
) -> App:
    """The chat group over this dispatcher, as the service mounts it."""
    views = LazyApp(lambda: load_views(lambda: dispatcher, prefix=prefix))
    limits: Any = {"max_body": max_body, "timeout": timeout, "idle_timeout": idle_timeout, "keep_alive": keep_alive}
    return Router(chat_routes(dispatcher, views, prefix=prefix, **limits))


Server = Literal["ours", "hypercorn", "quart-trio"]
"""Where the group runs: on our own server, as in `lakehouse serve`; on stock Hypercorn; and there, mounted in the
Quart-Trio application of somebody else."""


async def serve(nursery: trio.Nursery, app: App, server: Server = "ours") -> str:
    """Serve the application in the nursery, on a free port of the loopback; gives its URL."""
    app = RequestLifetimeMiddleware(app, active_requests=ActiveRequests(), render_error=error_response)
    if server == "ours":
        return str(await nursery.start(_serve_ours, app))
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.accesslog = config.errorlog = None
    served: Any = mounted_in_quart(app) if server == "quart-trio" else app
    urls = await nursery.start(partial(hypercorn.trio.serve, served, config))
    return str(urls[0])


def mounted_in_quart(app: App) -> QuartTrio:
    """A Quart-Trio application with a view of its own, in which `app` answers every other path."""
    quart = QuartTrio("host")

    @quart.get("/host")
    async def host() -> str:
        return "the host's own view"

    views: Any = quart.asgi_app

    async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
        own = scope["type"] == "lifespan" or scope["path"] == "/host"
        await (views if own else app)(scope, receive, send)

    quart.asgi_app = asgi_app  # type: ignore[method-assign]
    return quart


async def _serve_ours(app: App, *, task_status: trio.TaskStatus[str]) -> None:
    with bind_socket("127.0.0.1", 0) as sock:
        site = BoundApp(app, sock)
        async with trio.open_nursery() as nursery:
            drain = partial(
                serve_listeners, stopping=trio.Event(), drain_timeout=1.0, abort_requests=nursery.cancel_scope.cancel
            )
            await nursery.start(drain, [site])
            task_status.started(site.url)
