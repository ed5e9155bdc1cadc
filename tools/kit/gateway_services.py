"""The gateway between real sockets: nine scripted services behind it, and clients that speak bytes.

Rules for the tests that use it: loopback and port 0 only; services and the listener live in the test's own nursery; what a
service does is written in the test, in the order in which it happens; nobody sleeps to wait for something to be so.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import trio

from lakehouse.asgi.middleware.lifetime_middleware import RequestLifetimeMiddleware
from lakehouse.asgi.router import Router
from lakehouse.asgi.types import App
from lakehouse.config import GatewayTable
from lakehouse.core.active_requests import ActiveRequests
from lakehouse.core.context import RequestContext
from lakehouse.gateway.gateway import NO_APPS, Gateway
from lakehouse.server.connection import serve_connection
from lakehouse.server.server_state import open_server_state
from tools.kit.http_stream import HttpStream as HttpStream
from tools.kit.http_stream import Pairs as Pairs
from tools.kit.hypercorn_server import open_hypercorn

NAMES = ("storaged", "catalogd", "ingestd", "queryd", "vectord", "embedd", "pathwayd", "matrixd", "observerd")

TEST_TIMEOUT = 20.0
"""Seconds for a whole test: one that hangs fails, and says where."""

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class Answer:
    """A response as a client got it."""

    status: int
    headers: Pairs
    body: bytes = b""

    def __getitem__(self, name: str) -> str:
        return dict(self.headers)[name.encode()].decode()

    def __contains__(self, name: str) -> bool:
        return name.encode() in dict(self.headers)


class Client(HttpStream):
    """A client's connection to the gateway."""

    async def ask(self, target: bytes | str, *, method: str = "GET", headers: str = "", body: bytes = b"") -> Answer:
        """Send a request in one piece and read the whole answer."""
        if isinstance(target, str):
            target = target.encode()
        lines = "".join(f"{line.strip()}\r\n" for line in headers.strip().splitlines() if line.strip())
        await self.send(b"%b %b HTTP/1.1\r\nhost: door\r\n%b\r\n%b" % (method.encode(), target, lines.encode(), body))
        answer = await self.answer_head()
        if method != "HEAD" and answer.status not in (204, 304):
            answer.body = await self.body(answer.headers)
        return answer

    async def answer_head(self) -> Answer:
        """The head of an answer; whoever waits for 100 reads a `head` before."""
        start, headers = await self.head()
        while start.startswith(b"HTTP/1.1 100"):
            start, headers = await self.head()
        return Answer(int(start.split()[1]), headers)


class ServiceRequest(HttpStream):
    """A request as a service sees it, and the means to answer it."""

    start: bytes
    headers: Pairs

    @property
    def target(self) -> bytes:
        return self.start.split(b" ")[1]

    @property
    def method(self) -> bytes:
        return self.start.split(b" ")[0]


Script = Callable[[ServiceRequest], Awaitable[None]]


async def answer_ok(visit: ServiceRequest) -> None:
    """Read the body and answer "ok"."""
    await visit.body(visit.headers)
    await visit.send(OK)


async def never_answer(visit: ServiceRequest) -> None:
    """Never answer; end when the gateway leaves."""
    while await visit.some():
        pass
    raise EOFError


@dataclass
class Service:
    """One upstream on a real socket. `script` answers its requests; `requests` is what it was asked."""

    name: str
    script: Script = answer_ok
    requests: list[ServiceRequest] = field(default_factory=list)
    opened: int = 0
    open: int = 0
    url: str = ""
    directory: str = ""
    """Where its Unix socket is made; without it, it listens on a port."""
    gone: trio.Event = field(default_factory=trio.Event)

    async def serve(self, *, task_status: trio.TaskStatus[None]) -> None:
        if self.directory:
            path = f"{self.directory}/{self.name}.sock"
            sock = trio.socket.socket(socket.AF_UNIX)
            await sock.bind(path)
            sock.listen()
            self.url, listeners = f"unix:{path}", [trio.SocketListener(sock)]
        else:
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            self.url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        await trio.serve_listeners(self._connection, listeners, task_status=task_status)  # type: ignore[arg-type]

    async def _connection(self, stream: trio.SocketStream) -> None:
        self.opened += 1
        self.open += 1
        visit = ServiceRequest(stream)
        try:
            async with stream:
                while True:
                    visit.start, visit.headers = await visit.head()
                    seen = ServiceRequest(stream)
                    seen.start, seen.headers = visit.start, visit.headers
                    self.requests.append(seen)
                    await self.script(visit)
        except (EOFError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self.open -= 1
            self.gone.set()

    @property
    def last(self) -> ServiceRequest:
        return self.requests[-1]


@dataclass
class GatewayWithServices:
    """The gateway with its nine services."""

    services: dict[str, Service]
    gateway: Gateway
    active_requests: ActiveRequests
    ended: list[RequestContext]
    address: tuple[str, int]

    def __getattr__(self, name: str) -> Service:
        try:
            return self.services[name]
        except KeyError:
            raise AttributeError(name) from None

    async def connect(self) -> Client:
        return Client(await trio.open_tcp_stream(*self.address))

    async def ask(self, target: bytes | str, **more: object) -> Answer:
        """One request on a connection of its own."""
        async with await self.connect() as client:
            return await client.ask(target, **more)  # type: ignore[arg-type]

    def is_quiet(self) -> bool:
        """Nothing is left of any request: no context, no slot, no waiter."""
        upstreams = self.gateway.upstreams.values()
        return not len(self.active_requests) and not any(upstream.in_use or upstream.waiting for upstream in upstreams)


Server = Callable[[App, trio.Nursery], AbstractAsyncContextManager[tuple[str, int]]]


@asynccontextmanager
async def serve_ours(app: App, nursery: trio.Nursery, *, port: int = 0) -> AsyncIterator[tuple[str, int]]:
    """The service's own server; on any port by default."""
    async with open_server_state(app) as server_state:
        listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
        await nursery.start(partial(trio.serve_listeners, partial(serve_connection, server_state), listeners))
        yield listeners[0].socket.getsockname()[:2]
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def serve_hypercorn(app: App, nursery: trio.Nursery) -> AsyncIterator[tuple[str, int]]:
    """Stock Hypercorn, ended with the nursery."""
    async with open_hypercorn(app) as url:
        host, _, port = url.rpartition("/")[2].rpartition(":")
        yield host, int(port)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_gateway(
    *,
    server: Server = serve_ours,
    wrap: Callable[[App], App] = lambda app: app,
    directory: str = "",
    apps: Mapping[str, App] = NO_APPS,
    **settings: object,
) -> AsyncIterator[GatewayWithServices]:
    """The gateway on a port of its own, for the block. `settings` replace the defaults of `[gateway]`.

    With a `directory` the services listen on Unix sockets in it. `apps` are services of this process, by their names.
    """
    async with trio.open_nursery() as nursery:
        services = {name: Service(name, directory=directory) for name in NAMES}
        for service in services.values():
            await nursery.start(service.serve)
        urls = {f"{name}_url": service.url for name, service in services.items()}
        gateway = Gateway(replace(GatewayTable(), **{**urls, **settings}), apps=apps)  # type: ignore[arg-type]
        active_requests = ActiveRequests()
        ended: list[RequestContext] = []
        app = RequestLifetimeMiddleware(
            wrap(Router(gateway.mounts)), active_requests=active_requests, on_end=ended.append
        )
        try:
            with trio.fail_after(TEST_TIMEOUT):
                async with server(app, nursery) as address:
                    yield GatewayWithServices(services, gateway, active_requests, ended, address)
        finally:
            gateway.close()
