"""A service reached by URL: the request is relayed to its upstream and the response back, both as they arrive."""

from __future__ import annotations

from math import inf

import trio

from lakehouse.asgi import request_scope
from lakehouse.asgi.server_control import HttpServerControl, full_response
from lakehouse.asgi.types import Receive, Scope, Send
from lakehouse.core.context import RequestContext
from lakehouse.gateway import websocket
from lakehouse.gateway.body_streaming import RequestBody, send_response
from lakehouse.gateway.headers import (
    RequestHead,
    accepts_trailers,
    format_server_timing,
    make_request_head,
    make_response_head,
)
from lakehouse.gateway.routes import GatewayRoute, upstream_target
from lakehouse.net.networks import Networks
from lakehouse.net.reactor import Reactor
from lakehouse.upstream.http1.request import UpstreamRequest
from lakehouse.upstream.http1.response import UpstreamResponse
from lakehouse.upstream.pool import Upstream

TRAILERS = "http.response.trailers"
"""The ASGI extension of a server that can send trailers to this client."""


class ReverseProxy:
    """A service that is reached by URL, over TCP, TLS or a Unix socket: the ASGI application of one route to it.

    Takes `http` and `websocket` scopes with a `RequestScope`. What fails before the head of the response is sent is
    raised as a LakehouseError with the service's name; after that, whatever is raised means that the client's response
    is incomplete and must be cut. Cancelled at any moment, it closes the upstream's connection and leaves nothing.
    """

    def __init__(
        self, route: GatewayRoute, upstream: Upstream, *, trusted: Networks, idle_timeout: float, reactor: Reactor
    ) -> None:
        """`trusted` are the proxies whose forwarding headers are passed on; `idle_timeout` is in seconds."""
        self._route = route
        self._upstream = upstream
        self._trusted = trusted
        self._idle_timeout = idle_timeout
        self._reactor = reactor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = request_scope.get(scope)
        context, server, upstream = request.context, request.server, self._upstream
        context.begin_relay(self._route.name, upstream.name)
        target = upstream.base_path + upstream_target(self._route.prefix, scope["raw_path"], scope["query_string"])
        head = self._request_head(scope, context)
        if server is not None:
            server.idle_limit = self._idle_timeout
            if not scope["query_string"] and server.bare_query:
                target += b"?"
        began = self._reactor.now()
        try:
            if scope["type"] == "websocket":
                await websocket.relay(upstream, target, head.headers, scope, receive, send)
            else:
                await relay(upstream, target, head, scope, receive, send, began=began, reactor=self._reactor)
        finally:  # the whole exchange was the upstream's, also when it failed or the client left
            context.add_upstream_time(self._reactor.now() - began)

    def _request_head(self, scope: Scope, context: RequestContext) -> RequestHead:
        client = scope.get("client")
        peer = client[0] if client else ""
        headers = scope["headers"]
        if context.trace is not None and (traceparent := context.traceparent()) is not None:
            headers = [pair for pair in headers if pair[0] != b"traceparent"]
            headers.append((b"traceparent", traceparent))
        return make_request_head(
            headers,
            peer=peer,
            scheme=scope["scheme"],
            trusted=peer in self._trusted,
            request_id=context.id,
            time_left=inf if context.deadline == inf else context.deadline - trio.current_time(),
        )


async def relay(
    upstream: Upstream,
    target: bytes,
    head: RequestHead,
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    began: float,
    reactor: Reactor,
) -> None:
    """Send one HTTP request to the upstream and its response to the client; it may begin before the body is sent.

    `began` is the time when the gateway began with it, on the clock of `reactor`.
    """
    request = request_scope.get(scope)
    context = request.context
    method: bytes = scope["method"].encode()
    trailers = accepts_trailers(head.dropped_headers) and TRAILERS in scope["extensions"]
    if trailers:
        head.headers.extend(((b"connection", b"te"), (b"te", b"trailers")))
    body = None if head.length == 0 else _choose_body(request.server, receive, head.length)
    if isinstance(body, RequestBody):
        async with upstream.send_full_duplex(
            UpstreamRequest(method, target, head.headers, body, context=context)
        ) as response:
            await _send_response(response, method, began, reactor.now(), context, send, trailers=trailers)
    else:
        response = await upstream.send(UpstreamRequest(method, target, head.headers, body, context=context))
        try:
            await _send_response(response, method, began, reactor.now(), context, send, trailers=trailers)
        finally:
            response.close()


def _choose_body(server: HttpServerControl | None, receive: Receive, length: int | None) -> RequestBody | bytes:
    """The body for the upstream: bytes if it arrived with its head, so that both leave together, else streamed."""
    if length is not None and server is not None and (body := server.try_receive_body()) is not None:
        return body
    return RequestBody(receive, length)


async def _send_response(
    response: UpstreamResponse,
    method: bytes,
    began: float,
    answered: float,
    context: RequestContext,
    send: Send,
    *,
    trailers: bool,
) -> None:
    context.record_first_piece(answered)
    has_body = method != b"HEAD" and response.status not in (204, 304)
    head = make_response_head(response.headers, status=response.status, has_body=has_body)
    if not head.streamed:
        head.headers.append(format_server_timing(answered - began, began - context.started))
    trailers = trailers and head.trailers != b""
    if trailers:
        head.headers.append((b"trailer", head.trailers))
    elif (body := response.try_read_all()) is not None:
        await send(full_response(response.status, head.headers, body))
        return
    await send_response(response, head.headers, send, trailers=trailers)
