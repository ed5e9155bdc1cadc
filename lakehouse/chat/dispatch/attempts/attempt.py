"""One attempt: one HTTP exchange with one provider, within limits of time and size.

    request_complete(...) -> CompleteResult   a complete answer
    open_stream(...)      -> ProviderStream   a stream whose first pieces have arrived

Both raise a `LakehouseError` with an error class. Then, and when they are cancelled, nothing is left open.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf

import msgspec
import trio

from lakehouse.chat.dialects.base import MAX_ANSWER, Dialect
from lakehouse.chat.dialects.call_codec import CallCodec
from lakehouse.chat.dialects.relay.relay_codec import RelayCodec
from lakehouse.chat.dispatch.attempts.provider_stream import ProviderStream, timeout_error
from lakehouse.chat.dispatch.calls.attempt_log import ActiveAttempt
from lakehouse.chat.dispatch.calls.call import ChatCall
from lakehouse.chat.dispatch.calls.call_time import IdleTimer
from lakehouse.chat.dispatch.transport.interface import Headers, ProviderResponse
from lakehouse.chat.model.answer import ProviderAnswer
from lakehouse.chat.model.raw_request import RawRequest
from lakehouse.chat.providers.model_facts import check_request
from lakehouse.chat.providers.registry import ModelRoute

AttemptCodec = CallCodec | RelayCodec


class CompleteResult(msgspec.Struct, frozen=True):
    """A complete answer and the route that gave it. `relayed`: its body in the client's own form, if it was relayed."""

    route: ModelRoute
    reply: ProviderAnswer
    relayed: bytes | None = None

    async def drain(self) -> None:
        """Does nothing: the answer was read to its end."""

    async def aclose(self) -> None:
        """Does nothing: the response is closed."""


async def request_complete(call: ChatCall, route: ModelRoute, attempt: ActiveAttempt, *, last: bool) -> CompleteResult:
    """Get a complete answer.

    Unless `last`, the attempt fails when none of the answer has arrived after `first_token_timeout`, or when it stalls
    for `idle_timeout`. The last attempt may take until the call's deadline: a whole answer may take long to generate.
    """
    relayed = None
    if route.provider.streams_only:
        reply = await _collect_stream(call, route, attempt, last=last)
    else:
        codec = _encode(call, route, attempt, stream=False)
        if last:  # nearly every attempt: no cancel scope, because it has no timeout of its own
            response = await _send(call, route, attempt, codec)
            body = await response.read_and_close(MAX_ANSWER, attempt.mark_progress)
        else:
            body = await _receive_in_time(call, route, attempt, codec)
        reply, relayed = codec.decode(body) if isinstance(codec, RelayCodec) else (codec.decode(body), None)
        reply = route.add_cost(reply)
    call.context.record_usage(reply.usage)
    return CompleteResult(route, reply, relayed)


async def open_stream(call: ChatCall, route: ModelRoute, attempt: ActiveAttempt, *, last: bool) -> ProviderStream:  # noqa: ARG001 - as `request_complete`
    """Open a stream and wait for its first pieces, `first_token_timeout` seconds at most, on every route.

    The attempt is detached: it ends with the stream, which must be closed.
    """
    return await _open(call, route, attempt, timeout=call.settings.first_token_timeout)


async def _receive_in_time(call: ChatCall, route: ModelRoute, attempt: ActiveAttempt, codec: AttemptCodec) -> bytes:
    settings = call.settings
    with trio.CancelScope(relative_deadline=settings.first_token_timeout) as scope:

        def extend_deadline() -> None:
            attempt.mark_progress()
            scope.deadline = trio.current_time() + settings.idle_timeout

        response = await _send(call, route, attempt, codec)
        return await response.read_and_close(MAX_ANSWER, extend_deadline)
    raise timeout_error(route, settings, has_data=attempt.has_data)


async def _collect_stream(call: ChatCall, route: ModelRoute, attempt: ActiveAttempt, *, last: bool) -> ProviderAnswer:
    stream = await _open(call, route, attempt, timeout=inf if last else call.settings.first_token_timeout)
    try:
        while await stream.receive():
            pass
    finally:
        await stream.aclose()
    return stream.reply


async def _open(call: ChatCall, route: ModelRoute, attempt: ActiveAttempt, *, timeout: float) -> ProviderStream:
    codec = _encode(call, route, attempt, stream=True)
    deadline = trio.current_time() + timeout
    with trio.CancelScope(deadline=deadline) as scope:
        response = await _send(call, route, attempt, codec)
    if scope.cancelled_caught:
        raise timeout_error(route, call.settings, has_data=False)
    timer = IdleTimer(call.settings.idle_timeout, deadline=deadline)
    stream = ProviderStream(call, route, attempt, response, codec.make_parser(), timer)
    await stream.receive_first()
    attempt.detach()
    return stream


def _encode(call: ChatCall, route: ModelRoute, attempt: ActiveAttempt, *, stream: bool) -> AttemptCodec:
    """The request in the dialect of `route`, and the decoder of its response. It is relayed if its client wrote it so
    that the provider takes it."""
    provider, dialect = route.provider, route.endpoint.dialect
    request = call.resources.thinking.fit(route.target, call.request, thinks=route.facts.reasoning is not False)
    check_request(route.facts, request, model=str(route))
    quirks = provider.quirks(route.model, request, dialect.form)
    if call.raw is not None:
        relayed = RelayCodec.create(dialect, request, call.raw, model=route.model, stream=stream, quirks=quirks)
        if relayed is not None:
            return relayed
    if request.format is not None:
        attempt.json_mode = mode = call.resources.json_modes.current_mode(route.target, quirks.json_mode)
        quirks = quirks if mode == quirks.json_mode else replace(quirks, json_mode=mode)
    codec = CallCodec(dialect, request, model=route.model, stream=stream, quirks=quirks)
    if codec.changes.left_out or codec.changes.adjusted:
        call.context.record_request_changes(left_out=codec.changes.left_out, adjusted=codec.changes.adjusted)
    return codec


async def _send(call: ChatCall, route: ModelRoute, attempt: ActiveAttempt, codec: AttemptCodec) -> ProviderResponse:
    """Send the request and wait for the response's head. Raises the classified failure of an error response."""
    provider, endpoint, context = route.provider, route.endpoint, call.context
    headers: Headers = (*endpoint.headers, *provider.request_headers(call.request))
    if call.raw is not None and call.raw.headers:
        headers = _add_client_headers(headers, call.raw, endpoint.dialect)
    if context.trace is not None and (traceparent := context.traceparent(attempt.record)):
        headers = [*headers, (b"traceparent", traceparent)]
    transport = call.resources.transports[provider.transport_name]
    response = await transport.request(b"POST", endpoint.target, headers, codec.body, context=context)
    status = attempt.record.status = response.status
    if not 200 <= status < 300:
        async with response:
            raise await response.read_error(secrets=provider.secrets)
    return response


def _add_client_headers(headers: Headers, raw: RawRequest, dialect: Dialect) -> Headers:
    """Add the client's headers that belong to its form, in place of the provider's own, if the dialect is that form."""
    if dialect.form != raw.form:
        return headers
    replaced = {name for name, _ in raw.headers}
    return [*(pair for pair in headers if pair[0].lower() not in replaced), *raw.headers]
