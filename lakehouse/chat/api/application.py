"""The Quart-Trio application that the chat group's blueprints live in, with what is set once for all requests."""

from __future__ import annotations

from hypercorn.typing import ASGISendCallable
from quart.typing import ResponseTypes
from quart.wrappers.response import DataBody, Response
from quart_trio import QuartTrio
from quart_trio.asgi import TrioASGIHTTPConnection

from lakehouse.chat.api.answers import send_whole
from lakehouse.chat.api.events import EventStream


class ChatConnection(TrioASGIHTTPConnection):
    """One request. Streams send themselves, and a whole answer leaves in two messages.

    Quart sends a response's head before it asks for the body, and asks for the body outside of the view. A stream
    fits neither: its status depends on its first piece, and a nursery in a block holds its upstream.
    """

    async def _send_response(self, send: ASGISendCallable, response: ResponseTypes) -> None:
        if isinstance(response, EventStream):
            await response.send_to(send)
        elif isinstance(response, Response) and isinstance(response.response, DataBody):
            await send_whole(send, response)
        else:
            await super()._send_response(send, response)


class ChatApplication(QuartTrio):
    """A Quart-Trio application without what this service never uses.

    Time is limited by the cancel scopes around a request, so Quart's own limits are off: its `RESPONSE_TIMEOUT` would
    cut every stream after a minute, without a word.
    """

    asgi_http_class = ChatConnection

    def __init__(self) -> None:
        super().__init__(__name__, static_folder=None, template_folder=None)
        self.config.update(RESPONSE_TIMEOUT=None, BODY_TIMEOUT=None)
