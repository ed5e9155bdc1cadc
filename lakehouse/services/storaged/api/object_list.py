"""The query and the document of `/storage/list`. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import parse_qsl

import msgspec

from lakehouse.core.errors import ErrBadRequest
from lakehouse.services.storaged.index.entries import Row
from lakehouse.services.storaged.index.listing import MAX_LIMIT, RowPage, encode_cursor
from lakehouse.services.storaged.keys import MAX_KEY_BYTES


class ListQuery(NamedTuple):
    """The parameters of a listing."""

    prefix: str = ""
    delimiter: str = ""
    limit: int = MAX_LIMIT
    cursor: str = ""


class ListedObject(msgspec.Struct, frozen=True):
    """An object as the documents of storage show it."""

    key: str
    size: int
    etag: str
    last_modified: datetime


class ListDocument(msgspec.Struct, frozen=True):
    """A page of objects. `next_cursor` is null on the last one."""

    prefix: str
    objects: Sequence[ListedObject]
    prefixes: Sequence[str]
    truncated: bool
    next_cursor: str | None


def parse_list_query(query: bytes) -> ListQuery:
    """The parameters of a query string. Raises ErrBadRequest, which names the parameter."""
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=16)
    except ValueError:
        raise ErrBadRequest("the query cannot be decoded: it must be percent-encoded UTF-8") from None
    given = dict(pairs)
    if len(given) < len(pairs):
        raise ErrBadRequest("a parameter of the query is there twice")
    for name in given:
        if name not in ListQuery._fields:
            known = ", ".join(ListQuery._fields)
            raise ErrBadRequest(f"the query has an unknown parameter {name[:40]!r}: it takes {known}", field=name[:40])
    delimiter = given.get("delimiter", "")
    if len(delimiter.encode()) > MAX_KEY_BYTES:
        raise ErrBadRequest(f"delimiter has more than {MAX_KEY_BYTES} bytes", field="delimiter")
    return ListQuery(given.get("prefix", ""), delimiter, _parse_limit(given.get("limit", "")), given.get("cursor", ""))


def _parse_limit(text: str) -> int:
    if not text:
        return MAX_LIMIT
    if not (text.isascii() and text.isdigit()) or not text.strip("0"):
        raise ErrBadRequest(f"limit must be a whole number from 1 to {MAX_LIMIT}", field="limit")
    return min(int(text[-9:]), MAX_LIMIT) if len(text) < 10 else MAX_LIMIT


def make_listed_object(row: Row) -> ListedObject:
    """The document of one object; the time is exact to the millisecond."""
    modified = datetime.fromtimestamp(row.modified // 1000 / 1000, UTC)
    return ListedObject(row.key.decode(), row.size, row.etag, modified)


def make_list_document(prefix: str, page: RowPage) -> ListDocument:
    """The document of a page."""
    return ListDocument(
        prefix=prefix,
        objects=[make_listed_object(row) for row in page.objects],
        prefixes=[group.decode() for group in page.prefixes],
        truncated=bool(page.next_start),
        next_cursor=encode_cursor(page.next_start) or None,
    )
