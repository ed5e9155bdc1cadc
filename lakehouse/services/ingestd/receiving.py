"""The body of an ingest, streamed into a file: the raw bytes, or the part of a form. Memory is flat."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import trio

from lakehouse.asgi.body import BodyLimits, iterate_body
from lakehouse.asgi.types import Receive, Scope
from lakehouse.core.errors import ErrBadRequest, ErrUnsupportedMediaType
from lakehouse.services.ingestd.form import FormDecoder, PartHead, find_boundary
from lakehouse.services.ingestd.parameters import NAMES

FORM_OVERHEAD = 64 * 1024
"""Bytes of a form beside its file."""
FILE_PART = "file"
BATCH = 2**20
"""Bytes that are written at once, in a thread."""

_ENCODINGS = frozenset(("identity", "gzip", "x-gzip", "zstd"))
_NO_TYPE = frozenset(("", "application/octet-stream", "application/x-www-form-urlencoded"))
"""Content types that say nothing: the last one is what `curl --data-binary` sends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A received file. `content_type` is "" where it says nothing about the file."""

    path: Path
    size: int
    digest: str
    file_name: str
    content_type: str


def check_head(scope: Scope, max_size: int) -> bytes | None:
    """Refuse a body by its head: too long, or in an encoding that is not read. Returns the boundary of a form."""
    fields: Mapping[bytes, bytes] = dict(scope["headers"])
    boundary = find_boundary(fields.get(b"content-type", b""))
    length = fields.get(b"content-length", b"")
    if length.isdigit() and int(length) > max_size + (FORM_OVERHEAD if boundary is not None else 0):
        raise _limits(max_size).too_large()
    encoding = fields.get(b"content-encoding", b"identity").decode("latin-1").strip().lower()
    if encoding not in _ENCODINGS:
        raise ErrUnsupportedMediaType(
            f"the Content-Encoding {encoding[:40]!r} is not read: send the file as it is, or as gzip or zstd"
        )
    return boundary


async def receive_upload(
    scope: Scope, receive: Receive, path: Path, *, boundary: bytes | None, max_size: int
) -> Upload:
    """Receive the file into `path`. Raises `ErrBadRequest` for a form without it, `ErrTooLarge`, and OSError."""
    output = await trio.to_thread.run_sync(_Output, path)
    try:
        if boundary is None:
            head = await _receive_raw(scope, receive, output, max_size)
        else:
            head = await _receive_form(receive, output, boundary, max_size)
        await output.flush()
    finally:
        output.close()
    content_type = head.content_type.partition(";")[0].strip().lower()
    return Upload(
        path=path,
        size=output.size,
        digest=output.hash.hexdigest(),
        file_name=head.file_name or "",
        content_type="" if content_type in _NO_TYPE else content_type,
    )


async def _receive_raw(scope: Scope, receive: Receive, output: _Output, max_size: int) -> PartHead:
    async with aclosing(_iterate(receive, max_size)) as body:  # type: ignore[type-var]
        async for piece in body:
            await output.write(piece)
    content_type = dict(scope["headers"]).get(b"content-type", b"").decode("latin-1")
    return PartHead(name="", file_name=None, content_type=content_type)


async def _receive_form(receive: Receive, output: _Output, boundary: bytes, max_size: int) -> PartHead:
    decoder, choice = FormDecoder(boundary), _PartChoice()
    async with aclosing(_iterate(receive, max_size + FORM_OVERHEAD)) as body:  # type: ignore[type-var]
        async for piece in body:
            for event in decoder.feed(piece):
                if isinstance(event, PartHead):
                    if choice.begin(event):
                        await output.restart()
                elif choice.taken:
                    await output.write(event)
                    if output.size > max_size:
                        raise _limits(max_size).too_large()
    decoder.finish()
    return choice.finish()


class _PartChoice:
    """Which part of a form is the file: the one called `file`, or the only one."""

    def __init__(self) -> None:
        self.taken = False
        """Whether the part that began last is the file."""
        self._heads: list[PartHead] = []

    def begin(self, head: PartHead) -> bool:
        """A part begins. Returns whether it is the file, as far as is known."""
        if head.name != FILE_PART and head.file_name is None and head.name in NAMES:
            raise ErrBadRequest(f"`{head.name}` is a part of the form: parameters belong into the query string")
        self._heads.append(head)
        files = [each for each in self._heads if each.file_name is not None]
        if len(files) > 1 or sum(each.name == FILE_PART for each in self._heads) > 1:
            raise ErrBadRequest("the form has more than one file: send one for each request")
        self.taken = head.name == FILE_PART or len(self._heads) == 1
        return self.taken

    def finish(self) -> PartHead:
        """The head of the part that was taken."""
        named = [head for head in self._heads if head.name == FILE_PART]
        if named:
            return named[0]
        if len(self._heads) != 1:
            raise ErrBadRequest(f"the form has no part named `{FILE_PART}`")
        return self._heads[0]


class _Output:
    """A file that is written in batches, in threads, and hashed on the way."""

    def __init__(self, path: Path) -> None:
        self.size = 0
        self.hash = hashlib.sha256()
        self._file = path.open("wb", buffering=0)
        self._batch: list[bytes] = []
        self._held = 0

    async def write(self, piece: bytes) -> None:
        """Add bytes; those of a full batch are written."""
        self._batch.append(piece)
        self._held += len(piece)
        self.size += len(piece)
        if self._held >= BATCH:
            await self.flush()

    async def flush(self) -> None:
        """Write what is held. Cancelled, it waits for the write that runs."""
        batch, self._batch, self._held = self._batch, [], 0
        await trio.to_thread.run_sync(self._write, batch)

    async def restart(self) -> None:
        """Forget all bytes so far: another part is the file."""
        self._batch, self._held, self.size, self.hash = [], 0, 0, hashlib.sha256()
        await trio.to_thread.run_sync(self._truncate)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, batch: list[bytes]) -> None:
        data = b"".join(batch)
        self.hash.update(data)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._file.fileno(), rest) :]

    def _truncate(self) -> None:
        self._file.seek(0)
        self._file.truncate()


def _iterate(receive: Receive, max_size: int) -> AsyncIterator[bytes]:
    return iterate_body(receive, _limits(max_size))


def _limits(max_size: int) -> BodyLimits:
    return BodyLimits(max_size=max_size, max_size_key="ingestd.max_ingest_bytes")
