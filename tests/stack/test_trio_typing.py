"""trio-typing at run time: what it calls a task status is what our `serve` takes and gives.

Nothing else of it is used. Its stubs shadow trio's own types, so it is installed by this session alone.
"""

from __future__ import annotations

from functools import partial

import pytest
import trio

import lakehouse
from tools.kit.in_process_service import make_config

trio_typing = pytest.importorskip("trio_typing", reason="installed by the session `contract` alone")


async def test_serve_takes_what_trio_typing_calls_a_task_status() -> None:
    seen = []

    async def watched(*, task_status: trio.TaskStatus[lakehouse.Service]) -> None:
        seen.append(isinstance(task_status, trio_typing.TaskStatus))
        await lakehouse.serve(make_config(), env={}, task_status=task_status)

    async with trio.open_nursery() as nursery:
        service = await nursery.start(watched)
        service.stop()
    assert seen == [True]


async def test_a_task_status_of_the_callers_own_is_good_enough() -> None:
    class Noted(trio_typing.TaskStatus):  # type: ignore[misc,name-defined]
        value: object = None

        def started(self, value: object = None) -> None:
            Noted.value = value

    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(lakehouse.serve, make_config(), env={}, task_status=Noted()))
        with trio.fail_after(20):
            while Noted.value is None:
                await trio.sleep(0.01)
        assert isinstance(Noted.value, lakehouse.Service)
        Noted.value.stop()
