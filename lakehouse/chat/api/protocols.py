"""The seams of the chat API: the dispatcher above which it stands, and the forms that a chat has."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol, runtime_checkable

from lakehouse.asgi.responses import Response
from lakehouse.asgi.sse import StreamFraming
from lakehouse.chat.model.answer import Answer, RelayedAnswer
from lakehouse.chat.model.listing import ModelCard, ProviderState
from lakehouse.chat.model.pieces import Done, Piece
from lakehouse.chat.model.raw_request import ClientForm, RawRequest
from lakehouse.chat.model.request import Request
from lakehouse.core.context import RequestContext
from lakehouse.core.errors import Attempt, LakehouseError
from lakehouse.core.session_identity import SessionIdentity

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

    async def relay(
        self, request: Request, raw: RawRequest, /, *, context: RequestContext | None = None
    ) -> Answer | RelayedAnswer:
        """Answer, with the body as it came if the provider that answers speaks the form of `raw`."""

    def stream(
        self, request: Request, /, *, context: RequestContext | None = None, raw: RawRequest | None = None
    ) -> AbstractAsyncContextManager[Pieces]:
        """Answer as a stream. With `raw`, it may consist of `RelayedPiece`s and `Done`."""

    def providers(self) -> Sequence[ProviderState]: ...

    async def models(self) -> Sequence[ModelCard]: ...


class Query(NamedTuple):
    """A parsed chat request; `include_usage`: a stream of its answer ends with the usage.

    `session` is the one that the body names; that of a header goes before it.
    """

    request: Request
    include_usage: bool = False
    session: SessionIdentity | None = None


class RelayedForm(NamedTuple):
    """The form of a dialect, and the request headers that providers of the form are sent, in lower case.

    `observed`: the encoder of a stream is a `RelayObserver`.
    """

    form: ClientForm
    headers: frozenset[bytes] = frozenset()
    observed: bool = False


class StreamEncoder(Protocol):
    """Encodes one stream of pieces as events. Made for one stream, so it may keep state."""

    def encode_events(self, batch: Sequence[Piece], pieces: Pieces) -> bytes:
        """The events for pieces that arrived together, none of which is a `RelayedPiece`."""

    def encode_error(self, error: LakehouseError) -> bytes:
        """The final event of a stream that was cut short."""


@runtime_checkable
class RelayObserver(Protocol):
    """A `StreamEncoder` whose final event continues what was relayed before it."""

    def observe_relayed(self, events: bytes) -> None:
        """Take events that were sent in place of encoded ones."""

    def end_relayed(self, events: bytes, done: Done) -> bytes:
        """The last events of a relayed stream, or others in their place where clients would repeat the request."""


class ApiFormat(Protocol):
    """One of the forms of a chat: how requests are parsed, and how answers and errors are encoded."""

    @property
    def relayed_form(self) -> RelayedForm | None:
        """The dialect that is this form; None: there is none, and every answer is rebuilt."""

    @property
    def id_header(self) -> bytes:
        """The header in which clients of the form look for the request's id, beside `X-Request-Id`; empty for none."""

    @property
    def framing(self) -> StreamFraming:
        """How a streamed answer is framed."""

    def parse(self, data: bytes) -> Query | Response:
        """The request in a body, or the response to one that needs no model.

        Raises ErrBadRequest, with the field that does not fit.
        """

    def convert_answer(self, query: Query, answer: Answer) -> object:
        """A complete answer to `query` as a document, for msgspec to encode."""

    def make_encoder(self, query: Query, request_id: str) -> StreamEncoder:
        """The encoder for a streamed answer."""

    def render_error(self, error: LakehouseError, request_id: str) -> Response:
        """The response to a request that failed before its response had begun."""
