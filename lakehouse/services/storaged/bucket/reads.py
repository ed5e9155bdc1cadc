"""Reading objects of the bucket: each read sees one version of an object, from its first byte to its last."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

from lakehouse.asgi.conditional import Validators
from lakehouse.asgi.content import ContentTruncated
from lakehouse.core.errors import ErrBadRequest, ErrPreconditionFailed
from lakehouse.services.storaged.bucket.object_rows import is_shown, make_listed_row, make_row
from lakehouse.services.storaged.index.entries import Row
from lakehouse.services.storaged.index.listing import MAX_LIMIT, RowPage, decode_cursor
from lakehouse.services.storaged.keys import DATASETS, check_key, check_prefix
from lakehouse.services.storaged.object_reads import OpenObject, make_not_found, make_validators
from lakehouse.services.warehouse.bucket import Bucket, read_head, read_headers
from lakehouse.services.warehouse.documents import ListPage
from lakehouse.upstream.http1.response import UpstreamResponse

WINDOW = 8 * 2**20
"""Bytes that one request reads of an object of which only parts are wanted."""
BEHIND = "\U0010ffff"
"""Behind every key that goes on after a prefix."""


class BucketReads:
    """Finds, opens and lists objects."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    async def find(self, key: str) -> Row | None:
        """The metadata of an object, None if the key has none."""
        check_key(key)
        if not is_shown(key):
            return None
        head = await self._bucket.find(key)
        return None if head is None else make_row(key, head)

    @asynccontextmanager
    async def open(self, key: str, *, whole: bool = False) -> AsyncIterator[OpenObject]:
        """Open an object. Raises ErrNotFound.

        With `whole`, one request is open for all of it; without, the bytes that are read are asked for by their range.
        """
        check_key(key)
        if not whole:
            row = await self.find(key)
            if row is None:
                raise make_not_found(key)
            with ExitStack() as responses:
                yield OpenObject(row, ObjectContent(self._bucket, row, responses))
            return
        if not is_shown(key):
            raise make_not_found(key)
        response = await self._bucket.start(key)
        if response is None:
            raise make_not_found(key)
        with response:
            row = make_row(key, read_head(read_headers(response)))
            with ExitStack() as responses:
                yield OpenObject(row, ObjectContent(self._bucket, row, responses, response))

    async def list(self, prefix: str, *, delimiter: str, limit: int, cursor: str) -> RowPage:
        """A page of metadata; `limit` is at most `MAX_LIMIT`. Raises ErrBadRequest for a prefix or a cursor."""
        check_prefix(prefix)
        after, token = _read_cursor(cursor), ""
        left = min(limit, MAX_LIMIT)
        rows: list[Row] = []
        groups: list[bytes] = []
        while True:
            page = await self._bucket.list(prefix, delimiter=delimiter, after=after, token=token, limit=left)
            shown = [make_listed_row(entry) for entry in page.objects if is_shown(entry.key)]
            found = [group for group in page.prefixes if await self._shows(group)]
            rows += shown
            groups += [group.encode() for group in found]
            left -= len(shown) + len(found)
            token = page.token
            if not token or left <= 0:
                return RowPage(rows, groups, _find_last(page) if token else b"")

    async def _shows(self, group: str) -> bool:
        """Whether keys that begin so are shown. Those of a table's metadata are not, but a table may be named so."""
        if group.startswith(DATASETS) and group.endswith("/metadata/"):
            page = await self._bucket.list(group)
            return any(is_shown(entry.key) for entry in page.objects)
        return is_shown(f"{group}x.parquet")


def _read_cursor(cursor: str) -> str:
    """The key behind which a page begins. Raises ErrBadRequest."""
    try:
        return decode_cursor(cursor).decode()
    except UnicodeDecodeError:
        raise ErrBadRequest("the cursor is not one that a list has given", field="cursor") from None


def _find_last(page: ListPage) -> bytes:
    """The key behind which the next page begins."""
    keys = [entry.key for entry in page.objects] + [group + BEHIND for group in page.prefixes]
    return max(keys, default="").encode()


class ObjectContent:
    """The bytes of one version of an object. Implements `asgi.content.Content`, and is best read in order."""

    def __init__(
        self, bucket: Bucket, row: Row, responses: ExitStack, response: UpstreamResponse | None = None
    ) -> None:
        """`response`, if it is given, begins with the first byte. Further ones are opened in `responses`."""
        self._bucket = bucket
        self._row = row
        self._responses = responses
        self._response = response
        self._position = 0
        self._stop = row.size
        self._rest = memoryview(b"")

    @property
    def size(self) -> int:
        """Bytes."""
        return self._row.size

    @property
    def validators(self) -> Validators:
        """The etag and the time of this version."""
        return make_validators(self._row)

    async def read_at(self, position: int, size: int) -> memoryview:
        """Read at most `size` bytes from `position`. Raises ContentTruncated if another version is there now."""
        if position >= self.size:
            return memoryview(b"")
        if self._response is None or position != self._position or position >= self._stop:
            await self._open(position, size)
        assert self._response is not None  # noqa: S101 - for the types only
        if not self._rest:
            self._rest = memoryview(await self._response.receive())
        data, self._rest = self._rest[:size], self._rest[size:]
        self._position += len(data)
        return data

    async def _open(self, position: int, size: int) -> None:
        self._responses.close()
        stop = min(self.size, position + max(size, WINDOW))
        headers = {"range": f"bytes={position}-{stop - 1}", "if-match": self._row.etag}
        try:
            self._response = await self._bucket.start(self._row.key.decode(), headers)
        except ErrPreconditionFailed:
            self._response = None
        if self._response is None:
            raise ContentTruncated(f"the object {self._row.key.decode()} was replaced or deleted while it was read")
        self._responses.enter_context(self._response)
        self._position, self._stop, self._rest = position, stop, memoryview(b"")
