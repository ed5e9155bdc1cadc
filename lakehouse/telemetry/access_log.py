"""What the log says of one request. No content and no secret is ever in it: neither path, query, headers nor bodies."""

from __future__ import annotations

import time

import msgspec

from lakehouse.core.context import CLIENT_CLOSED_REQUEST, RequestContext

MONITORING_ROUTES = frozenset({"/", "/healthz", "/readyz", "/metrics", "/v1/requests", "/v1/chat/providers"})
"""Routes on which load balancers, Prometheus and the page look at us every other second."""

NAME_LIMIT = 120
"""Characters of a model's name that are logged: callers choose it, so it may be anything."""


class AccessLogRecord(msgspec.Struct, omit_defaults=True, gc=False):
    """One request, ended. Times are milliseconds, `own_ms` is what was not spent waiting for an upstream.

    `left_out` names the fields of a chat's request that the upstream's form has no place for, and `adjusted` those that
    were sent with the nearest value that it has.
    """

    time: str
    level: str
    event: str
    request_id: str
    method: str
    route: str
    status: int | None
    outcome: str | None
    total_ms: float
    upstream_ms: float
    own_ms: float
    attempt_count: int = 0
    first_piece_ms: float | None = None
    upstream: str | None = None
    provider: str | None = None
    model: str | None = None
    tier: str | None = None
    error: str | None = None
    principal: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None
    trace_id: str | None = None
    left_out: tuple[str, ...] | None = None
    adjusted: tuple[str, ...] | None = None


def access_log_record(context: RequestContext, *, ended: float, when: str) -> AccessLogRecord:
    """The line of a flight that ended at `ended` (trio's clock), which is `when` for people."""
    status = logged_status(context)
    total = ended - context.started
    waiting = context.upstream_seconds
    said = AccessLogRecord(  # by position, for this is done for every request and names take their time
        when,
        level(context, status),
        "request",
        context.id,
        context.method,
        context.route,
        status,
        context.outcome,
        _ms(total),
        _ms(waiting),
        _ms(total - waiting) if total > waiting else 0.0,
        context.attempt_count,
        None if context.first_piece is None else _ms(context.first_piece - context.started),
        context.upstream,
        context.provider,
        None if context.model is None else printable(context.model),
        context.tier,
        context.error,
        context.principal,
    )
    if (usage := context.usage) is not None:
        said.input_tokens, said.output_tokens, said.cost_usd = usage.input_tokens, usage.output_tokens, usage.cost_usd
    if context.trace is not None:
        said.trace_id = f"{context.trace.trace_id:032x}"
    if context.left_out:
        said.left_out = context.left_out
    if context.adjusted:
        said.adjusted = context.adjusted
    return said


def logged_status(context: RequestContext) -> int | None:
    """The status for logs and metrics: 499 for a client that left, whatever had been sent to it."""
    return CLIENT_CLOSED_REQUEST if context.outcome == "client left" else context.status


def level(context: RequestContext, status: int | None) -> str:
    """How loud: a request that we or an upstream failed is a warning, who only looks at us is a whisper (`debug`)."""
    if context.outcome in ("failed", "deadline") or (
        status is not None and status >= 500 and context.outcome != "drain"
    ):
        return "warning"
    return "debug" if context.route in MONITORING_ROUTES and status == 200 else "info"


def printable(name: str) -> str:
    """A name as it may be shown: short, and escaped."""
    return escaped(name if len(name) <= NAME_LIMIT else name[: NAME_LIMIT - 1] + "…")


def escaped(text: str) -> str:
    """With control characters spelt out, so that no terminal obeys them and no line becomes two."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class Clock:
    """The time of day for log lines, ISO 8601 in UTC with milliseconds; the lines of one millisecond share a string."""

    __slots__ = ("_millisecond", "_prefix", "_second", "_text")

    def __init__(self) -> None:
        self._millisecond = self._second = -1
        self._prefix = self._text = ""

    def __call__(self, now: float | None = None) -> str:
        """`now` is in seconds since 1970; by default the system's clock."""
        millisecond = int((time.time() if now is None else now) * 1000)
        if millisecond != self._millisecond:
            self._millisecond = millisecond
            second, rest = divmod(millisecond, 1000)
            if second != self._second:
                self._second = second
                self._prefix = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
            self._text = f"{self._prefix}{rest:03d}Z"
        return self._text


def _ms(seconds: float) -> float:
    return int(seconds * 1_000_000 + 0.5) / 1000
