"""The chat endpoint: one request to a model, answered complete or as a stream of events."""

from __future__ import annotations

from lakehouse.asgi import request_scope
from lakehouse.asgi.body import BodyLimits, receive_body
from lakehouse.asgi.request_scope import RequestScope
from lakehouse.asgi.responses import Response
from lakehouse.asgi.types import Receive, Scope, Send
from lakehouse.chat.api.errors import to_client_error
from lakehouse.chat.api.event_stream import EventStream
from lakehouse.chat.api.protocols import ApiFormat, Dispatcher
from lakehouse.chat.api.responses import completion_response, send_response


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
        # The body has no name here: a stream would keep it for as long as it lasts.
        query = self._format.parse(await receive_body(scope, receive, self._limits))
        context = request.context
        if query.request.stream:
            pieces = self._dispatcher.stream(query.request, context=context)
            encoder = self._format.make_encoder(query, context.id)
            return EventStream(pieces, encoder, self._format, keep_alive=self._keep_alive, request=request)
        answer = await self._dispatcher(query.request, context=context)
        return completion_response(self._format.convert_answer(answer), answer.attempts)
