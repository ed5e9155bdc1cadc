"""The copy of files to the bucket: each once, under a condition, and with its checksum compared.

A key that has no object is written under the condition that it has none. An object of the same promotion, which is
known by its id in the object's metadata, is taken as it is if its bytes are the same, and replaced if they are not. An
object of anybody else is never replaced.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path

import trio

from lakehouse.core.errors import ErrPreconditionFailed, ErrTimeout, ErrUnavailable, ErrUpstream
from lakehouse.services.lake.concurrency import run_all
from lakehouse.services.promotion.checksums import Checksums, hash_bytes, hash_file
from lakehouse.services.promotion.journal import Journal, Stored
from lakehouse.services.promotion.plan import PlannedFile
from lakehouse.services.promotion.process import Refused
from lakehouse.services.promotion.progress import Progress
from lakehouse.services.warehouse.bucket import TYPE_FIELD, Bucket
from lakehouse.services.warehouse.uploads import PART, find_part_size, upload, upload_file

PROMOTION_FIELD, DIGEST_FIELD = "x-amz-meta-promotion", "x-amz-meta-sha256"
SMALL_AT_ONCE, LARGE_AT_ONCE = 16, 2
"""Files that are copied at a time: of those that are sent in one request, and of larger ones, sent in parts."""
ATTEMPTS = 4
FIRST_PAUSE = 0.2
"""Seconds before the second attempt; twice as many before each further one."""

Content = bytes | Path
FindContent = Callable[[PlannedFile], Awaitable[Content]]


class Copying:
    """Copies files. `existing` are the keys that had an object when the promotion began."""

    def __init__(self, bucket: Bucket, journal: Journal, existing: Mapping[str, object], progress: Progress) -> None:
        self._bucket = bucket
        self._journal = journal
        self._existing = existing
        self._progress = progress

    async def copy_all(self, files: Sequence[PlannedFile], find: FindContent) -> None:
        """Copy files, of which `find` gives the content. Raises Refused, and what the bucket raises.

        Cancelled, or ended by an error, those that were stored are in the journal.
        """
        copy = partial(self._copy, find=find)
        try:
            await run_all(copy, [file for file in files if file.size <= PART], at_once=SMALL_AT_ONCE)
            await run_all(copy, [file for file in files if file.size > PART], at_once=LARGE_AT_ONCE)
        finally:
            self._journal.flush()

    async def _copy(self, file: PlannedFile, find: FindContent) -> None:
        stored = self._journal.stored.get(file.key)
        if stored is None or not _is_same(file, stored):
            content = await find(file)
            sums = await _hash(content)
            if file.digest and sums.digest != file.digest:
                raise Refused(f"the object {file.key} is damaged in the folder: its SHA-256 is not the recorded one")
            if stored is None or stored[:3] != (sums.size, sums.digest, file.content_type):
                etag = await self._store(file, content, sums)
                self._journal.record(file.key, Stored(sums.size, sums.digest, file.content_type, etag))
                self._progress.copied += 1
        self._progress.advance(file.size)

    async def _store(self, file: PlannedFile, content: Content, sums: Checksums) -> str:
        """Store a file. Returns the etag that it has then."""
        looks = file.key in self._existing
        for attempt in range(ATTEMPTS):
            if attempt:
                await trio.sleep(FIRST_PAUSE * 2 ** (attempt - 1))
            try:
                condition = await self._find_condition(file, sums) if looks else {"if-none-match": "*"}
                etag = condition.pop("etag", "") or await self._put(file, content, sums, condition)
            except ErrPreconditionFailed:
                looks = True
            except (ErrUnavailable, ErrTimeout, ErrUpstream):  # it may have been stored
                looks = True
                if attempt == ATTEMPTS - 1:
                    raise
            else:
                if etag != sums.etag:  # of an encrypted bucket, it is no checksum
                    await self._read_back(file.key, sums)
                return etag
        raise Refused(f"the object {file.key} of the target is written by another program at the same time")

    async def _find_condition(self, file: PlannedFile, sums: Checksums) -> dict[str, str]:
        """The condition for the write of a key; `etag` says that it has these bytes already. Raises Refused."""
        answer = await self._bucket.request("HEAD", file.key, missing=True)
        if answer.status == 404:
            return {"if-none-match": "*"}
        headers = answer.headers
        if headers.get(PROMOTION_FIELD) != self._journal.promotion:
            raise Refused(f"the target has an object with the key {file.key} that is not of this promotion")
        same = headers.get(DIGEST_FIELD) == sums.digest and headers.get("content-length") == str(sums.size)
        if same and headers.get(TYPE_FIELD) == file.content_type:
            return {"etag": headers.get("etag", "")}
        return {"if-match": headers.get("etag", "")}

    async def _put(self, file: PlannedFile, content: Content, sums: Checksums, condition: dict[str, str]) -> str:
        headers = {
            "content-type": file.content_type,
            TYPE_FIELD: file.content_type,
            PROMOTION_FIELD: self._journal.promotion,
            DIGEST_FIELD: sums.digest,
            **condition,
        }
        if isinstance(content, Path):
            return (await upload_file(self._bucket, file.key, content, headers=headers)).etag
        async with aclosing(_pieces(content)) as pieces:
            return (await upload(self._bucket, file.key, pieces, size=len(content), headers=headers)).etag

    async def _read_back(self, key: str, sums: Checksums) -> None:
        digest = hashlib.sha256()
        async with self._bucket.open(key) as response:
            while response is not None and (data := await response.receive()):
                digest.update(data)
        if digest.hexdigest() != sums.digest:
            raise Refused(f"the object {key} was not stored as it was sent: its SHA-256 differs")


def _is_same(file: PlannedFile, stored: Stored) -> bool:
    """Whether a file is the one that was stored, without a look at it: data files never change under their names."""
    if file.rewritten:
        return False
    known = (file.size, file.digest or stored.digest, file.content_type)
    return known == (stored.size, stored.digest, stored.content_type)


async def _hash(content: Content) -> Checksums:
    if isinstance(content, bytes):
        return hash_bytes(content, find_part_size(len(content)))
    part = find_part_size((await trio.Path(content).stat()).st_size)
    return await trio.to_thread.run_sync(hash_file, content, part, abandon_on_cancel=True)  # which only reads


async def _pieces(data: bytes) -> AsyncGenerator[bytes]:
    yield data
