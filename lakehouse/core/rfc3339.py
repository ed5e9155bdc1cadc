"""Times as texts in the form of RFC 3339, such as `2026-11-28T10:00:00.000Z`."""

from __future__ import annotations

from datetime import datetime


def parse_time(text: str) -> datetime | None:
    """The time that a text names, or None for a text of another form and for a time without a zone."""
    try:
        time = datetime.fromisoformat(text.upper())
    except ValueError:
        return None
    return None if time.tzinfo is None else time


def format_time(time: datetime) -> str:
    """The text of a time in UTC, to the millisecond."""
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
