"""OpenAI's form of a chat, for any client of OpenAI's API: `POST /v1/chat/completions`."""

from __future__ import annotations

from lakehouse.asgi.responses import Response
from lakehouse.asgi.sse import SERVER_SENT_EVENTS
from lakehouse.chat.api.errors import make_retry_headers
from lakehouse.chat.api.openai import request
from lakehouse.chat.api.openai.errors import find_status, make_envelope
from lakehouse.chat.api.openai.response import ChunkEncoder, make_completion
from lakehouse.chat.api.openai.types import Completion, Model
from lakehouse.chat.api.protocols import ModelCard, Query, RelayedForm
from lakehouse.chat.api.responses import error_response
from lakehouse.chat.model.answer import Answer
from lakehouse.core.errors import LakehouseError


class OpenAIFormat:
    """OpenAI's shapes: an `ApiFormat`."""

    relayed_form = RelayedForm("chat_completions", frozenset({b"openai-beta"}))
    id_header = b""
    framing = SERVER_SENT_EVENTS

    def parse(self, data: bytes) -> Query:
        """The request in a body. Raises ErrBadRequest."""
        return request.parse(data)

    def convert_answer(self, _: Query, answer: Answer) -> Completion:
        """The answer as a completion."""
        return make_completion(answer)

    def make_encoder(self, query: Query, request_id: str) -> ChunkEncoder:
        """The encoder for a streamed answer."""
        return ChunkEncoder(request_id, include_usage=query.include_usage)

    def render_error(self, error: LakehouseError, request_id: str) -> Response:
        """The error's envelope with OpenAI's status for it."""
        document = make_envelope(error, request_id)
        return error_response(error, document, status=find_status(error), headers=make_retry_headers(error))


def make_model(card: ModelCard) -> Model:
    """One line of the listing."""
    return Model(id=card.id, created=card.created, owned_by=card.owned_by)
