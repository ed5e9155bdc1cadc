"""Calls in the child: a handler runs for each request, one at a time, in the main thread.

A second thread reads the pipe, so that a cancellation is received during a call: the thread sets the flag of the call
and runs the `interrupt` of the handler. A handler that cannot be interrupted is killed by the parent. At the end of
standard input, the process exits at once.
"""

from __future__ import annotations

import os
import queue
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress

import msgspec

from lakehouse.process.bootstrap import Startup
from lakehouse.process.calls.frames import MAX_FRAME, Failure, FrameDecoder, FrameError, FrameKind, encode_header

READ_SIZE = 256 * 1024
COALESCE_BELOW = 16 * 1024
"""Bytes of a payload up to which header and payload are written at once."""


class CallCancelled(Exception):
    """The parent has cancelled the call. A handler must not catch this exception."""


class CallError(Exception):
    """Raised by a handler to report a failure; `details` is any value that JSON can represent.

    With `replace` the parent kills this child and starts another one.
    """

    def __init__(self, kind: str, message: str, *, details: object = None, replace: bool = False) -> None:
        super().__init__(message)
        self.failure = Failure(
            kind=kind, message=message, details=msgspec.Raw(msgspec.json.encode(details)), replace=replace
        )


class Call:
    """The argument of a handler: one request."""

    def __init__(self, number: int, payload: bytes, output: int) -> None:
        self.number = number
        self.payload = payload
        self._output = output
        self._cancelled = threading.Event()
        self._inputs: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._writing = threading.Lock()

    @property
    def cancelled(self) -> bool:
        """Whether the parent has cancelled the call. A handler of long duration must check this regularly."""
        return self._cancelled.is_set()

    def check_cancelled(self) -> None:
        """Raise CallCancelled if the parent has cancelled the call."""
        if self.cancelled:
            raise CallCancelled

    def send(self, item: bytes) -> None:
        """Send one item of a stream; blocks while the pipe is full. Raises CallCancelled."""
        self.check_cancelled()
        self.write(FrameKind.ITEM, item)

    def receive(self) -> bytes | None:
        """Request further input and wait for it; None at its end. Any thread may do so. Raises CallCancelled."""
        self.check_cancelled()
        self.write(FrameKind.NEED, b"")
        data = self._inputs.get()
        self.check_cancelled()
        return data

    def add_input(self, data: bytes | None) -> None:
        """Pass on input that was requested; called by the thread that reads the pipe."""
        self._inputs.put(data)

    def cancel(self) -> None:
        """Set the flag of a cancelled call, and end its wait; called by the thread that reads the pipe."""
        self._cancelled.set()
        self._inputs.put(None)

    def write(self, kind: FrameKind, payload: bytes) -> None:
        """Write one whole frame."""
        header = encode_header(kind, self.number, len(payload))
        with self._writing:
            for part in (header + payload,) if len(payload) <= COALESCE_BELOW else (header, payload):
                rest = memoryview(part)
                while rest:
                    rest = rest[os.write(self._output, rest) :]


Handler = Callable[[Call], bytes]


def serve_calls(
    startup: Startup, handler: Handler, *, interrupt: Callable[[], None] | None = None, max_frame: int = MAX_FRAME
) -> None:
    """Report that this child is ready, then handle calls until standard input ends.

    `handler` returns the result of a call. An exception is reported as the failure of the call: CallError with its own
    fields, MemoryError with `replace`, any other exception with kind "internal" and its traceback in the log.
    `interrupt` runs in the reader thread when the running call is cancelled; it must not block.
    """
    calls: queue.SimpleQueue[Call] = queue.SimpleQueue()
    reader = _Reader(startup, calls, interrupt, max_frame)
    threading.Thread(target=reader.run, daemon=True, name="calls").start()
    startup.report_ready()
    while True:
        call = calls.get()
        kind, payload = _run(handler, call)
        reader.finish(call)
        call.write(kind, payload)


def _run(handler: Handler, call: Call) -> tuple[FrameKind, bytes]:
    try:
        call.check_cancelled()
        result = handler(call)
    except CallCancelled:
        return FrameKind.CANCELLED, b""
    except CallError as error:
        failure = error.failure
    except MemoryError:
        failure = Failure(kind="out of memory", message="the child has no memory left", replace=True)
    except Exception as error:  # noqa: BLE001 - logged and reported to the parent
        if call.cancelled:  # an interrupted library may raise any exception
            return FrameKind.CANCELLED, b""
        traceback.print_exc()
        failure = Failure(kind="internal", message=f"{type(error).__name__}: {error}")
    else:
        return FrameKind.RESULT, result
    return FrameKind.FAILURE, msgspec.json.encode(failure)


class _Reader:
    """The thread that reads requests and cancellations."""

    def __init__(
        self,
        startup: Startup,
        calls: queue.SimpleQueue[Call],
        interrupt: Callable[[], None] | None,
        max_frame: int,
    ) -> None:
        self._startup = startup
        self._calls = calls
        self._interrupt = interrupt
        self._decoder = FrameDecoder(max_frame)
        self._lock = threading.Lock()
        self._current: Call | None = None

    def run(self) -> None:
        """Read until the end of the pipe, then end the process: it has no state to save."""
        with suppress(OSError):
            while data := os.read(self._startup.input, READ_SIZE):
                try:
                    self._handle_frames(data)
                except FrameError:
                    traceback.print_exc()
                    break
        os._exit(0)

    def finish(self, call: Call) -> None:
        """Mark a call as ended: a cancellation that arrives later must not interrupt the next call."""
        with self._lock:
            if self._current is call:
                self._current = None

    def _handle_frames(self, data: bytes) -> None:
        for kind, number, payload in self._decoder.feed(data):
            if kind is FrameKind.REQUEST:
                call = Call(number, payload, self._startup.output)
                with self._lock:
                    self._current = call
                self._calls.put(call)
            elif kind is FrameKind.CANCEL:
                with self._lock:
                    if self._current is not None and self._current.number == number:
                        self._current.cancel()
                        self._run_interrupt()
            elif kind in (FrameKind.INPUT, FrameKind.INPUT_END):
                with self._lock:
                    if self._current is not None and self._current.number == number:
                        self._current.add_input(payload if kind is FrameKind.INPUT else None)

    def _run_interrupt(self) -> None:
        if self._interrupt is not None:
            try:
                self._interrupt()
            except Exception:  # noqa: BLE001 - logged; the parent kills a child that does not stop
                traceback.print_exc()
