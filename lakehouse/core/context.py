"""The context of one request: identity, deadline, client, route, attempts and outcome.

The request runner makes a `RequestContext`, every layer records in it what it does for the request, and telemetry
makes log, metrics, traces and the list of active requests from it, so that they agree.

The attributes are there to be read. All writing is done by the methods, whose names say what has happened; a test
(`tests/core/test_context.py`) fails for an assignment from any other module. Properties in place of attributes would
say the same, and cost a relayed GET one percent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Literal, Protocol

import msgspec

from lakehouse.core.attempts import AttemptReason, AttemptRecord
from lakehouse.core.errors import Attempt, LakehouseError
from lakehouse.core.failure_classes import ErrorClass

if TYPE_CHECKING:
    from lakehouse.core.session_identity import SessionIdentity
    from lakehouse.core.trace_context import Trace

Phase = Literal[
    "received",
    "receiving",
    "queued",
    "connecting",
    "sending",
    "waiting",
    "backoff",
    "extracting",
    "running",
    "embedding",
    "scanning",
    "searching",
    "writing",
    "streaming",
    "retrieving",
    "answering",
]
"""What a request is doing: `queued` for a slot or a process, `waiting` for the head of a response.

`receiving` (an upload), `scanning` and `writing` are phases of a request in an embedded data service, which reads or
writes tables or indexes; `extracting` (the text of a document), `embedding` (a model computes vectors of texts) and
`searching` are those of a request to an index. `retrieving` and `answering` are the steps of an ask: finding passages,
and a model's answer from them."""

Outcome = Literal["answered", "client left", "deadline", "drain", "stopped", "cancelled", "failed"]
"""What ended a request. `answered` includes an error that was sent as a whole response; `stopped` is the end of its
session."""

CLIENT_CLOSED_REQUEST = 499
"""The status that is logged for a client that left before its response was complete, as nginx logs it. No client gets
it."""

DEFAULT_PRINCIPAL = "default"
"""The principal of a token without a name."""


class Client(Protocol):
    """The client of a request, as seen by the server."""

    @property
    def disconnected(self) -> bool:
        """Whether the client left before its response was complete."""


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
class Content:
    """Messages and answer of a chat. A context has it only where the configuration asks for the content of requests."""

    input: object = None
    output: object = None


class AskRecord(msgspec.Struct, eq=False, kw_only=True):
    """What an ask has found and answered so far: passages, the seconds of the search, sentences, and those that cite
    nothing."""

    passages: int
    seconds: float
    citations: int | None = None
    claims: int = 0
    uncited: int = 0


