"""How long from a client's leaving to the end of everything that was done for it?

    python tools/disconnect.py [TRIES]

One process on loopback: an application behind the lifetime middleware and our own connection, and clients that leave in
every phase that a request has on this side, in three ways. Prints the median and the longest time in microseconds,
measured from the client's system call to the application's `finally`. `half` is a client that shuts down its writing
side, which counts as leaving, as it does under Hypercorn.
"""

from __future__ import annotations

import socket
import statistics
import struct
import sys
import time
from functools import partial

import trio

from lakehouse.asgi.middleware.lifetime_middleware import RequestLifetimeMiddleware
from lakehouse.asgi.types import Receive, Scope, Send
from lakehouse.core.active_requests import ActiveRequests
from lakehouse.server.connection import serve_connection
from lakehouse.server.server_state import open_server_state

GET = b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nsome of it"
PHASES = {
    "waiting": GET % b"/wait",
    "body up": POST % b"/up",
    "body down": GET % b"/down",
    "pipelined second request": GET % b"/wait" + GET % b"/wait",
    "unread body behind it": POST % b"/wait" + bytes(50_000),
}


class Probe:
    """An application that notes when it begins and when it is over."""

    def __init__(self) -> None:
        self.begun = trio.Event()
        self.over = trio.Event()
        self.ended = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.begun.set()
        try:
            if scope["path"] == "/up":
                while (await receive())["more_body"]:
                    pass
            if scope["path"] == "/down":
                await send({"type": "http.response.start", "status": 200, "headers": []})
                while True:
                    await send({"type": "http.response.body", "body": b"x" * 100, "more_body": True})
                    await trio.sleep(0.001)
            await trio.sleep_forever()
        finally:
            self.ended = time.perf_counter()
            self.over.set()


async def once(probe: Probe, port: int, data: bytes, how: str) -> float:
    """One client's request and leaving; the seconds until it was over, or infinity after a second."""
    probe.begun, probe.over = trio.Event(), trio.Event()
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    await stream.send_all(data)
    await probe.begun.wait()
    await trio.sleep(0.002)  # the server is deep in it
    left = time.perf_counter()
    if how == "half":
        stream.socket.shutdown(socket.SHUT_WR)
    else:
        if how == "rst":
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stream.socket.close()
    with trio.move_on_after(1) as timeout:
        await probe.over.wait()
    await trio.aclose_forcefully(stream)
    return float("inf") if timeout.cancelled_caught else probe.ended - left


async def main(tries: int) -> None:
    """Print a line for each phase and way of leaving."""
    probe = Probe()
    async with (
        open_server_state(RequestLifetimeMiddleware(probe, active_requests=ActiveRequests())) as server_state,
        trio.open_nursery() as nursery,
    ):
        handler = partial(serve_connection, server_state)
        listeners = await nursery.start(partial(trio.serve_tcp, handler, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        print(f"{'client leaves while':28}{'how':6}{'p50 us':>9}{'max us':>9}")
        for phase, data in PHASES.items():
            for how in ("fin", "rst", "half"):
                took = [1e6 * await once(probe, port, data, how) for _ in range(tries)]
                print(f"{phase:28}{how:6}{statistics.median(took):9.0f}{max(took):9.0f}")
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 50)
