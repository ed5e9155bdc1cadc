"""The Quart-Trio application that the chat group's blueprints live in, with what is set once for all requests."""

from __future__ import annotations

from typing import cast

from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable
from quart.typing import ResponseTypes
from quart.wrappers.request import Body
from quart_trio import QuartTrio
from quart_trio.asgi import TrioASGIHTTPConnection
from quart_trio.wrappers import TrioResponse

from lakehouse.asgi import request_scope
from lakehouse.asgi.body import PulledBody
from lakehouse.asgi.types import Receive, Scope, Send
from lakehouse.chat.api.event_stream import EventStream
from lakehouse.chat.api.responses import JsonResponse


class DirectQuartResponse(TrioResponse):
    """What our views return to Quart: an answer that `ChatConnection` has send itself.

    Quart sends a response's head before it asks for the body, and asks for the body outside of the view. A stream
    fits neither: its status depends on its first piece, and a nursery in a block holds its upstream. A whole answer
    leaves in two messages instead of Quart's three, the last of which is empty.
    """

    def __init__(self, answer: JsonResponse | EventStream) -> None:
        super().__init__()
        self.answer = answer


class ChatConnection(TrioASGIHTTPConnection):
    """One request, whose answer may send itself.

    Under a lifeline, which cancels when the client leaves, nobody needs to watch for that: the request is handled in
    one task, and its body is received only as its reader asks for it.
    """

    async def __call__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Handle the request, up to the last byte of its answer."""
        request = self._create_request_from_scope(send)
        if request_scope.find(cast("Scope", request.scope)) is None:
            await super().__call__(receive, send)
            return
        request.body = cast("Body", PulledBody(cast("Receive", receive), self.app.config["MAX_CONTENT_LENGTH"]))
        await self._send_response(send, await self.app.handle_request(request))

    async def _send_response(self, send: ASGISendCallable, response: ResponseTypes) -> None:
        if isinstance(response, DirectQuartResponse):
            await response.answer.send_to(cast("Send", send))
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
        self.url_map.merge_slashes = False  # it would redirect `//v1/chat`, to wherever the Host header says
        self.config.update(RESPONSE_TIMEOUT=None, BODY_TIMEOUT=None)
