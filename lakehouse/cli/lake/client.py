"""A client of the lake's HTTP routes, for the commands."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import BinaryIO
from urllib.parse import quote, urlencode

import msgspec

from lakehouse.cli.lake.upload import FileUpload
from lakehouse.upstream.http1.request import RequestBody, UpstreamRequest
from lakehouse.upstream.http1.response import UpstreamResponse
from lakehouse.upstream.pool import Upstream

MAX_ANSWER = 1 << 30
"""Bytes of a JSON answer that is read as a whole."""

MAX_ERROR = 1 << 20
"""Bytes of an error document."""


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """A column of a table or of a result."""

    name: str
    type: str


class IngestWarning(msgspec.Struct, frozen=True, kw_only=True):
    """What an upload says about one of its columns."""

    column: str | None = None
    line: int | None = None
    message: str


class Ingested(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to an upload."""

    name: str
    row_count: int
    rows_added: int
    existing: bool
    bytes_in: int
    bytes_stored: int
    columns: tuple[Column, ...]
    warnings: tuple[IngestWarning, ...] = ()


class IngestedDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a document."""

    corpus: str
    source: str
    passages: int
    length: int
    model: str
    pages: int | None
    warnings: tuple[IngestWarning, ...] = ()


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """A table, as the catalog describes it."""

    name: str
    row_count: int
    bytes: int
    columns: tuple[Column, ...]
    objects: tuple[object, ...]
    snapshot_id: str
    created_at: str
    updated_at: str


class _TableList(msgspec.Struct, frozen=True, kw_only=True):
    manifests: tuple[Table, ...]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a query."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[object, ...], ...]
    row_count: int
    truncated: bool
    elapsed_ms: float
    warnings: tuple[str, ...] = ()


class SearchHit(msgspec.Struct, frozen=True, kw_only=True):
    """One result of a search."""

    id: str
    distance: float | None = None
    score: float | None = None
    text: str | None = None
    metadata: dict[str, object] | None = None


class _Hits(msgspec.Struct, frozen=True, kw_only=True):
    results: tuple[SearchHit, ...]


class _Index(msgspec.Struct, frozen=True, kw_only=True):
    name: str


class _IndexList(msgspec.Struct, frozen=True, kw_only=True):
    indexes: tuple[_Index, ...]


class _ErrorDocument(msgspec.Struct, frozen=True, kw_only=True):
    code: str
    message: str
    status: int
    details: dict[str, object] = {}


class _ErrorEnvelope(msgspec.Struct, frozen=True, kw_only=True):
    error: _ErrorDocument


class ErrorResponse(Exception):
    """An error response of the lake. `details` is for programs: the position, the line, the differences."""

    def __init__(self, status: int, code: str, message: str, details: Mapping[str, object]) -> None:
        super().__init__(f"{code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.details = details


class LakeClient:
    """Calls the lake over `service`, with `headers` in each request.

    Every call raises ErrorResponse for an error response, and LakehouseError.
    """

    def __init__(self, service: Upstream, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        self._service = service
        self._headers = headers

    async def ingest(
        self,
        file: BinaryIO,
        file_name: str,
        size: int | None,
        *,
        parameters: Mapping[str, str],
        on_progress: Callable[[int], object],
    ) -> bytes:
        """Upload a file; `parameters` are those of the route. Returns the answer's JSON."""
        body = FileUpload(file, file_name, size, on_progress)
        headers = [(b"content-type", body.content_type)]
        return await self._read("POST", f"/ingest?{urlencode(parameters)}", headers, body)

    async def query(self, request: Mapping[str, object]) -> bytes:
        """Run a query. Returns the answer's JSON."""
        return await self._read("POST", "/sql", _JSON, msgspec.json.encode(request))

    @asynccontextmanager
    async def stream_query(self, request: Mapping[str, object], accept: str) -> AsyncIterator[UpstreamResponse]:
        """Run a query whose answer is read piece by piece; the end of the block ends the query."""
        headers = [*_JSON, (b"accept", accept.encode())]
        async with self._open("POST", "/sql", headers, msgspec.json.encode(request)) as response:
            yield response

    async def tables(self) -> bytes:
        """The document with all tables."""
        return await self._read("GET", "/catalog/list")

    async def table(self, name: str) -> bytes:
        """The document of one table."""
        return await self._read("GET", f"/catalog/manifest/{quote(name)}")

    async def indexes(self) -> bytes:
        """The document with all indexes."""
        return await self._read("GET", "/vectors/index")

    async def create_index(self, options: Mapping[str, object]) -> bytes:
        """Make an index. Returns its document."""
        return await self._read("POST", "/vectors/index", _JSON, msgspec.json.encode(options))

    async def add_items(self, index: str, items: Sequence[Mapping[str, object]]) -> bytes:
        """Put items into an index. Returns the answer's JSON."""
        path = f"/vectors/index/{quote(index, safe='')}/add"
        return await self._read("POST", path, _JSON, msgspec.json.encode({"items": items}))

    async def find_passages(self, request: Mapping[str, object]) -> bytes:
        """Search corpora for passages. Returns the answer's JSON."""
        return await self._read("POST", "/matrix/context", _JSON, msgspec.json.encode(request))

    async def search(self, index: str, request: Mapping[str, object]) -> bytes:
        """Search an index. Returns the answer's JSON."""
        path = f"/vectors/index/{quote(index, safe='')}/search"
        return await self._read("POST", path, _JSON, msgspec.json.encode(request))

    async def _read(
        self,
        method: str,
        path: str,
        headers: list[tuple[bytes, bytes]] | None = None,
        body: bytes | RequestBody | None = None,
    ) -> bytes:
        async with self._open(method, path, headers or [], body) as response:
            return await response.read(MAX_ANSWER)

    @asynccontextmanager
    async def _open(
        self, method: str, path: str, headers: list[tuple[bytes, bytes]], body: bytes | RequestBody | None
    ) -> AsyncIterator[UpstreamResponse]:
        request = UpstreamRequest(method.encode(), f"/v1{path}".encode(), [*self._headers, *headers], body)
        with await self._service.send(request) as response:
            if response.status >= 300:
                raise decode_error(response.status, await response.read(MAX_ERROR))
            yield response


