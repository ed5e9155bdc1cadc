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

from lakehouse.asgi.router import make_method_not_allowed, make_not_found
from lakehouse.asgi.types import Send


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

    Quart's own time limits are off, because `RequestLifetimeMiddleware` keeps the request's deadline: Quart's
    `RESPONSE_TIMEOUT` would cut every stream after a minute without a piece. What a view raises is raised through
    Quart, so that log, metrics and the form of an error are the same for every path.
    """

    asgi_http_class = QuartConnection

    def __init__(self, name: str, *, max_body: int | None = None) -> None:
        """`max_body` limits the body of a request to a view, in bytes."""
        super().__init__(name, static_folder=None, template_folder=None)
        self.url_map.merge_slashes = False  # it would redirect `//v1/models` to the host in the Host header
        self.config.update(
            RESPONSE_TIMEOUT=None, BODY_TIMEOUT=None, MAX_CONTENT_LENGTH=max_body, PROPAGATE_EXCEPTIONS=True
        )
        self.register_error_handler(HTTPException, _convert_http_error)


async def _convert_http_error(error: HTTPException) -> ResponseReturnValue:
    """Raise the router's errors for a 404 or 405 of Quart; any other response that a view has chosen is returned."""
    if isinstance(error, NotFound):
        raise make_not_found()
    if isinstance(error, MethodNotAllowed):
        raise make_method_not_allowed(error.valid_methods or ())
    return cast("ResponseReturnValue", error)
