"""An application that is made at its first request."""

from __future__ import annotations

import time
from typing import Any

import pytest
import trio

from lakehouse.asgi.lazy import LazyApp
from lakehouse.asgi.types import App


async def nothing(*_: Any) -> Any:
    """Neither received from nor sent to."""


async def test_it_is_made_once_in_a_thread_beside_which_others_go_on() -> None:
    made: list[str] = []
    answered: list[str] = []

    def load() -> App:
        time.sleep(0.05)
        made.append("app")

        async def app(scope: Any, _receive: Any, _send: Any) -> None:
            answered.append(scope["path"])

        return app

    lazy = LazyApp(load)
    assert made == []
    beside = 0
    async with trio.open_nursery() as nursery:
        for path in ("/a", "/b"):
            nursery.start_soon(lazy, {"path": path}, nothing, nothing)
        while len(answered) < 2:
            beside += 1
            await trio.sleep(0.001)
    await lazy({"path": "/c"}, nothing, nothing)
    assert (made, sorted(answered)) == (["app"], ["/a", "/b", "/c"])
    assert beside > 5


async def test_a_load_that_fails_fails_its_request_and_is_tried_again() -> None:
    attempts = 0

    def load() -> App:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise ImportError("quart")
        return nothing

    lazy = LazyApp(load)
    with pytest.raises(ImportError):
        await lazy({}, nothing, nothing)
    await lazy({}, nothing, nothing)
    assert attempts == 2
