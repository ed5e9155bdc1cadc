"""The native form of a chat: `POST /v1/chat`, whole or streamed."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from lakehouse.asgi import request_scope, sse
from lakehouse.asgi.json_body import decode_json
from lakehouse.chat.api import responses
from lakehouse.chat.api.endpoint import ParsedChat
from lakehouse.chat.api.event_stream import EventStream
from lakehouse.chat.api.interface import Dispatcher, Pieces
from lakehouse.chat.api.responses import JsonResponse
from lakehouse.chat.model.pieces import Piece
from lakehouse.chat.model.request import Request
from lakehouse.core.context import RequestContext
from lakehouse.core.errors import LakehouseError


class NativeChat:
    """`POST /chat`, see `ApiFormat`."""

    def __init__(self, dispatcher: Dispatcher, *, keep_alive: float = sse.KEEP_ALIVE) -> None:
        self._dispatcher = dispatcher
        self._keep_alive = keep_alive

    async def answer(self, asked: ParsedChat) -> JsonResponse | EventStream:
        """See `ApiFormat`."""
        query, context = decode_json(asked.body, Request), asked.context
        if query.stream:
            stream = self._dispatcher.stream(query, context=context)
            return EventStream(
                stream,
                NativeEncoder(context),
                keep_alive=self._keep_alive,
                context=context,
                begin_stream=asked.begin_stream,
                try_write=asked.try_write,
            )
        answer = await self._dispatcher(query, context=context)
        return responses.completion_response(answer, answer.attempts)

    def refusal(self, error: LakehouseError, context: RequestContext | None) -> JsonResponse:
        """See `ApiFormat`."""
        return NativeEncoder(context).refusal(error)


_encode = msgspec.json.Encoder().encode


class NativeEncoder:
    """Pieces as they are, each an event."""

    def __init__(self, context: RequestContext | None) -> None:
        self._context = context

    def events(self, batch: Sequence[Piece], _: Pieces) -> bytes:
        """One event for each piece; `Done` is the last of a stream."""
        return b"".join([sse.event(_encode(piece)) for piece in batch])

    def error_event(self, error: LakehouseError) -> bytes:
        """The event of type `error`."""
        return sse.event(msgspec.json.encode({"type": "error", **self._document(error)}))

    def refusal(self, error: LakehouseError) -> JsonResponse:
        """The error's document with its status."""
        return responses.error_response(error, self._document(error))

    def _document(self, error: LakehouseError) -> dict[str, object]:
        return error.document(request_scope.request_id(self._context))
