"""Enforces `[observerd.limits]`: refuses the calls of a session that has broken a limit, and tells the observer.

    request of a session ── SessionRegistry.join ──> `admit_call`: rate of calls, tokens, cost, time
    chat of a session ───── Dispatcher ────────────> `admit`: loops in the history of the chat
    violation ──> a queue ──> a task: POST /observer/event
    session whose calls reached several workers ──> a task: the sums of all workers, and a stop in all of them

A refusal is an error of one call, computed from what the session has used and from the history that the call carries:
once a person says something new, or a minute has passed, the session goes on.
"""

from __future__ import annotations

import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable
from math import inf
from typing import NamedTuple, Protocol

import msgspec
import trio

from lakehouse.chat.dispatch.policies.loop_check import is_loop_possible, iterate_steps
from lakehouse.chat.model.answer import ProviderAnswer
from lakehouse.chat.model.request import Request
from lakehouse.config import SessionLimitsTable
from lakehouse.core.context import RequestContext
from lakehouse.core.errors import LakehouseError
from lakehouse.core.session_identity import SessionIdentity
from lakehouse.runtime.sessions import WorkerSessions
from lakehouse.sessions.limits import MINUTE, SessionLimits, SessionUse
from lakehouse.sessions.loops import LoopRules, find_loop
from lakehouse.sessions.reports import SessionReport
from lakehouse.sessions.session import Session
from lakehouse.sessions.violations import Violation

logger = logging.getLogger("lakehouse.sessions")

QUEUE = 64
"""Events that wait to be recorded. Further ones are dropped, with a line in the log."""
EVENT_TIMEOUT = 30.0
"""Seconds to record an event, the start of the services process included."""
REPEAT_AFTER = 300.0
"""Seconds for which a session that breaks the same limit again causes no further event."""
MAX_REPORTED = 1_000
COMPARE_PERIOD = 0.2
"""Seconds between comparisons of the workers, while sessions have calls."""


class Services(Protocol):
    """Calls of the services behind the gateway: see `gateway.service_calls`."""

    async def call(
        self, service: str, method: str, path: str, document: object = None, *, context: RequestContext
    ) -> bytes: ...


class _Event(NamedTuple):
    identity: SessionIdentity
    violation: Violation


