"""Calls to the child: deadlines, the repeat after its death, and its failures as errors of the service."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import msgspec
import trio

from lakehouse.core import errors
from lakehouse.core.errors import LakehouseError
from lakehouse.process.calls.pool import ChildPool, open_pool
from lakehouse.process.calls.pool_policy import PoolPolicy
from lakehouse.process.errors import CallFailed, ChildExited, PoolUnavailable
from lakehouse.process.spec import ChildSpec
from lakehouse.services.tables import messages
from lakehouse.services.tables.messages import MAX_FRAME, Request, TablesSettings

logger = logging.getLogger("lakehouse.tables")

T = TypeVar("T")

CALL_TIMEOUT = 60.0
"""Seconds of a call, and of its wait for the call before it. The child is killed when a call takes longer."""
MAINTENANCE_TIMEOUT = 600.0
"""Seconds of an expiry or a sweep, which read the metadata of every snapshot."""
RESET_TIMEOUT = 5.0
"""Seconds that the child has to finish a call whose caller has left; a commit takes less, a start takes longer."""
MAX_WAITING = 1024
ATTEMPTS = 3
ONCE = (messages.Rename, messages.Drop, messages.ChangeColumns)
"""Requests that fail when they are repeated after they were done; see `is_repeatable`."""

_ERRORS: dict[str, type[LakehouseError]] = {
    "not found": errors.ErrNotFound,
    "conflict": errors.ErrConflict,
    "upstream": errors.ErrUpstream,
    "bad request": errors.ErrBadRequest,
    "unprocessable": errors.ErrUnprocessable,
    "busy": errors.ErrUnavailable,
    "disk full": errors.ErrInsufficientStorage,
}


class TablesProcess:
    """The child, which the first call starts."""

    def __init__(self, pool: ChildPool) -> None:
        self.pool = pool

    async def call(self, request: Request, reply: Any, *, timeout: float = CALL_TIMEOUT) -> T:  # noqa: ANN401
        """Send a request and decode its reply as the type `reply`.

        A call during which the child ends, or for which it does not start, is repeated twice: reads change nothing, and
        a repeated commit finds that it has been done. One that is not repeatable is sent once. Raises the error that
        the child reports, ErrUnavailable, ErrTimeout, ErrUpstream.
        """
        encoded, repeatable = msgspec.json.encode(request), is_repeatable(request)
        with trio.move_on_after(timeout):
            answer = await self._call(encoded, repeatable=repeatable)
            decoded: T = msgspec.json.decode(answer, type=reply)
            return decoded
        raise errors.ErrTimeout(f"the tables did not answer within {timeout:g} s", retryable=repeatable)

    async def _call(self, encoded: bytes, *, repeatable: bool) -> bytes:
        for attempt in range(ATTEMPTS):
            try:
                return await self.pool.call(encoded)
            except ChildExited as error:
                logger.warning("%s", error)
                if not repeatable or attempt == ATTEMPTS - 1:
                    raise errors.ErrUpstream("the tables process ended during the call", retryable=repeatable) from None
            except CallFailed as error:
                raise _convert(error) from None
            except PoolUnavailable as error:  # the pool has logged why
                if self.pool.size or attempt == ATTEMPTS - 1:
                    raise errors.ErrUnavailable(
                        "the tables process is busy, or does not start", retry_after=error.retry_after, retryable=True
                    ) from None
                await trio.sleep(error.retry_after)  # a start has failed, and the next one has to wait
        raise AssertionError("the last attempt returns or raises")


def is_repeatable(request: Request) -> bool:
    """Whether a request that was done can be done again. Of any other one the caller is told that it may be done."""
    if isinstance(request, messages.Tag):
        return request.snapshot_id is not None  # the removal of a tag that was removed is an error
    return not isinstance(request, ONCE)


def _convert(failure: CallFailed) -> LakehouseError:
    details = msgspec.json.decode(failure.details, type=dict[str, object] | None)
    kind = _ERRORS.get(failure.kind)
    if failure.kind == "stale":
        return errors.ErrConflict(str(failure), retryable=True, details=details)
    if kind is None:
        logger.error("the tables process failed: %s", failure)
        return LakehouseError("the tables failed; the log has the reason", details=details)
    if kind is errors.ErrUnavailable:
        return errors.ErrUnavailable(str(failure), retry_after=1.0, retryable=True, details=details)
    return kind(str(failure), details=details)


@asynccontextmanager
async def open_process(settings: TablesSettings) -> AsyncIterator[TablesProcess]:
    """Make the child startable for the length of the block, at whose end it is killed."""
    spec = ChildSpec(
        name="the tables process",
        target="lakehouse.services.tables.child:run",
        settings=msgspec.json.encode(settings),
    )
    policy = PoolPolicy(
        size=1 if settings.warehouse is None else 2,  # calls of a shared lake wait for others; their caches are apart
        max_waiting=MAX_WAITING,
        queue_timeout=CALL_TIMEOUT,
        reset_timeout=RESET_TIMEOUT,
        max_frame=MAX_FRAME,
    )
    async with open_pool(spec, policy) as pool:
        yield TablesProcess(pool)
