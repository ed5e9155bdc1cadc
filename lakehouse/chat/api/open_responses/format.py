"""The Responses form of a chat, for Codex and for any client of OpenAI's API: `POST /v1/responses`."""

from __future__ import annotations

from lakehouse.asgi.responses import Response
from lakehouse.asgi.sse import SERVER_SENT_EVENTS
from lakehouse.chat.api.open_responses import errors, request
from lakehouse.chat.api.open_responses.request import ResponsesRequest
from lakehouse.chat.api.open_responses.response import make_response
from lakehouse.chat.api.open_responses.stream import ResponseEncoder
from lakehouse.chat.api.protocols import Query, RelayedForm
from lakehouse.chat.dialects.lenient_json import JsonObject
from lakehouse.chat.model.answer import Answer
from lakehouse.core.errors import LakehouseError
from lakehouse.core.session_identity import is_session_name, make_identity


class ResponsesFormat:
    """OpenAI's Responses: an `ApiFormat`. Its queries are those of its own `parse`."""

    relayed_form = RelayedForm("responses", frozenset({b"openai-beta"}), observed=True)
    id_header = b""
    framing = SERVER_SENT_EVENTS._replace(plain_failures=errors.PLAIN_STATUSES)

    def parse(self, data: bytes) -> Query:
        """The request in a body, and the session that its `prompt_cache_key` names. Raises ErrBadRequest."""
        parsed = request.parse(data)
        key = parsed.extra.get("prompt_cache_key", "")
        return Query(parsed, session=make_identity(key) if is_session_name(key) else None)

    def convert_answer(self, query: Query, answer: Answer) -> JsonObject:
        """The answer as a response."""
        return make_response(_get_request(query), answer)

    def make_encoder(self, query: Query, _: str) -> ResponseEncoder:
        """The encoder for a streamed answer."""
        return ResponseEncoder(_get_request(query))

    def render_error(self, error: LakehouseError, request_id: str) -> Response:
        """The error in OpenAI's envelope, with OpenAI's status for it."""
        return errors.render_error(error, request_id)


def _get_request(query: Query) -> ResponsesRequest:
    if not isinstance(query.request, ResponsesRequest):
        raise TypeError("the query is of another form")
    return query.request
