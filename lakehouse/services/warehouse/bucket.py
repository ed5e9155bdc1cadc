"""The client of the bucket: objects and lists, over the service's own HTTP client.

Keys are those of the lake, without the warehouse's prefix. A request that finds the server busy, or that breaks before
its answer, is sent again if that can do no harm, at most `ATTEMPTS` times. Every call ends with its cancel scope.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import urlsplit

import trio

from lakehouse.core.errors import ErrTimeout, ErrUnreached, ErrUpstream
from lakehouse.services.warehouse.credentials import Credentials, CredentialsMissing, CredentialSource
from lakehouse.services.warehouse.documents import ListPage, S3Document, parse_list
from lakehouse.services.warehouse.s3_errors import NAME, is_busy, is_passing, is_unused, make_failure
from lakehouse.services.warehouse.settings import WarehouseSettings
from lakehouse.services.warehouse.signing import (
    EMPTY_SHA256,
    S3Request,
    encode_path,
    encode_query,
    sign_headers,
    sign_target,
)
from lakehouse.upstream.http1.request import UpstreamRequest
from lakehouse.upstream.http1.response import UpstreamResponse
from lakehouse.upstream.pool import Upstream

CONNECT_TIMEOUT, RESPONSE_TIMEOUT, IDLE_TIMEOUT = 3.0, 20.0, 20.0
"""Seconds. A server that completes an upload of many parts answers late."""
ATTEMPTS = 4
FIRST_PAUSE = 0.1
"""Seconds before the second attempt; twice as many before each further one."""
MAX_CONNECTIONS, MAX_WAITING = 64, 1024
MAX_DOCUMENT = 16 * 2**20
"""Bytes of a document of the server, such as a list of 1,000 keys."""
HASHED_HERE = 64 * 1024
"""Bytes up to which a body is hashed without a thread."""
TYPE_FIELD = "x-amz-meta-content-type"
"""Has the content type of an object once more: SeaweedFS replaces `application/octet-stream` by the type of a name."""
NO_HEADERS: Mapping[str, str] = {}


class Answer(NamedTuple):
    """A whole response: status, headers in lower case, body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class ObjectHead(NamedTuple):
    """The metadata of an object. `etag` is quoted, `modified` is in microseconds since 1970."""

    size: int
    etag: str
    modified: int
    content_type: str


