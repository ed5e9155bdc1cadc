"""OpenAI's form of a chat, for any OpenAI client: `POST /v1/chat/completions`, whole or streamed."""

from __future__ import annotations

from lakehouse.asgi import sse
from lakehouse.chat.api import responses
from lakehouse.chat.api.endpoint import ParsedChat
from lakehouse.chat.api.event_stream import EventStream
from lakehouse.chat.api.interface import Dispatcher, ModelCard
from lakehouse.chat.api.openai import request
from lakehouse.chat.api.openai.response import ChunkEncoder, completion
from lakehouse.chat.api.openai.types import Model
from lakehouse.chat.api.responses import JsonResponse
from lakehouse.core.context import RequestContext
from lakehouse.core.errors import LakehouseError


class OpenAIChat:
    """`POST /chat/completions`, see `ApiFormat`."""

    def __init__(self, dispatcher: Dispatcher, *, keep_alive: float = sse.KEEP_ALIVE) -> None:
        self._dispatcher = dispatcher
        self._keep_alive = keep_alive

    async def answer(self, asked: ParsedChat) -> JsonResponse | EventStream:
        """See `ApiFormat`."""
        query, context = request.parse(asked.body), asked.context
        if query.request.stream:
            form = ChunkEncoder(context, include_usage=query.include_usage)
            stream = self._dispatcher.stream(query.request, context=context)
            return EventStream(
                stream,
                form,
                keep_alive=self._keep_alive,
                context=context,
                begin_stream=asked.begin_stream,
                try_write=asked.try_write,
            )
        answer = await self._dispatcher(query.request, context=context)
        return responses.completion_response(completion(answer), answer.attempts)

    def refusal(self, error: LakehouseError, context: RequestContext | None) -> JsonResponse:
        """See `ApiFormat`."""
        return ChunkEncoder(context).refusal(error)


def as_model(card: ModelCard) -> Model:
    """One line of the listing."""
    return Model(id=card.id, created=card.created, owned_by=card.owned_by)
