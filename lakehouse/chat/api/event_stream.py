"""A streamed answer: whatever fails before its first piece is a plain answer, and after it there is one last event."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from lakehouse.asgi.middleware.standard_headers import ATTEMPTS
from lakehouse.asgi.request_scope import BeginStream
from lakehouse.asgi.sse import EventWriter, TryWrite, open_writer
from lakehouse.asgi.types import Send
from lakehouse.chat.api.errors import to_client_error
from lakehouse.chat.api.interface import Pieces
from lakehouse.chat.api.responses import JsonResponse
from lakehouse.chat.model.pieces import Done, Piece
from lakehouse.core.context import RequestContext
from lakehouse.core.errors import LakehouseError
from lakehouse.core.provider_failures import failure

HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx would hold pieces back
)


class StreamFormat(Protocol):
    """How one of the two APIs writes a stream. Made for one stream, so it may remember what it has written."""

    def events(self, batch: Sequence[Piece], pieces: Pieces) -> bytes:
        """The events for pieces that arrived together."""

    def error_event(self, error: LakehouseError) -> bytes:
        """The event that ends a stream which broke."""

    def refusal(self, error: LakehouseError) -> JsonResponse:
        """The answer in place of a stream that never began."""


class EventStream:
    """An answer that asks the dispatcher while it is sent.

    The dispatcher's stream is entered and left in one block of one task, so a client that leaves, a deadline or a
    shutdown ends it like any other block: there is nothing to clean up here, and nothing is shielded.
    """

    def __init__(
        self,
        stream: AbstractAsyncContextManager[Pieces],
        form: StreamFormat,
        *,
        keep_alive: float,
        context: RequestContext | None = None,
        begin_stream: BeginStream | None = None,
        try_write: TryWrite | None = None,
    ) -> None:
        """`begin_stream` is called once, when the first piece is there and before the head is sent, with the encoder of
        a final event for what ends the stream from outside. `try_write` is the server's."""
        self._stream = stream
        self._form = form
        self._keep_alive = keep_alive
        self._context = context
        self._begin_stream = begin_stream
        self._try_write = try_write

    async def send_to(self, send: Send) -> None:
        """Ask, and send what comes as it comes. After a cancellation the last event is the lifeline's to send."""
        async with open_writer(send, keep_alive=self._keep_alive, try_write=self._try_write) as writer:
            try:
                await self._stream_events(writer)
            except (Exception, BaseExceptionGroup) as raised:  # noqa: BLE001  # `to_client_error` raises, tells or logs it
                error = to_client_error(raised)
                if self._context is not None:
                    self._context.record_error(error)
                if not writer.started:
                    await self._form.refusal(error).send_to(send)
                else:
                    await writer.write(self._form.error_event(error), last=True)

    async def _stream_events(self, writer: EventWriter) -> None:
        last = None
        async with self._stream as pieces:
            form = self._form

            def pass_on(batch: Sequence[Piece]) -> Awaitable[None] | None:
                return writer.try_write(form.events(batch, pieces))

            async for batch in pieces.batches(pass_on):
                if not writer.started:
                    await self._begin(writer, pieces)
                events = form.events(batch, pieces)
                if isinstance(batch[-1], Done):
                    last = events  # said when all that the call started has ended: a server may cancel us after it
                elif (rest := writer.try_write(events)) is not None:
                    await rest
        if last is None:
            raise failure("incomplete_stream", "the stream ended without its end")
        await writer.write(last, last=True)

    async def _begin(self, writer: EventWriter, pieces: Pieces) -> None:
        if self._begin_stream is not None:
            self._begin_stream(self._form.error_event)
        await writer.start([*HEADERS, (ATTEMPTS, b"%d" % len(pieces.attempts))])
