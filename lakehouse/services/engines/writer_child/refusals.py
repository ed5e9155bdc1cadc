"""Refusals of an upload, as the child reports them to the service: a kind, a sentence, and details for programs."""

from __future__ import annotations

from lakehouse.process.calls.rpc_child import CallError

MAX_SHOWN = 120
"""Characters of a value or a name that a message repeats."""


def unprocessable(message: str, **details: object) -> CallError:
    """422: the file can be read, and is not valid data. `details`: `line`, `column`, `value`, `offset`, as known."""
    return CallError("unprocessable", message, details=_present(details))


def unsupported(message: str, **details: object) -> CallError:
    """415: the file is of a kind that is not read."""
    return CallError("unsupported", message, details=_present(details))


def too_large(message: str, **details: object) -> CallError:
    """413: the file, or something in it, is over a limit."""
    return CallError("too large", message, details=_present(details))


def bad_request(message: str, **details: object) -> CallError:
    """400: a parameter does not fit the file."""
    return CallError("bad request", message, details=_present(details))


def show(text: str) -> str:
    """A value or name for a message, shortened, in quotes."""
    short = text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…"
    return repr(short)


def _present(details: dict[str, object]) -> dict[str, object] | None:
    present = {key: value for key, value in details.items() if value is not None}
    return present or None
