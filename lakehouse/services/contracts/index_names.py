"""The rule for the names of indexes: each name is a path of segments that a URL can have."""

from __future__ import annotations

from lakehouse.core.errors import ErrBadRequest

MAX_NAME = 200
"""Bytes of an index's name."""


def check_index_name(name: str) -> None:
    """Raise ErrBadRequest, with the field, for a name that an index cannot have."""
    if problem := _find_problem(name):
        raise ErrBadRequest(f"`name` {problem}", field="name")


def _find_problem(name: str) -> str:
    if not name:
        return "is required and must not be empty"
    if len(name.encode("utf-8", "surrogatepass")) > MAX_NAME:
        return f"is longer than {MAX_NAME} bytes"
    if not name.isprintable() or "\\" in name:
        return "must not have control characters or backslashes"
    if any(segment in ("", ".", "..") for segment in name.split("/")):
        return "must not have an empty segment, `.` or `..` between slashes"
    return ""
