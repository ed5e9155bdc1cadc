"""Calls in the parent: requests go to the child's standard input, items and results come from its standard output.

The pipes give back-pressure both ways: a child that streams blocks while the parent does not read, and the parent
buffers at most one frame and one read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress

import msgspec
import trio

from lakehouse.process.calls.frames import (
    FINAL,
    Failure,
    Frame,
    FrameDecoder,
    FrameError,
    FrameKind,
    encode_header,
)
from lakehouse.process.child import Child
from lakehouse.process.errors import CallFailed, ChildExited

READ_SIZE = 256 * 1024
COALESCE_BELOW = 16 * 1024
"""Bytes of a payload up to which header and payload are sent in one write."""
EXIT_WAIT = 2.0
"""Seconds to wait for the exit status of a child whose pipe broke."""
_OF_PARENT = (FrameKind.REQUEST, FrameKind.CANCEL, FrameKind.INPUT, FrameKind.INPUT_END)


class Connection:
    """Sends and receives the frames of one child, for one call at a time."""

    def __init__(self, child: Child, *, max_frame: int) -> None:
        self.child = child
        self._decoder = FrameDecoder(max_frame)
        self._max_frame = max_frame
        self._frames: deque[Frame] = deque()

    async def send(self, kind: FrameKind, call: int, payload: bytes = b"") -> None:
        """Write one frame. A cancelled call may have written a part of the frame: the child must be killed then.

        Raises ChildExited, and ValueError for a payload larger than `max_frame`.
        """
        if len(payload) > self._max_frame:
            raise ValueError(f"a request of {len(payload)} bytes is larger than the {self._max_frame} that are allowed")
        header = encode_header(kind, call, len(payload))
        try:
            if len(payload) <= COALESCE_BELOW:
                await self.child.stdin.send_all(header + payload)
            else:
                await self.child.stdin.send_all(header)
                await self.child.stdin.send_all(payload)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise await self._kill_and_describe_exit() from None

    async def receive(self, call: int) -> Frame:
        """Receive the next frame of a call. Cancellation loses no data.

        Raises ChildExited if the child ended, or if it violated the protocol and was killed.
        """
        while not self._frames:
            try:
                data = await self.child.stdout.receive_some(READ_SIZE)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                data = b""
            if not data:
                raise await self._kill_and_describe_exit()
            try:
                self._frames.extend(self._decoder.feed(data))
            except FrameError as error:
                raise self._kill_for_protocol_error(str(error)) from None
        frame = self._frames.popleft()
        if frame.call != call or frame.kind in _OF_PARENT:
            raise self._kill_for_protocol_error(f"{frame.kind.name} of call {frame.call} came during call {call}")
        return frame

    def _kill_for_protocol_error(self, what: str) -> ChildExited:
        self.child.kill()
        return ChildExited(f"{self.child.name} was killed: {what}")

    async def _kill_and_describe_exit(self) -> ChildExited:
        """Make the error of an ended child. A child that closed its pipes and still runs is killed."""
        self.child.kill()
        with trio.move_on_after(EXIT_WAIT):
            return ChildExited(
                f"{self.child.name} ended during the call: its process {await self.child.describe_exit()}"
            )
        return ChildExited(f"{self.child.name} closed its pipes during the call and was killed")


class Reply:
    """The reply to one call: an iterator over its items; at its end `result` is set.

    What the child requests as further input is taken from `inputs`, while an item is awaited. What that iterator
    raises comes out of `__anext__`.
    """

    def __init__(self, connection: Connection, number: int, inputs: AsyncIterator[bytes] | None = None) -> None:
        self.number = number
        self.sent = False
        """Whether the whole request was sent: only then can the call be cancelled without killing the child."""
        self.ended = False
        self.replace = False
        """Whether the child requested its replacement."""
        self._connection = connection
        self._inputs = inputs
        self._result: bytes | None = None

    @property
    def result(self) -> bytes:
        """The result of the call. Raises RuntimeError before the items are exhausted."""
        if self._result is None:
            raise RuntimeError("the result of a call comes after its items")
        return self._result

    async def send(self, request: bytes) -> None:
        """Send the request. Raises ChildExited, ValueError."""
        await self._connection.send(FrameKind.REQUEST, self.number, request)
        self.sent = True

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        """Receive the next item. Raises CallFailed if the child reported a failure, ChildExited."""
        if self.ended:
            raise StopAsyncIteration
        while (frame := await self._connection.receive(self.number)).kind is FrameKind.NEED:
            await self._send_input()
        if frame.kind is FrameKind.ITEM:
            return frame.payload
        self._end(frame)
        raise StopAsyncIteration

    async def _send_input(self) -> None:
        """Send the next input, or its end. Cut off in the middle, the child has to be killed."""
        data = None if self._inputs is None else await anext(self._inputs, None)
        self.sent = False
        if data is None:
            await self._connection.send(FrameKind.INPUT_END, self.number)
        else:
            await self._connection.send(FrameKind.INPUT, self.number, data)
        self.sent = True

    async def discard(self) -> None:
        """Cancel the call in the child and read up to its final frame, so that the child can take the next call.

        Raises ChildExited.
        """
        if self.ended:
            return
        await self._connection.send(FrameKind.CANCEL, self.number)
        while not self.ended:
            frame = await self._connection.receive(self.number)
            if frame.kind in FINAL:
                with suppress(CallFailed):
                    self._end(frame)

    def _end(self, frame: Frame) -> None:
        self.ended = True
        if frame.kind is FrameKind.RESULT:
            self._result = frame.payload
        elif frame.kind is FrameKind.FAILURE:
            try:
                failure = msgspec.json.decode(frame.payload, type=Failure)
            except (msgspec.DecodeError, UnicodeDecodeError):
                self.replace = True
                raise CallFailed("internal", "the child's failure cannot be read", msgspec.Raw(b"null")) from None
            self.replace = failure.replace
            raise CallFailed(failure.kind, failure.message, failure.details)
        elif self._result is None:
            self._result = b""
