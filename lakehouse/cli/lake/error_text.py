"""The text of an error of the lake for the terminal, with what its details say about the place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from lakehouse.cli.lake.client import ErrorResponse

_PLACE = ("line", "column", "value", "offset")


def describe_error(error: ErrorResponse, *, sql: str = "") -> Iterator[str]:
    """The lines of the error: its message, its place, the statement with a mark, the differences of columns."""
    yield f"{error.code}: {error.message}"
    place = [f"{key} {error.details[key]!r}" for key in _PLACE if error.details.get(key) is not None]
    if place:
        yield f"  at {', '.join(place)}"
    position = error.details.get("position")
    if isinstance(position, int) and 0 <= position <= len(sql):
        yield from _mark(sql, position)
    differences = error.details.get("differences")
    if isinstance(differences, Sequence):
        yield from map(_describe_difference, differences)


def _mark(sql: str, position: int) -> Iterator[str]:
    """The line of the statement that has the position, and a mark below it."""
    start = sql.rfind("\n", 0, position) + 1
    line = sql[start:].partition("\n")[0]
    yield f"  {line.replace(chr(9), ' ')}"
    yield f"  {' ' * (position - start)}^"


def _describe_difference(difference: object) -> str:
    if not isinstance(difference, Mapping):
        return f"  {difference}"
    was, now = (difference.get(key) or "absent" for key in ("was", "is"))
    return f"  {difference.get('column')}: was {was}, is {now}"
