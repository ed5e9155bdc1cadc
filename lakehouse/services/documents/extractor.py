"""The pool of children that extract documents, in the services process.

A child is given the bytes of one file a call. It has an empty environment, no network and no files, and limits of
memory and processor time; the time that a call takes is limited here. A call that is cancelled ends its child if the
parser does not stop by itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NoReturn

import msgspec
import trio

from lakehouse.core.errors import (
    ErrBadRequest,
    ErrNotInstalled,
    ErrTooLarge,
    ErrUnavailable,
    ErrUnprocessable,
    LakehouseError,
)
from lakehouse.process.calls.pool import ChildPool, open_pool
from lakehouse.process.calls.pool_policy import PoolPolicy
from lakehouse.process.errors import CallFailed, ChildExited, PoolUnavailable
from lakehouse.process.spec import ChildSpec, ResourceLimits, Sandbox
from lakehouse.services.contracts.documents import DocumentFormat, ExtractedDocument, PassageSize
from lakehouse.services.documents import messages
from lakehouse.services.documents.limits import ADDRESS_SPACE, LIMITS, MAX_SIZE, WAITING_FACTOR
from lakehouse.telemetry.gauges import Gauge, Readings
from lakehouse.telemetry.metric_store import Family

NAME = "the reader of documents"
CHILDREN = 2
MAX_CALLS = 100
"""Files that one child reads before it is replaced."""
MAX_WAITING = 64
MAX_WAIT = 60.0
"""Seconds that a file waits for a child: those before it may take long."""
RETRY_AFTER = 5.0
MAX_FRAME = MAX_SIZE + 64 * 1024
ERRORS: Mapping[str, type[LakehouseError]] = {
    messages.BAD_REQUEST: ErrBadRequest,
    messages.TOO_LARGE: ErrTooLarge,
    messages.UNPROCESSABLE: ErrUnprocessable,
    messages.OUT_OF_MEMORY: ErrUnprocessable,
    messages.NOT_INSTALLED: ErrNotInstalled,
}
_READERS = Family("documents_readers", "gauge", "Processes that read documents.", ("state",))
_WAITING = Family("documents_waiting", "gauge", "Documents that wait to be read.")
_DECODER = msgspec.json.Decoder(ExtractedDocument)


class PooledExtractor:
    """Reads documents in the children of a pool. Implements the contract `DocumentExtractor`."""

    def __init__(self, pool: ChildPool) -> None:
        self.pool = pool
        self._slots = trio.CapacityLimiter(pool.policy.size)

    def gauges(self) -> Iterable[Gauge]:
        """The gauges of the pool."""
        pool = self.pool

        def states() -> Readings:
            return [(("busy",), pool.in_use), (("idle",), pool.idle)]

        return (
            Gauge(_READERS, states),
            Gauge(_WAITING, lambda: [((), self._slots.statistics().tasks_waiting)]),
        )

    async def extract(
        self, path: Path, document_format: DocumentFormat, *, encoding: str = "", size: PassageSize
    ) -> ExtractedDocument:
        """Read a file and cut its text into passages."""
        limits = LIMITS[document_format]
        bytes_in = (await trio.Path(path).stat()).st_size
        if bytes_in > limits.size:
            raise ErrTooLarge(
                f"a document as {document_format} has at most {limits.size} bytes, and this one has {bytes_in}"
            )
        seconds = limits.processor_seconds(bytes_in)
        request = messages.ExtractRequest(
            format=document_format, encoding=encoding, size=size, processor_seconds=seconds
        )
        async with self._take_slot():  # before the file is in memory
            payload = messages.encode_request(request, await trio.Path(path).read_bytes())
            return _DECODER.decode(await self._call(payload, seconds * WAITING_FACTOR))

    @asynccontextmanager
    async def _take_slot(self) -> AsyncIterator[None]:
        if self._slots.statistics().tasks_waiting >= MAX_WAITING:
            raise _make_unavailable(f"{MAX_WAITING} documents wait already")
        document = object()
        with trio.move_on_after(MAX_WAIT) as waiting:
            await self._slots.acquire_on_behalf_of(document)
        if waiting.cancelled_caught:
            raise _make_unavailable(f"none became free within {MAX_WAIT:g} s")
        try:
            yield
        finally:
            self._slots.release_on_behalf_of(document)

    async def _call(self, payload: bytes, seconds: float) -> bytes:
        try:
            async with self.pool.stream(payload) as reply:
                with trio.move_on_after(seconds) as limit:
                    async for _ in reply:
                        pass
                if limit.cancelled_caught:
                    raise ErrUnprocessable(f"the document was not read within {seconds:g} s, its limit")
        except CallFailed as error:
            _raise_failure(error)
        except ChildExited as error:
            message = (
                "the document needs more memory or processor time than the reading of a document of its size may take"
            )
            raise ErrUnprocessable(message) from error
        except PoolUnavailable as error:
            raise ErrUnavailable(str(error), retry_after=error.retry_after) from error
        return reply.result


def _raise_failure(error: CallFailed) -> NoReturn:
    kind = ERRORS.get(error.kind)
    if kind is None:
        raise LakehouseError("the reader of documents failed; the log has the reason") from error
    if error.kind == messages.OUT_OF_MEMORY:
        raise ErrUnprocessable("the document needs more memory than the reading of a document may take") from error
    details = msgspec.json.decode(bytes(error.details))
    raise kind(str(error), details=details if isinstance(details, dict) and details else None) from error


def _make_unavailable(reason: str) -> ErrUnavailable:
    return ErrUnavailable(f"{NAME}: all of {CHILDREN} are busy: {reason}", retryable=True, retry_after=RETRY_AFTER)


def make_spec() -> ChildSpec:
    """The process of a reader: it opens no file, and no socket."""
    return ChildSpec(
        name=NAME,
        target="lakehouse.services.documents.child.main:serve_documents",
        settings=msgspec.json.encode(MAX_FRAME),
        environment={"MALLOC_ARENA_MAX": "2"},  # each arena is address space
        limits=ResourceLimits(address_space=ADDRESS_SPACE, file_size=0, open_files=64),
        sandbox=Sandbox(restrict_files=True, network=False),
    )


@asynccontextmanager
async def open_document_extractor() -> AsyncIterator[PooledExtractor]:
    """Open the pool for the length of the block. Its processes start with the first documents."""
    policy = PoolPolicy(size=CHILDREN, max_calls=MAX_CALLS, max_frame=MAX_FRAME, queue_timeout=MAX_WAIT)
    async with open_pool(make_spec(), policy) as pool:
        yield PooledExtractor(pool)
