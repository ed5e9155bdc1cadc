"""What a node can do: ask a model, search, query, embed. A mode gets the filled prompt and inputs of its node."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import msgspec

from lakehouse.chat.api.protocols import Dispatcher
from lakehouse.chat.model.request import Message, Request
from lakehouse.core.context import RequestContext
from lakehouse.core.context_branches import branch_context
from lakehouse.core.errors import ErrBadRequest

Inputs = Mapping[str, object]
Mode = Callable[[str, Inputs, RequestContext], Awaitable[object]]
"""Runs a node: prompt, inputs and the context of the request to its output, a JSON value. Raises LakehouseError."""


class DataServices(Protocol):
    """Calls of the services behind the gateway; see `gateway.service_calls`."""

    async def call(
        self, service: str, method: str, path: str, document: object = None, *, context: RequestContext
    ) -> bytes:
        """Send a request and return the body of its response. Raises LakehouseError."""


def make_modes(dispatcher: Dispatcher, services: DataServices, default_model: str | None) -> Mapping[str, Mode]:
    """The modes by name. `default_model` answers the chats that name no model."""

    async def chat(prompt: str, inputs: Inputs, context: RequestContext) -> object:
        request = _make_chat(prompt, inputs, default_model)
        with branch_context(context) as branch:
            return (await dispatcher(request, context=branch)).content

    async def search(prompt: str, inputs: Inputs, context: RequestContext) -> object:
        return await post("matrixd", "/matrix/search", _with_default(inputs, "query_text", prompt), context)

    async def query(prompt: str, inputs: Inputs, context: RequestContext) -> object:
        return await post("queryd", "/sql", _with_default(inputs, "sql", prompt), context)

    async def embed(prompt: str, inputs: Inputs, context: RequestContext) -> object:
        return await post("embedd", "/embed", _with_default(inputs, "texts", [prompt] if prompt else ()), context)

    async def post(service: str, path: str, document: Inputs, context: RequestContext) -> object:
        return msgspec.json.decode(await services.call(service, "POST", path, document, context=context))

    return {"llm.chat": chat, "matrix.search": search, "sql": query, "embed": embed}


def _make_chat(prompt: str, inputs: Inputs, default_model: str | None) -> Request:
    model = inputs.get("model") or default_model
    if model is None:
        raise ErrBadRequest("`inputs.model` is required: the service has no default model", field="inputs.model")
    fields = {name: value for name, value in inputs.items() if name not in ("model", "messages")}
    messages = inputs.get("messages")
    if messages is None:
        if not prompt:
            raise ErrBadRequest("a node with the mode llm.chat needs a `prompt`, or `inputs.messages`", field="prompt")
        messages = [Message(role="user", content=prompt)]
    try:
        return msgspec.convert(
            {"model": model, "messages": msgspec.to_builtins(messages), **fields, "stream": False}, Request
        )
    except (msgspec.ValidationError, ValueError) as error:
        raise ErrBadRequest(f"`inputs`: {error}", field="inputs") from None


def _with_default(inputs: Inputs, name: str, value: object) -> Inputs:
    return inputs if name in inputs or not value else {**inputs, name: value}
