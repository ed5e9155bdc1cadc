"""The attempts of a call.

An attempt is recorded once, as an `AttemptRecord` of the request context. `ActiveAttempt` is the handle of the code
that makes the attempt: its state machine. `Attempt` is the view that answers and errors carry.

    WAITING ──> RECEIVING ──> ANSWERED
       │            ├───────> FAILED ──> UNSENT
       │            └───────> ABANDONED
       └──> ANSWERED, FAILED, ABANDONED
"""

from __future__ import annotations

import logging
from enum import StrEnum
from types import TracebackType
from typing import Final, Self

import trio

from lakehouse.chat.dialects.errors.redaction import redact_document
from lakehouse.chat.dialects.quirks import JsonMode
from lakehouse.chat.dispatch.policies.circuit_breaker import AttemptPermit
from lakehouse.chat.dispatch.policies.failure_rules import is_connection_lost, rule_for
from lakehouse.chat.providers.registry import ModelRoute
from lakehouse.core.attempts import AttemptReason, AttemptRecord
from lakehouse.core.context import RequestContext
from lakehouse.core.errors import Attempt, ErrBadRequest, LakehouseError, UpstreamReport

logger = logging.getLogger("lakehouse.chat")

ROUNDING = 0.001
"""Seconds. The deadline that ends an attempt may equal the limit of its silence, computed in another order."""


class AttemptState(StrEnum):
    """The state of an attempt. A `StrEnum`, because looking up a plain `Enum` in a table runs Python code."""

    WAITING = "waiting"
    """Nothing of the answer has arrived."""
    RECEIVING = "receiving"
    """Some of the answer has arrived."""
    ANSWERED = "answered"
    """The answer is complete."""
    FAILED = "failed"
    ABANDONED = "abandoned"
    """Cancelled: the client left, the deadline passed, or another route was faster."""
    UNSENT = "unsent"
    """The request was never sent: its provider's dialect cannot express it, or its process was not there."""

    @property
    def running(self) -> bool:
        """Whether the attempt has not ended."""
        return self is WAITING or self is RECEIVING


# Looking a member up in its class costs five times as much as these.
WAITING: Final = AttemptState.WAITING
RECEIVING: Final = AttemptState.RECEIVING
ANSWERED: Final = AttemptState.ANSWERED
FAILED: Final = AttemptState.FAILED
ABANDONED: Final = AttemptState.ABANDONED
UNSENT: Final = AttemptState.UNSENT

_ENDS = frozenset({ANSWERED, FAILED, ABANDONED})
ATTEMPT_TRANSITIONS = {
    WAITING: _ENDS | {RECEIVING},
    RECEIVING: _ENDS,
    ANSWERED: frozenset[AttemptState](),
    FAILED: frozenset({UNSENT}),
    ABANDONED: frozenset[AttemptState](),
    UNSENT: frozenset[AttemptState](),
}
"""The states that may follow each state. Any other change is ignored, so that an attempt ends once."""

_LISTED_LAST = {ANSWERED: 1, WAITING: 2, RECEIVING: 2}


