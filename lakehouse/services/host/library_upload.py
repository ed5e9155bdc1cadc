"""Uploads of a lake without a server: a form of one part, as the HTTP API takes it, streamed from its source."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from urllib.parse import urlencode

import trio

from lakehouse.asgi.in_process import call_app
from lakehouse.asgi.types import App

UploadSource = Path | bytes | AsyncIterable[bytes]
_PIECE = 256 * 1024


def name_of(source: UploadSource) -> str:
    """The name of a file that is uploaded: that of a path."""
    return source.name if isinstance(source, Path) else "upload"


async def upload(
    app: App, parameters: Mapping[str, object], source: UploadSource, *, file_name: str, idempotency_key: str = ""
) -> bytes:
    """Send a file to `POST /ingest` of an application. Returns the answer."""
    query = urlencode({name: value for name, value in parameters.items() if value})
    boundary = secrets.token_hex(16)
    headers = [("content-type", f"multipart/form-data; boundary={boundary}")]
    if idempotency_key:
        headers.append(("idempotency-key", idempotency_key))
    body = _make_form(source, file_name, boundary)
    async with call_app(app, "POST", "/ingest", query=query, headers=headers, body=body) as answer:
        return await answer.read()


async def _make_form(source: UploadSource, file_name: str, boundary: str) -> AsyncGenerator[bytes]:
    """The upload as a form of one part, which carries the name of the file."""
    escaped = file_name.replace("\\", "\\\\").replace('"', '\\"').replace("\r", "").replace("\n", "")
    disposition = f'form-data; name="file"; filename="{escaped}"'
    yield f"--{boundary}\r\ncontent-disposition: {disposition}\r\n\r\n".encode()
    if isinstance(source, bytes):
        yield source
    else:
        async with _open_source(source) as pieces:
            async for piece in pieces:
                yield piece
    yield f"\r\n--{boundary}--\r\n".encode()


@asynccontextmanager
async def _open_source(source: Path | AsyncIterable[bytes]) -> AsyncIterator[AsyncIterable[bytes]]:
    if not isinstance(source, Path):
        yield source
        return
    async with aclosing(_read_file(source)) as pieces:
        yield pieces


async def _read_file(path: Path) -> AsyncGenerator[bytes]:
    async with await trio.open_file(path, "rb") as file:
        while piece := await file.read(_PIECE):
            yield piece
