"""The paths of Ollama's form beside the chats, as ASGI applications."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from lakehouse.asgi import request_scope
from lakehouse.asgi.body import BodyLimits, receive_body
from lakehouse.asgi.json_body import decode_json
from lakehouse.asgi.request_scope import RequestScope
from lakehouse.asgi.responses import Response, json_response
from lakehouse.asgi.types import Receive, Scope, Send
from lakehouse.chat.api.errors import to_client_error
from lakehouse.chat.api.ollama.embeddings import EmbedTexts, embed, embed_prompt
from lakehouse.chat.api.ollama.errors import render_error
from lakehouse.chat.api.ollama.models import API_VERSION, ModelDirectory, make_ps, make_show, make_tags
from lakehouse.chat.api.ollama.names import remove_tag, require_name
from lakehouse.chat.api.ollama.types import EmbeddingsParams, EmbedParams, ShowParams
from lakehouse.chat.api.responses import send_response
from lakehouse.core.context import RequestContext
from lakehouse.core.errors import ErrNotImplemented

Answer = Callable[[bytes, RequestContext], Awaitable[object]]
"""Answers a request from its body with a document, for msgspec to encode."""


class OllamaEndpoint:
    """The ASGI application for one path, inside of `RequestLifetimeMiddleware`. Failures are in Ollama's form.

    Clients say nothing or anything about the type of their bodies, which are JSON.
    """

    def __init__(self, answer: Answer, *, max_body: int, timeout: float) -> None:
        """`max_body` is in bytes; `timeout` is until when the body must have arrived, in seconds."""
        self._answer = answer
        self._limits = BodyLimits(max_size=max_body, timeout=timeout)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = request_scope.get(scope)
        try:
            response = await self._respond(request, scope, receive)
        except (Exception, BaseExceptionGroup) as raised:  # noqa: BLE001  # `to_client_error` raises, returns or logs it
            error = to_client_error(raised)
            request.context.record_error(error)
            response = render_error(error)
        await send_response(response, request, send)

    async def _respond(self, request: RequestScope, scope: Scope, receive: Receive) -> Response:
        body = await receive_body(scope, receive, self._limits)
        return json_response(await self._answer(body, request.context))


class ModelViews:
    """Answers the questions about models and the requests for embeddings."""

    def __init__(self, directory: ModelDirectory, embed_texts: EmbedTexts, *, context_length: int) -> None:
        self._directory = directory
        self._embed_texts = embed_texts
        self._context_length = context_length

    async def tags(self, _: bytes, __: RequestContext) -> object:
        """The models, as `/v1/models` lists them."""
        return make_tags(await self._directory.models())

    async def show(self, body: bytes, _: RequestContext) -> object:
        """The description of a model."""
        given = decode_json(body, ShowParams)
        name = require_name(given.model, given.name)
        described = await self._directory.describe(remove_tag(name))
        return make_show(name, described, context_length=self._context_length)

    async def ps(self, _: bytes, __: RequestContext) -> object:
        """The models in memory."""
        return make_ps(await self._directory.list_loaded())

    async def version(self, _: bytes, __: RequestContext) -> object:
        """The release of Ollama whose form this is."""
        return {"version": API_VERSION}

    async def embed(self, body: bytes, context: RequestContext) -> object:
        """The vectors of texts, with the time that they took."""
        answer = await embed(decode_json(body, EmbedParams), self._embed_texts, context=context)
        return {**answer, "total_duration": int((trio.current_time() - context.started) * 1e9)}

    async def embeddings(self, body: bytes, context: RequestContext) -> object:
        """The vector of one text."""
        return await embed_prompt(decode_json(body, EmbeddingsParams), self._embed_texts, context=context)

    async def refuse(self, _: bytes, __: RequestContext) -> object:
        """Raises ErrNotImplemented: this service has no files of models."""
        raise ErrNotImplemented(
            "this service calls models of its providers and keeps none: manage the models where they are, for instance "
            "with the ollama command on the machine of an Ollama"
        )


def send_running(scope: Scope, _: Receive, send: Send) -> Awaitable[None]:
    """`GET /`, with which clients find out whether an Ollama is there."""
    response = Response(b"Ollama is running", content_type=b"text/plain; charset=utf-8")
    return send_response(response, request_scope.get(scope), send)
