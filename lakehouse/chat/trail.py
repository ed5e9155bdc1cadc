"""The trail of a call: one entry for each attempt, in the order in which they ended, so that the answer's is the last."""

from __future__ import annotations

import logging
from math import inf
from types import TracebackType
from typing import Literal

import trio

from lakehouse.chat.circuit import Pass
from lakehouse.chat.dialects.base import SchemaLevel
from lakehouse.chat.policy import rule_for
from lakehouse.chat.registry import Route
from lakehouse.errors import Attempt, ErrorClass, LakehouseError

logger = logging.getLogger("lakehouse.chat")

ROUNDING = 0.001
"""Seconds. The deadline that ends an attempt may be the very limit of its silence, computed in another order."""


class Try:
    """One attempt under way. It is settled once: answered, failed, or dropped because nobody waits for it any more.

    As a context manager it is settled by how the block ends; a block that hands it on calls `keep`. Settling tells the
    route's circuit, and the operator when only the operator can mend it. `heard` is whether a piece of the answer came.
    """

    def __init__(self, route: Route, passing: Pass, *, patience: float) -> None:
        self.route = route
        self.status: int | None = None
        self.error: ErrorClass | None = None
        self.heard = False
        self.schema_step: SchemaLevel | None = None  # how JSON was asked for, if it was
        self.state: Literal["under way", "answered", "failed", "dropped"] = "under way"
        self.started = trio.current_time()
        self.ended = inf
        self._pass = passing
        self._patience = patience
        self._kept = False

    def __enter__(self) -> Try:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if isinstance(error, LakehouseError):
            self.failed(error)
        elif error is not None:
            self.dropped()
        elif not self._kept:
            self.answered()

    def keep(self) -> None:
        """The attempt goes on after the block, and somebody else settles it."""
        self._kept = True

    def begun(self) -> None:
        """The first piece of the answer is here."""
        self.heard = True
        self._pass.answering()

    def answered(self) -> None:
        """The answer is whole."""
        if self._settle("answered"):
            self._pass.succeeded()

    def failed(self, error: LakehouseError) -> None:
        """The attempt ended in `error`, which learns here whom it is about."""
        if not self._settle("failed"):
            return
        error.provider = error.provider or self.route.provider.name
        self.status = self.status or error.upstream_status
        self.error = error.error_class
        rule = rule_for(error)
        if rule.counts and error.error_class:
            self._pass.failed(error.error_class)
        elif error.upstream_status is not None:
            self._pass.succeeded()  # the route answered; what it said speaks of the request
        else:
            self._pass.dropped()
        if rule.notice:
            self._tell_operator(rule.notice)

    def dropped(self) -> None:
        """Nobody waits for it any more. A route that was silent for as long as it may be has failed all the same."""
        if not self._settle("dropped"):
            return
        if not self.heard and self.ended - self.started >= self._patience - ROUNDING:
            self._pass.failed("timeout")
        else:
            self._pass.dropped()

    def _settle(self, state: Literal["answered", "failed", "dropped"]) -> bool:
        if self.state != "under way":
            return False
        self.state = state
        self.ended = trio.current_time()
        return True

    def _tell_operator(self, what: str) -> None:
        key = self.route.provider.key
        source = f"; its key is from {key.source}" if key else ""
        logger.error("%s: the provider %s (%s, HTTP %s)%s", self.route, what, self.error, self.status, source)

    def entry(self) -> Attempt:
        """As the caller sees it."""
        return Attempt(
            provider=self.route.provider.name,
            model=self.route.model,
            status=self.status,
            error=self.error,
            ms=round((min(self.ended, trio.current_time()) - self.started) * 1000, 3),
        )


class Trail:
    """All attempts of one call."""

    def __init__(self) -> None:
        self._tries: list[Try] = []

    def begin(self, route: Route, passing: Pass, *, patience: float) -> Try:
        """A new attempt, which must be settled; `patience` is how many seconds of silence are a failure."""
        attempt = Try(route, passing, patience=patience)
        self._tries.append(attempt)
        return attempt

    def timed_out(self) -> None:
        """The call's deadline has passed: what was given up was given up for that."""
        for attempt in self._tries:
            if attempt.state == "dropped":
                attempt.error = "timeout"

    def entries(self) -> tuple[Attempt, ...]:
        """The attempts so far: those that ended, in the order of their ends, then those under way."""
        return tuple(attempt.entry() for attempt in sorted(self._tries, key=lambda attempt: attempt.ended))
