"""The log record of one request, without content or secrets: no path, query, headers or bodies."""

from __future__ import annotations

import time

import msgspec

from lakehouse.core.context import CLIENT_CLOSED_REQUEST, RequestContext

MONITORING_ROUTES = frozenset(
    {"/", "/healthz", "/readyz", "/metrics", "/v1/requests", "/v1/sessions", "/v1/chat/providers"}
)
"""Routes that load balancers, Prometheus and the console page call every few seconds."""

NAME_LIMIT = 120
"""Characters of a model name that are logged; the name is chosen by the client and can have any length."""


class AccessLogRecord(msgspec.Struct, omit_defaults=True, gc=False):
    """One request that has ended. Times are milliseconds; `own_ms` is the time not spent waiting for an upstream.

    `left_out` lists the fields of a chat request that the upstream's dialect does not support, and `adjusted` those
    that were sent with the nearest value that the dialect supports. `passages` are those that an ask has found,
    `citations` the number of them that its answer cites. `session` and `agent` are the run that the request belongs to.
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
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost_usd: float | None = None
    trace_id: str | None = None
    left_out: tuple[str, ...] | None = None
    adjusted: tuple[str, ...] | None = None
    passages: int | None = None
    citations: int | None = None
    session: str | None = None
    agent: str | None = None
    requested_model: str | None = None
    bytes_in: int = 0
    bytes_out: int = 0


def make_access_log_record(context: RequestContext, *, ended: float, timestamp: str) -> AccessLogRecord:
    """Build the record of a request that ended at `ended` (trio's clock); `timestamp` is the same time as text."""
    status = logged_status(context)
    total = ended - context.started
    waiting = context.upstream_seconds
    record = AccessLogRecord(  # by position: this runs for every request, and keywords cost time
        timestamp,
        log_level(context, status),
        "request",
        context.id,
        context.method,
        context.route,
        status,
        context.outcome,
        _to_milliseconds(total),
        _to_milliseconds(waiting),
        _to_milliseconds(total - waiting) if total > waiting else 0.0,
        context.attempt_count,
        None if context.first_piece is None else _to_milliseconds(context.first_piece - context.started),
        context.upstream,
        context.provider,
        None if context.model is None else shorten_and_escape(context.model),
        context.tier,
        context.error,
        context.principal,
    )
    record.bytes_in, record.bytes_out = context.bytes_in, context.bytes_out
    _add_optional_fields(record, context)
    return record


def _add_optional_fields(record: AccessLogRecord, context: RequestContext) -> None:
    if (usage := context.usage) is not None:
        record.input_tokens, record.output_tokens = usage.input_tokens, usage.output_tokens
        record.cached_tokens, record.reasoning_tokens = usage.cached_tokens, usage.reasoning_tokens
        record.cost_usd = usage.cost_usd
    if context.trace is not None:
        record.trace_id = f"{context.trace.trace_id:032x}"
    if context.left_out:
        record.left_out = context.left_out
    if context.adjusted:
        record.adjusted = context.adjusted
    if context.requested_model is not None and context.requested_model != context.model:
        record.requested_model = shorten_and_escape(context.requested_model)
    if context.ask is not None:
        record.passages, record.citations = context.ask.passages, context.ask.citations
    if (session := context.session) is not None:
        record.session = session.id
        if session.agent:
            record.agent = session.agent


def logged_status(context: RequestContext) -> int | None:
    """Return the status for log and metrics: 499 if the client disconnected, whatever status was sent."""
    return CLIENT_CLOSED_REQUEST if context.outcome == "client left" else context.status


def log_level(context: RequestContext, status: int | None) -> str:
    """`warning` if this service or an upstream failed, `debug` for a success on `MONITORING_ROUTES`, else `info`."""
    if context.outcome in ("failed", "deadline") or (
        status is not None and status >= 500 and context.outcome != "drain"
    ):
        return "warning"
    return "debug" if context.route in MONITORING_ROUTES and status == 200 else "info"


def shorten_and_escape(name: str) -> str:
    """Shorten a name from a client to `NAME_LIMIT` and escape its control characters."""
    return escape_control_chars(name if len(name) <= NAME_LIMIT else name[: NAME_LIMIT - 1] + "…")


def escape_control_chars(text: str) -> str:
    """Escape control characters, which could change the state of a terminal or split a log line."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


_MILLISECONDS = tuple(f"{number:03d}Z" for number in range(1000))


class Clock:
    """Formats the time of log lines, as ISO 8601 in UTC with milliseconds. The string is cached for a millisecond."""

    __slots__ = ("_millisecond", "_prefix", "_second", "_text")

    def __init__(self) -> None:
        self._millisecond = self._second = -1
        self._prefix = self._text = ""

    def __call__(self, now: float | None = None) -> str:
        """Format `now`, in seconds since 1970; the present time by default."""
        millisecond = int((time.time() if now is None else now) * 1000)
        if millisecond != self._millisecond:
            self._millisecond = millisecond
            second, rest = divmod(millisecond, 1000)
            if second != self._second:
                self._second = second
                self._prefix = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
            self._text = self._prefix + _MILLISECONDS[rest]
        return self._text


def _to_milliseconds(seconds: float) -> float:
    return int(seconds * 1_000_000 + 0.5) / 1000
