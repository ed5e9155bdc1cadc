"""Collections that a service is creating: they have no description yet."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

CREATION_SECONDS = 5.0
"""How long a collection may be without a description, before its creation counts as given up."""


async def wait_until_described(is_described: Callable[[], Awaitable[bool]]) -> bool:
    """Whether a collection has a description, or gets one from the service that is creating it."""
    with trio.move_on_after(CREATION_SECONDS):
        while True:
            if await is_described():
                return True
            await trio.sleep(CREATION_SECONDS / 20)
    return False
