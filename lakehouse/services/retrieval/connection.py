"""Calls over one socket to the child: many at a time, many frames in one write, replies in any order."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable

import trio

from lakehouse.core.errors import ErrUnavailable
from lakehouse.services.retrieval.messages import ONE_WAY, FrameDecoder, FrameError, encode_frame

READ_SIZE = 1024 * 1024
MAX_NUMBER = 2**32 - 1
COALESCE_BELOW = 256 * 1024
"""Bytes of frames that are sent in one write."""


class Connection:
    """The client's end of the socket to one child."""

    def __init__(self, client: socket.socket) -> None:
        client.setblocking(False)
        self._socket = trio.socket.from_stdlib_socket(client)
        self._one_way: deque[bytes] = deque()
        """The frames of cancellations, and of calls without a reply."""
        self._calls: dict[int, bytes] = {}
        """The frames that are not sent yet, in their order."""
        self._unsent = trio.Event()
        self._waiting: dict[int, trio.lowlevel.Task] = {}
        self._replies: dict[int, bytes] = {}
        self._number = 0
        self._closed = False

    @property
    def waiting(self) -> int:
        """The number of calls under way."""
        return len(self._waiting)

    async def call(self, body: bytes) -> bytes:
        """Send a call and wait for the body of its reply. A call that is cancelled is cancelled in the child.

        Raises ErrUnavailable if the child ends meanwhile, or has ended.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._closed:
            raise make_ended()
        number = self._take_number()
        self._calls[number] = encode_frame(number, body)
        self._unsent.set()
        self._waiting[number] = trio.lowlevel.current_task()

        def abort(_: Callable[[], object]) -> trio.lowlevel.Abort:
            del self._waiting[number]
            if self._calls.pop(number, None) is None:
                self._one_way.append(encode_frame(number, b""))
                self._unsent.set()
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)
        reply = self._replies.pop(number, None)
        if reply is None:
            raise make_ended()
        return reply

    def send(self, body: bytes) -> None:
        """Send a call that has no reply, without waiting. One that waits to be sent stands for all that are equal."""
        frame = encode_frame(ONE_WAY, body)
        if not self._closed and frame not in self._one_way:
            self._one_way.append(frame)
            self._unsent.set()

    def _take_number(self) -> int:
        """The next number that no call under way has."""
        self._number = self._number % MAX_NUMBER + 1
        while self._number in self._waiting:
            self._number = self._number % MAX_NUMBER + 1
        return self._number

    async def run(self) -> None:
        """Send and receive until the child ends; then the calls under way fail."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send)
                await self._receive()
                nursery.cancel_scope.cancel()
        finally:
            self.close()

    async def _send(self) -> None:
        """Send what the tasks of one turn of the scheduler have put."""
        while True:
            await self._unsent.wait()
            self._unsent = trio.Event()
            while data := self._take_frames():
                rest = memoryview(data)
                try:
                    while rest:
                        rest = rest[await self._socket.send(rest) :]
                except OSError:  # the child has ended, as `_receive` finds
                    await trio.sleep_forever()

    def _take_frames(self) -> bytes:
        """The frames of one write, those without a reply first."""
        taken = [*self._one_way]
        self._one_way.clear()
        size = 0
        while self._calls and size < COALESCE_BELOW:
            taken.append(self._calls.pop(next(iter(self._calls))))
            size += len(taken[-1])
        return b"".join(taken)

    async def _receive(self) -> None:
        decoder = FrameDecoder()
        while True:
            try:
                data = await self._socket.recv(READ_SIZE)
                frames = list(decoder.feed(data))
            except (OSError, FrameError):
                return
            if not data:
                return
            for number, body in frames:
                task = self._waiting.pop(number, None)
                if task is not None:  # the call was not cancelled while the reply was on its way
                    self._replies[number] = body
                    trio.lowlevel.reschedule(task)

    def close(self) -> None:
        """Close the socket; the calls under way fail."""
        self._closed = True
        self._socket.close()
        for task in self._waiting.values():
            trio.lowlevel.reschedule(task)
        self._waiting.clear()


def make_ended() -> ErrUnavailable:
    """The error of a call whose child has ended."""
    return ErrUnavailable(
        "the retrieval engine ended during the call and is started again", retry_after=1.0, retryable=True
    )
