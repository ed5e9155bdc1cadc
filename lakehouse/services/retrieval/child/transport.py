"""The socket to the client, and the pipe by which the other threads wake the main one."""

from __future__ import annotations

import os
import select
from collections import deque
from collections.abc import Iterator, Sequence

import msgspec

from lakehouse.core.errors import ErrTooLarge
from lakehouse.services.retrieval.child.pending import Pending, encode_failure
from lakehouse.services.retrieval.child.writer import Outcome
from lakehouse.services.retrieval.messages import HEADER, MAX_FRAME, AnyCall, FrameDecoder

READ_SIZE = 1024 * 1024


class CallTransport:
    """Belongs to the main thread, but for `report`."""

    def __init__(self, descriptor: int) -> None:
        self.waiting: deque[Pending] = deque()
        """Calls that were received and not yet begun."""
        self.outcomes: deque[Outcome] = deque()
        self._descriptor = descriptor
        self._frames = FrameDecoder()
        self._decoder = msgspec.msgpack.Decoder(AnyCall)
        self._pending: dict[int, Pending] = {}
        self._wake_read, self._wake_write = os.pipe()
        self._poll = select.poll()
        for one in (descriptor, self._wake_read):
            self._poll.register(one, select.POLLIN)

    def report(self, outcomes: Sequence[Outcome]) -> None:
        """Hand outcomes to the main thread, from another one."""
        self.outcomes.extend(outcomes)
        self.wake()

    def wake(self) -> None:
        """Let the main thread look again, from another one."""
        os.write(self._wake_write, b"\0")

    def receive(self, *, wait: bool) -> None:
        """Take all that has arrived; with `wait` there is something at return. Ends the process with the connection."""
        arrived = self._poll.poll(None if wait else 0)
        while arrived:  # a cancellation may be behind many calls
            for descriptor, _ in arrived:
                data = os.read(descriptor, READ_SIZE)
                if descriptor == self._descriptor:
                    if not data:
                        os._exit(0)  # the client has ended; what was answered is durable
                    self._take(data)
            arrived = self._poll.poll(0)

    def _take(self, data: bytes) -> None:
        for number, body in self._frames.feed(data):
            if not body:
                pending = self._pending.get(number)
                if pending is not None:
                    pending.cancelled = True
                continue
            try:
                pending = Pending(number, body, self._decoder.decode(body))
            except msgspec.DecodeError as error:
                self.send([(number, encode_failure(error))])
                continue
            self._pending[number] = pending
            self.waiting.append(pending)

    def take_waiting(self, limit: int) -> Iterator[Pending]:
        """The calls that wait, at most `limit` of them; one that is cancelled is dropped."""
        while self.waiting and limit:
            pending = self.waiting.popleft()
            if pending.cancelled:
                self.drop(pending)
            else:
                limit -= 1
                yield pending

    def drop(self, pending: Pending) -> None:
        """Forget a call without a reply."""
        self._pending.pop(pending.number, None)

    def answer(self, answers: Sequence[tuple[Pending, bytes]]) -> None:
        """Send replies, in one write. A call that was cancelled gets none, and one too large for a frame a failure."""
        bodies = []
        for pending, body in answers:
            self.drop(pending)
            if not pending.cancelled:
                bodies.append((pending.number, body if len(body) <= MAX_FRAME else _make_too_large()))
        self.send(bodies)

    def send(self, bodies: Sequence[tuple[int, bytes]]) -> None:
        """Send frames; blocks while the client does not read."""
        frames = b"".join([part for number, body in bodies for part in (HEADER.pack(len(body), number), body)])
        rest = memoryview(frames)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]


def _make_too_large() -> bytes:
    return encode_failure(ErrTooLarge(f"the answer is larger than {MAX_FRAME // 2**20} MiB: ask for fewer items"))
