"""A Quart-Trio application as the service needs it: no limits that cut streams, and errors in the service's form.

Importing this module costs 12 MB and 0.1 to 0.3 s.
"""

from __future__ import annotations

from typing import cast

from hypercorn.typing import ASGISendCallable
from quart.typing import ResponseReturnValue, ResponseTypes
from quart.utils import encode_headers
from quart.wrappers import Response
from quart.wrappers.response import DataBody
from quart_trio import QuartTrio
from quart_trio.asgi import TrioASGIHTTPConnection
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from lakehouse.asgi.types import Send
from lakehouse.core.errors import ErrMethodNotAllowed, ErrNotFound


class QuartConnection(TrioASGIHTTPConnection):
    """One request to a view. A complete response is sent in two messages, where Quart sends an empty third one.

    `RequestLifetimeMiddleware` takes a response for complete if its first piece of the body is the last.
    """

    async def _send_response(self, send: ASGISendCallable, response: ResponseTypes) -> None:
        if not isinstance(response, Response) or not isinstance(response.response, DataBody):
            await super()._send_response(send, response)
            return
        body = await response.get_data(as_text=False)
        start = {
            "type": "http.response.start",
            "status": response.status_code,
            "headers": encode_headers(response.headers),
        }
        await cast("Send", send)(start)
        await cast("Send", send)({"type": "http.response.body", "body": body, "more_body": False})


class QuartApp(QuartTrio):
    """A Quart-Trio application inside a request's lifetime.

    Quart's own time limits are off, for a request's deadline is kept around it: its `RESPONSE_TIMEOUT` would cut every
    stream after a minute without a word. What a view raises passes Quart, so that log, metrics and the form of an error
    are the same for every path.
    """

    asgi_http_class = QuartConnection

    def __init__(self, name: str, *, max_body: int | None = None) -> None:
        """`max_body` limits the body of a request to a view, in bytes."""
        super().__init__(name, static_folder=None, template_folder=None)
        self.url_map.merge_slashes = False  # it would redirect `//v1/models` to the host in the Host header
        self.config.update(
            RESPONSE_TIMEOUT=None, BODY_TIMEOUT=None, MAX_CONTENT_LENGTH=max_body, PROPAGATE_EXCEPTIONS=True
        )
        self.register_error_handler(HTTPException, _raise_ours)


async def _raise_ours(error: HTTPException) -> ResponseReturnValue:
    """404 and 405 of Quart in the service's form; any other response that a view has chosen stays."""
    if isinstance(error, NotFound):
        raise ErrNotFound("nothing is served at this path")
    if isinstance(error, MethodNotAllowed):
        raise ErrMethodNotAllowed("this path does not take this method", allowed=error.valid_methods or ())
    return cast("ResponseReturnValue", error)
