"""The child that reads and writes the metadata of tables, as the promotion calls it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import msgspec
import trio

from lakehouse.core.errors import ErrTimeout, ErrUpstream
from lakehouse.process.calls.pool import ChildPool, open_pool
from lakehouse.process.calls.pool_policy import PoolPolicy
from lakehouse.process.errors import CallFailed, ChildExited, PoolUnavailable
from lakehouse.process.spec import ChildSpec
from lakehouse.services.lake.errors import LakeError
from lakehouse.services.promotion.messages import MAX_FRAME, PromotionSettings, Request

T = TypeVar("T")

CALL_TIMEOUT = 3600.0
"""Seconds of a call about one table: the longest ones read all of its metadata and its newest rows from the bucket."""


START_TIMEOUT = 120.0
"""Seconds. The command can wait for a machine under load, where it takes half a minute to import pyiceberg."""


class Refused(LakeError):
    """The promotion cannot go on, and nothing was switched; the text says why."""


class PromotionProcess:
    """The child, which the first call starts."""

    def __init__(self, pool: ChildPool) -> None:
        self._pool = pool

    async def call(self, request: Request, reply: Any) -> T:  # noqa: ANN401
        """Send a request and decode its reply as the type `reply`. Cancelled, the child is killed.

        Raises Refused with the sentence of the child, ErrUpstream for a catalog or a bucket that failed and for a child
        that ended, ErrTimeout.
        """
        with trio.move_on_after(CALL_TIMEOUT):
            try:
                decoded: T = msgspec.json.decode(await self._pool.call(msgspec.json.encode(request)), type=reply)
            except CallFailed as error:
                raise (ErrUpstream(str(error)) if error.kind == "upstream" else Refused(str(error))) from None
            except (ChildExited, PoolUnavailable) as error:
                raise ErrUpstream(f"the process that reads the tables failed: {error}") from None
            return decoded
        raise ErrTimeout(f"a table was not read within {CALL_TIMEOUT:g} s")


@asynccontextmanager
async def open_process(settings: PromotionSettings) -> AsyncIterator[PromotionProcess]:
    """Make the child startable for the length of the block, at whose end it is killed."""
    spec = ChildSpec(
        name="the promotion process",
        target="lakehouse.services.promotion.child:run",
        settings=msgspec.json.encode(settings),
        start_timeout=START_TIMEOUT,
    )
    async with open_pool(spec, PoolPolicy(size=1, queue_timeout=CALL_TIMEOUT, max_frame=MAX_FRAME)) as pool:
        yield PromotionProcess(pool)
