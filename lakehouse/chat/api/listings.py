"""The listings of the chat group, as views of Quart-Trio: registered providers and models.

Importing this module costs 12 MB and 0.1 to 0.3 s, so the service imports it with the first request for a
listing; see `asgi.lazy`.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from quart import Blueprint, Response

from lakehouse.chat.api.openai.format import make_model
from lakehouse.chat.api.openai.types import ModelList
from lakehouse.chat.api.protocols import Dispatcher
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
        return _json(ModelList(data=tuple(map(make_model, cards))))

    @blueprint.get("/models/<path:name>")
    async def model(name: str) -> Response:
        cards = await get_dispatcher().models()
        card = next((card for card in cards if card.id == name), None)
        if card is None:
            raise make_failure("model_not_found", f"the model {name} is not in the listing of any registered provider")
        return _json(make_model(card))

    return blueprint


def _json(document: object) -> Response:
    return Response(msgspec.json.encode(document), content_type="application/json")
