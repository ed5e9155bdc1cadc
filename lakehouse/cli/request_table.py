"""Formats the requests in flight as a table for the terminal (extra `top`: rich), without I/O."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

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


def render_screen(now: Listing, *, url: str, width: int, rows: int | None = None) -> RenderableType:
    """The head line and the table, the oldest requests first; at most `rows` lines, if given."""
    table = Table(box=SIMPLE_HEAD, expand=True, pad_edge=False)
    for title, justify in (("AGE", "right"), ("LEFT", "right"), ("PHASE", "left")):
        table.add_column(title, justify=justify, no_wrap=True)  # type: ignore[arg-type] # a literal of rich
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


def format_seconds(value: float) -> str:
    """A duration in its shortest form."""
    if value < 1:
        return f"{value * 1000:.0f} ms"
    return f"{value:.1f} s" if value < 100 else f"{int(value // 60)} m {int(value % 60):02d} s"


def _text(text: str, style: str = "") -> Text:
    # Callers choose this text: it is not parsed as rich's markup, and control characters are escaped.
    return Text(escape_control_chars(text), style=style)
