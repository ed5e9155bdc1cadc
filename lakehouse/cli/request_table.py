"""The requests in flight as a table for the terminal (extra `top`: rich). Nothing here does I/O."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lakehouse.telemetry.access_log import escape_control_chars

HEAD_LINES = 6
"""Lines of a screen that are not rows: the head, the table's own, the line that says what is hidden, and its frame."""

_PHASES = {"streaming": "green", "waiting": "cyan", "backoff": "yellow", "queued": "yellow", "received": "dim"}


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


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """The whole answer."""

    requests: tuple[Running, ...]
    workers: int
    silent: int


def listing(body: bytes) -> Listing:
    """An answer of `GET /v1/requests`. Raises msgspec.DecodeError if it is none."""
    return msgspec.json.decode(body, type=Listing)


WIDE = 100
"""Columns from which there is room for the worker and the request's id beside what is asked of whom."""


def screen(now: Listing, *, url: str, width: int, rows: int | None = None) -> RenderableType:
    """The head line and the table, the oldest requests first; at most `rows` lines of it, if that is given."""
    table = Table(box=SIMPLE_HEAD, expand=True, pad_edge=False)
    for title, justify in (("AGE", "right"), ("LEFT", "right"), ("PHASE", "left")):
        table.add_column(title, justify=justify, no_wrap=True)  # type: ignore[arg-type] # one of rich's own words
    table.add_column("REQUEST", ratio=3, overflow="ellipsis", no_wrap=True)
    table.add_column("UPSTREAM", ratio=2, overflow="ellipsis", no_wrap=True)
    if width >= WIDE:
        table.add_column("WORKER", justify="right", no_wrap=True)
        table.add_column("ID", no_wrap=True, overflow="ellipsis")
    lines = [line for request in now.requests for line in _lines(request)]
    for line in lines if rows is None else lines[:rows]:
        table.add_row(*line[: len(table.columns)])
    hidden = 0 if rows is None else max(0, len(lines) - rows)
    return Group(_head(now, url), table, Text(f"{hidden} more lines" if hidden else "", style="dim"))


def _head(now: Listing, url: str) -> Text:
    head = Text.assemble(("Lakehouse", "bold"), f" at {url}  ", (f"{len(now.requests)} in flight", "bold"))
    head.append(f"  {now.workers} worker{'s' if now.workers != 1 else ''}")
    if now.silent:
        head.append(f"  {now.silent} silent", style="bold red")
    return head


def _lines(request: Running) -> Iterator[tuple[Text, ...]]:
    what = f"{request.method} {request.route or request.path}" + (f"  {request.model}" if request.model else "")
    upstream = (request.upstream or "") + (f"  attempt {request.attempt_count}" if request.attempt_count > 1 else "")
    yield (
        _text(seconds(request.age)),
        _text("" if request.time_left is None else seconds(max(0.0, request.time_left))),
        _text(request.phase, _PHASES.get(request.phase, "")),
        _text(what, "bold"),
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
        yield _text(seconds(attempt.age), "dim"), Text(), Text(), _text(label, style), target, Text(), Text()


def seconds(value: float) -> str:
    """A duration, short."""
    if value < 1:
        return f"{value * 1000:.0f} ms"
    return f"{value:.1f} s" if value < 100 else f"{int(value // 60)} m {int(value % 60):02d} s"


def _text(text: str, style: str = "") -> Text:
    # As text, never as rich's markup, and with control characters spelt out: callers choose what is written here.
    return Text(escape_control_chars(text), style=style)