class RequestContext(msgspec.Struct, eq=False, kw_only=True):
    """One request from its head to its end.

    Times are of trio's clock, in seconds. `route` is the prefix or path that the request matched, never the raw path;
    `step` is the part of its work that a request of several parts is in; it is shown in place of the phase.
    `error` is a class or code, never a message. `principal` is the name of the token that was presented, None without
    one. `session` is the run that the request belongs to. `tier` is `requested_model` in `[models]`, None for any
    other model. `first_piece` is when the response of the upstream began, `upstream_seconds` how long upstreams were
    waited for. `left_out` names the fields of the request that the upstream's dialect has no place for, `adjusted`
    those that were sent with another value. `bytes_in` and `bytes_out` are the sizes of the bodies, 0 if unknown.
    """

    id: str
    method: str
    path: str
    started: float
    deadline: float = inf
    principal: str | None = None
    route: str = ""
    phase: Phase = "received"
    step: Phase | None = None
    upstream: str | None = None
    provider: str | None = None
    model: str | None = None
    requested_model: str | None = None
    tier: str | None = None
    attempts: tuple[AttemptRecord, ...] = ()
    attempt_count: int = 0
    left_out: tuple[str, ...] = ()
    adjusted: tuple[str, ...] = ()
    first_piece: float | None = None
    upstream_seconds: float = 0.0
    finish_reason: str | None = None
    usage: Usage | None = None
    bytes_in: int = 0
    bytes_out: int = 0
    status: int | None = None
    outcome: Outcome | None = None
    error: str | None = None
    ended: float | None = None
    trace: Trace | None = None
    content: Content | None = None
    client: Client | None = None
    ask: AskRecord | None = None
    session: SessionIdentity | None = None

    # The client, and its deadline.

    def identify(self, principal: str) -> None:
        """Record whose token the request presented."""
        self.principal = principal

    def join_session(self, session: SessionIdentity) -> None:
        """Record which session the request belongs to."""
        self.session = session

    def watch_client(self, client: Client | None) -> None:
        """Take `disconnected` from this object, from now on."""
        self.client = client

    @property
    def client_disconnected(self) -> bool:
        """Whether the client has left. False without a client, as in a call from a library."""
        return self.client is not None and self.client.disconnected

    def set_timeout(self, seconds: float) -> None:
        """Set the deadline to `seconds` after the beginning of the request."""
        self.deadline = self.started + seconds

    def shorten_deadline(self, deadline: float) -> float:
        """Set the deadline, unless it is earlier already. Returns the one before, for `restore_deadline`."""
        before = self.deadline
        self.deadline = min(before, deadline)
        return before

    def restore_deadline(self, deadline: float) -> None:
        """Set the deadline back to what `shorten_deadline` returned."""
        self.deadline = deadline

    def lift_deadline(self) -> None:
        """Remove the deadline: the response has begun, and may go on for long."""
        self.deadline = inf

    # Where the request goes.

    def assign_route(self, route: str) -> None:
        """Record which route the request has matched."""
        self.route = route

    def begin_relay(self, route: str, upstream: str) -> None:
        """Record that the request matched a route that relays it to one upstream, in one attempt."""
        self.route = route
        self.upstream = upstream
        self.attempt_count = 1

    def begin_phase(self, phase: Phase) -> None:
        """Record what the request is doing now."""
        self.phase = phase

    def begin_step(self, step: Phase) -> None:
        """Record which part of its work the request is in, whatever the phases of that part."""
        self.phase = self.step = step

    def begin_upstream_phase(self, upstream: str, phase: Phase) -> None:
        """Record what the request is doing now, and the upstream that it is sent to."""
        self.upstream = upstream
        self.phase = phase

    def assign_provider(self, provider: str, model: str) -> None:
        """Record which provider and model a chat is sent to."""
        self.upstream = self.provider = provider
        self.model = model

    def record_requested_model(self, model: str) -> None:
        """Record the name of the model that a chat asks for."""
        self.requested_model = model

    def assign_tier(self, tier: str) -> None:
        """Record the name of `[models]` that a chat requested."""
        self.tier = tier

    def record_attempt(self, upstream: str, model: str, *, now: float, why: AttemptReason = "first") -> AttemptRecord:
        """Record that an attempt begins. Its maker completes the record that is returned."""
        record = AttemptRecord(upstream=upstream, model=model, started=now, why=why)
        self.attempts += (record,)
        self.attempt_count += 1
        return record

    def take_over_attempts(self, other: RequestContext) -> None:
        """Add the attempts that another context has recorded for this request, and the time that they took."""
        self.attempts += other.attempts
        self.attempt_count += other.attempt_count
        self.upstream_seconds += other.upstream_seconds

    def list_attempts(self, *, abandoned_as: ErrorClass | None = None) -> tuple[Attempt, ...]:
        """The attempts as an error lists them; `abandoned_as` is the class of those that have not failed themselves."""
        return tuple(record.to_error_entry(abandoned_as) for record in self.attempts)

    def record_request_changes(self, *, left_out: Iterable[str], adjusted: Iterable[str]) -> None:
        """Record which fields of the request an upstream is not sent as the client wrote them."""
        if left_out:
            self.left_out = tuple(dict.fromkeys((*self.left_out, *left_out)))
        if adjusted:
            self.adjusted = tuple(dict.fromkeys((*self.adjusted, *adjusted)))

    # What came back.

    def record_first_piece(self, now: float) -> None:
        """Record that the response of the upstream begins."""
        self.first_piece = now

    def add_upstream_time(self, seconds: float) -> None:
        """Count seconds that were spent waiting for an upstream."""
        self.upstream_seconds += seconds

    def record_usage(self, usage: Usage | None) -> None:
        """Record the tokens and dollars counted so far."""
        self.usage = usage

    def record_answer(self, provider: str, model: str, finish_reason: str | None, usage: Usage | None) -> None:
        """Record which provider and model answered, how the answer ended, and what it cost."""
        self.upstream = self.provider = provider
        self.model = model
        self.finish_reason = finish_reason
        self.usage = usage

    def record_content(self, messages: object, answer: object) -> None:
        """Keep the messages and the answer of a chat, if the configuration asks for that."""
        if self.content is not None:
            self.content.input, self.content.output = messages, answer

    def record_passages(self, count: int, seconds: float) -> None:
        """Record how many passages an ask has found, and how long that took."""
        self.ask = AskRecord(passages=count, seconds=seconds)

    def record_citations(self, cited: int, claims: int, uncited: int) -> None:
        """Record how many passages the answer to an ask cites, its sentences, and those that cite nothing."""
        if self.ask is not None:
            self.ask.citations, self.ask.claims, self.ask.uncited = cited, claims, uncited

    # How the request ends.

    def record_response_status(self, status: int) -> None:
        """Record the status that the client is sent."""
        self.status = status

    def record_bytes(self, received: int, sent: int) -> None:
        """Record the sizes of the bodies of the request and of the response, as far as they went."""
        self.bytes_in, self.bytes_out = received, sent

    def record_error(self, error: LakehouseError) -> None:
        """Record the cause of a failure, unless a deeper layer has recorded one already."""
        if self.error is None:
            self.error = error.error_class or error.code

    def replace_error(self, error: LakehouseError) -> None:
        """Record the cause of a failure, in place of one that was recorded before."""
        self.error = error.error_class or error.code

    def finish(self, outcome: Outcome) -> None:
        """Record how the request ended."""
        self.outcome = outcome

    def fail(self, error: LakehouseError, outcome: Outcome) -> None:
        """Record that the request ended in a failure."""
        self.outcome = outcome
        self.record_error(error)

    def close(self, now: float) -> None:
        """Record when the request ended. Nothing is recorded after it."""
        self.ended = now
        self.client = None  # which refers to the connection

    # Traces.

    def begin_trace(self, trace: Trace, *, with_content: bool) -> None:
        """Make the request part of a trace; `with_content` when messages and answer are to be kept for it."""
        self.trace = trace
        if with_content:
            self.content = Content()

    def keep_content(self) -> None:
        """Keep the messages and the answer of a chat, for its row of the system tables."""
        if self.content is None:
            self.content = Content()

    def traceparent(self, attempt: AttemptRecord | None = None) -> bytes | None:
        """The W3C header to send with a call that is made for this request, None when it is not traced."""
        return None if self.trace is None else self.trace.header(attempt)

    def describe(self, now: float) -> dict[str, object]:
        """The request as `GET /v1/requests` shows it; ages and times left are seconds."""
        return {
            "id": self.id,
            "principal": self.principal,
            "session": None if self.session is None else self.session.id,
            "agent": None if self.session is None else self.session.agent or None,
            "method": self.method,
            "path": self.path,
            "route": self.route,
            "phase": self.step or self.phase,
            "upstream": self.upstream,
            "provider": self.provider,
            "model": self.model,
            "age": round(now - self.started, 3),
            "time_left": None if self.deadline == inf else round(self.deadline - now, 3),
            "attempt_count": self.attempt_count,
            "attempts": [record.describe(now) for record in self.attempts],
        }
