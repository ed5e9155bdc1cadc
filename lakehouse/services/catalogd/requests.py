"""The bodies of requests to catalogd, and the values in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from lakehouse.asgi.body import BodyLimits, receive_body
from lakehouse.asgi.json_body import decode_json
from lakehouse.asgi.types import Receive, Scope
from lakehouse.config.values import duration
from lakehouse.core.errors import ErrBadRequest
from lakehouse.core.rfc3339 import parse_time
from lakehouse.services.contracts.catalog import Column
from lakehouse.services.contracts.tables import ColumnChanges

BODY_LIMITS = BodyLimits(max_size=4 * 1024 * 1024, max_size_key="4 MiB for a request to the catalog")
MAX_AGE = 100 * 365 * 86_400.0
"""Seconds of the longest `older_than`."""


class ClaimedObject(msgspec.Struct, frozen=True):
    """An object of the storage, and what is said about it."""

    key: str
    size: int | None = None
    rows: int | None = None


class Registration(msgspec.Struct, frozen=True):
    """The body of `/catalog/register`."""

    name: str
    schema_fingerprint: str
    objects: Sequence[ClaimedObject]
    row_count: int | None = None

    def check(self) -> None:
        """Raise ErrBadRequest for an empty field, and for an object that is given twice."""
        for field in ("name", "schema_fingerprint", "objects"):
            if not getattr(self, field):
                raise ErrBadRequest(f"`{field}` is required and must not be empty", field=field)
        seen: set[str] = set()
        for number, claimed in enumerate(self.objects):
            if claimed.key in seen:
                raise ErrBadRequest(f"`objects` has the key {claimed.key[:80]!r} twice", field=f"objects[{number}].key")
            seen.add(claimed.key)


class RestoreRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `…/restore`: a snapshot's id as a string or as a number."""

    snapshot_id: str | int


class TagRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `…/tags`. Without a snapshot the tag is removed."""

    tag: str
    snapshot_id: str | int | None = None


class DeleteRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `…/delete`: an SQL expression over the table's columns."""

    where: str


class RenameRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `…/rename`."""

    to: str


class NewColumn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A column to add."""

    name: str
    type: str


class ColumnsRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `…/columns`, with one of its fields."""

    add: Sequence[NewColumn] | None = None
    drop: Sequence[str] | None = None
    rename: Mapping[str, str] | None = None
    widen: Mapping[str, str] | None = None

    def to_changes(self) -> ColumnChanges:
        """Convert the request. Raises ErrBadRequest unless exactly one field has changes."""
        given = [name for name in self.__struct_fields__ if getattr(self, name)]
        if len(given) != 1:
            raise ErrBadRequest("the body must have exactly one of `add`, `drop`, `rename` and `widen`, and not empty")
        return ColumnChanges(
            add=[Column(name=column.name, type=column.type) for column in self.add or ()],
            drop=self.drop or (),
            rename=tuple((self.rename or {}).items()),
            widen=tuple((self.widen or {}).items()),
        )


class ExpireRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `/catalog/expire`: a duration before now, or a time in RFC 3339."""

    older_than: str | int | float | None = None


async def receive_optional(scope: Scope, receive: Receive) -> bytes:
    """Receive a body that may be empty, in which case it is an empty object."""
    return await receive_body(scope, receive, BODY_LIMITS) or b"{}"


def parse_snapshot(snapshot_id: str | int) -> str:
    """The id of a snapshot in decimal digits. Raises ErrBadRequest."""
    text = str(snapshot_id)
    if not (text.isascii() and text.isdecimal()):
        raise ErrBadRequest("`snapshot_id` must be the decimal digits of a snapshot's id", field="snapshot_id")
    return text


def parse_older_than(body: bytes, default: float) -> datetime:
    """The time before which snapshots expire; `default` is in seconds before now. Raises ErrBadRequest."""
    value = decode_json(body, ExpireRequest).older_than
    if isinstance(value, str) and "T" in value.upper():
        time = parse_time(value)
        if time is None:
            raise ErrBadRequest(f"`older_than` is not a time in RFC 3339: {value[:40]!r}", field="older_than")
        return time.astimezone(UTC)
    try:
        seconds = default if value is None else duration(value)
    except ValueError as error:
        raise ErrBadRequest(f"`older_than` {error}, or a time in RFC 3339", field="older_than") from None
    return datetime.now(UTC) - timedelta(seconds=min(seconds, MAX_AGE))
