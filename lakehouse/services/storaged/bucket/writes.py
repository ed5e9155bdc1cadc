"""Writing objects of the bucket: an object appears whole, and only while the condition of the request holds."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

from lakehouse.core.errors import ErrBadRequest, ErrPreconditionFailed
from lakehouse.services.storaged.bucket.object_rows import is_shown, make_row
from lakehouse.services.storaged.index.entries import Row
from lakehouse.services.storaged.index.object_index import Precondition
from lakehouse.services.storaged.keys import MAX_KEY_BYTES
from lakehouse.services.storaged.object_writes import PutResult, check_owner
from lakehouse.services.warehouse.bucket import TYPE_FIELD, Bucket, ObjectHead
from lakehouse.services.warehouse.uploads import upload


class BucketWrites:
    """Puts and deletes objects."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def check_space(self, size: int) -> None:
        """A bucket has room for every size."""

    async def put(
        self, key: str, body: AsyncIterator[bytes], *, content_type: str, precondition: Precondition | None = None
    ) -> PutResult:
        """Store the body if the precondition holds when it has arrived. Durable at return.

        Raises ErrPreconditionFailed also if another request has changed the object meanwhile, and what `body`, the
        precondition and the bucket raise. Nothing has changed then.
        """
        check_owner(key)
        self._check_length(key)
        present = await self._find(key, precondition)
        headers = {"content-type": content_type, TYPE_FIELD: content_type}
        if precondition is not None:
            headers |= _make_condition(present)
        try:
            stored = await upload(self._bucket, key, body, headers=headers)
        except ErrPreconditionFailed:
            await self._find(key, precondition)  # which raises the error that names the condition
            raise
        head = await self._bucket.find(key)
        if head is None or head.etag != stored.etag:  # others have changed it since
            head = ObjectHead(stored.size, stored.etag, time.time_ns() // 1000, content_type)
        return PutResult(make_row(key, head), created=present is None)

    async def delete(self, key: str, *, precondition: Precondition | None = None) -> bool:
        """Delete an object. Returns whether the key had one. Durable at return."""
        check_owner(key)
        present = await self._find(key, precondition)
        if present is None:
            return False
        await self._bucket.delete(key, {} if precondition is None else _make_condition(present))
        return True

    def _check_length(self, key: str) -> None:
        prefix = self._bucket.settings.prefix
        if len((prefix + key).encode()) > MAX_KEY_BYTES:
            raise ErrBadRequest(
                f"the key has more than {MAX_KEY_BYTES - len(prefix)} bytes: S3 counts the prefix as well"
            )

    async def _find(self, key: str, precondition: Precondition | None) -> Row | None:
        head = await self._bucket.find(key) if is_shown(key) else None
        present = None if head is None else make_row(key, head)
        if precondition is not None:
            precondition(None if present is None else present.to_info())
        return present


def _make_condition(present: Row | None) -> dict[str, str]:
    """The condition under which nothing has changed since an object was looked up."""
    return {"if-none-match": "*"} if present is None else {"if-match": present.etag}
