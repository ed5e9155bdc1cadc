"""The endpoint of an ask: POST, answered whole or as a stream of events in the form of a native chat."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from lakehouse.asgi import request_scope, sse
from lakehouse.asgi.body import BodyLimits
from lakehouse.asgi.json_body import receive_json
from lakehouse.asgi.middleware.sessions import join_session
from lakehouse.asgi.request_scope import RequestScope
from lakehouse.asgi.sse import KEEP_ALIVE, SERVER_SENT_EVENTS, EventWriter, open_writer
from lakehouse.asgi.types import Receive, Scope, Send
from lakehouse.ask.answer import AskDone
from lakehouse.ask.asker import Asker, AskEvent
from lakehouse.ask.request import AskRequest
from lakehouse.chat.api.errors import to_client_error
from lakehouse.chat.api.event_stream import make_stream_headers
from lakehouse.chat.api.native import NativeEncoder, NativeFormat
from lakehouse.chat.api.responses import completion_response, send_response
from lakehouse.core.provider_failures import make_failure
from lakehouse.core.session_identity import convert_field


class AskEndpoint:
    """The ASGI application for POST, inside of `RequestLifetimeMiddleware`.

    A failure before the first event of an answer is a response with its own status; a later one is the final event.
    When cancelled, everything that the request started has ended, and the lifetime sends what is left to send.
    """

    def __init__(
        self,
        asker: Asker,
        *,
        max_body: int,
        timeout: float,
        idle_timeout: float,
        keep_alive: float = KEEP_ALIVE,
    ) -> None:
        """`max_body` is in bytes. The others are in seconds, as those of a chat's endpoint."""
        self._asker = asker
        self._limits = BodyLimits(max_size=max_body, timeout=timeout)
        self._idle_timeout = idle_timeout
        self._keep_alive = keep_alive

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = request_scope.get(scope)
        try:
            query = await receive_json(scope, receive, AskRequest, self._limits)
            join_session(scope, convert_field(query.session))
            if not query.stream:
                answer = await self._asker.answer(query, context=request.context)
                response = completion_response(answer, answer.attempts)
        except (Exception, BaseExceptionGroup) as raised:  # noqa: BLE001  # `to_client_error` raises, returns or logs it
            await self._send_failure(raised, request, send)
            return
        if request.server is not None:
            request.server.idle_limit = self._idle_timeout
        if query.stream:
            await self._send_stream(query, request, send)
        else:
            await send_response(response, request, send)

    async def _send_failure(
        self, raised: Exception | BaseExceptionGroup[BaseException], request: RequestScope, send: Send
    ) -> None:
        error = to_client_error(raised)
        request.context.record_error(error)
        await send_response(NativeFormat().render_error(error, request.context.id), request, send)

    async def _send_stream(self, query: AskRequest, request: RequestScope, send: Send) -> None:
        encoder = NativeEncoder(request.context.id)
        async with open_writer(send, keep_alive=self._keep_alive) as writer:
            try:
                await self._send_events(query, request, encoder, writer)
            except (Exception, BaseExceptionGroup) as raised:  # noqa: BLE001  # as above
                if not writer.started:
                    await self._send_failure(raised, request, send)
                    return
                error = to_client_error(raised)
                request.context.record_error(error)
                await writer.write(encoder.encode_error(error), last=True)

    async def _send_events(
        self, query: AskRequest, request: RequestScope, encoder: NativeEncoder, writer: EventWriter
    ) -> None:
        last = b""
        async with self._asker.stream(query, context=request.context) as batches:
            async for batch in batches:
                if not writer.started:
                    request.begin_stream(encoder.encode_error)
                    await writer.start(make_stream_headers(SERVER_SENT_EVENTS))
                if isinstance(batch[-1], AskDone):
                    last = _encode(batch)  # sent when all that the ask started has ended
                else:
                    await writer.write(_encode(batch))
        if not last:
            raise make_failure("incomplete_stream", "the stream ended without its end")
        await writer.write(last, last=True)


def _encode(batch: Sequence[AskEvent]) -> bytes:
    return b"".join(sse.encode_event(msgspec.json.encode(event)) for event in batch)
