"""An ask of the running service that has the lake: `POST /v1/ask`, whose model and keys are the service's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec

from lakehouse.ask.answer import AskAnswer, AskDone
from lakehouse.ask.asker import AskEvent
from lakehouse.ask.request import AskRequest
from lakehouse.chat.dialects.framing.sse import SseFraming
from lakehouse.chat.model.pieces import ContentPiece, ReasoningPiece
from lakehouse.cli.lake.client import MAX_ANSWER, MAX_ERROR, decode_error
from lakehouse.core.errors import ErrUnauthorized
from lakehouse.core.provider_failures import make_failure
from lakehouse.upstream.http1.request import UpstreamRequest
from lakehouse.upstream.http1.response import UpstreamResponse
from lakehouse.upstream.pool import Upstream


class _ErrorEvent(msgspec.Struct, frozen=True, tag_field="type", tag="error"):
    """The event at which a stream ends early, in the form of an error document."""


_Event = ContentPiece | ReasoningPiece | AskDone | _ErrorEvent


class ServiceAsker:
    """Asks over `service`, with `headers` in each request.

    Every call raises ErrorResponse for an error of the service, LakehouseError, and msgspec.DecodeError.
    """

    def __init__(self, service: Upstream, headers: Sequence[tuple[bytes, bytes]]) -> None:
        self._service = service
        self._headers = headers

    async def answer(self, request: AskRequest) -> AskAnswer:
        """The whole answer."""
        async with self._send(request) as response:
            return msgspec.json.decode(await response.read(MAX_ANSWER), type=AskAnswer)

    @asynccontextmanager
    async def stream(self, request: AskRequest) -> AsyncIterator[AsyncIterator[Sequence[AskEvent]]]:
        """The answer as its events; the end of the block ends the ask."""
        async with self._send(request) as response:
            yield _read_events(response)

    @asynccontextmanager
    async def _send(self, request: AskRequest) -> AsyncIterator[UpstreamResponse]:
        headers = [*self._headers, (b"content-type", b"application/json")]
        body = msgspec.json.encode(request)
        with await self._service.send(UpstreamRequest(b"POST", b"/v1/ask", headers, body)) as response:
            if response.status == 401:
                raise ErrUnauthorized("the running service asks for a token: put one into $LAKEHOUSE_TOKEN")
            if response.status >= 300:
                raise decode_error(response.status, await response.read(MAX_ERROR))
            yield response


async def _read_events(response: UpstreamResponse) -> AsyncIterator[Sequence[AskEvent]]:
    framing, ended = SseFraming(), False
    while piece := await response.receive():
        for event in framing.feed(piece):
            decoded = msgspec.json.decode(event.data, type=_Event)
            if isinstance(decoded, _ErrorEvent):
                raise decode_error(response.status, event.data)
            ended = ended or isinstance(decoded, AskDone)
            yield (decoded,)
    if not ended:
        raise make_failure("incomplete_stream", "the stream ended without its end")
