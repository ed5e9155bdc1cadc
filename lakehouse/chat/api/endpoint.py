"""The chat endpoint: one request to a model, answered complete or as a stream of events."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from functools import partial

from lakehouse.asgi import request_scope
from lakehouse.asgi.body import BodyLimits, receive_body
from lakehouse.asgi.middleware.sessions import join_session
from lakehouse.asgi.request_scope import RequestScope
from lakehouse.asgi.responses import Response
from lakehouse.asgi.types import Receive, Scope, Send
from lakehouse.chat.api.errors import to_client_error
from lakehouse.chat.api.event_stream import EventStream, FailedStream
from lakehouse.chat.api.protocols import ApiFormat, Dispatcher, Pieces
from lakehouse.chat.api.relay import RelayingEncoder, make_raw_request
from lakehouse.chat.api.responses import completion_response, name_request, relayed_response, send_response
from lakehouse.chat.model.answer import Answer, RelayedAnswer
from lakehouse.chat.model.raw_request import RawRequest
from lakehouse.chat.model.request import Request
from lakehouse.core.context import RequestContext
from lakehouse.core.errors import LakehouseError


class ChatEndpoint:
    """The ASGI application for POST on the path of one form, inside of `RequestLifetimeMiddleware`.

    A failure before the response has begun is a response in the same form. When cancelled, everything that the request
    started has ended, and the lifetime sends what is left to send.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        api_format: ApiFormat,
        *,
        max_body: int,
        timeout: float,
        idle_timeout: float,
        keep_alive: float,
    ) -> None:
        """`max_body` is in bytes. The others are in seconds: the deadline of a call, the reading of its body included,
        how long a client may take nothing of its response, and the pause between the comments of a silent stream."""
        self._dispatcher = dispatcher
        self._format = api_format
        self._limits = BodyLimits(max_size=max_body, timeout=timeout)
        self._idle_timeout = idle_timeout
        self._keep_alive = keep_alive

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = request_scope.get(scope)
        response: Response | EventStream
        try:
            response = await self._respond(request, scope, receive)
        except (Exception, BaseExceptionGroup) as raised:  # noqa: BLE001  # `to_client_error` raises, returns or logs it
            error = to_client_error(raised)
            request.context.record_error(error)
            response = self._format.render_error(error, request.context.id)
        if request.server is not None:
            request.server.idle_limit = self._idle_timeout
        if isinstance(response, Response):
            await send_response(response, request, send)
        else:
            await response.send_to(send)

    async def _respond(self, request: RequestScope, scope: Scope, receive: Receive) -> Response | EventStream:
        # Neither the body nor `raw` is kept by the response: a stream would keep it for as long as it lasts.
        body = await receive_body(scope, receive, self._limits)
        query = self._format.parse(body)
        if isinstance(query, Response):
            return query
        join_session(scope, query.session)
        context = request.context
        relayed = self._format.relayed_form
        raw = make_raw_request(relayed, query, body, scope)
        if query.request.stream:
            pieces = self._open_stream(query.request, raw, context)
            make_encoder = partial(self._format.make_encoder, query, context.id)
            observed = relayed is not None and relayed.observed
            encoder = make_encoder() if raw is None else RelayingEncoder(make_encoder, observed=observed)
            return EventStream(pieces, encoder, self._format, keep_alive=self._keep_alive, request=request)
        if raw is None:
            answer: Answer | RelayedAnswer = await self._dispatcher(query.request, context=context)
        else:
            answer = await self._dispatcher.relay(query.request, raw, context=context)
        headers = name_request(self._format, context)
        if isinstance(answer, RelayedAnswer):
            return relayed_response(answer, headers)
        return completion_response(self._format.convert_answer(query, answer), answer.attempts, headers)

    def _open_stream(
        self, request: Request, raw: RawRequest | None, context: RequestContext
    ) -> AbstractAsyncContextManager[Pieces]:
        try:
            return self._dispatcher.stream(request, context=context, raw=raw)
        except LakehouseError as error:
            if self._format.framing.plain_failures is None:
                raise
            return FailedStream(error)
