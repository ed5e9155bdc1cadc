"""The gateway: a request comes in, is put to its upstream, and the answer goes back, everything as it arrives."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

import trio

from lakehouse.asgi import request_scope
from lakehouse.asgi.server_control import HttpServerControl, full_response
from lakehouse.asgi.types import Receive, Scope, Send
from lakehouse.config import GatewayTable
from lakehouse.config.urls import separate
from lakehouse.core.context import RequestContext
from lakehouse.core.errors import ErrBadRequest, ErrNotFound
from lakehouse.gateway import websocket
from lakehouse.gateway.body_streaming import RequestBody, send_response
from lakehouse.gateway.headers import RequestHead, accepts_trailers, request_headers, response_headers, server_timing
from lakehouse.gateway.routes import CHAT_ROUTES, ROUTES, Route, Routes, is_origin_form, upstream_target
from lakehouse.net.networks import Networks
from lakehouse.net.reactor import Reactor
from lakehouse.upstream.pool import Upstream
from lakehouse.upstream.request import UpstreamRequest
from lakehouse.upstream.response import UpstreamResponse

TRAILERS = "http.response.trailers"
"""The ASGI extension with which a server says that this client may be sent trailers."""


class Gateway:
    """The gateway group as an ASGI application; `http` and `websocket` scopes with a `RequestScope`.

    It has one `Upstream` for every service, with its own connections and limits, so a slow one takes nothing from the
    others. What fails before the response's head is out is raised as a LakehouseError with the upstream's name; after
    that, whatever is raised means that the client's response is incomplete and must be cut. Cancelled at any moment,
    it closes the upstream's socket and leaves nothing. `prefixes` are the routes, each with the name of its upstream.
    """

    def __init__(self, table: GatewayTable, *, reactor: Reactor | None = None) -> None:
        """`reactor`, which somebody else runs, keeps the upstreams' limits at less cost than cancel scopes."""
        routes = ROUTES + CHAT_ROUTES if table.chatd_url else ROUTES
        self._routes = Routes(routes)
        self.prefixes = {route.prefix.decode(): route.upstream for route in routes}
        self._trusted = Networks(table.trusted_proxies)
        self._idle_timeout = table.idle_timeout
        self._deadlines = reactor or Reactor()  # for its clock
        names = dict.fromkeys(route.upstream for route in routes)
        self._upstreams = {name: _upstream(name, table, reactor) for name in names}

    @property
    def upstreams(self) -> Mapping[str, Upstream]:
        """By name, for whoever reports on them."""
        return self._upstreams

    def find(self, path: bytes) -> Route | None:
        """The route of a raw path, None for what is not ours to answer.

        Raises ErrBadRequest for a target that is no path at all.
        """
        if not is_origin_form(path):
            raise ErrBadRequest(
                "the request's target must be a path, such as /v1/sql, or a URL of this service: it is no forward proxy"
            )
        return self._routes.find(path)

    def close(self) -> None:
        """Close idle connections now and busy ones with their response."""
        for upstream in self._upstreams.values():
            upstream.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self.find(scope["raw_path"])
        if route is None:
            raise ErrNotFound("nothing is served at this path")
        await self.answer(route, scope, receive, send)

    async def answer(self, route: Route, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request whose route was found."""
        request = request_scope.get(scope)
        context, server = request.context, request.server
        context.begin_relay(route.name, route.upstream)
        upstream = self._upstreams[route.upstream]
        target = upstream.base_path + upstream_target(route, scope["raw_path"], scope["query_string"])
        head = self._request_head(scope, context)
        if server is not None:
            server.idle_limit = self._idle_timeout
            if not scope["query_string"] and server.bare_query:
                target += b"?"
        asked = self._deadlines.now()
        try:
            if scope["type"] == "websocket":
                await websocket.relay(upstream, target, head.headers, scope, receive, send)
            else:
                await relay(upstream, target, head, scope, receive, send, asked=asked, reactor=self._deadlines)
        finally:  # the whole exchange was the upstream's, also when it failed or the client left
            context.add_upstream_time(self._deadlines.now() - asked)

    def _request_head(self, scope: Scope, context: RequestContext) -> RequestHead:
        client = scope.get("client")
        peer = client[0] if client else ""
        headers = scope["headers"]
        if (traceparent := context.traceparent()) is not None:
            headers = [pair for pair in headers if pair[0] != b"traceparent"]
            headers.append((b"traceparent", traceparent))
        return request_headers(
            headers,
            peer=peer,
            scheme=scope["scheme"],
            trusted=peer in self._trusted,
            request_id=context.id,
            time_left=inf if context.deadline == inf else context.deadline - trio.current_time(),
        )


def _upstream(name: str, table: GatewayTable, reactor: Reactor | None) -> Upstream:
    return Upstream(
        separate(getattr(table, f"{name}_url")),
        name=name,
        max_connections=table.max_connections,
        max_waiting=table.max_waiting,
        connect_timeout=table.connect_timeout,
        response_timeout=table.response_timeout,
        idle_timeout=table.idle_timeout,
        reactor=reactor,
    )


async def relay(
    upstream: Upstream,
    target: bytes,
    head: RequestHead,
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    asked: float,
    reactor: Reactor,
) -> None:
    """Put one HTTP request to the upstream and send its answer, which may begin while the body still goes up.

    `asked` is when that began, by `reactor`.
    """
    request = request_scope.get(scope)
    context = request.context
    method: bytes = scope["method"].encode()
    trailers = accepts_trailers(head.dropped_headers) and TRAILERS in scope["extensions"]
    if trailers:
        head.headers.extend(((b"connection", b"te"), (b"te", b"trailers")))
    body = None if head.length == 0 else await _body(request.server, receive, head.length)
    if isinstance(body, RequestBody):
        async with upstream.send_full_duplex(
            UpstreamRequest(method, target, head.headers, body, context=context)
        ) as response:
            await _answer(response, method, asked, reactor.now(), context, send, trailers=trailers)
    else:
        response = await upstream.send(UpstreamRequest(method, target, head.headers, body, context=context))
        try:
            await _answer(response, method, asked, reactor.now(), context, send, trailers=trailers)
        finally:
            response.close()


async def _body(server: HttpServerControl | None, receive: Receive, length: int | None) -> RequestBody | bytes:
    """What to send along: a small body that came with its head leaves with it, any other as it arrives."""
    body = RequestBody(receive, length)
    if length is not None and server is not None and server.body_received:
        return await body.receive()
    return body


async def _answer(
    response: UpstreamResponse,
    method: bytes,
    asked: float,
    answered: float,
    context: RequestContext,
    send: Send,
    *,
    trailers: bool,
) -> None:
    context.record_first_piece(answered)
    has_body = method != b"HEAD" and response.status not in (204, 304)
    head = response_headers(response.headers, status=response.status, has_body=has_body)
    if not head.streamed:
        head.headers.append(server_timing(answered - asked, asked - context.started))
    trailers = trailers and head.trailers != b""
    if trailers:
        head.headers.append((b"trailer", head.trailers))
    elif (body := response.try_read_all()) is not None:
        await send(full_response(response.status, head.headers, body))
        return
    await send_response(response, head.headers, send, trailers=trailers)