class SessionGuard:
    """The limits of sessions in one worker. `clock` is trio's, in seconds."""

    def __init__(
        self, table: SessionLimitsTable, *, shared: bool, clock: Callable[[], float] = trio.current_time
    ) -> None:
        """`shared`: the calls of a session may reach other workers as well."""
        self._in_workers = shared
        self.set_limits(table)
        self._clock = clock
        self._reported: OrderedDict[tuple[str, str, str], float] = OrderedDict()
        self._events, self._waiting = trio.open_memory_channel[_Event](QUEUE)
        self._active: dict[str, None] = {}
        """The sessions whose sums have changed since they were compared; no more than the registry has."""
        self._changed = trio.Event()

    def set_limits(self, table: SessionLimitsTable) -> None:
        """Enforce these limits from the next call on."""
        self._limits = SessionLimits(
            calls_per_minute=table.calls_per_minute or inf,
            tokens=table.tokens or inf,
            cost_usd=table.cost_usd or inf,
            wall_time=table.wall_time or inf,
        )
        self._rules = LoopRules(
            same_tool_calls=table.same_tool_calls,
            tool_cycles=table.tool_cycles,
            answers_without_new_words=table.answers_without_new_words,
        )
        self._shortest = 2 * self._rules.shortest
        """Messages of the shortest loop: a step has at least two."""
        self._shared = self._in_workers and self._limits != SessionLimits()

    def admit_call(self, session: Session, identity: SessionIdentity, now: float) -> None:
        """Count a call that begins; `now` is in seconds since 1970. Raises ErrSessionStopped."""
        use = session.use
        if use is None:
            use = session.use = SessionUse()
        violation = self._limits.find_excess(use.count_calls(now), use.tokens, use.cost_usd, now - session.started)
        if violation is not None:
            raise self._refuse(identity, violation)
        use.begin_call()
        if self._shared:
            self._note_change(session)

    def end_call(self, session: Session, context: RequestContext) -> None:
        """Count a call that has ended."""
        if session.use is not None:
            session.use.end_call(context.usage)
            if self._shared:
                self._note_change(session)

    def admit(self, request: Request, context: RequestContext) -> None:
        """Look for a loop in the history of a chat that belongs to a session. Raises ErrSessionStopped."""
        messages = request.messages
        if context.session is None or len(messages) < self._shortest or not is_loop_possible(messages, self._rules):
            return
        violation = find_loop(iterate_steps(messages), self._rules)
        if violation is not None:
            raise self._refuse(context.session, violation)

    def record(self, request: Request, answer: ProviderAnswer, context: RequestContext) -> None:
        """Without effect: an answer is part of the history of the next chat."""

    def _note_change(self, session: Session) -> None:
        """Compare the sums of a session with those of other workers soon."""
        self._active[session.id] = None
        self._changed.set()

    def _refuse(self, identity: SessionIdentity, violation: Violation) -> LakehouseError:
        self._report(identity, violation)
        return violation.make_error(identity)

    def _report(self, identity: SessionIdentity, violation: Violation) -> None:
        """Queue an event, unless the same one was queued lately."""
        key, now = (identity.id, identity.agent, violation.rule), self._clock()
        reported = self._reported.get(key)
        if reported is not None and now - reported < REPEAT_AFTER:
            return
        try:
            self._events.send_nowait(_Event(identity, violation))
        except trio.WouldBlock:
            logger.warning("too many limits are broken at once: the observer is not told of session %s", identity.id)
            return
        self._reported[key] = now
        self._reported.move_to_end(key)
        if len(self._reported) > MAX_REPORTED:
            self._reported.popitem(last=False)

    async def run(self, services: Services, sessions: WorkerSessions) -> None:
        """Tell the observer, and compare the workers, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._record_events, services)
            nursery.start_soon(self._compare_workers, sessions)

    async def _record_events(self, services: Services) -> None:
        """Send the events to the observer. A failure is logged."""
        async for event in self._waiting:
            context = RequestContext(
                id=secrets.token_hex(8), method="POST", path="/v1/observer/event", started=trio.current_time()
            )
            try:
                with trio.fail_after(EVENT_TIMEOUT):
                    await services.call("observerd", "POST", "/observer/event", describe(*event), context=context)
            except (LakehouseError, trio.TooSlowError) as error:
                logger.warning("the observer was not told of session %s: %s", event.identity.id, error)

    async def _compare_workers(self, sessions: WorkerSessions) -> None:
        """Stop the sessions whose calls in all workers together break a limit."""
        while True:
            await self._changed.wait()
            self._changed = trio.Event()
            active, self._active = self._active, {}
            for session_id in active:
                reports, _ = await sessions.list_reports(session_id)
                await self._compare(sessions, reports)
            await trio.sleep(COMPARE_PERIOD)

    async def _compare(self, sessions: WorkerSessions, reports: list[SessionReport]) -> None:
        now = sessions.clock()
        for report in reports:
            sums = report.sums
            tokens = sums.input_tokens + sums.output_tokens
            violation = self._limits.find_excess(report.calls_in_minute, tokens, sums.cost_usd, now - report.started)
            if violation is None or report.stopped_until is not None:
                continue
            identity = SessionIdentity(id=report.id)
            self._report(identity, violation)
            details = violation.make_details(identity)
            seconds = MINUTE if violation.rule == "calls_per_minute" else None
            await sessions.refuse(report.id, violation.clause, details=details, seconds=seconds)


def describe(identity: SessionIdentity, violation: Violation) -> dict[str, object]:
    """The operation that records a violation, as the observer takes it."""
    return {
        "endpoint": f"session/{identity.id}/{identity.agent}" if identity.agent else f"session/{identity.id}",
        "source": "limits",
        "event_kind": violation.rule,
        "input_summary": msgspec.json.encode(violation.evidence).decode(),
        "success": False,
        "error": violation.describe(identity.id),
    }
