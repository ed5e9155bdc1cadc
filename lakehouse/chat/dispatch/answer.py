"""From what a provider said to what the caller gets: who said it, how long it took, and after how many attempts."""

from __future__ import annotations

from typing import Any

import msgspec

from lakehouse.chat.dispatch.call import ChatCall
from lakehouse.chat.model.request import NO_SUPPLEMENTS, Answer, Done, FinishReason, ProviderAnswer, Supplements
from lakehouse.chat.providers.registry import Route

SAID = Supplements.__struct_fields__
FACTS = ("service_tier", "system_fingerprint", "moderation", "citations", "search_results")
"""The supplements that a stream has not told piece by piece."""


def build_answer(call: ChatCall, route: Route, reply: ProviderAnswer) -> Answer:
    """A whole answer."""
    usage = reply.usage
    return Answer(
        model=route.model,
        provider=route.provider.name,
        content=reply.content,
        reasoning=reply.reasoning,
        tool_calls=reply.tool_calls,
        finish_reason=_finish_reason(reply),
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cached_tokens=usage.cached_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        cost_usd=usage.cost_usd,
        latency_ms=call.latency_ms,
        attempts=call.attempt_log.entries(),
        reasoning_details=reply.reasoning_details or msgspec.UNSET,
        input_details=usage.input_details or msgspec.UNSET,
        output_details=usage.output_details or msgspec.UNSET,
        **_supplements(reply, SAID),
    )


def build_done(call: ChatCall, route: Route, reply: ProviderAnswer) -> Done:
    """The last piece of a stream."""
    usage = reply.usage
    return Done(
        model=route.model,
        provider=route.provider.name,
        finish_reason=_finish_reason(reply),
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cached_tokens=usage.cached_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        cost_usd=usage.cost_usd,
        latency_ms=call.latency_ms,
        attempts=call.attempt_log.entries(),
        reasoning_details=reply.reasoning_details or msgspec.UNSET,
        input_details=usage.input_details or msgspec.UNSET,
        output_details=usage.output_details or msgspec.UNSET,
        **_supplements(reply, FACTS),
    )


def _supplements(reply: ProviderAnswer, names: tuple[str, ...]) -> dict[str, Any]:
    found = reply.supplements
    return {} if found is NO_SUPPLEMENTS else {name: getattr(found, name) for name in names}


def _finish_reason(reply: ProviderAnswer) -> FinishReason:
    """A call for tools is one whatever the provider called it; an end without a reason is a stop."""
    return "tool_calls" if reply.tool_calls else reply.finish_reason or "stop"