_JSON = [(b"content-type", b"application/json")]


def decode_ingested(data: bytes) -> Ingested:
    """Decode the answer to an upload. Raises msgspec.DecodeError."""
    return msgspec.json.decode(data, type=Ingested)


def decode_document(data: bytes) -> IngestedDocument:
    """Decode the answer to a document. Raises msgspec.DecodeError."""
    return msgspec.json.decode(data, type=IngestedDocument)


def decode_result(data: bytes) -> Result:
    """Decode the answer to a query. Raises msgspec.DecodeError."""
    return msgspec.json.decode(data, type=Result)


def decode_tables(data: bytes) -> tuple[Table, ...]:
    """Decode the document with all tables. Raises msgspec.DecodeError."""
    return msgspec.json.decode(data, type=_TableList).manifests


def decode_table(data: bytes) -> Table:
    """Decode the document of one table. Raises msgspec.DecodeError."""
    return msgspec.json.decode(data, type=Table)


def decode_hits(data: bytes) -> tuple[SearchHit, ...]:
    """Decode the answer to a search. Raises msgspec.DecodeError."""
    return msgspec.json.decode(data, type=_Hits).results


def decode_index_names(data: bytes) -> tuple[str, ...]:
    """Decode the names of all indexes. Raises msgspec.DecodeError."""
    return tuple(index.name for index in msgspec.json.decode(data, type=_IndexList).indexes)


def decode_error(status: int, body: bytes) -> ErrorResponse:
    """The error of an error response, whatever its body is."""
    try:
        error = msgspec.json.decode(body, type=_ErrorEnvelope).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ErrorResponse(status, "ErrUpstream", f"the lake answered with status {status} and no error document", {})
    return ErrorResponse(status, error.code, error.message, error.details)
