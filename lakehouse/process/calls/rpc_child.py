"""Calls in the child: a handler is run for each request, one at a time, in the main thread.

A second thread reads the pipe, so that the order to cancel arrives while a call is under way: it sets the call's flag
and runs the handler's `interrupt`. A handler that takes no interrupt is killed by the parent instead. When standard
input ends, the process ends at once.
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


class CallCancelled(Exception):
    """The parent has cancelled the call; a handler lets it pass."""


class CallError(Exception):
    """A handler's answer that the call failed; `details` is anything that JSON can hold.

    With `replace` the parent kills this child and starts another one.
    """

    def __init__(self, kind: str, message: str, *, details: object = None, replace: bool = False) -> None:
        super().__init__(message)
        self.failure = Failure(
            kind=kind, message=message, details=msgspec.Raw(msgspec.json.encode(details)), replace=replace
        )


class Call:
    """One request, for a handler."""

    def __init__(self, number: int, payload: bytes, output: int) -> None:
        self.number = number
        self.payload = payload
        self._output = output
        self._cancelled = threading.Event()

    @property
    def cancelled(self) -> bool:
        """Whether the parent has cancelled the call. A handler that runs for long looks from time to time."""
        return self._cancelled.is_set()

    def check_cancelled(self) -> None:
        """Raises CallCancelled if the parent has cancelled the call."""
        if self.cancelled:
            raise CallCancelled

    def send(self, item: bytes) -> None:
        """Send one item of a stream; waits while the pipe is full. Raises CallCancelled."""
        self.check_cancelled()
        self.write(FrameKind.ITEM, item)

    def cancel(self) -> None:
        """For the thread that reads the pipe."""
        self._cancelled.set()

    def write(self, kind: FrameKind, payload: bytes) -> None:
        """Write one frame in full."""
        for part in (encode_header(kind, self.number, len(payload)), payload):
            rest = memoryview(part)
            while rest:
                rest = rest[os.write(self._output, rest) :]


Handler = Callable[[Call], bytes]


def serve_calls(
    startup: Startup, handler: Handler, *, interrupt: Callable[[], None] | None = None, max_frame: int = MAX_FRAME
) -> None:
    """Say that this child is ready, then answer calls until standard input ends.

    `handler` returns the call's result. What it raises is the call's failure: CallError as it says, MemoryError with
    `replace`, any other exception as kind "internal" with its traceback in the log. `interrupt` is run in the thread
    that reads, when the call under way is cancelled; it must not wait.
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
    except Exception as error:  # noqa: BLE001 - written to the log and answered
        if call.cancelled:  # an interrupted library raises whatever it raises then
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
        """Read until the end, which is the order to go: there is nothing to save."""
        with suppress(OSError):
            while data := os.read(self._startup.input, READ_SIZE):
                try:
                    self._handle_frames(data)
                except FrameError:
                    traceback.print_exc()
                    break
        os._exit(0)

    def finish(self, call: Call) -> None:
        """From now on an interrupt would hit the next call."""
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

    def _run_interrupt(self) -> None:
        if self._interrupt is not None:
            try:
                self._interrupt()
            except Exception:  # noqa: BLE001 - written to the log; the parent kills a child that goes on
                traceback.print_exc()
