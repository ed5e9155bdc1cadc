"""Relay of chats whose provider speaks the client's form: what the dispatcher is given, and what the client is sent.

The dispatcher decides per attempt whether it relays. What it does not relay arrives as pieces, which the form's own
encoder writes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lakehouse.asgi.types import Scope
from lakehouse.chat.api.protocols import Pieces, Query, RelayedForm, RelayObserver, StreamEncoder
from lakehouse.chat.model.pieces import Done, Piece, RelayedPiece
from lakehouse.chat.model.raw_request import RawRequest
from lakehouse.core.errors import LakehouseError


def make_raw_request(relayed: RelayedForm | None, query: Query, body: bytes, scope: Scope) -> RawRequest | None:
    """The request for providers of its form; None if there are none, and for a request that several models answer."""
    if relayed is None or query.request.quorum is not None:
        return None
    headers = tuple([pair for pair in scope["headers"] if pair[0] in relayed.headers]) if relayed.headers else ()
    return RawRequest(form=relayed.form, body=body, headers=headers, include_usage=query.include_usage)


class RelayingEncoder:
    """A `StreamEncoder` that writes relayed pieces as they are, and any other with the encoder of the form.

    `relayed`: the stream began as a relayed one. Its last piece has its end, so that `Done` adds nothing after it; a
    stream whose end had to be rebuilt has other pieces, or none, before `Done`.
    """

    def __init__(self, make_encoder: Callable[[], StreamEncoder], *, observed: bool) -> None:
        """`make_encoder` is called when there is something that is not relayed, or that is `observed`."""
        self.relayed = False
        self._make_encoder = make_encoder
        self._made: StreamEncoder | None = None
        self._observer: RelayObserver | None = None
        if observed and isinstance(encoder := self._encoder, RelayObserver):
            self._observer = encoder

    def encode_events(self, batch: Sequence[Piece], pieces: Pieces) -> bytes:
        """The events for pieces that arrived together."""
        first = batch[0]
        if type(first) is not RelayedPiece:
            return self._encoder.encode_events(batch, pieces)
        self.relayed = True
        if len(batch) == 1:  # nearly every batch
            if self._observer is not None:
                self._observer.observe_relayed(first.data)
            return first.data
        relayed = b"".join([piece.data for piece in batch if isinstance(piece, RelayedPiece)])
        others = [piece for piece in batch if not isinstance(piece, RelayedPiece)]
        if self._observer is not None:
            self._observer.observe_relayed(relayed)
        if not others:
            return relayed
        if isinstance(done := others[0], Done):
            return relayed if self._observer is None else self._observer.end_relayed(relayed, done)
        return relayed + self._encoder.encode_events(others, pieces)

    @property
    def _encoder(self) -> StreamEncoder:
        if self._made is None:
            self._made = self._make_encoder()
        return self._made

    def encode_error(self, error: LakehouseError) -> bytes:
        """The final event of a stream that was cut short, in the form's own shape."""
        return self._encoder.encode_error(error)
