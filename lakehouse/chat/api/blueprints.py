"""The chat group on Quart-Trio: its listings, and the chats of a server that puts no lifeline around us."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from math import inf
from typing import cast

from quart import Blueprint, request
from quart.blueprints import BlueprintSetupState
from werkzeug.exceptions import InternalServerError, RequestEntityTooLarge

from lakehouse.asgi import request_scope
from lakehouse.asgi.body import acceptable, read_in_time, too_large
from lakehouse.asgi.sse import KEEP_ALIVE
from lakehouse.asgi.types import Scope
from lakehouse.chat.api import responses
from lakehouse.chat.api.application import DirectQuartResponse
from lakehouse.chat.api.endpoint import ApiFormat, ParsedChat
from lakehouse.chat.api.errors import flatten_group, internal_error
from lakehouse.chat.api.interface import Dispatcher
from lakehouse.chat.api.native import NativeChat
from lakehouse.chat.api.openai.format import OpenAIChat, as_model
from lakehouse.chat.api.openai.types import ModelList
from lakehouse.core.errors import ErrTooLarge, LakehouseError
from lakehouse.core.provider_failures import failure


def native(
    dispatcher: Dispatcher,
    *,
    max_body: int,
    timeout: float = inf,
    prefix: str = "/v1/chat",
    keep_alive: float = KEEP_ALIVE,
) -> Blueprint:
    """The routes `POST {prefix}` and `GET {prefix}/providers`.

    `max_body` is in bytes; `timeout` is the deadline of a whole call and `keep_alive` is in seconds too.
    """
    blueprint = Blueprint("native", __name__, url_prefix=prefix)
    blueprint.record_once(_bounded(max_body))

    chat = NativeChat(dispatcher, keep_alive=keep_alive)
    blueprint.post("", endpoint="chat")(_view(chat, max_body=max_body, timeout=timeout))

    @blueprint.get("/providers")
    async def providers() -> DirectQuartResponse:
        known = dispatcher.providers()
        default = next((provider.name for provider in known if provider.default), None)
        return DirectQuartResponse(responses.json_response({"providers": known, "default": default}))

    _tell_failures(blueprint, chat)
    return blueprint


def openai(
    dispatcher: Dispatcher,
    *,
    max_body: int,
    timeout: float = inf,
    prefix: str = "/v1",
    keep_alive: float = KEEP_ALIVE,
) -> Blueprint:
    """The routes `POST {prefix}/chat/completions` and `GET {prefix}/models` over this dispatcher.

    `max_body` is in bytes; `timeout` is the deadline of a whole call and `keep_alive` is in seconds too.
    """
    blueprint = Blueprint("openai", __name__, url_prefix=prefix or None)
    blueprint.record_once(_bounded(max_body))

    chat = OpenAIChat(dispatcher, keep_alive=keep_alive)
    blueprint.post("/chat/completions", endpoint="complete")(_view(chat, max_body=max_body, timeout=timeout))

    @blueprint.get("/models")
    async def models() -> DirectQuartResponse:
        with flatten_group():
            cards = await dispatcher.models()
        return DirectQuartResponse(responses.json_response(ModelList(data=tuple(map(as_model, cards)))))

    @blueprint.get("/models/<path:name>")
    async def model(name: str) -> DirectQuartResponse:
        with flatten_group():
            cards = await dispatcher.models()
        card = next((card for card in cards if card.id == name), None)
        if card is None:
            raise failure("model_not_found", f"the model {name} is not in the listing of any registered provider")
        return DirectQuartResponse(responses.json_response(as_model(card)))

    _tell_failures(blueprint, chat)
    return blueprint


def _bounded(limit: int) -> Callable[[BlueprintSetupState], None]:
    """For a blueprint to record: its application keeps no more than `limit` bytes of any request's body."""

    def setup(state: BlueprintSetupState) -> None:
        state.app.config["MAX_CONTENT_LENGTH"] = limit

    return setup


def _view(chat: ApiFormat, *, max_body: int, timeout: float) -> Callable[[], Awaitable[DirectQuartResponse]]:
    """A chat's POST, as `posts.ChatEndpoint` answers it, for Quart."""

    async def post() -> DirectQuartResponse:
        known = request_scope.find(cast("Scope", request.scope))
        context = None if known is None else known.context
        data = await read_in_time(partial(_body, max_body), timeout, context)
        with flatten_group():
            answer = await chat.answer(ParsedChat(data, context, None if known is None else known.begin_stream))
        return DirectQuartResponse(answer)

    return post


async def _body(limit: int) -> bytes:
    """`body.pull` for the request that Quart has at hand."""
    length = b"%d" % (request.content_length or 0)
    acceptable(request.headers.get("content-encoding", "identity"), length, limit)
    try:
        body: bytes = await request.get_data(cache=False, as_text=False, parse_form_data=False)
    except (RequestEntityTooLarge, ErrTooLarge):
        raise too_large(limit) from None
    if len(body) > limit:  # another blueprint of the application may allow more
        raise too_large(limit)
    return body


def _tell_failures(blueprint: Blueprint, chat: ApiFormat) -> None:
    """Whatever fails in a view of this blueprint is told in the form of `chat`."""

    @blueprint.errorhandler(LakehouseError)
    async def refuse(error: LakehouseError) -> DirectQuartResponse:
        known = request_scope.find(cast("Scope", request.scope))
        if known is None:
            return DirectQuartResponse(chat.refusal(error, None))
        known.context.record_error(error)
        return DirectQuartResponse(chat.refusal(error, known.context))

    @blueprint.errorhandler(InternalServerError)
    async def apologise(_: InternalServerError) -> DirectQuartResponse:
        return await refuse(internal_error())
