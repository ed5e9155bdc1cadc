"""The contract of an object store: bytes under keys."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectInfo:
    """The metadata of an object. `etag` is quoted, as in HTTP, and changes whenever the bytes change."""

    key: str
    size: int
    etag: str
    last_modified: datetime
    content_type: str = "application/octet-stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectPage:
    """A part of a listing, in the order of keys. `cursor` selects the next part; an empty string marks the last one."""

    objects: Sequence[ObjectInfo]
    prefixes: Sequence[str] = ()
    cursor: str = ""


class ObjectReader(Protocol):
    """An open object: its metadata, and its bytes in pieces of at most a few hundred KiB."""

    info: ObjectInfo

    def __aiter__(self) -> AsyncIterator[bytes]: ...


class ObjectStore(Protocol):
    """Bytes under keys. A write replaces an object as a whole; open readers continue with the former bytes."""

    def read(self, key: str, *, start: int = 0, stop: int | None = None) -> AbstractAsyncContextManager[ObjectReader]:
        """Open the bytes of an object from `start` up to, but not including, `stop`. Raises ErrNotFound."""

    async def write(
        self,
        key: str,
        body: AsyncIterator[bytes],
        *,
        content_type: str = "application/octet-stream",
        if_match: str | None = None,
        if_absent: bool = False,
    ) -> ObjectInfo:
        """Store the body; the object is durable when the call returns. An error of `body` leaves the store unchanged.

        `if_match` is the etag that the present object must have. With `if_absent` the key must have no object.
        """

    async def find(self, key: str) -> ObjectInfo | None:
        """Return the metadata of an object, or None for an unused key."""

    async def delete(self, key: str) -> bool:
        """Delete an object. Returns whether the key had one."""

    async def list(self, prefix: str = "", *, delimiter: str = "", limit: int = 1000, cursor: str = "") -> ObjectPage:
        """List at most `limit` objects whose keys begin with `prefix`; with a `delimiter`, keys are grouped by it."""
