"""The trail of a call: one entry for each attempt, the answer's being the last."""

from __future__ import annotations

import logging
from types import TracebackType
from typing import Literal, Self

import trio

from lakehouse.chat.dialects.base import SchemaLevel
from lakehouse.chat.dispatch.circuit_breaker import CircuitPermit
from lakehouse.chat.dispatch.policy import lost_connection, rule_for
from lakehouse.chat.providers.registry import Route
from lakehouse.core.attempts import AttemptReason, AttemptRecord
from lakehouse.core.context import RequestContext
from lakehouse.core.errors import Attempt, ErrBadRequest, LakehouseError
from lakehouse.core.failure_classes import ErrorClass

logger = logging.getLogger("lakehouse.chat")

State = Literal["failed", "dropped", "answered", "under way"]

_ORDER: dict[State, int] = {"failed": 0, "dropped": 0, "answered": 1, "under way": 2}

ROUNDING = 0.001
"""Seconds. The deadline that ends an attempt may be the very limit of its silence, computed in another order."""


class ActiveAttempt:
    """One attempt under way. It is settled once: answered, failed, or dropped because nobody waits for it any more.

    As a context manager it is settled by how the block ends; a block that hands it on calls `detach`. Settling tells the
    route's circuit, the flight's record, and the operator when only the operator can mend it. `heard` is whether
    something of the answer came, `unsent` whether the request could not even be said in the provider's form,
    `schema_step` how JSON was asked for if it was.
    """

    def __init__(
        self, route: Route, passing: CircuitPermit, record: AttemptRecord, context: RequestContext, *, timeout: float
    ) -> None:
        self.route = route
        self.record = record
        self.state: State = "under way"
        self.error: ErrorClass | None = None
        self.heard = False
        self.unsent = False
        self.schema_step: SchemaLevel | None = None
        self._context = context
        self._pass = passing
        self._timeout = timeout
        self._kept = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None:
            if not self._kept:
                self.answered()
        elif isinstance(error, LakehouseError):
            self.failed(error)
        else:
            self.abandoned()

    def mark_progress(self) -> None:
        """Something of the answer is here."""
        self.heard = True

    def detach(self) -> None:
        """The attempt goes on after the block, and somebody else settles it."""
        self._kept = True

    def begun(self) -> None:
        """The first piece of the answer is here."""
        self.heard = True
        self.record.first_piece = trio.current_time()
        self._pass.half_close()

    def answered(self) -> None:
        """The answer is whole."""
        if self._settle("answered"):
            self._pass.succeeded()

    def failed(self, error: LakehouseError) -> None:
        """The attempt ended in `error`, which learns here whom it is about."""
        if not self._settle("failed"):
            return
        error.provider = error.provider or self.route.provider.name
        self.record.status = self.record.status or error.upstream_status
        self.record.error = error.error_class or error.code
        self.error = error.error_class
        self.unsent = isinstance(error, ErrBadRequest) and error.error_class is None
        rule = rule_for(error)
        if self.route.provider.readiness is not None and lost_connection(error):
            self._pass.abandoned()  # the supervisor of that process knows how it is, and a circuit would guess
        elif rule.counts and error.error_class:
            self._pass.failed(error.error_class)
        elif error.upstream_status is not None:
            self._pass.succeeded()  # the route answered; what it said speaks of the request
        else:
            self._pass.abandoned()
        if rule.notice:
            self._tell_operator(rule.notice)

    def abandoned(self) -> None:
        """Nobody waits for it any more. A route that was silent for as long as it may be has failed all the same."""
        if not self._settle("dropped"):
            return
        self.record.error = "cancelled"
        if not self.heard and self._seconds >= self._timeout - ROUNDING:
            self._pass.failed("timeout")
        else:
            self._pass.abandoned()

    def _settle(self, state: State) -> bool:
        if self.state != "under way":
            return False
        self.state = state
        record = self.record
        record.ended = ended = trio.current_time()
        if state != "dropped" or self._no_overlap():
            self._context.add_upstream_time(ended - record.started)
        return True

    def _no_overlap(self) -> bool:
        """Whether no other attempt was made meanwhile, whose time it would be."""
        began = self.record.started
        others = (made.ended for made in self._context.attempts if made is not self.record)
        return all(ended is not None and ended <= began for ended in others)

    def _tell_operator(self, what: str) -> None:
        key = self.route.provider.key
        source = f"; its key is from {key.source}" if key else ""
        logger.error("%s: the provider %s (%s, HTTP %s)%s", self.route, what, self.error, self.record.status, source)

    @property
    def _seconds(self) -> float:
        ended = self.record.ended
        return (trio.current_time() if ended is None else ended) - self.record.started

    def entry(self) -> Attempt:
        """As the caller sees it."""
        record = self.record
        return Attempt(
            provider=record.upstream,
            model=record.model,
            status=record.status,
            error=self.error,
            ms=round(self._seconds * 1000, 3),
        )


class AttemptLog:
    """All attempts of one call, which are also written down in its flight."""

    def __init__(self, context: RequestContext) -> None:
        self._context = context
        self._attempts: list[ActiveAttempt] = []

    def begin(
        self, route: Route, passing: CircuitPermit, why: AttemptReason, *, now: float, timeout: float
    ) -> ActiveAttempt:
        """A new attempt, which must be settled; `timeout` is how many seconds of silence are a failure."""
        context = self._context
        provider = route.provider.name
        context.assign_provider(provider, route.model)
        record = context.record_attempt(provider, route.model, now=now, why=why)
        attempt = ActiveAttempt(route, passing, record, context, timeout=timeout)
        self._attempts.append(attempt)
        return attempt

    def __len__(self) -> int:
        return len(self._attempts)

    def timed_out(self) -> None:
        """The call's deadline has passed: what was given up was given up for that."""
        for attempt in self._attempts:
            if attempt.state == "dropped":
                attempt.error = "timeout"
                attempt.record.error = "timeout"

    def entries(self) -> tuple[Attempt, ...]:
        """The attempts so far: those that came to nothing in the order in which they ended, and then the answer's.

        What was never sent is none.
        """

        attempts = self._attempts
        if len(attempts) == 1 and not attempts[0].unsent:
            return (attempts[0].entry(),)
        made = [attempt for attempt in attempts if not attempt.unsent]
        return tuple([attempt.entry() for attempt in sorted(made, key=_place)])


def _place(attempt: ActiveAttempt) -> tuple[int, float]:
    return _ORDER[attempt.state], attempt.record.ended or 0.0
