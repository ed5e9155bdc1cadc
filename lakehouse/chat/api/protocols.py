"""The seams of the chat API: the dispatcher above which it stands, and the two forms that a chat has."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol

from lakehouse.asgi.responses import Response
from lakehouse.chat.model.answer import Answer
from lakehouse.chat.model.listing import ModelCard, ProviderState
from lakehouse.chat.model.pieces import Piece
from lakehouse.chat.model.request import Request
from lakehouse.core.context import RequestContext
from lakehouse.core.errors import Attempt, LakehouseError

__all__ = ["ApiFormat", "Dispatcher", "ModelCard", "Pieces", "ProviderState", "Query", "StreamEncoder"]

PieceSink = Callable[[Sequence[Piece]], Awaitable[None] | None]


class Pieces(Protocol):
    """A stream of pieces. `provider`, `model` and `attempts` are those of the route that answers, from the first piece
    on."""

    @property
    def provider(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def attempts(self) -> tuple[Attempt, ...]: ...

    def batches(self, sink: PieceSink | None = None) -> AsyncIterator[Sequence[Piece]]:
        """Iterate over the pieces that arrive together; the very last one is `Done`. Raises what breaks the stream.

        If given, `sink` may receive batches from another task while the iterator waits, all but the last batch. The
        iterator awaits what `sink` returns, and does not give these batches again.
        """


class Dispatcher(Protocol):
    """Answers chat requests. Everything that a call starts has ended when it returns, raises or is cancelled."""

    async def __call__(self, request: Request, /, *, context: RequestContext | None = None) -> Answer: ...

    def stream(
        self, request: Request, /, *, context: RequestContext | None = None
    ) -> AbstractAsyncContextManager[Pieces]: ...

    def providers(self) -> Sequence[ProviderState]: ...

    async def models(self) -> Sequence[ModelCard]: ...


class Query(NamedTuple):
    """A parsed chat request; `include_usage`: a stream of its answer ends with the usage."""

    request: Request
    include_usage: bool = False


class StreamEncoder(Protocol):
    """Encodes one stream of pieces as events. Made for one stream, so it may keep state."""

    def encode_events(self, batch: Sequence[Piece], pieces: Pieces) -> bytes:
        """The events for pieces that arrived together."""

    def encode_error(self, error: LakehouseError) -> bytes:
        """The final event of a stream that was cut short."""


class ApiFormat(Protocol):
    """One of the two forms of a chat: how requests are parsed, and how answers and errors are encoded."""

    def parse(self, data: bytes) -> Query:
        """The request in a body. Raises ErrBadRequest, with the field that does not fit."""

    def convert_answer(self, answer: Answer) -> object:
        """A complete answer as a document, for msgspec to encode."""

    def make_encoder(self, query: Query, request_id: str) -> StreamEncoder:
        """The encoder for a streamed answer."""

    def render_error(self, error: LakehouseError, request_id: str) -> Response:
        """The response to a request that failed before its response had begun."""
