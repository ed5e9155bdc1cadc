"""One attempt: one HTTP exchange with one provider, within the limits of its time and size.

    whole(...)        -> Whole   an answer, read to its end
    open_stream(...)  -> Live    the first pieces of one, and the rest to come (`live`)

Both raise a `LakehouseError` with a class. Then, and when they are cancelled, they leave nothing open.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf

import httpx
import trio

from lakehouse.chat.dialects.base import MAX_ANSWER
from lakehouse.chat.dialects.exchange import CallCodec
from lakehouse.chat.dispatch.attempts import ActiveAttempt
from lakehouse.chat.dispatch.call import ChatCall
from lakehouse.chat.dispatch.pooled_response import direct
from lakehouse.chat.dispatch.provider_response import ProviderResponse, send_via_httpx
from lakehouse.chat.dispatch.provider_stream import ProviderStream, timeout_error
from lakehouse.chat.model.answer import ProviderAnswer
from lakehouse.chat.providers.registry import Route


@dataclass(frozen=True, slots=True)
class CompleteResult:
    """A whole answer, and who gave it."""

    route: Route
    reply: ProviderAnswer

    async def drain(self) -> None:
        """It was read to its end."""

    async def aclose(self) -> None:
        """There is nothing to let go of."""


async def request_complete(call: ChatCall, route: Route, attempt: ActiveAttempt, *, last: bool) -> CompleteResult:
    """Ask for a whole answer.

    A route that is not the last one is left when nothing of the answer came by `first_token_timeout`, or when it stalls
    for `idle_timeout`. The last one has until the call's deadline, for a whole answer may be long in the making.
    """
    if route.provider.streams_only:
        reply = await _from_stream(call, route, attempt, last=last)
    else:
        exchange = _exchange(call, route, attempt, stream=False)
        if last:  # which nearly every one is: no scope, for it has no limit of its own
            body = await (await _send(call, route, attempt, exchange)).whole(MAX_ANSWER, attempt.mark_progress)
        else:
            body = await _with_attempt_timeout(call, route, attempt, exchange)
        reply = exchange.decode(body)
    call.record_usage(reply.usage)
    return CompleteResult(route, reply)


async def _with_attempt_timeout(call: ChatCall, route: Route, attempt: ActiveAttempt, exchange: CallCodec) -> bytes:
    settings = call.settings
    with trio.CancelScope(relative_deadline=settings.first_token_timeout) as limit:

        def heard() -> None:
            attempt.mark_progress()
            limit.deadline = trio.current_time() + settings.idle_timeout

        return await (await _send(call, route, attempt, exchange)).whole(MAX_ANSWER, heard)
    raise timeout_error(route, settings, heard=attempt.heard)


async def _from_stream(call: ChatCall, route: Route, attempt: ActiveAttempt, *, last: bool) -> ProviderAnswer:
    live = await _open(call, route, attempt, timeout=inf if last else call.settings.first_token_timeout)
    try:
        while await live.receive():
            pass
    finally:
        await live.aclose()
    return live.reply


async def open_stream(call: ChatCall, route: Route, attempt: ActiveAttempt, *, last: bool) -> ProviderStream:  # noqa: ARG001 - as `request_complete`
    """Ask for a stream and wait for its first pieces, on every route until `first_token_timeout`.

    The attempt is kept: it ends with the stream, which somebody must close.
    """
    return await _open(call, route, attempt, timeout=call.settings.first_token_timeout)


async def _open(call: ChatCall, route: Route, attempt: ActiveAttempt, *, timeout: float) -> ProviderStream:
    exchange = _exchange(call, route, attempt, stream=True)
    deadline = trio.current_time() + timeout
    with trio.CancelScope(deadline=deadline) as limit:
        incoming = await _send(call, route, attempt, exchange)
    if limit.cancelled_caught:
        raise timeout_error(route, call.settings, heard=False)
    live = ProviderStream(call, route, attempt, incoming, exchange.parser())
    await live.begin(deadline)
    attempt.detach()
    return live


def _exchange(call: ChatCall, route: Route, attempt: ActiveAttempt, *, stream: bool) -> CallCodec:
    """What is sent to `route`, and how what comes back is read."""
    provider, request = route.provider, call.request
    quirks = provider.quirks(route.model, request)
    if request.format is not None:
        attempt.schema_step = step = call.resources.json_modes.current_level(route.target, quirks.schema)
        quirks = quirks if step == quirks.schema else replace(quirks, schema=step)
    exchange = CallCodec(route.endpoint.dialect, request, model=route.model, stream=stream, quirks=quirks)
    call.context.record_request_changes(left_out=exchange.changes.left_out, adjusted=exchange.changes.adjusted)
    return exchange


async def _send(call: ChatCall, route: Route, attempt: ActiveAttempt, exchange: CallCodec) -> ProviderResponse:
    """Send it and wait for the head. Raises what an answer that is no success means."""
    provider, endpoint, context = route.provider, route.endpoint, call.context
    headers = (*endpoint.headers, *provider.request_headers(call.request))
    if context.trace is not None and (trace := context.traceparent(attempt.record)):
        headers = (*headers, (b"traceparent", trace))
    incoming: ProviderResponse
    if upstream := call.resources.upstreams.get(provider.name):
        answer = await upstream.request(b"POST", endpoint.target, headers, exchange.body, context=context)
        incoming = direct(answer, provider.name)
    else:
        extensions = {"flight": context}
        request = httpx.Request("POST", endpoint.url, headers=headers, content=exchange.body, extensions=extensions)
        incoming = await send_via_httpx(call.resources.transports[provider.name], request, provider=provider.name)
    status = attempt.record.status = incoming.status
    if not 200 <= status < 300:
        async with incoming:
            raise await incoming.refusal(secrets=provider.secrets)
    return incoming
