"""Reading and writing a non-blocking socket, plain or TLS: tried first, waited for only when it is not ready."""

from __future__ import annotations

import select
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Final

import trio

from lakehouse.net.fairness import OPERATIONS, FairnessBudget
from lakehouse.net.transfer_rate import unacknowledged_bytes

READ_WINDOW = 128 * 1024
"""Bytes read at once: all that is ever held of a body on its way down, besides what the kernel holds."""

SHORT_READ = 16 * 1024
"""Bytes. A read of fewer has emptied the socket, so the next one waits before it tries: nearly always it would fail,
which costs as much as the read itself. After as many or more, further bytes are often there, and of TLS they are a
whole record, with the next one right behind it."""

_NO_LINGER = struct.pack("ii", 1, 0)
NOT_READY = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
"""Raised where a blocking socket would wait."""

Wait = Callable[[socket.socket], Awaitable[None]]


class ReadState(Enum):
    """What the next read does.

    TRY ──short read, or not ready──> WAIT_READABLE ──waited──> TRY
    TRY ──TLS has to write first────> WAIT_WRITABLE ──waited──> TRY
    """

    TRY = "try: bytes may be there"
    WAIT_READABLE = "wait until the socket is readable"
    WAIT_WRITABLE = "wait until the socket is writable"


# Looking a member up in its class costs five times as much as these.
TRY: Final = ReadState.TRY
WAIT_READABLE: Final = ReadState.WAIT_READABLE
WAIT_WRITABLE: Final = ReadState.WAIT_WRITABLE


class SocketIO:
    """A socket with the verbs `try_read` and `try_write`, which never wait.

    `window` is the buffer that is read into. One window serves all connections of an upstream, because what is read is
    parsed before another task can run. `budget` bounds the operations between two waits.
    """

    __slots__ = ("_budget", "_fd", "_probe", "_read_state", "_socket", "_window")

    def __init__(self, sock: socket.socket, window: memoryview, *, operations: int = OPERATIONS) -> None:
        self._socket = sock
        self._fd = sock.fileno()
        self._window = window
        self._budget = FairnessBudget(operations)
        self._read_state: ReadState = WAIT_READABLE  # a response arrives after its request only
        self._probe: select.poll | None = None  # made when `has_no_pending_data` is first needed

    def try_write(self, data: bytes | memoryview) -> int:
        """Write what the kernel takes without waiting: the number of bytes. Raises `OSError`."""
        try:
            return self._socket.send(data)
        except NOT_READY:
            return 0

    def try_read(self) -> memoryview | None:
        """The next bytes, empty at the end of the stream; None if there is something to be waited for first: bytes, or
        the other tasks' turn.

        The bytes are valid until the next checkpoint. Raises `OSError`.
        """
        budget = self._budget
        if self._read_state is not TRY or budget.left <= 0:
            return None
        budget.left -= 1
        sock = self._socket
        try:
            size = sock.recv_into(self._window)
        except NOT_READY as error:
            self._read_state = WAIT_WRITABLE if isinstance(error, ssl.SSLWantWriteError) else WAIT_READABLE
            return None
        if size < SHORT_READ and not (isinstance(sock, ssl.SSLSocket) and sock.pending()):
            self._read_state = WAIT_READABLE
        return self._window[:size]

    def has_no_pending_data(self) -> bool:
        """True if nothing has arrived since the last response ended.

        An end of file, or the response to a request that was not sent yet (an error before the server closes, or an
        attempt to pass it off as the next response), makes an idle connection unfit.
        """
        if self._probe is None:
            self._probe = select.poll()
            self._probe.register(self._socket, select.POLLIN)
        if not self._probe.poll(0) and not isinstance(self._socket, ssl.SSLSocket):
            return True  # the usual case, at a quarter of the price of a read that fails
        try:
            self._socket.recv(1)
        except NOT_READY:
            return True
        except OSError:
            return False
        return False

    def unacknowledged_bytes(self) -> int:
        """Bytes that were written and that the peer has not acknowledged yet; 0 where that is not known."""
        return unacknowledged_bytes(self._fd)

    def send_eof(self) -> None:
        """Half-close, where the transport can (not over TLS). Raises `OSError`."""
        self._socket.shutdown(socket.SHUT_WR)

    def reset_at_close(self) -> None:
        """Have `close` discard what was not acknowledged. Otherwise the end of the connection would be delivered behind
        those bytes, and an upstream that does not read would not notice it."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)


def wait_for_write(error: OSError) -> Wait:
    """What to wait for after a write that failed with `error`: TLS may have to read before it can write."""
    return trio.lowlevel.wait_readable if isinstance(error, ssl.SSLWantReadError) else trio.lowlevel.wait_writable
