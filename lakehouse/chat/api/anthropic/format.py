"""Anthropic's form of a chat, for Claude Code and any client of Anthropic's API: `POST /v1/messages`."""

from __future__ import annotations

from lakehouse.asgi.responses import Response
from lakehouse.asgi.sse import SERVER_SENT_EVENTS, StreamFraming
from lakehouse.chat.api.anthropic import request
from lakehouse.chat.api.anthropic.errors import render_error
from lakehouse.chat.api.anthropic.response import make_message
from lakehouse.chat.api.anthropic.stream import PING, MessageEncoder
from lakehouse.chat.api.anthropic.types import MessageAnswer
from lakehouse.chat.api.protocols import Query, RelayedForm
from lakehouse.chat.model.answer import Answer
from lakehouse.chat.model.request import AnthropicRequest
from lakehouse.core.errors import LakehouseError


class AnthropicFormat:
    """Anthropic's shapes: an `ApiFormat`."""

    relayed_form = RelayedForm("messages", frozenset({b"anthropic-beta", b"anthropic-version"}))
    id_header = b"request-id"

    @property
    def framing(self) -> StreamFraming:
        """Events, and Anthropic's own `ping` while there are none."""
        return StreamFraming(SERVER_SENT_EVENTS.content_type, PING)

    def parse(self, data: bytes) -> Query:
        """The request in a body. Raises ErrBadRequest."""
        return Query(request.parse(data))

    def convert_answer(self, query: Query, answer: Answer) -> MessageAnswer:
        """The answer as a message."""
        return make_message(answer, _get_request(query))

    def make_encoder(self, query: Query, request_id: str) -> MessageEncoder:
        """The encoder for a streamed answer."""
        return MessageEncoder(request_id, _get_request(query))

    def render_error(self, error: LakehouseError, request_id: str) -> Response:
        """The error's envelope with Anthropic's status for it."""
        return render_error(error, request_id)


def _get_request(query: Query) -> AnthropicRequest:
    assert isinstance(query.request, AnthropicRequest)  # noqa: S101  # `parse` makes no other
    return query.request
