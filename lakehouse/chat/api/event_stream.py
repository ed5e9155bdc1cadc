"""A streamed answer. A failure before its first piece is a plain response; a later one is the final event."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from contextlib import AbstractAsyncContextManager

from lakehouse.asgi.middleware.standard_headers import ATTEMPTS
from lakehouse.asgi.request_scope import RequestScope
from lakehouse.asgi.sse import EventWriter, open_writer
from lakehouse.asgi.types import Send
from lakehouse.chat.api.errors import to_client_error
from lakehouse.chat.api.protocols import ApiFormat, Pieces, StreamEncoder
from lakehouse.chat.model.pieces import Done, Piece
from lakehouse.core.provider_failures import make_failure

HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx would hold pieces back
)


class EventStream:
    """A response that calls the dispatcher while it is sent.

    The dispatcher's stream is entered and left in one block of one task, so a client that leaves, a deadline or a
    shutdown ends it like any other block: nothing has to be cleaned up here, and nothing is shielded.
    """

    def __init__(
        self,
        pieces: AbstractAsyncContextManager[Pieces],
        encoder: StreamEncoder,
        api_format: ApiFormat,
        *,
        keep_alive: float,
        request: RequestScope,
    ) -> None:
        """`keep_alive` is the pause between the comments of a silent stream, in seconds."""
        self._pieces = pieces
        self._encoder = encoder
        self._format = api_format
        self._keep_alive = keep_alive
        self._request = request

    async def send_to(self, send: Send) -> None:
        """Call the dispatcher, and send pieces as they arrive. After a cancellation the lifetime sends the final
        event."""
        server = self._request.server
        try_write = None if server is None else server.try_write
        async with open_writer(send, keep_alive=self._keep_alive, try_write=try_write) as writer:
            try:
                await self._send_events(writer)
            except (Exception, BaseExceptionGroup) as raised:  # noqa: BLE001  # `to_client_error` raises, returns or logs it
                error = to_client_error(raised)
                self._request.context.record_error(error)
                if writer.started:
                    await writer.write(self._encoder.encode_error(error), last=True)
                else:
                    await self._format.render_error(error, self._request.context.id).send_to(send)

    async def _send_events(self, writer: EventWriter) -> None:
        last = None
        async with self._pieces as pieces:
            encode = self._encoder.encode_events

            def send_batch(batch: Sequence[Piece]) -> Awaitable[None] | None:
                return writer.try_write(encode(batch, pieces))

            async for batch in pieces.batches(send_batch):
                if not writer.started:
                    await self._start(writer, pieces)
                events = encode(batch, pieces)
                if isinstance(batch[-1], Done):
                    last = events  # sent when all that the call started has ended: a server may cancel us after it
                elif (rest := writer.try_write(events)) is not None:
                    await rest
        if last is None:
            raise make_failure("incomplete_stream", "the stream ended without its end")
        await writer.write(last, last=True)

    async def _start(self, writer: EventWriter, pieces: Pieces) -> None:
        self._request.begin_stream(self._encoder.encode_error)
        await writer.start([*HEADERS, (ATTEMPTS, b"%d" % len(pieces.attempts))])