class Bucket:
    """The bucket of a warehouse, as `open_bucket` opens it."""

    def __init__(self, settings: WarehouseSettings, credentials: CredentialSource, upstream: Upstream) -> None:
        self.settings = settings
        self._credentials = credentials
        self._upstream = upstream
        self._base = upstream.base_path.decode().rstrip("/")
        self._host = upstream.host.decode()

    async def find(self, key: str) -> ObjectHead | None:
        """The metadata of an object, None for an unused key."""
        answer = await self.request("HEAD", key, missing=True)
        return None if answer.status == 404 else read_head(answer.headers)

    @asynccontextmanager
    async def open(self, key: str, headers: Mapping[str, str] = NO_HEADERS) -> AsyncIterator[UpstreamResponse | None]:
        """The response to a GET, its body unread, for the length of the block; None for an unused key.

        `headers` may have a range and conditions. Raises what `request` raises.
        """
        response = await self.start(key, headers)
        if response is None:
            yield None
            return
        with response:
            yield response

    async def start(self, key: str, headers: Mapping[str, str] = NO_HEADERS) -> UpstreamResponse | None:
        """`open` without a block: the caller closes the response."""
        response = await self._send_again("GET", key, {}, headers, b"")
        if response.status < 300:
            return response
        with response:
            content = await _read(response)
        if is_unused(response.status, content):
            return None
        raise make_failure(response.status, content, bucket=self.settings.bucket)

    async def read(self, key: str, *, limit: int = MAX_DOCUMENT) -> bytes | None:
        """The bytes of a small object, None for an unused key. Raises ErrUpstream beyond `limit` bytes."""
        async with self.open(key) as response:
            return None if response is None else await _read(response, limit)

    async def put(self, key: str, body: bytes, headers: Mapping[str, str] = NO_HEADERS) -> str:
        """Store an object; its etag. `headers` may have a content type and conditions: ErrPreconditionFailed."""
        answer = await self.request("PUT", key, body=body, headers=headers)
        return answer.headers.get("etag", "")

    async def delete(self, key: str, headers: Mapping[str, str] = NO_HEADERS) -> None:
        """Delete an object; a key that is not used is no error."""
        await self.request("DELETE", key, headers=headers, missing=True)

    async def list(
        self, prefix: str, *, delimiter: str = "", after: str = "", token: str = "", limit: int = 1000
    ) -> ListPage:
        """A page of the objects whose keys begin with `prefix`, in the order of keys, behind the key `after`."""
        root = self.settings.prefix
        query = {"list-type": "2", "encoding-type": "url", "prefix": root + prefix, "max-keys": str(min(limit, 1000))}
        if delimiter:
            query["delimiter"] = delimiter
        if token:
            query["continuation-token"] = token
        elif after:
            query["start-after"] = root + after
        answer = await self.request("GET", None, query=query)
        try:
            page = parse_list(answer.body)
        except S3Document as error:
            raise ErrUpstream(f"{NAME} sent {error}", provider=NAME) from None
        cut = len(root)
        objects = [entry._replace(key=entry.key[cut:]) for entry in page.objects]
        return ListPage(objects, [found[cut:] for found in page.prefixes], page.token)

    def close(self) -> None:
        """Close the idle connections."""
        self._upstream.close()

    def presign(self, key: str, *, seconds: int) -> str:
        """A URL from which anybody can read an object for so many seconds. Raises ErrUpstream without credentials."""
        signed = self._describe("GET", key, {})
        target = sign_target(signed, self._load_credentials(), datetime.now(UTC), seconds=seconds)
        return f"{urlsplit(self.settings.endpoint).scheme}://{self._host}{target}"

    async def request(
        self,
        method: str,
        key: str | None,
        *,
        query: Mapping[str, str] = NO_HEADERS,
        headers: Mapping[str, str] = NO_HEADERS,
        body: bytes = b"",
        missing: bool = False,
    ) -> Answer:
        """Send a request about an object, or about the bucket, and read the response whole.

        With `missing`, 404 is no error. Raises ErrPreconditionFailed, ErrUnavailable, ErrUpstream, ErrTimeout.
        """
        response = await self._send_again(method, key, query, headers, body)
        with response:
            content = await _read(response)
        if response.status >= 300 and not (missing and is_unused(response.status, content)):
            raise make_failure(response.status, content, bucket=self.settings.bucket)
        return Answer(response.status, read_headers(response), content)

    async def _send_again(
        self, method: str, key: str | None, query: Mapping[str, str], headers: Mapping[str, str], body: bytes
    ) -> UpstreamResponse:
        """Send a request, and again where that can do no harm. The response of the last attempt is returned as it is.

        A POST, and a change under a condition, are not sent again when their answer is lost: they may have been done.
        A change under a condition is neither sent again after 500, 502 and 504: its own success would fail it.
        """
        digest = await _hash(body)
        reads = method in ("GET", "HEAD")
        conditional = not reads and any(name.lower().startswith("if-") for name in headers)
        is_safe = reads or (method != "POST" and not conditional)
        is_repeated = is_busy if conditional else is_passing
        for attempt in range(ATTEMPTS):
            if attempt:
                await trio.sleep(FIRST_PAUSE * 2 ** (attempt - 1) * random.uniform(0.5, 1.5))  # noqa: S311
            last = attempt == ATTEMPTS - 1
            try:
                response = await self._send(method, key, query, headers, body, digest)
            except ErrUnreached:
                if last:
                    raise
            except (ErrTimeout, ErrUpstream):
                if last or not is_safe:
                    raise
            else:
                if last or not is_repeated(response.status):
                    return response
                response.close()
        raise AssertionError("the last attempt returns or raises")

    async def _send(
        self,
        method: str,
        key: str | None,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes,
        digest: str,
    ) -> UpstreamResponse:
        request = self._describe(method, key, query)
        signed = sign_headers(
            request, self._load_credentials(), datetime.now(UTC), digest=digest, headers=headers
        )  # anew for each attempt: a signature is valid for minutes, and keys may have been replaced
        target = encode_path(request.path) + (f"?{encode_query(query)}" if query else "")
        fields = [(name.encode(), value.encode()) for name, value in signed.items()]
        return await self._upstream.send(UpstreamRequest(method.encode(), target.encode(), fields, body or None))

    def _describe(self, method: str, key: str | None, query: Mapping[str, str]) -> S3Request:
        settings = self.settings
        place = f"/{settings.bucket}" if settings.path_style else ""
        name = "" if key is None else f"/{settings.prefix}{key}"
        path = f"{self._base}{place}{name}" or "/"
        return S3Request(method=method, host=self._host, path=path, query=query, region=settings.region)

    def _load_credentials(self) -> Credentials:
        try:
            return self._credentials.load()
        except CredentialsMissing as error:
            raise ErrUpstream(str(error), provider=NAME) from None


def read_headers(response: UpstreamResponse) -> dict[str, str]:
    """The headers of a response by their names in lower case."""
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}


def read_head(headers: Mapping[str, str]) -> ObjectHead:
    """The metadata of an object from the headers of a response that is about all of it."""
    modified = datetime.strptime(headers["last-modified"], "%a, %d %b %Y %H:%M:%S %Z").replace(tzinfo=UTC)
    return ObjectHead(
        size=int(headers.get("content-length", "0")),
        etag=headers.get("etag", ""),
        modified=int(modified.timestamp()) * 1_000_000,
        content_type=headers.get(TYPE_FIELD) or headers.get("content-type", "application/octet-stream"),
    )


async def _hash(body: bytes) -> str:
    if not body:
        return EMPTY_SHA256
    if len(body) <= HASHED_HERE:
        return hashlib.sha256(body).hexdigest()
    return await trio.to_thread.run_sync(lambda: hashlib.sha256(body).hexdigest())


async def _read(response: UpstreamResponse, limit: int = MAX_DOCUMENT) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while data := await response.receive():
        size += len(data)
        if size > limit:
            raise ErrUpstream(f"{NAME} sent a document of more than {limit} bytes", provider=NAME)
        pieces.append(data)
    return b"".join(pieces)


def make_bucket(settings: WarehouseSettings) -> Bucket:
    """The client of a bucket. It opens no connection before the first request; `close` closes those that are idle."""
    parts = urlsplit(settings.endpoint)
    base = settings.endpoint
    if not settings.path_style:
        base = parts._replace(netloc=f"{settings.bucket}.{parts.netloc}").geturl()
    upstream = Upstream(
        base,
        name=NAME,
        max_connections=MAX_CONNECTIONS,
        max_waiting=MAX_WAITING,
        connect_timeout=CONNECT_TIMEOUT,
        response_timeout=RESPONSE_TIMEOUT,
        idle_timeout=IDLE_TIMEOUT,
    )
    return Bucket(settings, CredentialSource(settings.key_file, settings.environment), upstream)