class ActiveAttempt:
    """One attempt, from its start to its end. Its end is reported to the circuit breaker, the record and the operator.

    As a context manager, the attempt ends with the block: answered, failed with the block's `LakehouseError`, or
    abandoned. After `detach`, the block leaves it running. `json_mode` is the JSON mode of the request, None without
    JSON output.
    """

    def __init__(
        self,
        route: ModelRoute,
        permit: AttemptPermit,
        record: AttemptRecord,
        context: RequestContext,
        *,
        timeout: float,
    ) -> None:
        self.route = route
        self.record = record
        self.state = WAITING
        self.json_mode: JsonMode | None = None
        self._context = context
        self._permit = permit
        self._timeout = timeout
        self._detached = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None:
            if not self._detached:
                self.succeed()
        elif isinstance(error, LakehouseError):
            self.fail(error)
        else:
            self.abandon()

    @property
    def has_data(self) -> bool:
        """Whether some of the answer has arrived. For a running attempt."""
        return self.state is not WAITING

    def mark_progress(self) -> None:
        """Some of the answer has arrived."""
        if self.state is WAITING:
            self.state = RECEIVING

    def mark_first_piece(self) -> None:
        """The first piece of the answer has arrived."""
        self.mark_progress()
        self.record.first_piece = trio.current_time()
        self._permit.half_close()

    def detach(self) -> None:
        """Let the attempt run on after the block of its context manager; other code ends it."""
        self._detached = True

    def succeed(self) -> None:
        """The answer is complete."""
        if self._end(ANSWERED):
            self._permit.succeeded()

    def fail(self, error: LakehouseError) -> None:
        """The attempt failed with `error`, whose provider is filled in."""
        if not self._end(FAILED):
            return
        error.provider = error.provider or self.route.provider.name
        if error.upstream is not None:
            error.upstream = self._finish_report(error.upstream)
        record = self.record
        record.status = record.status or error.upstream_status
        record.error = error.error_class or error.code
        if isinstance(error, ErrBadRequest) and error.error_class is None:
            self.mark_unsent()
        rule, is_news = rule_for(error), True
        if self.route.provider.readiness is not None and is_connection_lost(error):
            self._permit.abandoned()  # `Readiness` has the state of the process; the circuit breaker need not infer it
        elif rule.counts and error.error_class:
            is_news = self._permit.failed(error.error_class, error)
        elif error.upstream_status is not None:
            self._permit.succeeded()  # the route works: its answer was about the request
        else:
            self._permit.abandoned()
        if rule.notice and is_news:
            self._notify_operator(rule.notice)

    def _finish_report(self, report: UpstreamReport) -> UpstreamReport:
        """The report for clients that speak the form of the route, without the secrets of its provider."""
        body = redact_document(report.body, secrets=self.route.provider.secrets)
        return UpstreamReport(message=report.message, body=body, form=self.route.endpoint.dialect.form)

    def abandon(self) -> None:
        """The attempt was cancelled. A route that had been silent for the whole timeout has failed all the same."""
        silent = not self.has_data
        if not self._end(ABANDONED):
            return
        self.record.error = "cancelled"
        if silent and self._seconds >= self._timeout - ROUNDING:
            self._permit.failed("timeout")
        else:
            self._permit.abandoned()

    def mark_unsent(self) -> None:
        """Nothing of a failed attempt's request was sent, so that the attempt is not listed."""
        if UNSENT in ATTEMPT_TRANSITIONS[self.state]:
            self.state = UNSENT

    def entry(self) -> Attempt:
        """The attempt as answers and errors carry it."""
        record = self.record
        return record.to_error_entry(now=trio.current_time() if record.ended is None else None)

    def _end(self, state: AttemptState) -> bool:
        if state not in ATTEMPT_TRANSITIONS[self.state]:
            return False
        self.state = state
        record = self.record
        record.ended = ended = trio.current_time()
        if state is not ABANDONED or self._ran_alone():
            self._context.add_upstream_time(ended - record.started)
        return True

    def _ran_alone(self) -> bool:
        """Whether no other attempt ran at the same time; its time is counted already."""
        started = self.record.started
        others = (record.ended for record in self._context.attempts if record is not self.record)
        return all(ended is not None and ended <= started for ended in others)

    def _notify_operator(self, notice: str) -> None:
        record, key = self.record, self.route.provider.key
        source = f"; its key is from {key.source}" if key else ""
        logger.error("%s: the provider %s (%s, HTTP %s)%s", self.route, notice, record.error, record.status, source)

    @property
    def _seconds(self) -> float:
        ended = self.record.ended
        return (trio.current_time() if ended is None else ended) - self.record.started


class AttemptLog:
    """The attempts of one call, which are recorded in its request context as well."""

    def __init__(self, context: RequestContext) -> None:
        self._context = context
        self._attempts: list[ActiveAttempt] = []

    def begin(
        self, route: ModelRoute, permit: AttemptPermit, reason: AttemptReason, *, now: float, timeout: float
    ) -> ActiveAttempt:
        """Start an attempt. Abandoned after `timeout` seconds of silence, it counts as a failure of the route."""
        context = self._context
        provider = route.provider.name
        context.assign_provider(provider, route.model)
        record = context.record_attempt(provider, route.model, now=now, why=reason)
        if (replica := route.provider.replica) is not None:
            record.replica = str(replica)
        attempt = ActiveAttempt(route, permit, record, context, timeout=timeout)
        self._attempts.append(attempt)
        return attempt

    def __len__(self) -> int:
        return len(self._attempts)

    def mark_timed_out(self) -> None:
        """Set the error of the abandoned attempts to `timeout`: the deadline of the call has passed."""
        for attempt in self._attempts:
            if attempt.state is ABANDONED:
                attempt.record.error = "timeout"

    def entries(self) -> tuple[Attempt, ...]:
        """The attempts so far that were sent: failed and abandoned ones by their end, then the one that answered."""
        attempts = self._attempts
        if len(attempts) == 1 and attempts[0].state is not UNSENT:
            return (attempts[0].entry(),)
        sent = [attempt for attempt in attempts if attempt.state is not UNSENT]
        return tuple([attempt.entry() for attempt in sorted(sent, key=_place)])


def _place(attempt: ActiveAttempt) -> tuple[int, float]:
    return _LISTED_LAST.get(attempt.state, 0), attempt.record.ended or 0.0
