"""The requests in flight, as their lifelines know them, and the tries that each makes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Literal, Protocol

import msgspec

from lakehouse.core.errors import ERROR_CLASSES, Attempt, ErrorClass

if TYPE_CHECKING:
    from lakehouse.core.trace_context import Trace

AttemptReason = Literal["first", "retry", "fallback", "hedge", "resume"]
"""Why a try was made: `resume` goes on with a stream that broke half-way."""


class Caller(Protocol):
    """Whoever knows the client of a request."""

    @property
    def gone(self) -> bool:
        """Whether the client has left before its answer was complete."""


class Usage(Protocol):
    """Tokens and US dollars as a provider counted them, None where it did not."""

    @property
    def input_tokens(self) -> int | None: ...
    @property
    def output_tokens(self) -> int | None: ...
    @property
    def cached_tokens(self) -> int | None: ...
    @property
    def reasoning_tokens(self) -> int | None: ...
    @property
    def cost_usd(self) -> float | None: ...


@dataclass(slots=True, eq=False, kw_only=True)
class AttemptRecord:
    """One attempt of a flight at one provider, while it runs (`ended` is None) and after.

    Times are of trio's clock, in seconds; `status` is the provider's HTTP status, `error` a class of failure, None for
    the try that answered. `parent_id` in a `traceparent` sent with it names this try: see `RequestContext.traceparent`.
    """

    upstream: str
    model: str
    started: float
    why: AttemptReason = "first"
    ended: float | None = None
    first_piece: float | None = None
    status: int | None = None
    error: str | None = None
    span_id: int = 0

    def entry(self, left: ErrorClass | None) -> Attempt:
        """This try as an error carries it; `left` is its class if it was given up."""
        found = [known for known in ERROR_CLASSES if known == self.error]
        return Attempt(
            provider=self.upstream,
            model=self.model,
            status=self.status,
            error=found[0] if found else left,
            ms=round(((self.started if self.ended is None else self.ended) - self.started) * 1000, 3),
        )

    def describe(self, now: float) -> dict[str, object]:
        """A try as `GET /v1/requests` shows it; `age` is how long it runs or ran, in seconds."""
        return {
            "upstream": self.upstream,
            "model": self.model,
            "why": self.why,
            "age": round((now if self.ended is None else self.ended) - self.started, 3),
            "running": self.ended is None,
            "status": self.status,
            "error": self.error,
        }


@dataclass(slots=True, eq=False, kw_only=True)
class Content:
    """What was asked and answered, for traces only. A flight has one only if the configuration says `trace_content`."""

    asked: object = None
    answered: object = None


class RequestContext(msgspec.Struct, eq=False, kw_only=True):
    """One request from its head to its end; the rooms it passes through write down what they are doing for it.

    Times are of trio's clock, in seconds. `phase` is one of `received`, `queued`, `connecting`, `sending`, `waiting`,
    `backoff`, `streaming`; `route` is the prefix or path that the request matched, never the raw path; `outcome` is
    what ended it: `answered`, `client left`, `deadline`, `drain`, `cancelled` or `failed`. `error` is the class or code
    of what went wrong, never a message. `caller` knows whether the client is still there. `tier` is the name in
    `[models]` that was asked for, if it was one. `left_out` and `adjusted` name the fields of the request that an
    upstream was not sent, and those that it was sent with another value, because its form has no place for them.
    """

    id: str
    method: str
    path: str
    started: float
    deadline: float = inf
    route: str = ""
    phase: str = "received"
    upstream: str | None = None
    model: str | None = None
    attempt_count: int = 0
    status: int | None = None
    outcome: str | None = None
    first_piece: float | None = None
    upstream_seconds: float = 0.0
    ended: float | None = None
    error: str | None = None
    provider: str | None = None
    tier: str | None = None
    finish_reason: str | None = None
    usage: Usage | None = None
    attempts: tuple[AttemptRecord, ...] = ()
    trace: Trace | None = None
    content: Content | None = None
    caller: Caller | None = None
    left_out: tuple[str, ...] = ()
    adjusted: tuple[str, ...] = ()

    def changed(self, *, left_out: Iterable[str], adjusted: Iterable[str]) -> None:
        """Write down which fields of the request an upstream is not sent as the caller wrote them."""
        if left_out:
            self.left_out = tuple(dict.fromkeys((*self.left_out, *left_out)))
        if adjusted:
            self.adjusted = tuple(dict.fromkeys((*self.adjusted, *adjusted)))

    def attempt(self, upstream: str, model: str, *, now: float, why: AttemptReason = "first") -> AttemptRecord:
        """Write down that a try begins; whoever makes it fills in how it ended."""
        made = AttemptRecord(upstream=upstream, model=model, started=now, why=why)
        self.attempts += (made,)
        self.attempt_count += 1
        return made

    def trail(self, *, left: ErrorClass | None = None) -> tuple[Attempt, ...]:
        """The tries as an error carries them; `left` is the class of those that were given up with the request."""
        return tuple(made.entry(left) for made in self.attempts)

    def traceparent(self, attempt: AttemptRecord | None = None) -> bytes | None:
        """The W3C header to send with a call made for this flight, or None when it is not traced."""
        return None if self.trace is None else self.trace.header(attempt)

    def describe(self, now: float) -> dict[str, object]:
        """What `GET /v1/requests` shows of it; ages and times left are seconds."""
        return {
            "id": self.id,
            "method": self.method,
            "path": self.path,
            "route": self.route,
            "phase": self.phase,
            "upstream": self.upstream,
            "provider": self.provider,
            "model": self.model,
            "age": round(now - self.started, 3),
            "time_left": None if self.deadline == inf else round(self.deadline - now, 3),
            "attempts": self.attempt_count,
            "tries": [made.describe(now) for made in self.attempts],
        }


class ActiveRequests:
    """The set of flights of one service."""

    def __init__(self) -> None:
        self._active_requests: dict[int, RequestContext] = {}

    def __len__(self) -> int:
        return len(self._active_requests)

    def __iter__(self) -> Iterator[RequestContext]:
        return iter(tuple(self._active_requests.values()))

    def add(self, context: RequestContext) -> None:
        """Begin to show this flight."""
        self._active_requests[id(context)] = context

    def remove(self, context: RequestContext) -> None:
        """Stop showing it; once is enough, twice is harmless."""
        self._active_requests.pop(id(context), None)
