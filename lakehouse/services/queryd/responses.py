"""The bytes of an answer: a small JSON document as a whole, everything else as a stream.

A stream begins with the first piece and waits for the client. One that fails does not look complete: NDJSON ends in an
error line, the others are cut.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import aclosing
from time import perf_counter

import msgspec

from lakehouse.asgi.content import send_stream
from lakehouse.asgi.request_scope import RequestScope
from lakehouse.asgi.server_control import full_response
from lakehouse.asgi.types import Send
from lakehouse.core.errors import LakehouseError
from lakehouse.services.contracts.query_engine import QueryResult, ResultFormat
from lakehouse.services.queryd.request import CONTENT_TYPES

WHOLE = 1024 * 1024
"""Bytes of a JSON document up to which it is sent as a whole, so that a failure before has its own status."""

MAX_BUFFERED = 1024 * 1024
"""Bytes of a line of NDJSON that are buffered until its end."""


class Scanned(msgspec.Struct, frozen=True):
    """The rows and bytes that a query has read."""

    rows: int
    bytes: int


class EndDocument(msgspec.Struct, frozen=True, omit_defaults=True):
    """The members of a JSON answer behind its rows; `warnings` only if the engine has some."""

    row_count: int
    truncated: bool
    elapsed_ms: float
    scanned: Scanned
    warnings: tuple[str, ...] = ()


async def send_document(send: Send, result: QueryResult, started: float) -> None:
    """Send the result as one JSON document."""
    head = bytearray()
    async with aclosing(_write_document(result, started)) as pieces:
        async for piece in pieces:
            head += piece
            if len(head) > WHOLE:
                async with aclosing(_chain(bytes(head), pieces)) as chained:
                    await send_stream(send, chained, content_type=CONTENT_TYPES["json"])
                return
    headers = [(b"content-type", CONTENT_TYPES["json"].encode()), (b"content-length", b"%d" % len(head))]
    await send(full_response(200, headers, bytes(head)))


async def send_result(send: Send, result: QueryResult, answer: ResultFormat, request: RequestScope) -> None:
    """Send the result as a stream of its format."""
    if answer == "ndjson":
        buffer = _LineBuffer()
        request.begin_stream(lambda error: buffer.make_error_line(error, request.context.id))
        async with aclosing(buffer.read(result)) as pieces:
            await send_stream(send, pieces, content_type=CONTENT_TYPES[answer])
    else:
        await send_stream(send, result, content_type=CONTENT_TYPES[answer])


class _LineBuffer:
    """Moves the ends of pieces of NDJSON to ends of lines, so that an error line can follow each of them.

    The beginning of a line is buffered up to `MAX_BUFFERED`; of a longer line, parts are passed on.
    """

    def __init__(self) -> None:
        self._ends_in_line = False

    async def read(self, pieces: AsyncIterable[bytes]) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of the pieces."""
        buffered = bytearray()
        async for piece in pieces:
            end = piece.rfind(b"\n") + 1
            if not end and len(buffered) + len(piece) <= MAX_BUFFERED:
                buffered += piece
                continue
            self._ends_in_line = not end
            end = end or len(piece)
            yield bytes(buffered) + piece[:end]
            buffered = bytearray(piece[end:])
        yield bytes(buffered)

    def make_error_line(self, error: LakehouseError, request_id: str) -> bytes:
        """Make the last line of a stream that fails."""
        return b"\n" * self._ends_in_line + msgspec.json.encode(error.document(request_id)) + b"\n"


async def _write_document(result: QueryResult, started: float) -> AsyncGenerator[bytes, None]:
    columns = [{"name": column.name, "type": column.type} for column in result.columns]
    yield b'{"columns":' + msgspec.json.encode(columns) + b',"rows":['
    before = b""  # the last piece ends with a comma too many
    async for piece in result:
        if before:
            yield before
        before = piece
    yield before.removesuffix(b",")
    scanned = result.scanned
    end = EndDocument(
        row_count=result.row_count,
        truncated=result.truncated,
        elapsed_ms=round((perf_counter() - started) * 1000, 3),
        scanned=Scanned(rows=scanned.rows, bytes=scanned.bytes),
        warnings=tuple(result.warnings),
    )
    yield b"]," + msgspec.json.encode(end)[1:]


async def _chain(head: bytes, rest: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    yield head
    async for piece in rest:
        yield piece
