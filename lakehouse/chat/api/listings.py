"""The listings of the chat group, as views of Quart-Trio: registered providers and models.

Importing this module costs 12 MB and 0.1 to 0.3 s, so the service imports it with the first request for a
listing; see `asgi.lazy`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import msgspec
from quart import Blueprint, Response, request

from lakehouse.asgi import request_scope
from lakehouse.asgi.types import Scope
from lakehouse.chat.api.anthropic.errors import render_error
from lakehouse.chat.api.anthropic.listing import VERSION_HEADER, make_anthropic_model, make_page
from lakehouse.chat.api.openai.format import make_model
from lakehouse.chat.api.openai.types import ModelList
from lakehouse.chat.api.protocols import Dispatcher
from lakehouse.core.errors import LakehouseError
from lakehouse.core.provider_failures import make_failure


def listings(get_dispatcher: Callable[[], Dispatcher], *, prefix: str) -> Blueprint:
    """`GET {prefix}/chat/providers`, `{prefix}/models` and `{prefix}/models/{name}`.

    `get_dispatcher` is called in each request: an application is made before the resources that it needs are open.
    A failure is raised as a `LakehouseError`, alone or in groups, for the request's lifetime to answer.
    """
    blueprint = Blueprint("lakehouse_chat", __name__, url_prefix=prefix or None)

    @blueprint.get("/chat/providers")
    async def providers() -> Response:
        known = get_dispatcher().providers()
        default = next((provider.name for provider in known if provider.default), None)
        return _json({"providers": known, "default": default})

    @blueprint.get("/models")
    async def models() -> Response:
        cards = await get_dispatcher().models()
        if VERSION_HEADER not in request.headers:
            return _json(ModelList(data=tuple(map(make_model, cards))))
        try:
            return _json(make_page(cards, request.args))
        except LakehouseError as error:
            return _anthropic_error(error)

    @blueprint.get("/models/<path:name>")
    async def model(name: str) -> Response:
        cards = await get_dispatcher().models()
        card = next((card for card in cards if card.id == name), None)
        if card is not None:
            return _json((make_anthropic_model if VERSION_HEADER in request.headers else make_model)(card))
        message = f"the model {name} is not in the listing of any registered provider"
        error = make_failure("model_not_found", message)
        if VERSION_HEADER in request.headers:
            return _anthropic_error(error)
        raise error

    return blueprint


def _json(document: object) -> Response:
    return Response(msgspec.json.encode(document), content_type="application/json")


def _anthropic_error(error: LakehouseError) -> Response:
    """The response of a failure that Anthropic's clients read. Those of other clients are made by the lifetime."""
    scope = request_scope.find(cast("Scope", request.scope))
    rendered = render_error(error, scope.context.id if scope else "")
    headers = {name.decode(): value.decode() for name, value in rendered.headers}
    return Response(rendered.body, rendered.status, headers, content_type="application/json")
