"""OpenAI's form: `POST /v1/chat/completions`, whole or streamed, and `GET /v1/models`, for any OpenAI client."""

from __future__ import annotations

from quart import Blueprint
from quart_trio.wrappers import TrioResponse

from lakehouse.chat.api import answers, body, openai_request, sse
from lakehouse.chat.api.answers import Whole
from lakehouse.chat.api.events import EventStream
from lakehouse.chat.api.failures import one_failure
from lakehouse.chat.api.interface import Dispatcher, ModelCard
from lakehouse.chat.api.openai_answer import Chunks, completion
from lakehouse.chat.api.openai_shapes import Model, ModelList
from lakehouse.chat.api.posts import Asked, tell_failures, view
from lakehouse.errors import LakehouseError, failure
from lakehouse.observe.inflight import Flight


def openai(
    dispatcher: Dispatcher, *, max_body: int, prefix: str = "/v1", keep_alive: float = sse.KEEP_ALIVE
) -> Blueprint:
    """The routes `POST {prefix}/chat/completions` and `GET {prefix}/models` over this dispatcher.

    `max_body` is in bytes, `keep_alive` in seconds.
    """
    blueprint = Blueprint("openai", __name__, url_prefix=prefix or None)
    blueprint.record_once(body.bounded(max_body))

    chat = OpenAIChat(dispatcher, keep_alive=keep_alive)
    blueprint.post("/chat/completions", endpoint="complete")(view(chat, max_body=max_body))

    @blueprint.get("/models")
    async def models() -> TrioResponse:
        with one_failure():
            cards = await dispatcher.models()
        return answers.document(ModelList(data=tuple(map(as_model, cards)))).response()

    @blueprint.get("/models/<path:name>")
    async def model(name: str) -> TrioResponse:
        with one_failure():
            cards = await dispatcher.models()
        card = next((card for card in cards if card.id == name), None)
        if card is None:
            raise failure("model_not_found", f"the model {name} is not in the listing of any registered provider")
        return answers.document(as_model(card)).response()

    tell_failures(blueprint, chat)
    return blueprint


class OpenAIChat:
    """`POST /chat/completions`, see `Chat`."""

    def __init__(self, dispatcher: Dispatcher, *, keep_alive: float = sse.KEEP_ALIVE) -> None:
        self._dispatcher = dispatcher
        self._keep_alive = keep_alive

    async def answer(self, asked: Asked) -> Whole | EventStream:
        """See `Chat`."""
        query, flight = openai_request.parse(asked.body), asked.flight
        if query.request.stream:
            form = Chunks(flight, include_usage=query.include_usage)
            stream = self._dispatcher.stream(query.request, flight=flight)
            return EventStream(stream, form, keep_alive=self._keep_alive, flight=flight, begun=asked.lift_deadline)
        answer = await self._dispatcher(query.request, flight=flight)
        return answers.answered(completion(answer), answer.attempts)

    def refusal(self, error: LakehouseError, flight: Flight | None) -> Whole:
        """See `Chat`."""
        return Chunks(flight).refusal(error)


def as_model(card: ModelCard) -> Model:
    """One line of the listing."""
    return Model(id=card.id, created=card.created, owned_by=card.owned_by)
