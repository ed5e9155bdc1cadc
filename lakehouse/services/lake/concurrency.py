"""Work on several things at a time, with a bound."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import trio

T = TypeVar("T")


async def run_all(work: Callable[[T], Awaitable[None]], arguments: Iterable[T], *, at_once: int) -> None:
    """Call `work` with each argument, `at_once` at a time. The first exception ends the others and is raised."""
    waiting = iter(arguments)
    failures: list[Exception] = []

    async def run_some() -> None:
        for argument in waiting:
            try:
                await work(argument)
            except Exception as failure:  # noqa: BLE001  # raised below, without a group around it
                failures.append(failure)
                nursery.cancel_scope.cancel(reason="a call of the batch failed")
                return

    async with trio.open_nursery() as nursery:
        for _ in range(at_once):
            nursery.start_soon(run_some)
    if failures:
        raise failures[0]
