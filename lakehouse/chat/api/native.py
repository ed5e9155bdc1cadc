"""The native form of a chat: `POST /v1/chat`, whole or streamed."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from lakehouse.chat.api import answers, body, sse, surroundings
from lakehouse.chat.api.answers import Whole
from lakehouse.chat.api.events import EventStream
from lakehouse.chat.api.interface import Dispatcher, Pieces
from lakehouse.chat.api.posts import Asked
from lakehouse.chat.request import Piece, Request
from lakehouse.errors import LakehouseError
from lakehouse.observe.inflight import Flight


class NativeChat:
    """`POST /chat`, see `Chat`."""

    def __init__(self, dispatcher: Dispatcher, *, keep_alive: float = sse.KEEP_ALIVE) -> None:
        self._dispatcher = dispatcher
        self._keep_alive = keep_alive

    async def answer(self, asked: Asked) -> Whole | EventStream:
        """See `Chat`."""
        query, flight = body.decode(asked.body, Request), asked.flight
        if query.stream:
            stream = self._dispatcher.stream(query, flight=flight)
            return EventStream(
                stream,
                NativeEvents(flight),
                keep_alive=self._keep_alive,
                flight=flight,
                begun=asked.stream_begins,
                write=asked.write,
            )
        answer = await self._dispatcher(query, flight=flight)
        return answers.answered(answer, answer.attempts)

    def refusal(self, error: LakehouseError, flight: Flight | None) -> Whole:
        """See `Chat`."""
        return NativeEvents(flight).refusal(error)


_encode = msgspec.json.Encoder().encode


class NativeEvents:
    """Pieces as they are, each an event."""

    def __init__(self, flight: Flight | None) -> None:
        self._flight = flight

    def events(self, batch: Sequence[Piece], _: Pieces) -> bytes:
        """One event for each piece; `Done` is the last of a stream."""
        return b"".join([sse.event(_encode(piece)) for piece in batch])

    def last_words(self, error: LakehouseError) -> bytes:
        """The event of type `error`."""
        return sse.event(msgspec.json.encode({"type": "error", **self._document(error)}))

    def refusal(self, error: LakehouseError) -> Whole:
        """The error's document with its status."""
        return answers.refusal(error, self._document(error))

    def _document(self, error: LakehouseError) -> dict[str, object]:
        return error.document(surroundings.request_id(self._flight))
