"""A trace: any JSON value with an id, a version before it, tags, and the sources that it was derived from."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from lakehouse.core.errors import ErrBadRequest

MAX_TEXT = 1024
"""Characters of an id, a tag, and the name of a source."""
MAX_TAGS = 100
MAX_SOURCES = 100
MAX_COLUMNS = 16
"""Columns that name a row."""


RowValues = dict[str, str | int | float | bool | None]
"""Names the rows of a table that have these values, by column."""


class Source(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a trace was derived from: another trace, an object, a table (with a snapshot and a row), or a request.

    A `row` that is no object is a label, whose meaning the store does not know.
    """

    trace: str = ""
    object: str = ""
    table: str = ""
    request: str = ""
    snapshot: str | int = ""
    row: str | int | RowValues = ""

    @property
    def kind(self) -> str:
        """The name of the field that says what the source is."""
        return next((kind for kind in ("trace", "object", "table", "request") if getattr(self, kind)), "")

    @property
    def key(self) -> str:
        """The source without snapshot and row: equal for all traces that end with it."""
        return f"{self.kind}:{getattr(self, self.kind)}"

    def covers(self, other: Source) -> bool:
        """Whether a source of the same key ends with this one: it has the same snapshot and row, if this has any."""
        return (self.snapshot == "" or str(self.snapshot) == str(other.snapshot)) and self.row in ("", other.row)


class Retirement(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """When and why a trace was retired: the reason that was given, or the source that ended."""

    at_ns: int
    reason: str = ""
    source: Source | None = None


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """A trace as it is answered. Times are nanoseconds since 1970; `content` is the JSON that was given."""

    uid: str
    content: msgspec.Raw
    created_at_ns: int
    updated_at_ns: int
    retired: bool
    replay_count: int
    predecessor_uid: str | msgspec.UnsetType = msgspec.UNSET
    tags: Sequence[str] | msgspec.UnsetType = msgspec.UNSET
    sources: Sequence[Source] | msgspec.UnsetType = msgspec.UNSET
    retirement: Retirement | msgspec.UnsetType = msgspec.UNSET


def check_uid(uid: str, field: str = "uid") -> str:
    """Return an id that is acceptable. Raises ErrBadRequest."""
    if not uid:
        raise ErrBadRequest(f"`{field}` is required and must not be empty", field=field)
    if len(uid) > MAX_TEXT or not uid.isprintable() or uid != uid.strip():
        message = f"`{field}` must be at most {MAX_TEXT} printable characters without spaces around them"
        raise ErrBadRequest(message, field=field)
    return uid


def check_tags(tags: Sequence[str]) -> tuple[str, ...]:
    """Return the tags, each once, in their order. Raises ErrBadRequest."""
    if len(tags) > MAX_TAGS:
        raise ErrBadRequest(f"`tags` must be at most {MAX_TAGS}", field="tags")
    for number, tag in enumerate(tags):
        if not tag or len(tag) > MAX_TEXT:
            raise ErrBadRequest(f"`tags[{number}]` must be 1 to {MAX_TEXT} characters", field=f"tags[{number}]")
    return tuple(dict.fromkeys(tags))


def encode_row(row: RowValues) -> bytes:
    """The values of a row as bytes that are equal for equal rows, whatever the order of the columns."""
    return msgspec.json.encode(row, order="deterministic")


def check_source(source: Source, field: str) -> Source:
    """Return a source that names exactly one thing. Raises ErrBadRequest."""
    named = [kind for kind in ("trace", "object", "table", "request") if getattr(source, kind)]
    if len(named) != 1:
        raise ErrBadRequest(f"`{field}` must have one of `trace`, `object`, `table` and `request`", field=field)
    if named != ["table"] and (source.snapshot != "" or source.row != ""):
        raise ErrBadRequest(f"`{field}`: `snapshot` and `row` belong to a `table`", field=field)
    if isinstance(source.row, dict) and not 0 < len(source.row) <= MAX_COLUMNS:
        message = f"`{field}.row` must have 1 to {MAX_COLUMNS} columns, or be a text or a number"
        raise ErrBadRequest(message, field=f"{field}.row")
    if len(source.key) > 2 * MAX_TEXT or len(msgspec.json.encode(source.row)) > 2 * MAX_TEXT:
        raise ErrBadRequest(f"`{field}` has a name of more than {MAX_TEXT} characters", field=field)
    return source


def check_sources(sources: Sequence[Source]) -> tuple[Source, ...]:
    """Return the sources, each once, in their order. Raises ErrBadRequest."""
    if len(sources) > MAX_SOURCES:
        raise ErrBadRequest(f"`sources` must be at most {MAX_SOURCES}", field="sources")
    checked = [check_source(source, f"sources[{number}]") for number, source in enumerate(sources)]
    return tuple({msgspec.json.encode(source, order="deterministic"): source for source in checked}.values())
