"""After each row of the table the service answers the next client within a second, and the row's own client got what
the table says; and so it is when all rows come at once."""

from __future__ import annotations

import pytest
import trio

from tools.kit.hostile_client import run_hostile_client
from tools.kit.hostile_requests import LIMITS, TABLE, application
from tools.kit.matrices import spread
from tools.kit.raw_http import GET, RunningServer, serve_app


async def next_client_is_answered(served: RunningServer) -> None:
    with trio.fail_after(20):
        async with await served.connect() as client:
            await client.send(GET)
            assert await client.response() == (200, b"hello")


def expected(name: str) -> tuple[str, ...]:
    _, ends = TABLE[name]
    return (ends,) if isinstance(ends, str) else ends


def test_the_table_is_long() -> None:
    assert len(TABLE) >= 60


@pytest.mark.parametrize("name", spread(TABLE, 2))
async def test_a_hostile_client_gets_its_due_and_the_next_one_an_answer(name: str) -> None:
    async with serve_app(application, LIMITS, lifetime=True) as served:
        assert await run_hostile_client(served, name) in expected(name)
        await next_client_is_answered(served)
        with trio.fail_after(20):
            while len(served.server_state.connections) > 1 or len(served.active_requests):
                await trio.sleep(0.01)


async def test_all_of_them_at_once_are_no_worse() -> None:
    """On one listener, which serves well-behaved clients meanwhile and holds nothing of the others at the end."""
    async with serve_app(application, LIMITS, lifetime=True) as served:
        async with trio.open_nursery() as nursery:
            for name in TABLE:
                nursery.start_soon(run_hostile_client, served, name)
            await next_client_is_answered(served)
        await next_client_is_answered(served)
        with trio.fail_after(20):
            while served.server_state.connections or len(served.active_requests):
                await trio.sleep(0.01)
