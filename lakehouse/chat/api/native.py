"""The native form of a chat: `POST /v1/chat`."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from lakehouse.asgi import sse
from lakehouse.asgi.json_body import decode_json
from lakehouse.asgi.responses import Response
from lakehouse.chat.api.protocols import Pieces, Query
from lakehouse.chat.api.responses import error_response
from lakehouse.chat.model.answer import Answer
from lakehouse.chat.model.pieces import Piece, ReasoningDetailsPiece
from lakehouse.chat.model.request import Request
from lakehouse.core.errors import LakehouseError
from lakehouse.core.session_identity import SessionField, convert_field

_encode = msgspec.json.Encoder().encode


class NativeRequest(Request, frozen=True, kw_only=True):
    """The body of a native chat: the dispatcher's request, and the session that it belongs to."""

    session: str | SessionField | None = None


class NativeFormat:
    """The dispatcher's own shapes as JSON: an `ApiFormat`."""

    relayed_form = None
    id_header = b""
    framing = sse.SERVER_SENT_EVENTS

    def parse(self, data: bytes) -> Query:
        """The request in a body. Raises ErrBadRequest."""
        request = decode_json(data, NativeRequest)
        return Query(request, session=convert_field(request.session))

    def convert_answer(self, _: Query, answer: Answer) -> Answer:
        """The answer as it is."""
        return answer

    def make_encoder(self, _: Query, request_id: str) -> NativeEncoder:
        """The encoder for a streamed answer."""
        return NativeEncoder(request_id)

    def render_error(self, error: LakehouseError, request_id: str) -> Response:
        """The error's document with its status."""
        return error_response(error, error.document(request_id), status=error.status, headers=error.headers())


class NativeEncoder:
    """Each piece as it is in an event of its own: a `StreamEncoder`."""

    def __init__(self, request_id: str) -> None:
        self._request_id = request_id

    def encode_events(self, batch: Sequence[Piece], _: Pieces) -> bytes:
        """One event for each piece but `ReasoningDetailsPiece`, whose entries `Done` has."""
        shown = [piece for piece in batch if type(piece) is not ReasoningDetailsPiece]
        return b"".join([sse.encode_event(_encode(piece)) for piece in shown])

    def encode_error(self, error: LakehouseError) -> bytes:
        """The event of type `error`."""
        return sse.encode_event(msgspec.json.encode({"type": "error", **error.document(self._request_id)}))
