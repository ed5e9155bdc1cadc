"""The records of idempotency keys as objects of a warehouse, which all services on it see.

Of two services that begin with one key at the same moment, one is refused by the condition of its write. The same
request at two services may begin at both: the table's commit tells them apart by its id, and adds the rows once.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable

import msgspec
import trio

from lakehouse.core.errors import ErrConflict, ErrPreconditionFailed, LakehouseError
from lakehouse.services.ingestd.idempotency import LIFETIME, Record, make_conflict
from lakehouse.services.warehouse.bucket import Bucket
from lakehouse.services.warehouse.settings import STATE

logger = logging.getLogger("lakehouse.ingestd")

REMOVAL_PERIOD = 86_400.0
"""Seconds between two removals of expired records."""
FOLDER = f"{STATE}ingest-keys/"


class StoredRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A record as it is stored: the digest of the request, when it began, its status if it has ended, its answer."""

    request: str
    begun: float
    status: int | None
    document: bytes


class SharedRecords:
    """The records of all services on a warehouse."""

    def __init__(self, bucket: Bucket, *, clock: Callable[[], float] = time.time) -> None:
        self._bucket = bucket
        self._clock = clock

    async def find(self, key: str) -> Record | None:
        """The record of a key that is not older than `LIFETIME`."""
        stored = await self._read(key)
        if stored is None or self._has_expired(stored):
            return None
        return Record(request=stored.request, status=stored.status, document=stored.document)

    async def begin(self, key: str, request: str, document: bytes) -> None:
        """Record that a commit begins. Raises ErrConflict if another request with this key has begun meanwhile."""
        head = await self._bucket.find(_name(key))
        stored = None if head is None else await self._read(key)
        if stored is not None and stored.request != request and not self._has_expired(stored):
            raise make_conflict()
        condition = {"if-none-match": "*"} if head is None else {"if-match": head.etag}
        try:
            await self._write(key, request, None, document, condition)
        except ErrPreconditionFailed:
            raise ErrConflict("another request with this Idempotency-Key is in progress", retryable=True) from None

    async def finish(self, key: str, request: str, status: int, document: bytes) -> None:
        """Record the answer."""
        await self._write(key, request, status, document, {})

    async def _write(
        self, key: str, request: str, status: int | None, document: bytes, condition: dict[str, str]
    ) -> None:
        record = StoredRecord(request=request, begun=self._clock(), status=status, document=document)
        headers = {"content-type": "application/json", **condition}
        await self._bucket.put(_name(key), msgspec.json.encode(record), headers)

    async def _read(self, key: str) -> StoredRecord | None:
        data = await self._bucket.read(_name(key))
        return None if data is None else msgspec.json.decode(data, type=StoredRecord)

    def _has_expired(self, stored: StoredRecord) -> bool:
        return stored.begun < self._clock() - LIFETIME


async def remove_expired(bucket: Bucket) -> int:
    """Delete the records that no service reads any more. Returns how many there were."""
    limit, token, removed = (time.time() - LIFETIME) * 1_000_000, "", 0
    while True:
        page = await bucket.list(FOLDER, token=token)
        for entry in page.objects:
            if entry.modified < limit:
                await bucket.delete(entry.key)
                removed += 1
        token = page.token
        if not token:
            return removed


async def remove_daily(bucket: Bucket) -> None:
    """Delete expired records once a day, for as long as the service runs. A bucket that fails is asked the next day."""
    while True:
        await trio.sleep(REMOVAL_PERIOD)
        try:
            await remove_expired(bucket)
        except LakehouseError as error:
            logger.warning("expired idempotency keys could not be deleted: %s", error.message)


def _name(key: str) -> str:
    return f"{FOLDER}{hashlib.sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()}.json"
