"""Builds what the caller gets from what a provider answered: adds the provider, the time and the attempts."""

from __future__ import annotations

from typing import Any, TypeVar

from msgspec import UNSET

from lakehouse.chat.dispatch.calls.call import ChatCall
from lakehouse.chat.model.answer import (
    NO_SUPPLEMENTS,
    Answer,
    AnswerFacts,
    FinishReason,
    ProviderAnswer,
    Supplements,
)
from lakehouse.chat.model.pieces import Done
from lakehouse.chat.providers.registry import ModelRoute

ALL_SUPPLEMENTS = Supplements.__struct_fields__
UNSTREAMED_SUPPLEMENTS = (
    "service_tier",
    "system_fingerprint",
    "moderation",
    "citations",
    "search_results",
    "stop_sequence",
)
"""The supplements that no piece of a stream carries, so that `Done` has to."""

Shape = TypeVar("Shape", bound=AnswerFacts)


def build_answer(call: ChatCall, route: ModelRoute, reply: ProviderAnswer) -> Answer:
    """The complete answer of a call."""
    return _build(
        Answer,
        call,
        route,
        reply,
        ALL_SUPPLEMENTS,
        content=reply.content,
        reasoning=reply.reasoning,
        tool_calls=reply.tool_calls,
    )


def build_done(call: ChatCall, route: ModelRoute, reply: ProviderAnswer) -> Done:
    """The last piece of a stream."""
    return _build(Done, call, route, reply, UNSTREAMED_SUPPLEMENTS)


def _build(
    shape: type[Shape],
    call: ChatCall,
    route: ModelRoute,
    reply: ProviderAnswer,
    supplements: tuple[str, ...],
    **fields: Any,  # noqa: ANN401 - the fields that `shape` has beside the facts
) -> Shape:
    usage = reply.usage
    if reply.supplements is not NO_SUPPLEMENTS:
        fields.update((name, getattr(reply.supplements, name)) for name in supplements)
    return shape(
        model=route.model,
        provider=route.provider.name,
        finish_reason=_finish_reason(reply),
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cached_tokens=usage.cached_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        cost_usd=usage.cost_usd,
        latency_ms=call.time.latency_ms,
        attempts=call.attempt_log.entries(),
        reasoning_details=reply.reasoning_details or UNSET,
        input_details=usage.input_details or UNSET,
        output_details=usage.output_details or UNSET,
        **fields,
    )


def _finish_reason(reply: ProviderAnswer) -> FinishReason:
    """`tool_calls` for an answer that has tool calls, whatever the provider called it; `stop` if it gave no reason."""
    return "tool_calls" if reply.tool_calls else reply.finish_reason or "stop"
