"""Calls that one request makes at the same time do not overwrite each other's records."""

from __future__ import annotations

from math import inf

from lakehouse.core.context import RequestContext
from lakehouse.core.context_branches import TotalUsage, branch_context


def usage(tokens: int | None, cost: float | None) -> TotalUsage:
    return TotalUsage(
        input_tokens=tokens, output_tokens=tokens, cached_tokens=None, reasoning_tokens=None, cost_usd=cost
    )


def test_what_was_recorded_in_branches_is_added_up() -> None:
    context = RequestContext(id="a", method="POST", path="/", started=0.0)
    with branch_context(context) as one, branch_context(context) as other:
        before = one.shorten_deadline(5.0)
        other.shorten_deadline(7.0)
        one.restore_deadline(before)
        assert (one.deadline, other.deadline, context.deadline) == (inf, 7.0, inf)
        for branch, provider, tokens in ((one, "p", 3), (other, "q", 4)):
            branch.record_attempt(provider, "m", now=1.0)
            branch.record_answer(provider, "m", "stop", usage(tokens, 0.5))
            branch.add_upstream_time(2.0)
    assert sorted(record.upstream for record in context.attempts) == ["p", "q"]
    assert (context.attempt_count, context.upstream_seconds) == (2, 4.0)
    assert context.usage == usage(7, 1.0)


def test_a_branch_that_fails_is_recorded_as_well() -> None:
    context = RequestContext(id="a", method="POST", path="/", started=0.0)
    try:
        with branch_context(context) as branch:
            branch.record_attempt("p", "m", now=1.0)
            branch.record_usage(usage(None, None))
            raise ValueError
    except ValueError:
        pass
    assert (context.attempt_count, context.usage) == (1, usage(None, None))
