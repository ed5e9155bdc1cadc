"""A streamed answer. A failure before its first piece is a plain response; a later one is the final event."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from contextlib import AbstractAsyncContextManager

from lakehouse.asgi.middleware.standard_headers import PROVIDER
from lakehouse.asgi.request_scope import RequestScope
from lakehouse.asgi.responses import Response
from lakehouse.asgi.sse import EventWriter, StreamFraming, open_writer
from lakehouse.asgi.types import Send
from lakehouse.chat.api.errors import to_client_error
from lakehouse.chat.api.protocols import ApiFormat, Pieces, StreamEncoder
from lakehouse.chat.api.relay import RelayingEncoder
from lakehouse.chat.api.responses import count_attempts, name_request
from lakehouse.chat.model.pieces import Done, Piece
from lakehouse.core.errors import LakehouseError
from lakehouse.core.provider_failures import make_failure


def make_stream_headers(framing: StreamFraming) -> tuple[tuple[bytes, bytes], ...]:
    """The headers of a streamed response."""
    return (
        (b"content-type", framing.content_type),
        (b"cache-control", b"no-cache"),
        (b"x-accel-buffering", b"no"),  # nginx would hold pieces back
    )


class FailedStream(AbstractAsyncContextManager[Pieces]):
    """A stream that cannot be opened: entering it raises `error`."""

    def __init__(self, error: LakehouseError) -> None:
        self._error = error

    async def __aenter__(self) -> Pieces:
        raise self._error

    async def __aexit__(self, *_: object) -> None:
        """Does nothing."""


class FirstFailure:
    """The response to a failure before the first piece: one with the status of the failure, or a stream that holds
    nothing but the failure."""

    def __init__(self, api_format: ApiFormat, encoder: StreamEncoder, request_id: str) -> None:
        self._format = api_format
        self._encoder = encoder
        self._request_id = request_id
        self.begun = False  # events have been encoded

    def render(self, error: LakehouseError) -> Response:
        """The response."""
        framing = self._format.framing
        plain = framing.plain_failures
        if plain is None or error.status in plain or self.begun:
            return self._format.render_error(error, self._request_id)
        headers = [*make_stream_headers(framing), count_attempts(error.attempts)]
        return Response(self._encoder.encode_error(error), headers=headers, content_type=b"")


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
        self._first_failure = FirstFailure(api_format, encoder, request.context.id)
        self._format = api_format
        self._keep_alive = keep_alive
        self._request = request

    async def send_to(self, send: Send) -> None:
        """Call the dispatcher, and send pieces as they arrive. After a cancellation the lifetime sends the final
        event."""
        if self._format.framing.plain_failures is not None:
            self._request.render_errors_with(self._first_failure.render)
        server = self._request.server
        try_write = None if server is None else server.try_write
        comment = self._format.framing.keep_alive
        async with open_writer(send, keep_alive=self._keep_alive, try_write=try_write, comment=comment) as writer:
            try:
                await self._send_events(writer)
            except (Exception, BaseExceptionGroup) as raised:  # noqa: BLE001  # `to_client_error` raises, returns or logs it
                error = to_client_error(raised)
                self._request.context.record_error(error)
                if writer.started:
                    await writer.write(self._encoder.encode_error(error), last=True)
                else:
                    await self._first_failure.render(error).send_to(send)

    async def _send_events(self, writer: EventWriter) -> None:
        last = None
        async with self._pieces as pieces:
            encode = self._encoder.encode_events

            def send_batch(batch: Sequence[Piece]) -> Awaitable[None] | None:
                return writer.try_write(events) if (events := encode(batch, pieces)) else None

            async for batch in pieces.batches(send_batch):
                events = encode(batch, pieces)
                if not writer.started:
                    await self._start(writer, pieces)
                if isinstance(batch[-1], Done):
                    last = events  # sent when all that the call started has ended: a server may cancel us after it
                elif events and (rest := writer.try_write(events)) is not None:
                    await rest
        if last is None:
            raise make_failure("incomplete_stream", "the stream ended without its end")
        await writer.write(last, last=True)

    async def _start(self, writer: EventWriter, pieces: Pieces) -> None:
        self._first_failure.begun = True
        self._request.begin_stream(self._encoder.encode_error)
        headers = make_stream_headers(self._format.framing)
        facts = [count_attempts(pieces.attempts), *name_request(self._format, self._request.context)]
        if isinstance(self._encoder, RelayingEncoder) and self._encoder.relayed:
            facts.append((PROVIDER, pieces.provider.encode()))
        await writer.start([*headers, *facts])
