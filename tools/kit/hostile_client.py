"""The client of one row of the table of hostile requests: sends what the row says and sums up what comes back."""

from __future__ import annotations

import trio

from tools.kit.hostile_requests import TABLE, summary
from tools.kit.raw_http import RunningServer

END_TIMEOUT = 0.7
"""Seconds to wait for the end of a connection: longer than any limit of `hostile_requests.LIMITS` that ends one."""


async def run_hostile_client(served: RunningServer, name: str) -> str:
    """Run the client of the row `name` and return the summary of its responses.

    A client that has closed its own socket gets `RST`: nothing more can be read from it.
    """
    script, _ = TABLE[name]
    async with await served.connect() as client:
        if isinstance(script, bytes):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.send, script)
                received = await client.read_all(END_TIMEOUT)
                nursery.cancel_scope.cancel()
        else:
            await script(client)
            try:
                received = await client.read_all(END_TIMEOUT)
            except trio.ClosedResourceError:
                received = b"<RST>"
    return summary(received)
