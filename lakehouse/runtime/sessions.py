"""The sessions of all workers of the service; `session_endpoints` has `/v1/sessions`.

    GET /v1/sessions, /v1/sessions/ID ──> every worker reports what it knows ──> one answer
    DELETE /v1/sessions/ID ──> this worker stops and writes the order to a file ──> so does every other worker

A worker that starts reads the files of all others once it serves queries: it knows each order, or is sent it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from lakehouse.asgi.lazy import LazyApp
from lakehouse.asgi.middleware.sessions import SESSIONS_PATH
from lakehouse.asgi.router import Methods, Mount, Route
from lakehouse.sessions.registry import SessionRegistry
from lakehouse.sessions.reports import AgentReport, CallReport, SessionReport, list_below, merge_reports
from lakehouse.sessions.stops import Stop
from lakehouse.telemetry.worker_ipc import WorkerIPC, WorkerReply

if TYPE_CHECKING:
    from lakehouse.runtime.session_endpoints import SessionEndpoints

logger = logging.getLogger("lakehouse.sessions")

_REPORT, _STOP = "sessions", "stop_session"
_REPORTS = msgspec.json.Decoder(list[SessionReport])
_CALLS = msgspec.json.Decoder(list[CallReport])
_STOPS = msgspec.json.Decoder(Stop)


class Replies(NamedTuple):
    """How many workers replied, and how many did not."""

    workers: int
    silent: int


class WorkerSessions:
    """The sessions of the service, asked of all its workers. `stopped_for` is how long a stop lasts, in seconds."""

    def __init__(self, registry: SessionRegistry, worker_ipc: WorkerIPC, *, stopped_for: float) -> None:
        self._registry = registry
        self.clock = registry.clock
        self._worker_ipc = worker_ipc
        self.stopped_for = stopped_for
        worker_ipc.register(_REPORT, self._encode_reports)
        worker_ipc.register(_STOP, self._obey)

    def restore_stops(self) -> None:
        """Put the orders in force that the workers of this service have written. Call it once queries are served."""
        for data in self._worker_ipc.load_stops():
            try:
                self._registry.stops.restore(data)
            except msgspec.DecodeError:  # of another version
                logger.warning("a file with stopped sessions could not be read")

    async def list_reports(self, session_id: str = "") -> tuple[list[SessionReport], Replies]:
        """What all workers know of every session, or of one with its calls; the last active one is first."""
        answers = await self._worker_ipc.query_workers(_REPORT, session_id.encode())
        reports = [report for answer in answers if answer.data is not None for report in _decode_reports(answer)]
        return merge_reports(reports), _count(answers)

    async def stop(self, session_id: str, agent: str = "") -> tuple[Stop, list[CallReport], Replies]:
        """End every call of a session, or of an agent and of those below it, and refuse the next. Returns the calls."""
        below = list_below(await self._list_agents(session_id), agent) if agent else ()
        stop = Stop(session=session_id, agent=agent, below=below, until=self._registry.clock() + self.stopped_for)
        calls, replies = await self._order(stop)
        logger.info(
            "session %s%s was stopped: %d calls ended", session_id, f", agent {agent}" * bool(agent), len(calls)
        )
        return stop, calls, replies

    async def _list_agents(self, session_id: str) -> Sequence[AgentReport]:
        """The agents of a session that any worker has seen."""
        reports, _ = await self.list_reports(session_id)
        return [agent for report in reports for agent in report.agents]

    async def refuse(
        self, session_id: str, reason: str, *, details: dict[str, object], seconds: float | None = None
    ) -> None:
        """Refuse further calls of a session, for `seconds` or as long as a stop lasts; those in flight go on."""
        until = self._registry.clock() + (self.stopped_for if seconds is None else seconds)
        await self._order(Stop(session=session_id, until=until, reason=reason, details=details, ends_calls=False))

    async def _order(self, stop: Stop) -> tuple[list[CallReport], Replies]:
        answers = await self._worker_ipc.query_workers(_STOP, msgspec.json.encode(stop))
        calls = [
            msgspec.structs.replace(call, worker=answer.worker)
            for answer in answers
            if answer.data is not None
            for call in _CALLS.decode(answer.data)
        ]
        return calls, _count(answers)

    def _encode_reports(self, session_id: bytes) -> bytes:
        return msgspec.json.encode(self._registry.report(session_id.decode() or None))

    def _obey(self, order: bytes) -> bytes:
        ended = self._registry.stop(_STOPS.decode(order))
        self._worker_ipc.persist_stops(self._registry.stops.encode())
        return msgspec.json.encode(ended)


def session_routes(sessions: WorkerSessions) -> tuple[Route | Mount, ...]:
    """The list of sessions, and the sessions below it."""
    load = partial(_load_endpoints, sessions)
    one = Methods(GET=LazyApp(lambda: load().get), DELETE=LazyApp(lambda: load().delete))
    path = SESSIONS_PATH.encode()
    return Route(path, Methods(GET=LazyApp(lambda: load().list))), Mount(path, one)


def _load_endpoints(sessions: WorkerSessions) -> SessionEndpoints:
    from lakehouse.runtime.session_endpoints import SessionEndpoints  # for few requests

    return SessionEndpoints(sessions)


def _decode_reports(answer: WorkerReply) -> Iterable[SessionReport]:
    for report in _REPORTS.decode(answer.data or b"[]"):
        report.calls = [msgspec.structs.replace(call, worker=answer.worker) for call in report.calls]
        yield report


def _count(answers: Iterable[WorkerReply]) -> Replies:
    replied = [answer.data is not None for answer in answers]
    return Replies(workers=sum(replied), silent=len(replied) - sum(replied))
