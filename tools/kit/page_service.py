"""A service for the tests of the page: the real server, telemetry and endpoints, and a model that streams a script."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import trio

from lakehouse.asgi import request_scope
from lakehouse.asgi.body import read_body
from lakehouse.asgi.middleware.auth import AuthMiddleware
from lakehouse.asgi.middleware.lifetime_middleware import RequestLifetimeMiddleware
from lakehouse.asgi.middleware.sessions import SESSIONS_PATH
from lakehouse.asgi.middleware.tokens import Tokens
from lakehouse.asgi.responses import send_json
from lakehouse.asgi.router import Router
from lakehouse.asgi.types import Receive, Scope, Send
from lakehouse.core.active_requests import ActiveRequests
from lakehouse.core.context import Outcome, Phase, RequestContext
from lakehouse.core.errors import ErrNotFound, LakehouseError
from lakehouse.runtime.console.endpoints import PATHS, ObservabilityEndpoints, SignInPage
from lakehouse.runtime.sessions import WorkerSessions, session_routes
from lakehouse.server.server import BoundApp, serve_listeners
from lakehouse.sessions.registry import SessionRegistry
from lakehouse.telemetry.metrics import GaugeSources, LabelValues
from lakehouse.telemetry.telemetry import Telemetry
from tools.kit.scripted_lake import HERON, PLOVER, ScriptedLake
from tools.kit.telemetry_fixtures import CapturedLog, FakeUsage, Pool

GATEWAY = {
    "/v1/storage": "storaged",
    "/v1/catalog": "catalogd",
    "/v1/ingest": "ingestd",
    "/v1/sql": "queryd",
    "/v1/vectors": "vectord",
    "/v1/embed": "embedd",
    "/v1/pathway": "pathwayd",
    "/v1/matrix": "matrixd",
    "/v1/observer": "observerd",
}
PROVIDERS = ("ollama", "ollama_cloud", "openrouter", "kimi")
ROUTES = GATEWAY | dict.fromkeys(
    (*PATHS, SESSIONS_PATH, "/v1/ask", "/v1/chat", "/v1/chat/providers", "/v1/models", "/healthz"), ""
)


class Model:
    """Answers `/v1/chat` with a stream: `pieces`, then `end`; between them it waits for `go`, once."""

    def __init__(self) -> None:
        self.pieces: list[dict[str, object]] = [
            {"type": "reasoning", "text": "Three greetings. "},
            {"type": "content", "text": "Hello, "},
            {"type": "content", "text": "bonjour & <b>hallo</b>."},
        ]
        self.end: dict[str, object] = {
            "type": "done", "model": "qwen3:8b", "provider": "ollama", "finish_reason": "stop", "input_tokens": 14,
            "output_tokens": 9, "cached_tokens": None, "reasoning_tokens": None, "cost_usd": None, "latency_ms": 812.0,
            "attempts": [{"provider": "ollama", "model": "qwen3:8b", "status": 200, "error": None, "ms": 812.0}],
        }  # fmt: skip
        self.go = trio.Event()
        self.go.set()
        self.asked: list[dict[str, object]] = []
        self.left = trio.Event()

    async def __call__(self, receive: Receive, send: Send) -> None:
        self.asked.append(json.loads(await read_body(receive, 100_000)))
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        try:
            for number, event in enumerate([*self.pieces, self.end]):
                if number == 2:
                    await self.go.wait()
                # In two parts each, for events do not keep to the network's packets.
                text = f"data: {json.dumps(event)}\n\n".encode()
                for part in (text[:9], text[9:]):
                    await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except trio.Cancelled:
            self.left.set()
            raise


class AskModel(Model):
    """Answers `/v1/ask` with a stream whose end has passages, citations and claims."""

    def __init__(self) -> None:
        super().__init__()
        row = {"n": 3, "table": "sales", "id": "17", "text": "shop: Berlin", "metadata": {"row": 17, "key": None, "snapshot_id": "81"}}  # fmt: skip
        self.pieces = [
            {"type": "reasoning", "text": "Who stands? "},
            {"type": "content", "text": "It stands <still> [1]. "},
            {"type": "content", "text": "It is patient. Berlin [3]."},
        ]
        self.end = {key: value for key, value in self.end.items() if key != "cached_tokens"} | {
            "passages": [HERON, PLOVER, row], "citations": [HERON, row], "warnings": [],
            "claims": [
                {"text": "It stands <still> [1].", "citations": [1]}, {"text": "It is patient.", "citations": []},
                {"text": "Berlin [3].", "citations": [3]},
            ],
        }  # fmt: skip


@dataclass(frozen=True)
class _Request:
    """A request in flight that ends as soon as it is stopped."""

    service: PageService
    context: RequestContext

    def stop(self, error: LakehouseError, outcome: Outcome) -> None:
        """End it."""
        self.context.fail(error, outcome)
        self.service.active_requests.remove(self.context)
        self.service.calls.remove(self)
        trio.lowlevel.current_trio_token().run_sync_soon(self.service.registry.leave, self.context)


class PageService:
    """What a test sets: requests in flight, how full the pools are, which circuits are open, what has ended."""

    def __init__(self, *tokens: str) -> None:
        self.active_requests = ActiveRequests()
        self.pools = {name: Pool(name) for name in (*GATEWAY.values(), *PROVIDERS)}
        self.circuits: dict[str, int] = {}
        self.replicas: dict[str, list[dict[str, object]]] = {}
        self.model = Model()
        self.ask = AskModel()
        self.lake = ScriptedLake()
        sources = GaugeSources(
            active_requests=self.active_requests, pools=self.pools.values, circuits=lambda: self.circuits
        )
        names = LabelValues(routes=ROUTES, providers=PROVIDERS, tiers=("judge",), upstreams=tuple(GATEWAY.values()))
        self.observer = Telemetry(names, sources, log=CapturedLog().log)
        self._views = ObservabilityEndpoints(self.observer)
        self.calls: list[_Request] = []
        """Those in flight that belong to sessions."""
        self.registry = SessionRegistry(lambda: self.calls)
        sessions = WorkerSessions(self.registry, self.observer.worker_ipc, stopped_for=60.0)
        self._sessions = Router(session_routes(sessions))
        server_state = AuthMiddleware(self._app, tokens=Tokens(tokens), sign_in=SignInPage())
        self.app = RequestLifetimeMiddleware(
            server_state, active_requests=self.active_requests, on_end=self.observer.on_end
        )
        self.url = ""

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        request_scope.get(scope).context.assign_route(path if path in ROUTES else "")
        if path in PATHS:
            await self._views(scope, receive, send)
        elif path.startswith(SESSIONS_PATH):
            await self._sessions(scope, receive, send)
        elif path == "/v1/chat":
            await self.model(receive, send)
        elif path == "/v1/ask":
            await self.ask(receive, send)
        elif path.startswith(("/v1/catalog/", "/v1/ingest", "/v1/sql", "/v1/matrix/", "/v1/vectors/")):
            await self.lake(scope, receive, send)
        elif path == "/v1/chat/providers":
            rows = [
                {"name": name, "available": not self.circuits.get(name), "default": name == "ollama"}
                | ({"replicas": self.replicas[name]} if name in self.replicas else {})
                for name in PROVIDERS
            ]
            await send_json(send, 200, {"providers": rows, "default": "ollama"})
        elif path == "/v1/models":
            await send_json(send, 200, {"object": "list", "data": [{"id": "qwen3:8b"}, {"id": "judge"}]})
        else:
            raise ErrNotFound("nothing is served at this path")

    def takes_off(
        self, route: str, *, ago: float, phase: Phase = "waiting", left: float = 30.0, **facts: object
    ) -> RequestContext:
        """A request begins; it has run for `ago` seconds."""
        now = trio.current_time()
        context = RequestContext(
            id=f"{random.randrange(16**8):08x}-{len(self.active_requests):06x}",
            method="POST",
            path=route,
            route=route,
            started=now - ago,
            deadline=now + left,
            phase=phase,
            upstream=ROUTES[route] or None,
        )
        for name, value in facts.items():
            setattr(context, name, value)
        self.active_requests.add(context)
        if context.session is not None:
            identity, context.session = context.session, None
            self.calls.append(_Request(self, context))
            self.registry.join(self.calls[-1], identity)
        return context

    def has_served(
        self, route: str, seconds: float, *, status: int = 200, provider: str = "", error: str | None = None
    ) -> None:
        """A request has ended; `provider` makes it a chat."""
        now = trio.current_time()
        own = random.uniform(0.0001, 0.0006)
        context = RequestContext(
            id="x", method="POST", path=route, route=route, started=now - seconds, ended=now, status=status,
            outcome="answered", upstream_seconds=seconds - own, first_piece=now - seconds * 0.6, error=error,
        )  # fmt: skip
        if provider:
            context.provider = provider
            tried = context.record_attempt(provider, "m", now=now - seconds)
            tried.ended, tried.error = now, error
            context.usage = (
                None
                if error
                else FakeUsage(input_tokens=random.randrange(200, 900), output_tokens=random.randrange(50, 300))
            )
        self.observer.on_end(context)

    async def work(self, *dead: str) -> None:
        """Serve a mixed load until cancelled; upstreams and providers that are `dead` fail all they get."""
        while True:
            swell = 1 + 0.6 * random.random()
            for route, upstream in GATEWAY.items():
                for _ in range(random.randrange(0, int(7 * swell))):
                    bad = upstream in dead
                    self.has_served(route, random.lognormvariate(-4.6, 0.7), status=502 if bad else 200)
            for provider in PROVIDERS:
                bad = provider in dead
                for _ in range(random.randrange(0, 3)):
                    error = "upstream_error" if bad else None
                    self.has_served(
                        "/v1/chat",
                        random.lognormvariate(0.3, 0.5),
                        status=502 if bad else 200,
                        provider=provider,
                        error=error,
                    )
            for pool in self.pools.values():
                pool.in_use, pool.idle = random.randrange(0, 30), random.randrange(2, 12)
            await trio.sleep(0.1)


@asynccontextmanager
async def page_service(*tokens: str) -> AsyncIterator[PageService]:
    """Serve it on the loopback for the length of the block."""
    service = PageService(*tokens)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        async with trio.open_nursery() as nursery:
            await nursery.start(service.observer.run)
            stopping = trio.Event()
            run = partial(
                serve_listeners,
                [BoundApp(service.app, listener)],
                stopping=stopping,
                drain_timeout=0.1,
                abort_requests=service.app.drain,
            )
            running = await nursery.start(run)
            service.url = running.urls[0]
            yield service
            nursery.cancel_scope.cancel()
