"""What Quart answers: the listings, and whatever has a path or a method that nobody serves.

Imported when the first of these requests is there, for Quart and what it brings are 12 MB and 0.1 s.
"""

from __future__ import annotations

from typing import cast

from quart import request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from lakehouse.asgi import request_scope
from lakehouse.asgi.types import Scope
from lakehouse.chat.api import responses
from lakehouse.chat.api.application import ChatApplication, DirectQuartResponse
from lakehouse.chat.api.blueprints import native, openai
from lakehouse.chat.api.interface import Dispatcher
from lakehouse.chat.api.openai.errors import OPENAI_PATHS, envelope, headers_of, status_of
from lakehouse.core.errors import ErrMethodNotAllowed, ErrNotFound, LakehouseError


def routes(chat: Dispatcher | None, *, max_body: int, timeout: float, prefix: str) -> ChatApplication:
    """The chat group under `prefix`, `/v1` or nothing; without a dispatcher every path is unknown here."""
    application = ChatApplication()
    if chat is not None:
        application.register_blueprint(native(chat, max_body=max_body, timeout=timeout, prefix=f"{prefix}/chat"))
        application.register_blueprint(openai(chat, max_body=max_body, timeout=timeout, prefix=prefix))
    application.register_error_handler(HTTPException, _refuse)
    return application


async def _refuse(error: HTTPException) -> DirectQuartResponse:
    """What Quart itself refuses, in our words."""
    failure: LakehouseError = ErrNotFound("nothing is served at this path")
    if isinstance(error, MethodNotAllowed):
        failure = ErrMethodNotAllowed("this path does not take this method", allowed=error.valid_methods or ())
    known = request_scope.find(cast("Scope", request.scope))
    context = None if known is None else known.context
    if request.path.startswith(OPENAI_PATHS):
        document = envelope(failure, request_scope.request_id(context))
        return DirectQuartResponse(responses.error_response(failure, document, status_of(failure), headers_of(failure)))
    return DirectQuartResponse(responses.error_response(failure, failure.document(request_scope.request_id(context))))
