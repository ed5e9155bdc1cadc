"""The metadata of an object as the index and listings have them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from lakehouse.services.contracts.object_store import ObjectInfo

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Row(NamedTuple):
    """The metadata of one object. `etag` is quoted, `modified` is in microseconds since 1970."""

    key: bytes
    size: int
    etag: str
    modified: int
    content_type: str

    def to_info(self) -> ObjectInfo:
        """The metadata in the form of the contract."""
        return ObjectInfo(
            key=self.key.decode(),
            size=self.size,
            etag=self.etag,
            last_modified=_EPOCH + timedelta(microseconds=self.modified),
            content_type=self.content_type,
        )


class Entry(NamedTuple):
    """An object in the index: its metadata, and either its bytes or the name of the file that has them."""

    row: Row
    data: bytes | None
    blob: str | None
