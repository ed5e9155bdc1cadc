"""Ollama's form of a chat, for any client of Ollama: `POST /api/chat` and `POST /api/generate`."""

from __future__ import annotations

from collections.abc import Callable

from lakehouse.asgi.responses import Response, json_response
from lakehouse.asgi.sse import StreamFraming
from lakehouse.chat.api.ollama import errors, request
from lakehouse.chat.api.ollama.lines import (
    AnswerShape,
    ChatShape,
    GenerateShape,
    LineEncoder,
    make_answer,
    make_loaded,
)
from lakehouse.chat.api.ollama.request import LoadRequest
from lakehouse.chat.api.protocols import Query, RelayedForm
from lakehouse.chat.model.answer import Answer
from lakehouse.chat.model.parts import JsonObject
from lakehouse.chat.model.request import OllamaRequest
from lakehouse.core.errors import LakehouseError

NDJSON = StreamFraming(b"application/x-ndjson")
"""JSON objects, one per line. Nothing can be sent in a silence: every line is taken for a part of the answer."""


class OllamaFormat:
    """Ollama's shapes: an `ApiFormat`."""

    framing = NDJSON
    id_header = b""

    def __init__(
        self,
        parse: Callable[[bytes], OllamaRequest | LoadRequest],
        shape: AnswerShape,
        relayed_form: RelayedForm | None = None,
    ) -> None:
        self.relayed_form = relayed_form
        self._parse = parse
        self._shape = shape

    def parse(self, data: bytes) -> Query | Response:
        """The request in a body, or the answer to one that needs no model. Raises ErrBadRequest.

        When a model is loaded and unloaded is its provider's affair, so a request for that is answered at once.
        """
        parsed = self._parse(data)
        if isinstance(parsed, LoadRequest):
            return json_response(make_loaded(self._shape, parsed.model, parsed.reason))
        return Query(parsed)

    def convert_answer(self, query: Query, answer: Answer) -> JsonObject:
        """The answer with the model's name as the client wrote it."""
        return make_answer(answer, self._shape, _find_name(query))

    def make_encoder(self, query: Query, _: str) -> LineEncoder:
        """The encoder for a streamed answer."""
        return LineEncoder(self._shape, _find_name(query))

    def render_error(self, error: LakehouseError, _: str) -> Response:
        """The error's sentence with OpenAI's status for it."""
        return errors.render_error(error)


CHAT = OllamaFormat(request.parse_chat, ChatShape(), RelayedForm("ollama"))
GENERATE = OllamaFormat(request.parse_generate, GenerateShape())


def _find_name(query: Query) -> str:
    return query.request.model_name if isinstance(query.request, OllamaRequest) else query.request.model
