"""A request's body on its way to the upstream, in a task of its own, while the response may already be arriving."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import inf

import trio

from lakehouse.core.errors import ErrBadRequest
from lakehouse.core.groups import unwrap_single
from lakehouse.net.http1.framing import LAST_CHUNK, encode_chunk
from lakehouse.net.transfer_rate import MIN_BYTES, MinimumRate
from lakehouse.upstream.connections.connection import UpstreamConnection
from lakehouse.upstream.endpoint import UpstreamEndpoint
from lakehouse.upstream.http1.request import RequestBody


class UploadRefused(Exception):
    """The connection takes no more bytes: it is broken or closed, in this direction at least."""


class Upload:
    """Sends `first` (the part of the head that the kernel did not take at once), then the body.

    The next piece is taken from the body when the kernel has taken the one before: a stalled upstream stops the sender.
    """

    def __init__(
        self, connection: UpstreamConnection, endpoint: UpstreamEndpoint, first: memoryview, body: RequestBody | None
    ) -> None:
        connection.share()
        self.complete = False
        self.ended = trio.Event()
        self.progress = trio.current_time()
        """When the upstream last took bytes; `inf` while the caller's next piece is awaited."""
        self._connection = connection
        self._endpoint = endpoint
        self._upstream_rate = MinimumRate(endpoint.idle_timeout)
        self._caller_rate = MinimumRate(endpoint.idle_timeout)
        self._first = first
        self._body = body
        self._scope = trio.CancelScope()

    async def run(self) -> None:
        """Send all of it.

        Raises what the body raises, `ErrTimeout` for a silence of either side, `ErrBadRequest` for a body of another
        length than declared. An upstream that takes no more is not an error: its response has the reason.
        """
        try:
            with self._scope:
                await self._send(self._first)
                if self._body is not None:
                    await self._send_body(self._body)
                self.complete = True
        except UploadRefused:
            pass
        finally:
            self.ended.set()

    def stop(self) -> None:
        """Send no more, because the upstream has refused the request."""
        self._scope.cancel()

    async def _send_body(self, body: RequestBody) -> None:
        left = body.length
        if left is None:
            while piece := await self._next_piece(body):
                await self._send(memoryview(encode_chunk(piece)))
            await self._send(memoryview(LAST_CHUNK))
            return
        while left:
            piece = await self._next_piece(body)
            left -= len(piece)
            if not piece or left < 0:
                raise _wrong_length(longer=left < 0)
            await self._send(memoryview(piece))
        self.complete = True
        if await self._take(body):  # once more: a generator finishes only when its end is read
            raise _wrong_length(longer=True)

    async def _next_piece(self, body: RequestBody) -> bytes:
        self.progress = inf
        piece = await self._take(body)
        self.progress = trio.current_time()
        return piece

    async def _take(self, body: RequestBody) -> bytes:
        rate = self._caller_rate
        if rate.limit == inf:
            return await body.receive()
        rate.start_waiting()
        with trio.CancelScope(relative_deadline=rate.left):
            piece = await body.receive()
            rate.record_progress(len(piece))
            return piece
        owed = "the next piece" if rate.left == rate.limit else f"{MIN_BYTES // 1024} KiB"
        raise self._endpoint.timeout_error("idle", f"was to be sent {owed} of the request's body", rate.limit)

    async def _send(self, data: memoryview) -> None:
        connection, rate = self._connection, self._upstream_rate
        rate.start_waiting()
        while data:
            try:
                sent = await connection.write(data, rate.step)
            except (OSError, trio.ClosedResourceError):
                raise UploadRefused from None
            data = data[sent:]
            if rate.check_progress(connection.unacknowledged_bytes, sent) or sent:
                self.progress = trio.current_time()
            if data and rate.exhausted:
                raise self._endpoint.timeout_error("idle", f"took {rate.shortfall} of the request", rate.limit)


def _wrong_length(*, longer: bool) -> ErrBadRequest:
    return ErrBadRequest(f"the request's body is {'longer' if longer else 'shorter'} than the declared length")


@asynccontextmanager
async def run_upload(upload: Upload | None) -> AsyncIterator[None]:
    """Run the upload during the block, and no longer. An error of either comes out as it is, not in a group."""
    if upload is None:
        yield
        return
    failed: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(upload.run)
            yield
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        failed = unwrap_single(group)
    try:
        if failed is not None:
            raise failed
    finally:
        del failed  # its traceback refers to this frame
