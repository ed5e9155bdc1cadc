"""A chat's POST: what it is asked with, and how it is answered as plain ASGI, under a lifeline.

Quart's request, contexts and response are a fifth of what a whole chat costs, and a chat needs nothing of them but the
body. Where there is no lifeline it is a view of Quart's like any other, see `blueprints`.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from lakehouse.asgi import request_scope
from lakehouse.asgi.body import BodyLimits, receive_body
from lakehouse.asgi.request_scope import BeginStream
from lakehouse.asgi.sse import TryWrite
from lakehouse.asgi.types import Receive, Scope, Send
from lakehouse.chat.api.errors import to_client_error
from lakehouse.chat.api.event_stream import EventStream
from lakehouse.chat.api.responses import JsonResponse
from lakehouse.core.context import RequestContext
from lakehouse.core.errors import LakehouseError


class ParsedChat(NamedTuple):
    """The body of a chat request and what is known about it.

    `begin_stream` is the request scope's, `try_write` the server's.
    """

    body: bytes
    context: RequestContext | None
    begin_stream: BeginStream | None
    try_write: TryWrite | None = None


class ApiFormat(Protocol):
    """One of the two forms of a chat."""

    async def answer(self, asked: ParsedChat) -> JsonResponse | EventStream:
        """Have it answered. Raises a `LakehouseError`, or a group of them."""

    def refusal(self, error: LakehouseError, context: RequestContext | None) -> JsonResponse:
        """How this form tells a failure."""


class ChatEndpoint:
    """The ASGI application of a chat's POST, under a lifeline."""

    def __init__(self, chat: ApiFormat, *, max_body: int, timeout: float, idle_timeout: float) -> None:
        self._chat = chat
        self._limits = BodyLimits(max_size=max_body, timeout=timeout)
        self._idle_timeout = idle_timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; a failure becomes its refusal. Cancellation passes."""
        request = request_scope.get(scope)
        context, server = request.context, request.server
        answer: JsonResponse | EventStream
        try:
            answer = await self._chat.answer(
                ParsedChat(  # without a name: a stream would keep the body for as long as it lasts
                    await receive_body(scope, receive, self._limits),
                    context,
                    request.begin_stream,
                    None if server is None else server.try_write,
                )
            )
        except (Exception, BaseExceptionGroup) as raised:  # noqa: BLE001  # `to_client_error` raises, tells or logs it
            error = to_client_error(raised)
            context.record_error(error)
            answer = self._chat.refusal(error, context)
        if server is not None:
            server.idle_limit = self._idle_timeout
        await answer.send_to(send)
