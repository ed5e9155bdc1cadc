"""The bodies of requests to pathwayd."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from lakehouse.asgi.body import BodyLimits
from lakehouse.asgi.json_body import decode_json
from lakehouse.core.errors import ErrBadRequest
from lakehouse.core.rfc3339 import parse_time
from lakehouse.services.pathwayd.trace_rows import TraceFilter
from lakehouse.services.pathwayd.traces import Source, check_tags

BODY_LIMITS = BodyLimits(max_size=4 * 1024 * 1024, max_size_key="4 MiB for a request to the traces")
MAX_LIMIT = 1_000
MAX_TIME = 2**63 - 1
"""Nanoseconds since 1970 of the last time that is told from later ones."""
NO_CONTENT = msgspec.Raw(b"")


class AddRequest(msgspec.Struct, frozen=True):
    """The body of `/pathway/add` and, with a `uid`, of `/pathway/add_idempotent`."""

    content: msgspec.Raw = NO_CONTENT
    uid: str = ""
    tags: Sequence[str] = ()
    sources: Sequence[Source] = ()
    predecessor_uid: str | None = None


class UpdateRequest(msgspec.Struct, frozen=True):
    """The body of `/pathway/update`."""

    uid: str = ""
    content: msgspec.Raw = NO_CONTENT
    tags: Sequence[str] | None = None


class ReviseRequest(msgspec.Struct, frozen=True):
    """The body of `/pathway/revise`: `predecessor_uid`, or `uid`, is the trace that gets a new version."""

    content: msgspec.Raw = NO_CONTENT
    predecessor_uid: str = ""
    uid: str = ""
    tags: Sequence[str] = ()
    sources: Sequence[Source] = ()


class RetireRequest(msgspec.Struct, frozen=True):
    """The body of `/pathway/retire`: a trace, or a source whose traces are retired."""

    uid: str = ""
    source: Source | None = None
    reason: str = ""


class SearchRequest(msgspec.Struct, frozen=True):
    """The body of `/pathway/search`. Times are nanoseconds since 1970, or texts in RFC 3339."""

    text: str = ""
    tag: str = ""
    tags: Sequence[str] = ()
    state: Literal["active", "retired", "all"] | None = None
    include_retired: bool = False
    created_from: int | str | None = None
    created_before: int | str | None = None
    limit: int = 100
    after: str = ""

    def make_filter(self) -> TraceFilter:
        """The filter of the request. Raises ErrBadRequest."""
        if self.limit < 1:
            raise ErrBadRequest("`limit` must be at least 1", field="limit")
        if self.text and self.after:
            raise ErrBadRequest("`after` continues a list in the order of time, which `text` has not", field="after")
        return TraceFilter(
            tags=check_tags([*([self.tag] if self.tag else []), *self.tags]),
            state=self.state or ("all" if self.include_retired else "active"),
            created_from=_read_time("created_from", self.created_from),
            created_before=_read_time("created_before", self.created_before),
        )


def read_content(content: msgspec.Raw) -> bytes:
    """The JSON of a content. Raises ErrBadRequest if there is none, and for a value that cannot be decoded.

    A `msgspec.Raw` is not decoded with its body: it may have a number out of range, or bytes that are not UTF-8.
    """
    encoded = bytes(content)
    if not encoded:
        raise ErrBadRequest("`content` is required: any JSON value", field="content")
    try:
        decode_json(encoded, object)
    except ErrBadRequest as error:
        raise ErrBadRequest(f"`content`: {error.message}", field="content") from None
    return encoded


def _read_time(field: str, value: int | str | None) -> int | None:
    if value is None:
        return None
    if isinstance(value, int):
        return max(-MAX_TIME, min(value, MAX_TIME))
    time = parse_time(value)
    if time is None:
        raise ErrBadRequest(f"`{field}` is not a time in RFC 3339: {value[:40]!r}", field=field)
    return int(time.timestamp() * 1_000_000) * 1_000
