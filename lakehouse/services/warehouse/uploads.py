"""Objects from bytes in any number: one request for few, parts for many.

An upload that fails or is cancelled leaves no object, and its parts are deleted within `ABORT_TIMEOUT`; what that does
not reach is for the bucket's own rule for incomplete uploads.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import NamedTuple

import trio

from lakehouse.core.errors import ErrUpstream
from lakehouse.services.warehouse.bucket import NO_HEADERS, Bucket
from lakehouse.services.warehouse.documents import S3Document, make_parts, parse_error, parse_etag, parse_upload_id
from lakehouse.services.warehouse.s3_errors import NAME, make_failure

PART = 8 * 2**20
"""Bytes of a part, and of an object that is sent in one request. S3 takes parts from 5 MiB on."""
MAX_PARTS = 10_000
AT_ONCE = 4
"""Parts of one upload that are under way, each of which is in memory."""
ABORT_TIMEOUT = 5.0


class Uploaded(NamedTuple):
    """An object that was stored."""

    size: int
    etag: str


async def upload(
    bucket: Bucket, key: str, pieces: AsyncIterator[bytes], *, size: int = 0, headers: Mapping[str, str] = NO_HEADERS
) -> Uploaded:
    """Store what the iterator gives. `headers` may have conditions, which S3 checks when the object appears.

    `size` is a lower bound of the bytes, from which the size of the parts follows. Raises ErrPreconditionFailed, what
    `Bucket.request` raises, and what the iterator raises.
    """
    async with aclosing(_collect(pieces, find_part_size(size))) as parts:
        first = await anext(parts)
        second = await anext(parts, None)
        if second is None:
            return Uploaded(len(first), await bucket.put(key, first, headers))
        return await _upload_parts(bucket, key, [first, second], parts, headers)


def find_part_size(size: int) -> int:
    """The bytes of each part of an object of at least `size` bytes."""
    return max(PART, -(-size // (MAX_PARTS // 2)))


async def _upload_parts(
    bucket: Bucket, key: str, first: list[bytes], rest: AsyncIterator[bytes], headers: Mapping[str, str]
) -> Uploaded:
    kept = {name: value for name, value in headers.items() if not name.lower().startswith("if-")}
    answer = await bucket.request("POST", key, query={"uploads": ""}, headers=kept)
    try:
        upload_id = parse_upload_id(answer.body)
    except S3Document as error:
        raise ErrUpstream(f"{NAME} sent {error}", provider=NAME) from None
    try:
        sent = _Parts(bucket, key, upload_id)
        await sent.send_all(first, rest)
        conditions = {name: value for name, value in headers.items() if name.lower().startswith("if-")}
        return Uploaded(sent.size, await _complete(bucket, key, upload_id, sent.list_etags(), conditions))
    except BaseException:
        with trio.CancelScope(shield=True, relative_deadline=ABORT_TIMEOUT):
            await _abort(bucket, key, upload_id)
        raise


async def upload_file(bucket: Bucket, key: str, path: Path, *, headers: Mapping[str, str] = NO_HEADERS) -> Uploaded:
    """Store a file. `headers` are those of `upload`."""
    status = await trio.Path(path).stat()
    async with await trio.open_file(path, "rb") as file:

        async def read() -> AsyncGenerator[bytes]:
            while piece := await file.read(PART):
                yield piece

        async with aclosing(read()) as pieces:
            return await upload(bucket, key, pieces, size=status.st_size, headers=headers)


class _Parts:
    """The parts of one upload: sent several at a time, in any order."""

    def __init__(self, bucket: Bucket, key: str, upload_id: str) -> None:
        self._bucket = bucket
        self._key = key
        self._upload_id = upload_id
        self._etags: dict[int, str] = {}
        self._slots = trio.CapacityLimiter(AT_ONCE)
        self._count = 0
        self.size = 0

    async def send_all(self, first: list[bytes], rest: AsyncIterator[bytes]) -> None:
        """Send the first parts and the rest. What a task raises is raised as it is, not in a group."""
        errors: list[Exception] = []

        async def send(part: bytes, *, task_status: trio.TaskStatus[None]) -> None:
            async with self._slots:
                self._count += 1
                self.size += len(part)
                number = self._count
                task_status.started()
                try:
                    query = {"partNumber": str(number), "uploadId": self._upload_id}
                    answer = await self._bucket.request("PUT", self._key, query=query, body=part)
                    self._etags[number] = answer.headers.get("etag", "")
                except Exception as error:  # noqa: BLE001 - raised below
                    errors.append(error)
                    nursery.cancel_scope.cancel(reason="a part of the upload failed")

        async with trio.open_nursery() as nursery:
            try:
                for part in first:
                    await nursery.start(send, part)
                async for part in rest:
                    await nursery.start(send, part)
            except Exception as error:  # noqa: BLE001 - raised below
                errors.append(error)
                nursery.cancel_scope.cancel(reason="the upload failed")
        if errors:
            raise errors[0]

    def list_etags(self) -> list[str]:
        """The etags of the parts in their order."""
        return [self._etags[number] for number in sorted(self._etags)]


async def _collect(pieces: AsyncIterator[bytes], size: int) -> AsyncGenerator[bytes]:
    """Pieces of exactly `size` bytes, and a last one with the rest; b"" for nothing at all."""
    held = bytearray()
    given = False
    async for piece in pieces:
        held += piece
        while len(held) > size:
            yield bytes(held[:size])
            given = True
            del held[:size]
    if held or not given:
        yield bytes(held)


async def _complete(bucket: Bucket, key: str, upload_id: str, etags: list[str], conditions: Mapping[str, str]) -> str:
    answer = await bucket.request(
        "POST", key, query={"uploadId": upload_id}, headers=conditions, body=make_parts(etags)
    )
    code, _ = parse_error(answer.body)
    if code:  # a failure after the head was sent (Amazon documents it so)
        raise make_failure(200, answer.body, bucket=bucket.settings.bucket)
    return parse_etag(answer.body)


async def _abort(bucket: Bucket, key: str, upload_id: str) -> None:
    try:
        await bucket.request("DELETE", key, query={"uploadId": upload_id}, missing=True)
    except Exception:  # noqa: BLE001 - the reason of the abort is raised; the bucket's rule removes the parts
        return
