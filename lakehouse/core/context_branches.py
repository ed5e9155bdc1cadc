"""Records of calls that one request makes at the same time: a branch of its context for each, joined at the end.

A call records its attempts, its deadline and its answer in the context that it is given, one after the other; two calls
at the same time would overwrite each other's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec

from lakehouse.core.context import RequestContext, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class TotalUsage:
    """The sum of several usages; None where none of them has a count."""

    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    reasoning_tokens: int | None
    cost_usd: float | None


@contextmanager
def branch_context(context: RequestContext) -> Iterator[RequestContext]:
    """A context for one of the calls, for the length of the block; then its record is added to that of the request."""
    branch = msgspec.structs.replace(
        context, attempts=(), attempt_count=0, upstream_seconds=0.0, usage=None, error=None, content=None
    )
    try:
        yield branch
    finally:
        context.take_over_attempts(branch)
        if branch.provider is not None and branch.model is not None:
            context.assign_provider(branch.provider, branch.model)
        if branch.usage is not None:
            context.record_usage(branch.usage if context.usage is None else add_usage(context.usage, branch.usage))


def add_usage(one: Usage, other: Usage) -> TotalUsage:
    """The sum of two usages."""
    return TotalUsage(
        input_tokens=_add(one.input_tokens, other.input_tokens),
        output_tokens=_add(one.output_tokens, other.output_tokens),
        cached_tokens=_add(one.cached_tokens, other.cached_tokens),
        reasoning_tokens=_add(one.reasoning_tokens, other.reasoning_tokens),
        cost_usd=one.cost_usd if other.cost_usd is None else other.cost_usd + (one.cost_usd or 0.0),
    )


def _add(one: int | None, other: int | None) -> int | None:
    return one if other is None else other + (one or 0)
