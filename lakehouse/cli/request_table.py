"""Formats the requests in flight as a table for the terminal (extra `top`: rich), without I/O.

Sessions come first, each as a tree: its agents, and the requests of each. Requests without a session follow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lakehouse.cli.session_documents import Agent, Session, format_cost, format_tokens
from lakehouse.cli.times import format_seconds
from lakehouse.telemetry.access_log import escape_control_chars

HEAD_LINES = 6
"""Lines of the screen that are not rows: the head, the frame of the table, and the number of hidden lines."""

_PHASES = {
    "streaming": "green",
    "scanning": "green",
    "searching": "green",
    "writing": "green",
    "extracting": "green",
    "running": "green",
    "embedding": "cyan",
    "receiving": "cyan",
    "waiting": "cyan",
    "backoff": "yellow",
    "queued": "yellow",
    "received": "dim",
}


class AttemptRow(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt, as `GET /v1/requests` gives it."""

    upstream: str
    model: str
    why: str
    age: float
    running: bool
    status: int | None = None
    error: str | None = None


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """One request, as `GET /v1/requests` gives it."""

    id: str
    method: str
    path: str
    route: str
    phase: str
    upstream: str | None
    model: str | None
    age: float
    time_left: float | None
    attempt_count: int
    worker: int
    attempts: tuple[AttemptRow, ...] = ()
    session: str | None = None
    agent: str | None = None


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """The whole document of `GET /v1/requests`."""

    requests: tuple[Running, ...]
    workers: int
    silent: int


def decode_listing(body: bytes) -> Listing:
    """Decode the document of `GET /v1/requests`. Raises msgspec.DecodeError."""
    return msgspec.json.decode(body, type=Listing)


WIDE = 100
"""Width in columns from which the worker and the id of a request are shown."""


SHOWN_FOR = 60.0
"""Seconds for which a session without requests in flight is shown."""

Cells = tuple[Text, ...]


def select_sessions(sessions: Sequence[Session]) -> list[Session]:
    """The sessions that are shown: those with requests in flight, and those that had some not long ago."""
    return [session for session in sessions if session.in_flight or session.idle < SHOWN_FOR]


def render_screen(
    now: Listing,
    *,
    url: str,
    width: int,
    rows: int | None = None,
    sessions: Sequence[Session] = (),
    selected: str | None = None,
    message: str = "",
) -> RenderableType:
    """The head line and the table, the oldest requests first; at most `rows` lines, if given.

    `selected` is the id of the session that the keys are about, and `message` the last line.
    """
    table = Table(box=SIMPLE_HEAD, expand=True, pad_edge=False)
    for title, justify in (("AGE", "right"), ("LEFT", "right"), ("PHASE", "left")):
        table.add_column(title, justify=justify, no_wrap=True)  # type: ignore[arg-type] # a literal of rich
    table.add_column("REQUEST", ratio=3, overflow="ellipsis", no_wrap=True)
    table.add_column("UPSTREAM", ratio=2, overflow="ellipsis", no_wrap=True)
    if width >= WIDE:
        table.add_column("WORKER", justify="right", no_wrap=True)
        table.add_column("ID", no_wrap=True, overflow="ellipsis")
    lines = list(_all_lines(now.requests, select_sessions(sessions), selected))
    for line in lines if rows is None else lines[:rows]:
        table.add_row(*line[: len(table.columns)])
    hidden = 0 if rows is None else max(0, len(lines) - rows)
    last = "  ".join(filter(None, [f"{hidden} more lines" if hidden else "", message]))
    return Group(_head(now, url), table, _text(last, "dim"))


def _all_lines(requests: Sequence[Running], sessions: Sequence[Session], selected: str | None) -> Iterator[Cells]:
    shown = {session.id for session in sessions}
    for session in sessions:
        yield _session_line(session, selected == session.id)
        own = [request for request in requests if request.session == session.id]
        if session.tree is not None:
            yield from _agent_lines(session.tree, own)
    for request in requests:
        if request.session not in shown:
            yield from _lines(request)


def _session_line(session: Session, selected: bool) -> Cells:
    mark, style = ("▶ ", "bold reverse") if selected else ("", "bold")
    counts = [f"{session.agents} agents"] if session.agents > 1 else []
    counts += [f"{session.in_flight} of {session.calls} calls in flight"]
    counts += [f"{session.failed} failed"] if session.failed else []
    tokens = session.input_tokens + session.output_tokens
    spent = [f"{format_tokens(tokens)} tokens"] if tokens else []
    facts = ", ".join([*counts, *spent, *filter(None, [format_cost(session.cost_usd)])])
    state = {"running": "green", "stopped": "red"}.get(session.state, "dim")
    what = Text.assemble((escape_control_chars(f"{mark}{session.id}"), style), f"  {facts}")
    return _text(format_seconds(session.age)), Text(), _text(session.state, state), what, Text(), Text(), Text()


def _agent_lines(tree: Agent, requests: Sequence[Running]) -> Iterator[Cells]:
    """The agents with requests in flight and those above them, each with its requests below it."""
    for depth, agent in tree.iterate():
        if agent.agent is not None:
            if not any(below.in_flight for _, below in agent.iterate()):
                continue
            label = f"{'  ' * depth}{agent.agent}  {agent.in_flight} of {agent.calls} calls"
            yield Text(), Text(), Text(), _text(label, "cyan"), Text(), Text(), Text()
        for request in requests:
            if request.agent == agent.agent:
                for age, left, phase, what, *rest in _lines(request):
                    yield age, left, phase, Text.assemble("  " * (depth + 1), what), *rest


def _head(now: Listing, url: str) -> Text:
    head = Text.assemble(("Lakehouse", "bold"), f" at {url}  ", (f"{len(now.requests)} in flight", "bold"))
    head.append(f"  {now.workers} worker{'s' if now.workers != 1 else ''}")
    if now.silent:
        head.append(f"  {now.silent} silent", style="bold red")
    return head


def _lines(request: Running) -> Iterator[Cells]:
    request_line = f"{request.method} {request.route or request.path}" + (f"  {request.model}" if request.model else "")
    upstream = (request.upstream or "") + (f"  attempt {request.attempt_count}" if request.attempt_count > 1 else "")
    yield (
        _text(format_seconds(request.age)),
        _text("" if request.time_left is None else format_seconds(max(0.0, request.time_left))),
        _text(request.phase, _PHASES.get(request.phase, "")),
        _text(request_line, "bold"),
        _text(upstream),
        _text(str(request.worker), "dim"),
        _text(request.id, "dim"),
    )
    if len(request.attempts) < 2 and not any(attempt.error for attempt in request.attempts):
        return
    for attempt in request.attempts:
        branch = "└" if attempt is request.attempts[-1] else "├"
        state = attempt.error or ("running" if attempt.running else "answered")
        style = "red" if attempt.error else "dim"
        label = f"{branch} {attempt.why}: {state}" + (f" ({attempt.status})" if attempt.status else "")
        target = _text(f"{attempt.upstream}  {attempt.model}", "dim")
        yield _text(format_seconds(attempt.age), "dim"), Text(), Text(), _text(label, style), target, Text(), Text()


def _text(text: str, style: str = "") -> Text:
    # Callers choose this text: it is not parsed as rich's markup, and control characters are escaped.
    return Text(escape_control_chars(text), style=style)
